"""Runs the suites and compares: one line for each suite and door. Exits 1 when something is lost
through Levada, when too little was judged, or when an exception is needed no longer.

    PYTHONPATH=tests python -m conformance [openai-python llm-comply ...]
"""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import served
from rawhttp import call

from conformance import (
    ai_sdk,
    exceptions,
    langchain,
    llm_cli,
    llm_comply,
    openai_python,
    provider_check,
    schemathesis,
    schemathesis_openai,
)
from conformance.environments import CACHE, prepare
from conformance.suite import KEY, Address, Backend, NotYetError, Suite, Verdicts

SUITES = [
    openai_python.SUITE,
    llm_comply.SUITE,
    provider_check.SUITE,
    provider_check.ON_ENGINE,
    langchain.SUITE,
    schemathesis.SUITE,
    schemathesis_openai.SUITE,
    ai_sdk.SUITE,
    llm_cli.SUITE,
]
RUN_SECONDS = 600
# A judge that hangs, or leaves no report that can be read.
NO_VERDICT = (OSError, ValueError, SyntaxError, subprocess.TimeoutExpired)
SHOWN_LETTERS = 300


class Run:
    """All suites one after the other: what is said of them, and whether all is well."""

    def __init__(self) -> None:
        self.excuses = exceptions.read()
        self.lost: set[exceptions.Excuse] = set()
        self.judged: set[exceptions.Excuse] = set()
        self.well = True

    def suite(self, suite: Suite) -> None:
        with suite.backend() as backend:
            direct = Verdicts(frozenset(), {})
            if not suite.own:
                direct = judged(suite, backend.address, "direct")
            for door in served.DOORS:
                with levada(backend, door) as address:
                    try:
                        through = judged(suite, address, door)
                    except NotYetError as reason:
                        print(f"{suite.name} {door}: skipped: {reason}", flush=True)
                        continue
                    if suite.own:
                        direct = Verdicts(through.passed | frozenset(through.failed), {})
                    self.compare(f"{suite.name} {door}", suite, direct, through, address)

    def compare(
        self, title: str, suite: Suite, direct: Verdicts, through: Verdicts, address: Address
    ) -> None:
        """The line of a suite and a door, and below it whatever is wrong."""
        missing = sorted(direct.passed - through.passed)
        excused = self.excused(suite, direct.passed, missing, address)
        lost = [name for name in missing if name not in excused]
        waiting = sum(excused[name].absent != exceptions.ALWAYS for name in excused)
        counts = f"{len(direct.passed)} direct, {len(through.passed)} through, {len(lost)} lost"
        counts += f", {len(excused) - waiting} excepted"
        counts += f", {waiting} not served yet" if waiting else ""
        print(f"{title}: {counts}", flush=True)
        for said, names in alike(lost, through.failed).items():
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            print(f"  lost: {names[0]}{more}: {said}")
        if len(direct.passed) < suite.least:
            print(f"  too few: {suite.least} must pass on the backend")
        self.well &= not lost and len(direct.passed) >= suite.least

    def excused(
        self, suite: Suite, passed: Iterable[str], missing: Iterable[str], address: Address
    ) -> dict[str, exceptions.Excuse]:
        """The missing tests that an exception covers. Keeps account of what exceptions do."""
        found: dict[str, exceptions.Excuse] = {}
        lacking = set(missing)
        for excuse in self.excuses:
            covered = {name for name in passed if excuse.covers(suite.name, name)}
            if covered and excuse.holds(lambda what: is_absent(address, what)):
                self.judged.add(excuse)
                if covered & lacking:
                    self.lost.add(excuse)
                    found |= dict.fromkeys(covered & lacking, excuse)
        return found

    def needless(self) -> None:
        """What passes everywhere is no exception."""
        for excuse in self.excuses:
            if excuse in self.judged - self.lost:
                print(f"exceptions.txt: needed no longer: {excuse.suite} | {excuse.test}")
                self.well = False


def alike(lost: Iterable[str], failed: Mapping[str, str]) -> dict[str, list[str]]:
    """The lost tests by what they said."""
    found: dict[str, list[str]] = {}
    for name in lost:
        found.setdefault(failed.get(name, "did not run")[:SHOWN_LETTERS], []).append(name)
    return found


def judged(suite: Suite, address: Address, where: str) -> Verdicts:
    """What the judge says; kept in a file beside what it left."""
    folder = CACHE / "verdicts" / suite.name.split()[0] / where
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        found = suite.judge(address, folder)
    except NO_VERDICT as error:
        print(f"  no verdict: {error}; what was said: {folder}/said.txt")
        found = Verdicts(frozenset(), {})
    kept = {"passed": sorted(found.passed), "failed": dict(found.failed)}
    (folder / "verdicts.json").write_text(json.dumps(kept, indent=1))
    return found


@contextmanager
def levada(backend: Backend, door: str) -> Iterator[Address]:
    """Levada in front of the backend."""
    folder = CACHE / "levada"
    shutil.rmtree(folder, ignore_errors=True)
    # A judge's wrong requests are no reason to leave the only backend alone.
    config = {"breaker": {"failures": 1000}, **backend.config}
    told = {"LEVADA_KEY": KEY}
    url = backend.address.base
    running = served.start(folder, url, door=door, config=config, environment=told)
    try:
        yield Address(running.ready(KEY).base, backend.address.model)
    finally:
        running.stop()


def is_absent(address: Address, what: str) -> bool:
    """Whether Levada does not know `METHOD /path`."""
    method, path = what.split()
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    return call(address.base, method, path, headers, b"{}").status == 404


def end(*_: object) -> None:
    raise SystemExit(f"the suites took more than {RUN_SECONDS} s")


def main(wanted: list[str]) -> int:
    known = {suite.name.split()[0]: suite for suite in SUITES}
    if strangers := set(wanted) - set(known):
        print(f"no such suite: {', '.join(sorted(strangers))}; there are {', '.join(known)}")
        return 2
    prepare()
    run = Run()
    signal.signal(signal.SIGALRM, end)
    signal.alarm(RUN_SECONDS)
    for name in wanted or known:
        run.suite(known[name])
    run.needless()
    return 0 if run.well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
