"""The gateway's verdict on a request body, without a gateway.

    for problem in validate("flexai", "chat.completions", {"model": "m", "messages": []}):
        print(problem.path, problem.code, problem.message)

It is the engine's own code: providers test with it, clients ask it before they send.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from levada import _native
from levada.profiles.compiled import compiled
from levada.profiles.files import load
from levada.profiles.schema import Profile


@dataclass(frozen=True)
class Problem:
    """Why a body would be refused: `path` names the parameter, as in `messages[2].content`."""

    status: int
    path: str | None
    code: str | None
    message: str


def validate(
    profile: str | Profile,
    endpoint: str,
    body: Mapping[str, Any] | bytes,
    content_type: str = "application/json",
) -> list[Problem]:
    """The first problem, as the gateway tells it, or none. `endpoint` is its name, such as
    `chat.completions`; a form comes as bytes with its `content_type`. ProfileError, ValueError.
    """
    validator = _named(profile) if isinstance(profile, str) else _made(profile)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    verdict = validator.check(endpoint, raw, content_type)
    return [] if verdict is None else [Problem(*verdict)]


@lru_cache(maxsize=16)
def _named(profile: str) -> _native.Validator:
    return _made(load(profile))


def _made(profile: Profile) -> _native.Validator:
    return _native.Validator(json.dumps(compiled(profile)).encode())
