"""Starts and ends the processes of a run. The only file that does.

Each is a session of its own and is ended by its own id, with what it started.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TypeVar

T = TypeVar("T")
Out = IO[bytes] | int
Popen = subprocess.Popen[bytes]

NICE = -19
END_SECONDS = 10.0


class StartError(Exception):
    """A process did not come up."""


def cores() -> tuple[int, int]:
    """The core of the targets and the core of the rig; the same one if there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def spawn(command: Sequence[str], core: int | None, folder: Path, out: Out, err: Out) -> Popen:
    """Starts a program; with a core, on that core and, as root, first in the queue. Nice counts
    only among the processes of one scheduler group, so the group of the session is raised too."""
    pinned = core is not None
    first = pinned and os.geteuid() == 0
    before = ["taskset", "-c", str(core)] if pinned else []
    before += ["nice", "-n", str(NICE)] if first else []
    child = subprocess.Popen(
        [*before, *command],
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        cwd=folder,
        env=environment(),
        start_new_session=True,
    )
    if first:
        with contextlib.suppress(OSError):
            Path(f"/proc/{child.pid}/autogroup").write_text(str(NICE))
    return child


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Waits until no other bench runs on this machine: two would measure each other."""
    with (Path(tempfile.gettempdir()) / "levada-bench.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def environment() -> dict[str, str]:
    """Ours, without what would configure a target behind the bench's back."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LEVADA_")}


class Process:
    """One started program and its descendants; a context manager that ends them."""

    def __init__(self, command: Sequence[str], core: int | None, folder: Path) -> None:
        self.log = folder / f"{Path(command[0]).name}-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self._child = spawn(command, core, folder, log, log)
        self.pid = self._child.pid
        self._ended = False

    def until(self, ready: Callable[[], T | None], seconds: float) -> T:
        """Waits until `ready` gives something; an end of the process before that is an error."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._child.poll() is not None:
                status = self._child.returncode
                raise StartError(f"{self.log.stem} ended with {status}: {self.tail()}")
            if (result := ready()) is not None:
                return result
            time.sleep(0.05)
        raise StartError(f"{self.log.stem} was not ready in {seconds:.0f} s: {self.tail()}")

    def line(self, start: str) -> str | None:
        """What follows `start` in the first line of the log that begins with it."""
        for line in self.log.read_text(errors="replace").splitlines():
            if line.startswith(start):
                return line[len(start) :].strip()
        return None

    def tail(self) -> str:
        """The end of what the process has printed."""
        return self.log.read_text(errors="replace")[-600:].strip()

    def end(self) -> None:
        """Asks it to end, waits, ends what is left of its session. Twice is the same as once."""
        if self._ended:
            return
        self._ended = True
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(END_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._child.wait(END_SECONDS)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
