"""What a run is made of: backends, the gateway, callers, each a process of its own.

Law: only these are started, ended and killed, each by its own id; all of them end with the run.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from loadtests.bench.process import environment, free_port
from loadtests.chaos import money
from loadtests.chaos.log import Log
from loadtests.chaos.stores import Stores

# Name, shape and models of each backend.
BACKENDS = (
    ("v1", "vllm", "v"),
    ("v2", "vllm", "v"),
    ("l1", "llama.cpp", "l"),
    ("p1", "plain", "p,embed"),
)
LACKS = {"plain": ["n"]}
KEYS = 5
PROJECT = "all"
# So much that nobody is refused for it: they are there to be counted, and shared.
LIMITS = {
    "windows": [{"count": "tokens", "most": 10**12, "per_s": 60}],
    "budget": {"tokens": 10**13, "per": "ever"},
    "concurrency": 100_000,
}
# Processes of callers.
PARTS = 2
READY_SECONDS = 60.0
END_SECONDS = 40.0
LAUNCH = ("-m", "loadtests.chaos.launch")


class RunError(Exception):
    """The run itself did not go as it must."""


def until(ready: Callable[[], Any], seconds: float, what: str) -> Any:
    """What `ready` gives once it gives something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (found := ready()) is not None:
            return found
        time.sleep(0.02)
    raise RunError(f"{what}: not within {seconds:.0f} s")


class House:
    """All processes of a run, in its folder."""

    def __init__(self, folder: Path, kills: int, before: Sequence[str] = LAUNCH) -> None:
        self.folder, self.before = folder, before
        self.data = folder / "data"
        self.config = folder / "levada.yaml"
        self.log = Log(folder / "nemesis.log")
        self.port, self.admin_port = free_port(), free_port()
        self.ports = {name: free_port() for name, *_ in BACKENDS}
        self.children: list[subprocess.Popen[bytes]] = []
        self.backends: dict[str, subprocess.Popen[bytes]] = {}
        self.stores = Stores(folder, kills)
        self.levada: subprocess.Popen[bytes] | None = None
        self.keys: list[str] = []

    def start(self) -> None:
        for name, *_ in BACKENDS:
            self.start_backend(name)
        self.write_config()
        self.start_levada()
        made = [self._make_key(at) for at in range(KEYS)]
        self.keys = [id for id, _ in made]
        (self.folder / "keys.json").write_text(json.dumps([text for _, text in made]))
        (self.folder / "key-ids.json").write_text(json.dumps(self.keys))
        time.sleep(1.5)  # a new key counts within a second

    def spawn(self, name: str, *arguments: str, more: dict[str, str] | None = None) -> Any:
        with (self.folder / f"{name}.out").open("ab") as out:
            child = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=environment() | (more or {}),
                start_new_session=True,
            )
        self.children.append(child)
        return child

    def start_backend(self, name: str) -> None:
        shape, models = next(rest for one, *rest in BACKENDS if one == name)
        arguments = ["-m", "loadtests.chaos.backend", "--name", name, "--shape", shape]
        arguments += ["--models", models, "--port", str(self.ports[name])]
        log = self.folder / f"truth-{name}.log"
        self.backends[name] = self.spawn(name, *arguments, "--log", str(log))

    def write_config(self) -> None:
        """JSON is YAML."""
        backends = [
            {
                "name": name,
                "url": f"http://127.0.0.1:{self.ports[name]}",
                "models": models.split(","),
                "engine": "other" if shape == "plain" else shape,
                "lacks": LACKS.get(shape),
            }
            for name, shape, models in BACKENDS
        ]
        config = {
            "listen": {"port": self.port, "admin_port": self.admin_port},
            "data": str(self.data),
            "backends": backends,
            "deadlines": {"connect": 2, "first_byte": 3, "idle": 3, "total": 60, "drain": 8},
            "breaker": {"failures": 1000},
            "prices": str(self.folder / "prices.yaml"),
            "projects": [{"name": PROJECT, "limits": LIMITS}],
        }
        for name, told in self.stores.config().items():
            config[name] = told
        config["limits"] = {"requests": []} | config.get("limits", {})
        (self.folder / "prices.yaml").write_text(json.dumps(money.listed(), indent=1))
        self.config.write_text(json.dumps(config, indent=1))

    def start_levada(self) -> None:
        self.levada = self.spawn("levada", *self.before, "serve", "--config", str(self.config))
        until(self.is_ready, READY_SECONDS, "levada is ready")

    def is_ready(self) -> bool | None:
        if self.levada is not None and self.levada.poll() is not None:
            raise RunError(f"levada ended with {self.levada.returncode}: {self.said('levada')}")
        try:
            url = f"http://127.0.0.1:{self.admin_port}/readyz"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status == 200 or None
        except OSError:
            return None

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.out").read_text(errors="replace")[-1500:]

    def workers(self) -> list[int]:
        """The gateway's workers, oldest first."""
        assert self.levada is not None
        listing = Path(f"/proc/{self.levada.pid}/task/{self.levada.pid}/children")
        return [int(pid) for pid in listing.read_text().split()]

    def command(self, *arguments: str) -> str:
        """What a command of the gateway prints."""
        line = [sys.executable, "-m", "levada", *arguments, "--config", str(self.config)]
        env = environment()
        done = subprocess.run(
            line, capture_output=True, text=True, env=env, timeout=120, check=False
        )
        if done.returncode:
            raise RunError(f"{' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def _make_key(self, at: int) -> tuple[str, str]:
        named = ("--name", f"k{at}", "--project", PROJECT)
        made = json.loads(self.command("key", "create", *named, "--json"))
        return made["id"], made["key"]

    def callers(self, name: str, seed: str, calls: int, *more: str) -> subprocess.Popen[bytes]:
        arguments = ["-m", "loadtests.chaos.client", "--seed", seed, "--part", name]
        arguments += ["--calls", str(calls), "--port", str(self.port)]
        arguments += ["--keys", str(self.folder / "keys.json")]
        log = self.folder / f"client-{name}.log"
        child: subprocess.Popen[bytes] = self.spawn(
            f"callers-{name}", *arguments, "--log", str(log), *more
        )
        return child

    def metrics(self) -> dict[str, float]:
        """Every sample by its name with labels."""
        url = f"http://127.0.0.1:{self.admin_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
        samples = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in samples if name}

    def stop_levada(self) -> int:
        assert self.levada is not None
        self.levada.send_signal(signal.SIGTERM)
        return self.levada.wait(END_SECONDS)

    def end(self) -> None:
        """Whatever still runs of what was started here."""
        for child in self.children:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait(10)
        self.stores.end()


def gauges(metrics: dict[str, float]) -> dict[str, float]:
    """What must be nought when all is quiet."""
    quiet = re.compile(r"levada_(calls_in_flight|backend_in_flight|calls_reserved)\b")
    return {name: value for name, value in metrics.items() if quiet.match(name)}
