"""What a run has left behind: the callers' logs, the backends', the nemesis', and the ledger.

Law: read here, judged elsewhere. Nothing of the gateway is imported; its database is a file.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtests.chaos.log import lines
from loadtests.chaos.script import Script

Told = tuple[int, int, int, int]
FANNED = re.compile(r"-\d$")


@dataclass(slots=True)
class Call:
    """One call as its caller saw it."""

    nonce: str
    since: float
    ended: float
    made: dict[str, Any]
    seen: dict[str, Any]

    @property
    def script(self) -> Script:
        script = Script.find(self.made["script"])
        assert script is not None
        return script

    @property
    def state(self) -> str:
        return str(self.seen["state"])

    @property
    def delivered(self) -> int:
        return sum(self.seen["tokens"].values())


@dataclass(slots=True)
class Step:
    """What a backend was about to send: so many tokens by then, and what it told of them."""

    at: float
    generated: int
    told: Told | None
    final: bool


@dataclass(slots=True)
class Attempt:
    """One answer of one backend, as it says itself."""

    nonce: str
    id: str
    backend: str
    begun: float
    steps: list[Step] = field(default_factory=list)
    torn: int = 0
    end: str = ""
    ended: float = 0.0

    @property
    def generated(self) -> int:
        return max([self.torn, *(step.generated for step in self.steps)])

    @property
    def whole(self) -> bool:
        # One that died with its last bytes has not said that it was done.
        sent = any(step.final for step in self.steps)
        return self.end == "done" or (sent and self.end in ("", "gone"))


@dataclass(slots=True)
class Evidence:
    """All of it."""

    calls: list[Call]
    attempts: dict[str, list[Attempt]]
    rows: list[dict[str, Any]]
    deaths: list[tuple[float, float, str]]
    strays: int = 0
    keys: list[str] = field(default_factory=list)
    calm: dict[str, Any] = field(default_factory=dict)
    gauges: dict[str, float] = field(default_factory=dict)

    def died(self, since: float, until: float) -> bool:
        """Whether a worker or its parent ended in that time."""
        return any(begun <= until and over >= since for begun, over, _ in self.deaths)


def calls(paths: Iterable[Path]) -> list[Call]:
    told = (line for path in paths for line in lines(path))
    return [Call(nonce, since, at, made, seen) for at, nonce, since, made, seen in told]


def attempts(paths: Iterable[Path]) -> tuple[dict[str, list[Attempt]], int]:
    """By nonce, in the order of their beginnings; and how many requests had no script."""
    known: dict[str, Attempt] = {}
    strays = 0
    for path in paths:
        for at, what, *rest in lines(path):
            match what:
                case "begin":
                    known[rest[0]] = Attempt(rest[1], rest[2], rest[3], at)
                case "told":
                    number, generated, told, final = rest
                    step = Step(at, generated, told and tuple(told), final)
                    known[number].steps.append(step)
                case "torn":
                    known[rest[0]].torn = rest[1]
                case "end":
                    # The first word counts: a fault that ends a connection is told before.
                    attempt = known[rest[0]]
                    attempt.end, attempt.ended = attempt.end or rest[1], attempt.ended or at
                case _:
                    strays += 1
    found = defaultdict(list)
    for attempt in sorted(known.values(), key=lambda one: one.begun):
        found[attempt.nonce].append(attempt)
    return dict(found), strays


def deaths(path: Path) -> list[tuple[float, float, str]]:
    """When workers ended, and until when callers may have felt it."""
    found, open_ = [], {}
    for at, what, *rest in lines(path):
        if what == "down":
            open_[rest[0]] = at
        elif what == "up":
            found.append((open_.pop(rest[0]), at, rest[0]))
        elif what == "death":
            # A moment for what was on its way through the kernel.
            found.append((at - 0.05, at + 0.5, rest[0]))
    return found + [(at, float("inf"), what) for what, at in open_.items()]


def request_id(attempt: Attempt) -> str:
    """The id of the call; a gateway that asks once for each choice numbers its requests."""
    return FANNED.sub("", attempt.id)


def gather(folder: Path) -> Evidence:
    """The evidence of the run in this folder."""
    truth, strays = attempts(sorted(folder.glob("truth-*.log")))
    quiet = json.loads((folder / "quiet.json").read_text())
    return Evidence(
        calls=calls(sorted(folder.glob("client-*.log"))),
        attempts=truth,
        rows=json.loads((folder / "rows.json").read_text()),
        deaths=deaths(folder / "nemesis.log"),
        strays=strays,
        keys=json.loads((folder / "key-ids.json").read_text()),
        calm=quiet["calm"],
        gauges=quiet["gauges"],
    )
