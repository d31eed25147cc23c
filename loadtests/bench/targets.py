"""What is measured and how each is started: the only file that knows a target by its name."""

from __future__ import annotations

import contextlib
import http.client
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from loadtests.bench.process import Process, free_port

MODEL = "mock"
CONFIGURATIONS = Path(__file__).parent / "peers"
VLLM_ROUTER = "vllm-router==0.1.17"
READY_SECONDS = 60.0
LIMITS = {
    "requests_per_minute": 10**9,
    "tokens_per_minute": 10**12,
    "concurrency": 10**6,
    "budget": {"tokens": 10**15, "per": "day"},
}


@dataclass
class Running:
    """A target that answers."""

    name: str
    port: int
    process: Process
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where targets are started: their core, their folder, the mock behind them, and the stack that
    ends what was started, whatever happens."""

    core: int
    folder: Path
    mock: int
    stack: contextlib.ExitStack

    def process(self, command: list[str]) -> Process:
        """Starts a program that will be ended with the run."""
        return self.stack.enter_context(Process(command, self.core, self.folder))


Start = Callable[[Place], Running]


def configured(place: Place, file: str) -> tuple[int, Path]:
    """Writes a peer's configuration with its ports; gives the port and the file."""
    port = free_port()
    text = (CONFIGURATIONS / file).read_text()
    path = place.folder / file
    path.write_text(text.replace("@PORT@", str(port)).replace("@MOCK@", str(place.mock)))
    return port, path


def nginx(place: Place) -> Running:
    """nginx as a plain reverse proxy."""
    port, path = configured(place, "nginx.conf")
    program = shutil.which("nginx", path=search_path()) or "nginx"
    command = [program, "-p", f"{place.folder}/", "-c", str(path)]
    return Running("nginx", port, place.process(command))


def haproxy(place: Place) -> Running:
    """haproxy as a plain reverse proxy."""
    port, path = configured(place, "haproxy.cfg")
    program = shutil.which("haproxy", path=search_path()) or "haproxy"
    command = [program, "-db", "-f", str(path)]
    return Running("haproxy", port, place.process(command))


def vllm_router(place: Place) -> Running:
    """vllm-router from the package index, in an environment of its own that is kept."""
    port, metrics = free_port(), free_port()
    home = environment("vllm-router", VLLM_ROUTER)
    command = [str(home / "bin" / "vllm-router"), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--worker-urls", f"http://127.0.0.1:{place.mock}", "--policy", "round_robin"]
    command += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(metrics)]
    command += ["--log-level", "warning", "--max-concurrent-requests", "8192"]
    return Running("vllm-router", port, place.process(command))


def levada(place: Place, door: str = "edge", profile: str = "") -> Running:
    """Levada as an operator starts it: key check, limits, meter, journal and metrics on."""
    name = "-".join(word for word in ("levada", "app" if door == "app" else "", profile) if word)
    data = tempfile.mkdtemp(prefix=name, dir=place.folder)
    command = [levada_program(), "serve", "--backend", f"http://127.0.0.1:{place.mock}"]
    command += ["--door", door, "--host", "127.0.0.1", "--port", "0", "--admin-port", "0"]
    command += ["--data", data, "--config", str(CONFIGURATIONS / "levada.yaml")]
    if profile:
        command += ["--profile", str(CONFIGURATIONS / f"{profile}.yaml")]
    process = place.process(command)
    address = process.until(lambda: process.line("listening:"), READY_SECONDS)
    key = process.until(lambda: process.line("key:"), READY_SECONDS)
    limit(data)
    port = urlsplit(address.split()[0]).port or 80
    return Running(name, port, process, {"Authorization": f"Bearer {key}"})


def limit(data: str) -> None:
    """Limits for the one key, which are counted and never met."""
    about = [levada_program(), "key"]
    listed = subprocess.run(
        [*about, "list", "--json", "--data", data], check=True, capture_output=True
    )
    (key,) = json.loads(listed.stdout)
    change = [*about, "change", key["id"], "--data", data, "--limits", json.dumps(LIMITS)]
    subprocess.run(change, check=True, capture_output=True)


def levada_app(place: Place) -> Running:
    """The same through the app's door."""
    return levada(place, "app")


def levada_strict(place: Place) -> Running:
    """Under a profile that checks all that can be checked."""
    return levada(place, profile="strict")


def levada_unchecked(place: Place) -> Running:
    """Under a profile that passes on everything that it need not read itself."""
    return levada(place, profile="unchecked")


KNOWN: dict[str, Start] = {
    "nginx": nginx,
    "haproxy": haproxy,
    "vllm-router": vllm_router,
    "levada": levada,
    "levada-app": levada_app,
    "levada-strict": levada_strict,
    "levada-unchecked": levada_unchecked,
}


def present() -> list[str]:
    """The targets of a plain run: what is installed of the peers, and both doors of Levada."""
    peers = [name for name in ("nginx", "haproxy") if shutil.which(name, path=search_path())]
    return [*peers, "levada", "levada-app"]


def version(name: str) -> str:
    """What the program says of itself."""
    if name.startswith("levada"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version("levada")
    elif name == "vllm-router":
        return VLLM_ROUTER.rpartition("=")[2]
    elif program := shutil.which(name, path=search_path()):
        said = subprocess.run([program, "-v"], capture_output=True, text=True, check=False)
        line = (said.stdout + said.stderr).partition("\n")[0]
        return line.partition(" - ")[0].strip()  # what follows is the maker's address
    return "?"


def start(name: str, place: Place) -> Running:
    """Starts a target and waits until it has answered a chat, a stream and an embedding rightly."""
    running = KNOWN[name](place)
    running.process.until(lambda: True if answers(running) else None, READY_SECONDS)
    return running


def answers(running: Running) -> bool:
    """Whether one chat, one stream and one embedding come through it."""
    text = "@@mock n=3 sz=700 e=2x8@@"
    chat = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
    wanted = (
        ("/v1/chat/completions", chat, b"mock-ok"),
        ("/v1/chat/completions", chat | {"stream": True}, b"data: [DONE]"),
        ("/v1/embeddings", {"model": MODEL, "input": text}, b'"embedding"'),
    )
    return all(marker in ask(running, path, body) for path, body, marker in wanted)


def ask(running: Running, path: str, body: object) -> bytes:
    """The body of a good answer, or nothing."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    try:
        headers = {"Content-Type": "application/json"} | running.headers
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        content = response.read()
        return content if response.status == http.HTTPStatus.OK else b""
    except (OSError, http.client.HTTPException):
        return b""
    finally:
        connection.close()


def search_path() -> str:
    """Debian keeps servers where a user's PATH does not look."""
    return os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"


def levada_program() -> str:
    """The `levada` beside the Python that runs the bench, else the one on the path."""
    beside = Path(sys.executable).parent / "levada"
    return str(beside) if beside.exists() else shutil.which("levada") or "levada"


def environment(name: str, requirement: str) -> Path:
    """A virtual environment with one package, made on first use in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "levada-bench"
    home = cache / name
    done = home / "installed"
    if not done.exists() or done.read_text() != requirement:
        venv.create(home, clear=True, with_pip=True)
        command = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", requirement]
        subprocess.run(command, check=True, timeout=600)
        done.write_text(requirement)
    return home
