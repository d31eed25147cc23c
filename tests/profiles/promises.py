"""`make profiles`: the numbered promises of the contract, one line each.

A promise that has no test is said to be missing, and that is a failure too.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

import pytest

# How many each provider's contract numbers.
COUNTS = {"MD": 13, "MS": 10, "IO": 11, "FX": 15}
NAMED = re.compile(r"(?:test|and)_(md|ms|io|fx)_(\d+)")
AGAIN = re.compile(r"_(md|ms|io|fx)_(\d+)_and_(\d+)_")


def promises(test: str) -> set[str]:
    """The ids in a test's name: `test_fx_8_and_9_...` is of two."""
    found = {f"{who.upper()}-{number}" for who, number in NAMED.findall(test)}
    return found | {f"{who.upper()}-{last}" for who, _, last in AGAIN.findall(test)}


class Ledger:
    """Outcomes by promise; a pytest plugin."""

    def __init__(self) -> None:
        self.outcomes: dict[str, list[bool]] = defaultdict(list)

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.failed:
            for promise in promises(report.nodeid.partition("::")[2]):
                self.outcomes[promise].append(report.passed)

    def lines(self) -> list[str]:
        every = [f"{who}-{at}" for who, count in COUNTS.items() for at in range(1, count + 1)]
        return [f"{promise} {self.told(promise)}" for promise in every]

    def told(self, promise: str) -> str:
        seen = self.outcomes.get(promise)
        return "missing" if not seen else "passed" if all(seen) else "failed"


def main() -> int:
    here = Path(__file__).parent
    ledger = Ledger()
    only = ["-k", "_md_ or _ms_ or _io_ or _fx_"]
    places = [
        str(here),
        str(here.parent / "unit" / "test_profiles.py"),
        str(here.parent / "openai"),
    ]
    pytest.main(["-q", "--no-header", *only, *places], plugins=[ledger])
    lines = ledger.lines()
    print("\n".join(lines))
    kept = sum(line.endswith(" passed") for line in lines)
    print(f"{kept} of {len(lines)} promises kept")
    return int(kept < len(lines))


if __name__ == "__main__":
    sys.exit(main())
