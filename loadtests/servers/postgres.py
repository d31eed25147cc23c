"""A real PostgreSQL server as a process of its own. The only file that starts it.

It listens on a free port of 127.0.0.1, belongs to no root, keeps its default durability, and every
user has a database of its own in it.
"""

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

USER = "levada"
PASSWORD = "p-canary-9b1f"
SECONDS = 60


def found() -> Path | None:
    """The folder of the server's programs, if it is installed: Debian keeps them off the path."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    named = shutil.which("pg_ctl")
    folders = [*debian, *([Path(named).resolve().parent] if named else [])]
    return next((one for one in folders if (one / "initdb").exists()), None)


def owner() -> int | None:
    """Whose the server is: it refuses to be root's. None: ours."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    return names.get("postgres", names.get("nobody"))


class Server:
    """One server. `stop`, `kill`, `freeze` are what can happen to it; `start` brings it back."""

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        # Not one of pytest's: those are root's alone, and pytest sees to it that they stay so.
        self.folder = tempfile.TemporaryDirectory(prefix="levada-postgres-")
        folder = Path(self.folder.name)
        self.data = folder / "postgres"
        self.log = folder / "postgres.log"
        self.user = owner()
        self.numbers = itertools.count()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        if self.user is not None:
            os.chown(folder, self.user, -1)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self.run(
            *("initdb", "--pgdata", str(self.data), "--username", USER, "--auth", "scram-sha-256"),
            *("--pwfile", str(secret), "--encoding", "UTF8", "--locale", "C"),
        )
        self.start()

    def run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self.programs / program), *arguments],
            user=self.user,
            cwd=self.data.parent,
            env={"PATH": os.environ["PATH"], "PGPASSWORD": PASSWORD},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()

    def control(self, *arguments: str) -> None:
        self.run("pg_ctl", "--pgdata", str(self.data), "--wait", *arguments)

    def start(self) -> None:
        listening = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        self.control("--log", str(self.log), "--options", listening, "start")

    def stop(self) -> None:
        """As by `immediate`: no goodbye to clients, and a recovery at the next start."""
        self.control("--mode", "immediate", "stop")

    @property
    def pid(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def processes(self) -> list[int]:
        """The server and its children."""
        listing = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [self.pid, *map(int, listing.split())]

    def kill(self) -> None:
        """kill -9 of all that it is; its shared memory is cleaned up by the next start."""
        every = self.processes()
        for pid in every:
            os.kill(pid, signal.SIGKILL)
        until = time.monotonic() + SECONDS
        while any(Path(f"/proc/{pid}").exists() for pid in every) and time.monotonic() < until:
            time.sleep(0.01)

    def freeze(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGCONT)

    def url(self, name: str) -> str:
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def database(self) -> str:
        """The address of a new database."""
        name = f"test_{next(self.numbers)}"
        place = ("--host", "127.0.0.1", "--port", str(self.port), "--username", USER)
        self.run("createdb", *place, name)
        return self.url(name)

    def running(self) -> bool:
        try:
            return Path(f"/proc/{self.pid}").exists()
        except FileNotFoundError:
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.running():
            self.thaw()
            self.stop()
        self.folder.cleanup()
