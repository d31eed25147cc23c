"""What each endpoint is called and answers with: the table `answers.json`, read.

Law: written by hand, and small: an answer is the backend's, and only what clients rely on is said
of it. An endpoint that the table lacks has a path all the same; of its answer nothing is said.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """One endpoint: its title, the media types of body and answer, the shapes of the answer."""

    title: str
    whole: str = "Anything"
    events: str = "Anything"
    done: bool = False  # whether `[DONE]` ends a stream
    form: str = JSON
    media: str = JSON
    dialect: str = "openai"  # in which refusals are told; "anthropic" is the other


def path(name: str, base: str = "/v1") -> str:
    """Where an endpoint lies."""
    return f"{base}/{name.replace('.', '/')}"


def answer(name: str) -> Answer:
    """What is known of an endpoint."""
    return _table()[0].get(name, Answer(name))


def names() -> list[str]:
    """The endpoints of the table, in its order."""
    return list(_table()[0])


def schemas() -> dict[str, Any]:
    """The shapes, as schemas that name each other as components."""
    return _table()[1]


@cache
def _table() -> tuple[dict[str, Answer], dict[str, Any]]:
    read = json.loads(Path(__file__).with_name("answers.json").read_text(encoding="utf-8"))
    return {name: Answer(**one) for name, one in read["endpoints"].items()}, read["schemas"]
