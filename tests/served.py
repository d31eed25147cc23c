"""The real `levada serve` as a process of its own. The only file of the tests that starts it."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from rawhttp import Answer, Wire, call, request

DOORS = ("edge", "app")


class Levada:
    """A running Levada: `base`, `admin` and `key` as it printed them; `logs` is all it said."""

    def __init__(self, arguments: list[str], data: Path, environment: dict[str, str]) -> None:
        self.arguments = arguments
        self.data = data
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("LEVADA_")
        } | environment
        self.base = self.admin = self.key = ""
        self.lines: list[str] = []
        self.spoke = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "levada", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=self.environment,
            start_new_session=True,
        )
        self.reader = threading.Thread(target=self.listen, daemon=True)
        self.reader.start()

    def listen(self) -> None:
        assert self.process.stdout is not None
        for raw in self.process.stdout:
            with self.spoke:
                self.lines.append(raw.decode(errors="replace").rstrip("\n"))
                self.spoke.notify_all()
        self.process.stdout.close()
        with self.spoke:
            self.lines.append("<end of output>")
            self.spoke.notify_all()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def logs(self) -> str:
        return "\n".join(self.lines)

    def said(self, name: str) -> str | None:
        """The value of a printed line `name: value`."""
        found = (re.match(rf"{name}: (\S+)", line) for line in list(self.lines))
        return next((match[1] for match in found if match), None)

    def wait_for_line(self, name: str, timeout: float = 20.0) -> str:
        until = time.monotonic() + timeout
        with self.spoke:
            while (value := self.said(name)) is None:
                left = until - time.monotonic()
                if left <= 0 or "<end of output>" in self.lines:
                    raise AssertionError(f"no line {name!r}:\n{self.logs}")
                self.spoke.wait(left)
        return value

    def ready(self, key: str = "") -> Self:
        """Waits until it serves: the printed addresses, then /readyz."""
        self.base = self.wait_for_line("listening")
        self.admin = self.wait_for_line("admin")
        self.key = key or self.wait_for_line("key")
        until = time.monotonic() + 20
        while not self.is_ready():
            if time.monotonic() > until or self.process.poll() is not None:
                raise AssertionError(f"never ready:\n{self.logs}")
            time.sleep(0.02)
        return self

    def is_ready(self) -> bool:
        plain = self.base if self.base.startswith("http:") else self.admin
        try:
            return call(plain, "GET", "/readyz", timeout=5).status == 200
        except OSError:
            return False

    @property
    def auth(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    def get(self, path: str, **headers: str) -> Answer:
        return call(self.base, "GET", path, {**self.auth, **headers})

    def post(
        self,
        path: str,
        body: bytes | dict[str, Any],
        headers: dict[str, str] | None = None,
        timeout: float = 10.0,
    ) -> Answer:
        """A JSON call with the key, on a connection of its own."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {**self.auth, "content-type": "application/json", **(headers or {})}
        return call(self.base, "POST", path, given, sent, timeout)

    def chat(self, body: bytes | dict[str, Any], **options: Any) -> Answer:
        return self.post("/v1/chat/completions", body, **options)

    def begin(self, path: str, body: dict[str, Any], timeout: float = 10.0) -> Wire:
        """Sends a call and leaves the connection open, unread."""
        wire = Wire(self.base, timeout)
        headers = {**self.auth, "content-type": "application/json"}
        return wire.send(request("POST", path, wire.host, headers, json.dumps(body).encode()))

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics by its name with labels."""
        text = call(self.admin, "GET", "/metrics").body.decode()
        samples = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in samples if name}

    def total(self, name: str) -> float:
        """The sum of a metric over its labels."""
        samples = self.metrics().items()
        return sum(value for key, value in samples if key.split("{")[0] == name)

    def worker_pids(self) -> list[int]:
        """The children of the process that was started, oldest first."""
        listing = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in listing.split()]

    def command(self, *arguments: str) -> str:
        """What another `levada` command prints, run on this one's data folder."""
        line = [sys.executable, "-m", "levada", *arguments, "--data", str(self.data)]
        done = subprocess.run(
            line, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def create_key(self, *flags: str) -> tuple[str, str]:
        """A further key: its id and its text."""
        made = json.loads(self.command("key", "create", "--json", *flags))
        return made["id"], made["key"]

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def stop(self, timeout: float = 15.0) -> int:
        """SIGTERM, then wait; SIGKILL to the whole group when it does not end. The exit status."""
        if self.process.poll() is None:
            self.terminate()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end after SIGTERM:\n{self.logs}") from None
        finally:
            self.kill_group()
            self.reader.join(2)

    def kill_group(self) -> None:
        """Whatever of the process's own group is left over."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(5)


def eventually(ready: Callable[[], object], timeout: float = 5.0) -> bool:
    """Whether `ready` comes true in time. It is asked again and again, and may make calls."""
    until = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


Start = Callable[..., Levada]
"""What the `levada` fixtures give: start(*backend_urls, door=, config=, environment=, key=)."""


def start(
    data: Path,
    *backends: str,
    door: str = "edge",
    config: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
) -> Levada:
    """Starts Levada in front of these backends, by flags, or by a file when `config` is given. Not
    yet awaited.
    """
    data.mkdir(parents=True, exist_ok=True)
    if config is None:
        arguments = ["serve", "--port", "0", "--admin-port", "0", "--door", door]
        arguments += ["--data", str(data / "data")]
        for backend in backends:
            arguments += ["--backend", backend]
    else:
        arguments = ["serve", "--config", str(write_config(data, backends, door, config))]
    return Levada(arguments, data / "data", environment or {})


def write_config(data: Path, backends: tuple[str, ...], door: str, config: dict[str, Any]) -> Path:
    """levada.yaml in `data`; JSON is YAML."""
    whole = {
        "listen": {"port": 0, "admin_port": 0},
        "door": door,
        "data": str(data / "data"),
        "backends": [{"name": f"b{at}", "url": url} for at, url in enumerate(backends)],
        **config,
    }
    path = data / "levada.yaml"
    path.write_text(json.dumps(whole))
    return path
