"""What a profile says of how often callers may ask: the headers that tell it, and the 429.

Law: the probe uses up no limit on purpose. It judges the 429s that it meets; when it meets none,
the row says so.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from levada.probe.client import Answer, get
from levada.probe.doors import Said
from levada.probe.endpoints import Target
from levada.probe.expect import error
from levada.probe.rows import BrokenError, Judge, Promise, UntestableError
from levada.profiles import Profile

UNUSED = "a limit would have to be used up"
NAMES = ("limit", "remaining", "reset")
# 1h0m3s, 6m0s, 1m30s, 8.64s, 20ms
SPAN = re.compile(r"(?=\d)(\d+h)?(\d+m)?(\d+(\.\d+)?s)?(\d+ms)?")
CODES = ("rate_limit_exceeded", "insufficient_quota")
DAY = 86_400


def promises(made: dict[str, Any], targets: list[Target]) -> Iterator[Promise]:
    """The row of the headers on one answer; `made` is the compiled profile."""
    form, windows = made["rate"]["headers"], made["rate"]["windows"]
    if form == "none":
        return
    what = f"x-ratelimit-*-requests tell the limit in the form of {form}"
    answered = next((one for one in targets if one.model is not None), None)
    ask = answered.ask(answered.body()) if answered else get("/v1/models")
    judge = told(form, time.time(), must=bool(windows))
    yield Promise("rate/headers", what, (ask,), judge)


def told(form: str, now: float, *, must: bool = True) -> Judge:
    """The three headers, well-formed; they `must` be there where the profile names a limit."""

    def judge(answer: Answer) -> None:
        found = [answer.header(f"x-ratelimit-{name}-requests") for name in NAMES]
        if found == [None] * 3 and not must:
            raise UntestableError("the profile names no limit, and the server tells none")
        for name, value in zip(NAMES, found, strict=True):
            plain = name != "reset" or form == "flexai"
            if value is None or not (value.isdecimal() if plain else SPAN.fullmatch(value)):
                raise BrokenError(f"x-ratelimit-{name}-requests is {value!r}")
        limit, remaining, reset = (value or "" for value in found)
        if int(remaining) > int(limit):
            raise BrokenError(f"{remaining} requests of {limit} remain")
        if form == "flexai" and abs(int(reset) - now) >= DAY:
            raise BrokenError(f"x-ratelimit-reset-requests is {reset}, which is no Unix time")

    return judge


def overall(
    profile: Profile, made: dict[str, Any]
) -> Iterator[tuple[str, str, Callable[[Said], None]]]:
    """Promises about all answers together: id, what, judge."""
    if made["rate"]["headers"] == "none":
        yield "rate/headers", "no answer has x-ratelimit headers", silent
    what = "a request beyond a limit is told as one"
    yield "rate/exceeded", what, lambda said: _exceeded(profile, said)


def silent(said: Said) -> None:
    """No answer tells a limit."""
    for ask, answer in said:
        for name, _ in answer.headers:
            if name.startswith("x-ratelimit"):
                raise BrokenError(f"{ask.method} {ask.path} was answered with {name}")


def _exceeded(profile: Profile, said: Said) -> None:
    # Anthropic's clients are told in their own form, which has no code.
    late = [(ask, one) for ask, one in said if one.status == 429 and "/messages" not in ask.path]
    if not late:
        raise UntestableError(f"no request was turned away; {UNUSED}")
    for _, answer in late:
        found = error(profile, answer, 429)
        if found["code"] not in CODES:
            raise BrokenError(f"'code' is {found['code']!r}, not {CODES[0]!r}")
        if (answer.header("retry-after") is None) != profile.errors.no_retry_after:
            has = "no" if answer.header("retry-after") is None else "a"
            raise BrokenError(f"a 429 has {has} Retry-After")
