"""A promise, and the row that a promise becomes once the server has been asked.

Pure. A judge says nothing when the promise holds; else it raises BrokenError or UntestableError,
with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from levada.probe.client import Answer, Ask

# How much of a body a row shows.
SHOWN = 500


class BrokenError(Exception):
    """The answer breaks the promise; the text says how."""


class UntestableError(Exception):
    """It cannot be told here; the text says why."""


Judge = Callable[..., None]
"""Called with the answers in the order in which they were asked for."""


@dataclass(frozen=True)
class Promise:
    """What is promised, what to ask, and who judges the answers. Without `asks` it cannot be told
    here, and `why` says why.
    """

    id: str
    what: str
    asks: tuple[Ask, ...] = ()
    judge: Judge | None = None
    why: str = ""


class Outcome(StrEnum):
    """What became of a promise."""

    held = "held"
    broken = "broken"
    untestable = "not testable"


@dataclass(frozen=True)
class Row:
    """One promise as it was found. `request` and `answer` are those that decided."""

    id: str
    what: str
    outcome: Outcome
    why: str = ""
    request: dict[str, Any] | None = None
    answer: dict[str, Any] | None = None


def shown_ask(ask: Ask) -> dict[str, Any]:
    """A request as a row shows it. No key is in it."""
    return {"method": ask.method, "path": ask.path, "body": _cut(ask.body)}


def shown_answer(answer: Answer) -> dict[str, Any]:
    """An answer as a row shows it."""
    return {"status": answer.status, "body": _cut(answer.body)}


def _cut(body: bytes) -> str:
    return body[:SHOWN].decode(errors="replace")
