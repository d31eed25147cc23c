"""What a suite is and what its judge says. The only file that starts a judge."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

KEY = "My API Key"
"""The key of every run: openai-python's tests have this one built in."""

JUDGE_SECONDS = 180.0

Command = list[str | Path]
"""A command line."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a judge is sent: a server (without /v1), and a model that it has."""

    base: str
    model: str


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The names of the tests that passed, and of those that failed with what they said."""

    passed: frozenset[str]
    failed: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Backend:
    """A running backend: its address, and what Levada must be told besides."""

    address: Address
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Suite:
    """One judge. `least` tests must pass on the backend, or nothing was judged.

    A suite of Levada's `own` has no backend to be compared with: each of its tests must pass.
    """

    name: str
    least: int
    backend: Callable[[], AbstractContextManager[Backend]]
    judge: Callable[[Address, Path], Verdicts]
    own: bool = False


class NotYetError(Exception):
    """There is nothing to judge so far; the text says why."""


def verdicts(said: Mapping[str, str | None]) -> Verdicts:
    """From each test's complaint, None where it passed."""
    failed = {name: complaint for name, complaint in said.items() if complaint is not None}
    return Verdicts(frozenset(said) - frozenset(failed), failed)


def junit(report: Path) -> Verdicts:
    """From a report in JUnit's XML. Skipped tests are left out."""
    said: dict[str, str | None] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("skipped") is None:
            name = ".".join(filter(None, (case.get("classname"), case.get("name"))))
            said[name] = complaint(case)
    return verdicts(said)


def complaint(case: ElementTree.Element) -> str | None:
    """The first complaint of a case in one line."""
    found = [one for one in case if one.tag in ("failure", "error")]
    return " ".join((found[0].text or "no reason given").split()) if found else None


def ask(
    command: Command, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a judge in `folder` to its end, with nothing of this process's environment but the path.

    All that it said is kept in `said.txt`. Its exit status is for the caller: most judges complain
    by it.
    """
    clean = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=clean | {"NO_PROXY": "127.0.0.1"} | dict(environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=JUDGE_SECONDS,
        check=False,
    )
    with (folder / "said.txt").open("a") as kept:
        kept.write(done.stdout + done.stderr)
    return done


@contextmanager
def started(command: Command) -> Iterator[None]:
    """A server as a process group of its own, ended as one."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)
