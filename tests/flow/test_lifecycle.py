"""Stopping, dying and being replaced: calls end well, and nobody is refused a connection."""

import json
import os
import signal
import threading
import time

import pytest
from rawhttp import Wire, call
from served import Levada, Start, eventually
from upstream import (
    DONE,
    ScriptedBackend,
    chat_chunk,
    chunked,
    hang,
    send,
    stream_head,
    wait_until,
)

WHOLE = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
STREAM = {**WHOLE, "stream": True}


def open_stream(running: Levada, backend: ScriptedBackend, end: threading.Event) -> Wire:
    """A stream under way; it goes on to its [DONE] when `end` is set."""
    backend.script(
        send(stream_head() + chunked(chat_chunk("a"), end=False)),
        wait_until(end.is_set, 30),
        send(chunked(chat_chunk(None, finish="stop"), DONE)),
    )
    wire = running.begin("/v1/chat/completions", STREAM, timeout=30)
    assert b'"a"' in wire.read_until(b'"a"')
    return wire


class Knocker:
    """Calls again and again from a thread; counts refused connections and notes when calls
    succeeded.
    """

    def __init__(self, running: Levada) -> None:
        self.running = running
        self.refused = 0
        self.broken = 0
        self.served: list[float] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.knock)

    def knock(self) -> None:
        while not self.over.is_set():
            try:
                if self.running.chat(WHOLE, timeout=5).status == 200:
                    self.served.append(time.monotonic())
            except ConnectionRefusedError:
                self.refused += 1
            except (OSError, AssertionError):
                self.broken += 1
            time.sleep(0.005)

    def __enter__(self) -> "Knocker":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join(10)


@pytest.mark.timeout(60)
def test_sigterm_lets_calls_end(levada: Start, backend: ScriptedBackend, door: str) -> None:
    running = levada(backend.url, door=door)
    end = threading.Event()
    wire = open_stream(running, backend, end)
    running.terminate()
    time.sleep(1.0)
    assert running.process.poll() is None
    try:
        late = call(running.base, "POST", "/v1/chat/completions", running.auth, b"{}", timeout=2)
        assert late.status == 503
    except (OSError, AssertionError):
        pass  # not accepted any more
    end.set()
    wire.read_until(b"0\r\n\r\n")
    assert DONE in b"".join(piece for _, piece in wire.reads)
    wire.close()
    assert running.process.wait(10) == 0
    assert len(backend.calls) == 1


@pytest.mark.timeout(60)
def test_sigterm_cuts_calls_at_the_end_of_the_grace(
    levada: Start, backend: ScriptedBackend, door: str
) -> None:
    config = {"deadlines": {"drain": 1}}
    running = levada(backend.url, door=door, config=config)
    backend.script(send(stream_head() + chunked(chat_chunk("a"), end=False)), hang())
    wire = running.begin("/v1/chat/completions", STREAM, timeout=20)
    wire.read_until(b'"a"')
    began = time.monotonic()
    running.terminate()
    rest = wire.read_until(b"never")
    wire.close()
    assert DONE not in rest
    assert running.process.wait(15) == 0
    assert 0.8 < time.monotonic() - began < 8


@pytest.mark.timeout(60)
def test_sigterm_of_an_idle_levada_is_quick(levada: Start, backend: ScriptedBackend) -> None:
    running = levada(backend.url)
    with Wire(running.base) as idle:
        began = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - began < 5
        assert idle.read() == b""


@pytest.mark.timeout(60)
def test_a_killed_worker_is_replaced_and_nobody_is_refused(
    levada: Start, backend: ScriptedBackend, door: str
) -> None:
    running = levada(backend.url, door=door)
    with Knocker(running) as knocker:
        time.sleep(0.5)
        (worker,) = running.worker_pids()
        killed = time.monotonic()
        os.kill(worker, signal.SIGKILL)
        time.sleep(2.5)
    after = [at for at in knocker.served if at > killed]
    assert after and after[0] - killed < 1.0, after[:1]
    assert knocker.refused == 0
    assert knocker.broken <= 2  # the call that was under way
    assert worker not in running.worker_pids()


@pytest.mark.timeout(90)
def test_sighup_brings_a_new_worker_before_the_old_one_goes(
    levada: Start, backend: ScriptedBackend, door: str
) -> None:
    running = levada(backend.url, door=door)
    end = threading.Event()
    wire = open_stream(running, backend, end)
    before = running.worker_pids()
    with Knocker(running) as knocker:
        os.kill(running.pid, signal.SIGHUP)
        until = time.monotonic() + 20
        while not set(running.worker_pids()) - set(before):
            assert time.monotonic() < until, running.logs
            time.sleep(0.05)
        time.sleep(2)
    assert (knocker.refused, knocker.broken) == (0, 0)
    gaps = [b - a for a, b in zip(knocker.served, knocker.served[1:], strict=False)]
    assert max(gaps) < 1.0
    end.set()
    wire.read_until(b"0\r\n\r\n")
    wire.close()
    assert DONE in b"".join(piece for _, piece in wire.reads)
    assert running.chat(WHOLE).status == 200
    until = time.monotonic() + 15
    while set(running.worker_pids()) & set(before):
        assert time.monotonic() < until, "the old worker stays"
        time.sleep(0.1)


def test_reload_changes_the_models_and_a_bad_file_changes_nothing(
    levada: Start, backend: ScriptedBackend
) -> None:
    backends = [{"name": "one", "url": backend.url, "models": ["m"]}]
    running = levada(config={"backends": backends, "models": [{"name": "m"}]})
    file = running.data.parent / "levada.yaml"
    written = json.loads(file.read_text())
    file.write_text(
        json.dumps(written | {"models": [{"name": "m"}, {"name": "n", "upstream": "m"}]})
    )
    assert eventually(lambda: running.chat({**WHOLE, "model": "n"}).status == 200, 10)
    file.write_text(json.dumps(written | {"models": [{"nmae": "m"}]}))
    time.sleep(2)
    assert running.chat({**WHOLE, "model": "n"}).status == 200
    reload_gauges = [v for k, v in running.metrics().items() if "config_reload_success" in k]
    assert reload_gauges == [0.0]


def test_a_call_keeps_the_models_it_began_with(levada: Start, backend: ScriptedBackend) -> None:
    """A reload in the middle of a stream changes nothing for it."""
    backends = [{"name": "one", "url": backend.url, "models": ["m"]}]
    running = levada(config={"backends": backends, "models": [{"name": "m"}]})
    end = threading.Event()
    wire = open_stream(running, backend, end)
    file = running.data.parent / "levada.yaml"
    written = json.loads(file.read_text())
    file.write_text(json.dumps(written | {"models": [{"name": "other", "upstream": "m"}]}))
    assert eventually(lambda: running.chat(WHOLE).status == 404, 10)
    end.set()
    wire.read_until(b"0\r\n\r\n")
    wire.close()
    assert DONE in b"".join(piece for _, piece in wire.reads)


def test_keys_take_effect_within_a_second(levada: Start, backend: ScriptedBackend) -> None:
    running = levada(backend.url)
    number, text = running.create_key()
    auth = {"authorization": f"Bearer {text}"}
    assert eventually(lambda: running.chat(WHOLE, headers=auth).status == 200, 1.0)
    running.command("key", "revoke", number)
    assert eventually(lambda: running.chat(WHOLE, headers=auth).status == 401, 1.0)
    assert running.chat(WHOLE).status == 200
