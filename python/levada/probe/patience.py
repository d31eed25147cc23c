"""How the probe waits: a server that limits its callers is asked again when it says so.

Law: every wait has an end, one by one and all together; what was waited is a row of the report.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from levada.probe.client import Answer, Ask, Client
from levada.probe.rows import Outcome, Row

# A limit is told by the minute at most; what a server asks for beyond that is not waited for.
MOST_PATIENCE = 75.0
# All that one probe waits: ten windows of a minute.
MOST_WAITING = 600.0
# The pauses when nobody says how long: these, and then the last one again.
LEAST_PAUSE, LONGEST_PAUSE = 1.0, 16.0

Sleep = Callable[[float], None]


@dataclass
class Patience:
    """Asks through a client, and waits where it must; `waited` seconds so far."""

    client: Client
    sleep: Sleep = time.sleep
    waits: int = 0
    waited: float = 0.0
    given_up: bool = False

    def ask(self, one: Ask) -> Answer:
        """The answer; that of a busy server when the waits are spent. SilenceError, SpentError."""
        answer, pause, patience = self.client.ask(one), LEAST_PAUSE, MOST_PATIENCE
        while _is_passing(answer):
            wait = _asked_for(answer, pause)
            if wait > patience or wait > MOST_WAITING - self.waited:
                self.given_up |= answer.status == 429
                break
            self.sleep(wait)
            self.waits, self.waited = self.waits + 1, self.waited + wait
            pause, patience = min(2 * pause, LONGEST_PAUSE), patience - wait
            # What is down is asked once more; a limit is waited for as long as it takes.
            patience = patience if answer.status == 429 else 0.0
            answer = self.client.ask(one)
        return answer

    def row(self) -> Row:
        """What was waited, told at the end."""
        what = "what the server's limits ask to wait for can be waited for"
        why = f"{self.waits} waits, {self.waited:.0f} s in all" if self.waits else ""
        if self.given_up:
            why = ", ".join(filter(None, (why, "and then no more")))
        outcome = Outcome.untestable if self.given_up else Outcome.held
        return Row("answers/waits", what, outcome, why)


def _is_passing(answer: Answer) -> bool:
    """Whether a server is busy for a while; who has used up what was paid for is so for long."""
    busy = answer.status in (429, 503) and answer.header("x-should-retry") != "false"
    return busy and b'"insufficient_quota"' not in answer.body


def _asked_for(answer: Answer, pause: float) -> float:
    """Seconds: what the server says, else a pause."""
    try:
        return max(float(answer.header("retry-after") or pause), LEAST_PAUSE)
    except ValueError:
        return pause
