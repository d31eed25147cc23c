"""The logs of a run: lines that are there before what they tell of has happened, whoever dies then.

Law: one line, one write to a file opened for appending; nothing is held back in this process.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Log:
    """A file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, *line: Any) -> None:
        """One line, with the time by the clock that all processes of the machine share."""
        text = json.dumps([round(time.monotonic(), 6), *line], separators=(",", ":"))
        os.write(self._file, text.encode() + b"\n")


def lines(path: Path) -> Iterator[Any]:
    """The lines of a log; one that was cut by a death is left out."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield json.loads(line)
