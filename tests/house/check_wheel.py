"""`python tests/house/check_wheel.py [WHEEL]`: what the wheel holds, and that it works alone.

It is installed in an environment of its own, without Rust, and answers a call of a client through
a backend that this file plays. Exits 1 with every problem it found.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TAG = re.compile(r"levada-([0-9][0-9A-Za-z.]*)-cp311-abi3-[a-z0-9_.]+\.whl")
MOST_BYTES = 10 * 1024 * 1024
NEEDED = ("levada/_native.abi3.so", "levada/_native.pyi", "levada/py.typed", "levada/app.py")
SECONDS = 60.0
INSTALL_SECONDS = 600.0


def problems(wheel: Path) -> Iterator[str]:
    """What is wrong with the file as it lies there."""
    named = TAG.fullmatch(wheel.name)
    if named is None:
        yield f"{wheel.name} is not named as a wheel for the stable ABI of 3.11"
        return
    if (size := wheel.stat().st_size) > MOST_BYTES:
        yield f"it has {size} bytes, more than {MOST_BYTES}"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(f"levada-{named[1]}.dist-info/METADATA").decode()
    inside = ("levada/", f"levada-{named[1]}.dist-info/")
    yield from (f"{name} lies outside the package" for name in names if not name.startswith(inside))
    yield from (f"{name} has no business there" for name in names if is_stray(name))
    yield from (f"{name} is missing" for name in NEEDED if name not in names)
    if "License-Expression: Apache-2.0" not in metadata:
        yield "its licence is not named"
    if not any("/licenses/" in name for name in names):
        yield "its licence is not in it"


def is_stray(name: str) -> bool:
    return name.endswith((".pth", ".pyc", ".rs", ".toml")) or "/tests/" in name


class Backend(BaseHTTPRequestHandler):
    """Serves one model, which always says the same."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer({"object": "list", "data": [{"id": "m", "object": "model"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        message = {"role": "assistant", "content": "water"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self.answer({"object": "chat.completion", "model": "m", "choices": [choice]})

    def answer(self, value: dict[str, object]) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


def run(seconds: float, *command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=seconds, env=environment()
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def environment() -> dict[str, str]:
    """Ours without what could lead back to this folder, or configure Levada."""
    given = os.environ.items()
    return {name: value for name, value in given if not name.startswith(("LEVADA_", "PYTHON"))}


def serves(python: Path, folder: Path) -> str:
    """What a client is told through the installed Levada."""
    backend = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    threading.Thread(target=backend.serve_forever, daemon=True).start()
    arguments = ["-m", "levada", "serve", "--port", "0", "--admin-port", "0", "--data", "data"]
    levada = subprocess.Popen(
        [str(python), *arguments, "--backend", f"http://127.0.0.1:{backend.server_port}"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    guard = threading.Timer(SECONDS, levada.kill)
    guard.start()
    try:
        said = dict(line.strip().split(" ", 1) for line in islice(levada.stdout or (), 3))
        body = {"model": "m", "messages": [{"role": "user", "content": "?"}]}
        request = urllib.request.Request(
            f"{said['listening:']}/v1/chat/completions",
            json.dumps(body).encode(),
            {"authorization": f"Bearer {said['key:']}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            content: str = json.load(response)["choices"][0]["message"]["content"]
        return content
    finally:
        guard.cancel()
        levada.terminate()
        levada.wait(SECONDS)
        backend.shutdown()


def works(wheel: Path) -> Iterator[str]:
    """What goes wrong when it is installed and used."""
    version = TAG.fullmatch(wheel.name)
    with tempfile.TemporaryDirectory(prefix="levada-wheel-") as name:
        folder = Path(name)
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / "bin" / "python"
        pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        # A source package would want a compiler, which whoever installs a wheel need not have.
        run(INSTALL_SECONDS, *pip, "--only-binary", ":all:", str(wheel))
        said = run(SECONDS, str(folder / "venv" / "bin" / "levada"), "version")
        if version is None or said != f"levada {version[1]}":
            yield f"`levada version` says: {said}"
        if (content := serves(python, folder)) != "water":
            yield f"`levada serve` answered: {content}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", nargs="?", type=Path, help="the newest in dist/, if absent")
    wheel = parser.parse_args().wheel
    if wheel is None:
        built = sorted((ROOT / "dist").glob("*.whl"), key=lambda path: path.stat().st_mtime)
        if not built:
            print("there is no wheel in dist/: make wheel", file=sys.stderr)
            return 1
        wheel = built[-1]
    wheel = wheel.resolve()
    found = list(problems(wheel)) or list(works(wheel))
    for problem in found:
        print(problem, file=sys.stderr)
    if not found:
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, installs and serves")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
