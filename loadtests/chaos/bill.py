"""What a call had to cost, by the policy and by what backend and caller saw: the oracle's opinion.

Law: pure, and independent of the gateway. Where the policy leaves room (a caller who left, a worker
that was killed) the bill is a range: no less than was delivered, no more than was generated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.chaos.evidence import FANNED, Attempt, Call, Told

ENGINE = ("engine_final", "engine_running", "backend")
# Faults after which all that was sent before has been read.
HEARD = ("B08", "B09", "B06-fin", "B10", "B16", "B18", "B27-amid")
# What was told so long before an end has arrived, however busy the machine is.
ON_ITS_WAY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Bill:
    """What a row may say: the counts told, from the least to the most of the answer's tokens."""

    prompt: int = 0
    cached: int = 0
    least: int = 0
    most: int = 0
    reasoning: int | None = None
    told: frozenset[int] = frozenset()
    # Events with text, for answers of which nothing is told: delivered, and sent.
    events: tuple[int, int] = (0, 0)
    judged: bool = True
    free: bool = False

    @property
    def exact(self) -> bool:
        return self.judged and self.least == self.most


def last(attempts: Sequence[Attempt]) -> list[Attempt]:
    """The answers that the caller's answer was made of: the last, or the last of each choice."""
    if any(FANNED.search(one.id) and one.id != attempts[0].nonce for one in attempts):
        return list({one.id: one for one in attempts}.values())
    return [attempts[-1]]


def final(attempt: Attempt) -> Told | None:
    return next((step.told for step in attempt.steps if step.final), None)


def running(attempt: Attempt) -> list[tuple[float, int, Told]]:
    """What was told along the way: when, with how many tokens, what."""
    steps = attempt.steps
    return [(one.at, one.generated, one.told) for one in steps if one.told and not one.final]


def events(attempt: Attempt, tokens: int) -> int:
    """How many events have carried that many tokens."""
    sizes = {step.generated for step in attempt.steps if not step.final and step.generated}
    return sum(size <= tokens for size in sizes)


def complete(parts: Sequence[Attempt]) -> Bill:
    """The caller has the whole answer."""
    told = [final(part) for part in parts]
    if not all(told):
        return open_bill(parts, sum(part.generated for part in parts), heard=True)
    prompt, _, cached, _ = told[0] or (0, 0, 0, 0)
    made = sum(one[1] for one in told if one)
    reasoning = sum(one[3] for one in told if one)
    return Bill(prompt, cached, made, made, reasoning, frozenset({made}))


def open_bill(parts: Sequence[Attempt], delivered: int, heard: bool, until: float = 0.0) -> Bill:
    """The answer was not brought to its end, or not told."""
    if len(parts) > 1:
        # Each tells its own at its end: those that came so far are a lower bound.
        most = sum(part.generated for part in parts)
        streamed = any(not step.final for part in parts for step in part.steps)
        return Bill(most=most, judged=False, events=(int(streamed and delivered > 0), most))
    (part,) = parts
    steps = running(part)
    ended = final(part)
    told = [one for *_, one in steps] + ([ended] if ended else [])
    sent = events(part, max((step.generated for step in part.steps), default=0))
    if not told:
        return Bill(events=(sent if heard else events(part, delivered), sent))
    prompt, _, cached, _ = told[0]
    counts = frozenset(one[1] for one in told) | {0}
    come = [one[1] for at, made, one in steps if made <= delivered or at < until or heard]
    # A count for all that was delivered is owed only where it came with it.
    least = max([count for count in come if steps], default=0)
    if not steps:
        return Bill(prompt, cached, 0, max(counts), None, counts, (events(part, delivered), sent))
    most = least if heard else max(counts)
    return Bill(prompt, cached, least, most, None, counts, (0, sent))


def of(call: Call, attempts: Sequence[Attempt], until: float) -> Bill:
    """The bill of a call that was dispatched; `until` is when its end came from outside."""
    parts = last(attempts)
    if call.state == "complete":
        return complete(parts)
    if call.state == "refused":
        return Bill(free=True)
    heard = call.state == "broken" and all(part.end in HEARD for part in parts)
    early = until - ON_ITS_WAY_SECONDS if until and not call.made["slow"] else 0.0
    return open_bill(parts, call.delivered, heard, early)
