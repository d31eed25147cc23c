"""Reads `exceptions.txt`: what may be lost through Levada, and why."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

FILE = Path(__file__).with_name("exceptions.txt")
ALWAYS = "-"


@dataclass(frozen=True, slots=True)
class Excuse:
    """One line. `absent` is a method and path: the excuse holds while Levada answers them 404."""

    suite: str
    test: str
    absent: str
    reason: str

    def covers(self, suite: str, test: str) -> bool:
        return suite.split()[0] == self.suite and fnmatchcase(test, self.test)

    def holds(self, is_absent: Callable[[str], bool]) -> bool:
        return self.absent == ALWAYS or is_absent(self.absent)


def read() -> list[Excuse]:
    lines = (line.strip() for line in FILE.read_text().splitlines())
    rows = (
        [word.strip() for word in line.split("|")] for line in lines if line[:1] not in ("", "#")
    )
    return [Excuse(suite, test, absent, reason) for suite, test, absent, reason in rows]
