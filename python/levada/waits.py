"""Waits that nearly always end early, all of one length under one timer.

Law: to begin and to end a wait costs a dictionary entry each; the timer is touched when it rings
and at no other time. Every request has such waits: a timer for each would be their dearest part.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Waiter(Protocol):
    """Someone who is told when the wait has become too long."""

    def late(self) -> None: ...


class Waits:
    """Of `seconds` each, for the waiters of the running loop; one may last 2 ms longer."""

    def __init__(self, seconds: float) -> None:
        self.loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._due: dict[Waiter, float] = {}  # in the order of their ends: all are equally long
        self._armed = False

    def begin(self, waiter: Waiter) -> None:
        """Tell the waiter when `seconds` have passed, unless `end` is called before."""
        self._due[waiter] = time.monotonic() + self._seconds
        if not self._armed:
            self._arm(self._seconds)

    def end(self, waiter: Waiter) -> None:
        """The wait is over; whether or not it was too long."""
        self._due.pop(waiter, None)

    def _arm(self, seconds: float) -> None:
        self._armed = True
        self.loop.call_later(seconds + 0.001, self._ring)

    def _ring(self) -> None:
        self._armed = False
        now = time.monotonic()
        while self._due:
            waiter, due = next(iter(self._due.items()))
            if due > now:
                self._arm(due - now)
                return
            del self._due[waiter]
            waiter.late()
