"""A real Redis server as a process of its own. The only file that starts it.

It listens on a free port of 127.0.0.1, writes every change to its file before it answers, and is
spoken to by whoever is tested alone.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from typing import Self

PASSWORD = "r-canary-41c7"
SECONDS = 20


def found() -> str | None:
    """The server's program, if it is installed."""
    return shutil.which("redis-server")


class Server:
    """One server. `kill` and `freeze` are what can happen to it; `start` brings it back."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.folder = tempfile.TemporaryDirectory(prefix="levada-redis-")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                *(self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""),
                *("--appendonly", "yes", "--dir", self.folder.name, "--requirepass", PASSWORD),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + SECONDS
        while not self.answers():
            assert time.monotonic() < until and self.process.poll() is None
            time.sleep(0.01)

    def ask(self, *words: str) -> bytes:
        """The answer to one command, as it comes."""
        hello = f"AUTH {PASSWORD}\r\n{' '.join(words)}\r\n".encode()
        with socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS) as wire:
            wire.sendall(hello)
            answer = b""
            while answer.count(b"\r\n") < 2:
                answer += wire.recv(65536)
        return answer.partition(b"\r\n")[2]

    def answers(self) -> bool:
        try:
            return self.ask("PING") == b"+PONG\r\n"
        except OSError:
            return False

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(SECONDS)

    def freeze(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
        self.folder.cleanup()
