"""The engine's Python face, without any server: it waits without the GIL, lets go, refuses a fork
and leaks nothing.
"""

import asyncio
import gc
import hashlib
import hmac
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from upstream import (
    ScriptedBackend,
    bytewise,
    chat_chunk,
    chat_stream,
    chunked,
    hang,
    http,
    send,
    stream_head,
)

from levada._native import Call, Caller, ConfigError, Gateway
from levada.profiles import load
from levada.profiles.compiled import compiled

PEPPER = bytes(range(32))
KEY = b"sk-test-key"
HEADERS = [
    (b"host", b"levada.test"),
    (b"authorization", b"Bearer " + KEY),
    (b"content-type", b"application/json"),
]
INVALID = "invalid_request_error"
ALLOWED = Path(__file__).with_name("stubtest-allowed.txt")
Made = TypeVar("Made")
PATH = "/v1/chat/completions"
WHOLE = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'
STREAM = WHOLE[:-1] + b',"stream":true}'


def snapshot(url: str, version: int = 1, **more: Any) -> bytes:
    document = {
        "version": version,
        "auth": {"pepper": PEPPER.hex()},
        "backends": [
            {"name": "b", "url": url, "path": "/v1", "key": None, "verify": True, "ca": None}
        ],
        "models": [
            {
                "name": "m",
                "created": 1,
                "owned_by": "levada",
                "pool": [{"backend": "b", "upstream": "m"}],
            }
        ],
        "deadlines": {"connect": 2.0, "first_byte": 20.0, "idle": 20.0, "total": 60.0},
        "limits": {"body_bytes": 20971520, "event_bytes": 1048576},
        "retry": {"ratio": 0.1, "per_second": 3.0},
        "breaker": {"failures": 1000, "open_seconds": 5.0},
        "profiles": [compiled(load("openai")), compiled(load("flexai"))],
        "hosts": {"api.flex.example": 1},
        "tls": None,
        **more,
    }
    return json.dumps(document).encode()


def keys_document() -> bytes:
    digest = hmac.new(PEPPER, KEY, hashlib.sha256).hexdigest()
    one = {"id": "k_1", "hash": digest, "models": None, "expires": None}
    return json.dumps({"replace": True, "set": [one], "remove": []}).encode()


@pytest.fixture
def gateway(backend: ScriptedBackend, tmp_path: Path) -> Iterator[Gateway]:
    one = Gateway(snapshot(backend.url), str(tmp_path), 2)
    assert one.keys(keys_document()) == 1
    yield one
    one.close()


async def whole(call: Call) -> tuple[int, bytes]:
    status, _ = await call.start()
    body = b""
    while (piece := await call.next()) is not None:
        body += piece
    return status, body


async def asked(gateway: Gateway, body: bytes = WHOLE) -> tuple[int, bytes]:
    return await asyncio.wait_for(whole(gateway.open("POST", PATH, HEADERS, body)), 20)


def ask(gateway: Gateway, body: bytes = WHOLE) -> tuple[int, bytes]:
    return asyncio.run(asked(gateway, body))


def in_a_loop(work: Callable[[], Made]) -> Made:
    """What `work` gives, called where a loop runs: a call belongs to the loop it was opened in."""

    async def run() -> Made:
        return work()

    return asyncio.run(run())


class Heart:
    """A thread that beats every millisecond; `longest` is the longest time that it could not."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.beat)

    def beat(self) -> None:
        last = time.monotonic()
        while not self.over.is_set():
            time.sleep(0.001)
            now = time.monotonic()
            self.longest, last = max(self.longest, now - last), now

    def __enter__(self) -> "Heart":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()


def test_a_call_and_a_stream(gateway: Gateway, backend: ScriptedBackend) -> None:
    status, body = ask(gateway)
    assert (status, json.loads(body)["object"]) == (200, "chat.completion")
    status, body = ask(gateway, STREAM)
    assert (status, body[-14:]) == (200, b"data: [DONE]\n\n")
    assert len(backend.calls) == 2


def test_headers_are_pairs_of_bytes_with_lower_case_names(gateway: Gateway) -> None:
    async def head() -> list[tuple[bytes, bytes]]:
        call = gateway.open("POST", PATH, HEADERS, WHOLE)
        _, headers = await call.start()
        while await call.next() is not None:
            pass
        return headers

    headers = asyncio.run(head())
    assert headers
    for name, value in headers:
        assert isinstance(name, bytes) and isinstance(value, bytes)
        assert name == name.lower()


async def opened(gateway: Gateway, *request: Any) -> tuple[int, bytes]:
    return await whole(gateway.open(*request))


def test_a_refusal_is_a_call_like_any_other(gateway: Gateway) -> None:
    for method, path, headers, body, status in (
        ("POST", PATH, HEADERS, b"nonsense", 400),
        ("POST", PATH, HEADERS[:1], WHOLE, 401),
        ("GET", "/v1/zebra", HEADERS, b"", 404),
        ("GET", PATH, HEADERS, b"", 405),
    ):
        got, text = asyncio.run(opened(gateway, method, path, headers, body))
        assert got == status
        assert list(json.loads(text)["error"]) == ["message", "type", "param", "code"]

    async def refused() -> tuple[int, bytes]:
        caller = gateway.authenticate("POST", PATH, HEADERS)
        assert isinstance(caller, Caller)
        return await whole(caller.refuse("body_too_large"))

    assert asyncio.run(refused())[0] == 413
    caller = in_a_loop(lambda: gateway.authenticate("POST", PATH, HEADERS))
    assert isinstance(caller, Caller)
    with pytest.raises(ValueError, match="no refusal is named 'tired'"):
        caller.refuse("tired")


def test_the_app_answers_as_the_engine_does(gateway: Gateway) -> None:
    async def answers(method: str = "GET") -> list[tuple[int, bytes]]:
        caller = gateway.authenticate(method, "/v1/usage", HEADERS)
        assert isinstance(caller, Caller)
        made = [
            caller.answer(b'{"a":1}'),
            caller.refuse("missing_parameter", "start_time", "Say from when on."),
            caller.refuse("method_not_allowed"),
        ]
        return [await whole(call) for call in made]

    told, missing, method = asyncio.run(answers())
    assert told == (200, b'{"a":1}')
    error = json.loads(missing[1])["error"]
    assert (missing[0], error["param"], error["message"]) == (
        400,
        "start_time",
        "Say from when on.",
    )
    assert error["code"] == "missing_required_parameter"
    assert method[0] == 405


def test_a_rare_call_may_have_a_body(gateway: Gateway, backend: ScriptedBackend) -> None:
    async def asked() -> tuple[int, bytes]:
        headers = [(b"content-type", b"text/plain")]
        backend.script(send(http(202, {}, b"thanks")))
        url = f"{backend.url}/hook/?x=1"
        return await gateway.fetch("POST", url, headers, 5.0, b"a body")

    assert asyncio.run(asked()) == (202, b"thanks")
    request = backend.last
    assert (request.method, request.path, request.body) == ("POST", "/hook/?x=1", b"a body")


def test_a_host_has_its_profile(gateway: Gateway) -> None:
    hosts = ("API.flex.example:443", "elsewhere.example", None)
    assert [gateway.profile(host) for host in hosts] == [1, 0, 0]
    for host, kind in ((b"api.flex.example", "authentication_error"), (b"a", INVALID)):
        _, text = asyncio.run(opened(gateway, "POST", PATH, [(b"host", host)], b"{}"))
        assert json.loads(text)["error"]["type"] == kind


def test_authenticate_gives_a_caller_or_a_call(gateway: Gateway) -> None:
    caller = in_a_loop(lambda: gateway.authenticate("POST", PATH, HEADERS))
    assert isinstance(caller, Caller)
    assert (caller.key_id, caller.body_limit) == ("k_1", 20971520)
    refused = in_a_loop(lambda: gateway.authenticate("POST", PATH, HEADERS[:1]))
    assert isinstance(refused, Call)


def test_a_bad_snapshot_raises_and_the_old_one_stays(
    gateway: Gateway, backend: ScriptedBackend, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        gateway.swap(snapshot("nonsense://x", models=7))
    assert caught.value.problems and all(isinstance(one, str) for one in caught.value.problems)
    assert PEPPER.hex() not in str(caught.value)
    assert ask(gateway)[0] == 200
    assert gateway.swap(snapshot(backend.url, version=2)) == 2
    assert ask(gateway)[0] == 200
    with pytest.raises(ConfigError):
        Gateway(b"{}", str(tmp_path), 1)


def test_waiting_leaves_the_gil_to_others(gateway: Gateway, backend: ScriptedBackend) -> None:
    backend.always(hang())

    async def wait_for_many() -> None:
        calls = [gateway.open("POST", PATH, HEADERS, WHOLE) for _ in range(100)]
        starts = [asyncio.ensure_future(call.start()) for call in calls]
        await asyncio.sleep(1.0)
        assert not any(start.done() for start in starts)
        for call in calls:
            call.cancel()
        for start in starts:
            start.cancel()
        await asyncio.gather(*starts, return_exceptions=True)

    with Heart() as heart:
        asyncio.run(wait_for_many())
    assert heart.longest < 0.25


def test_a_long_body_is_read_without_the_gil(gateway: Gateway) -> None:
    """20 MB of JSON take some milliseconds; another thread must not feel them all."""
    body = WHOLE[:-1] + b',"x":[' + b'{"a":"b","c":[1,2,3]},' * 800_000 + b"1]}"

    def opens(count: int) -> None:
        for _ in range(count):
            gateway.open("POST", PATH, HEADERS, body).cancel()

    in_a_loop(lambda: opens(1))
    with Heart() as heart:
        in_a_loop(lambda: opens(20))
    assert heart.longest < 0.1


def test_draining_waits_without_the_gil(gateway: Gateway, backend: ScriptedBackend) -> None:
    backend.always(send(stream_head() + chunked(chat_chunk("x"), end=False)), hang())

    async def drain() -> int:
        call = gateway.open("POST", PATH, HEADERS, STREAM)
        await call.start()
        return await gateway.drain(0.5)

    with Heart() as heart:
        assert asyncio.run(drain()) >= 0
    assert heart.longest < 0.25
    peer = backend.last.peer
    assert backend.wait_for(lambda: peer.ended is not None)


def test_cancel_lets_the_backend_go_at_once(gateway: Gateway, backend: ScriptedBackend) -> None:
    def cancelled(start: Callable[[Call], Any]) -> float:
        async def run() -> float:
            call = gateway.open("POST", PATH, HEADERS, STREAM)
            await start(call)
            began = time.monotonic()
            call.cancel()
            call.cancel()
            return began

        began = asyncio.run(run())
        peer = backend.last.peer
        assert backend.wait_for(lambda: peer.ended is not None)
        assert peer.ended is not None
        return peer.ended - began

    async def begin(call: Call) -> None:
        task = asyncio.ensure_future(call.start())
        seen = len(backend.calls)
        while len(backend.calls) == seen:
            await asyncio.sleep(0.001)
        call.cancel()
        with pytest.raises(ConnectionAbortedError):
            await asyncio.wait_for(task, 5)

    async def first_piece(call: Call) -> None:
        await call.start()
        assert await call.next()

    backend.always(send(stream_head() + chunked(chat_chunk("x"), end=False)), hang())
    assert cancelled(first_piece) < 0.05
    backend.always(hang())
    assert cancelled(begin) < 0.05


def test_a_call_that_is_dropped_or_whose_task_is_cancelled_lets_go(
    gateway: Gateway, backend: ScriptedBackend
) -> None:
    backend.always(hang())

    async def cancel_the_task() -> None:
        call = gateway.open("POST", PATH, HEADERS, WHOLE)
        task = asyncio.ensure_future(call.start())
        while not backend.calls:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        del call, task
        gc.collect()

    asyncio.run(cancel_the_task())
    peer = backend.last.peer
    assert backend.wait_for(lambda: peer.ended is not None)


def test_uvloop(gateway: Gateway) -> None:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        status, body = runner.run(asked(gateway, STREAM))
    assert (status, body[-14:]) == (200, b"data: [DONE]\n\n")


def test_a_loop_that_is_gone_harms_nobody(gateway: Gateway, backend: ScriptedBackend) -> None:
    backend.always(
        send(stream_head()), bytewise(chunked(*chat_stream(["a"] * 20)), gap=0.001, size=50)
    )

    waiting: list[asyncio.Future[bytes | None]] = []

    async def leave_in_the_middle() -> None:
        call = gateway.open("POST", PATH, HEADERS, STREAM)
        await call.start()
        waiting.append(asyncio.ensure_future(call.next()))

    for _ in range(5):
        asyncio.run(leave_in_the_middle())
    backend.forget()
    assert ask(gateway)[0] == 200


def test_a_fork_is_refused_with_words(backend: ScriptedBackend, tmp_path: Path) -> None:
    """The engine's threads do not cross a fork: its child must be told, not hang."""
    program = textwrap.dedent(
        f"""
        import asyncio, os, sys
        from levada._native import Gateway
        gateway = Gateway({snapshot(backend.url)!r}, {str(tmp_path)!r}, 1)
        gateway.keys({keys_document()!r})

        async def use():
            gateway.open("POST", {PATH!r}, {HEADERS!r}, {WHOLE!r}).cancel()

        child = os.fork()
        if child == 0:
            try:
                asyncio.run(use())
            except RuntimeError as error:
                print("refused:", error, flush=True)
                os._exit(7)
            os._exit(1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        asyncio.run(use())
        gateway.close()
        sys.exit(status)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 7, done.stderr
    assert "fork" in done.stdout


def held() -> int:
    """Bytes of memory that are nobody else's: a journal's files are mapped as they are used."""
    _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_text().split())
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.timeout(120)
def test_ten_thousand_opens_leak_nothing(gateway: Gateway) -> None:
    body = WHOLE[:-1] + b',"x":"' + b"y" * 4000 + b'"}'
    bad = b"[" + body

    def opens(count: int) -> None:
        for _ in range(count):
            gateway.open("POST", PATH, HEADERS, body).cancel()
            gateway.open("POST", PATH, HEADERS, bad)
            gateway.authenticate("POST", PATH, HEADERS)

    # The journal's memory is touched as it is written for the first time.
    in_a_loop(lambda: opens(15_000))
    gc.collect()
    references = [sys.getrefcount(one) for one in (body, bad, HEADERS, HEADERS[1][1])]
    grown = []
    for _ in range(3):
        before = held()
        in_a_loop(lambda: opens(10_000))
        gc.collect()
        grown.append(held() - before)
    assert [sys.getrefcount(one) for one in (body, bad, HEADERS, HEADERS[1][1])] == references
    # A leak grows each time; an allocator asks for more now and then, for reasons of its own.
    assert min(grown) < 1024 * 1024, grown


@pytest.mark.timeout(120)
def test_two_thousand_whole_calls_leak_nothing(gateway: Gateway, backend: ScriptedBackend) -> None:
    async def many(count: int) -> None:
        for _ in range(count):
            assert (await whole(gateway.open("POST", PATH, HEADERS, STREAM)))[0] == 200

    asyncio.run(many(300))
    backend.forget()
    gc.collect()
    before = held()
    for _ in range(10):
        asyncio.run(many(200))
        backend.forget()
    gc.collect()
    assert held() - before < 8 * 1024 * 1024


def test_close_ends_the_threads_and_may_be_said_twice(
    backend: ScriptedBackend, tmp_path: Path
) -> None:
    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    before = threads()
    one = Gateway(snapshot(backend.url), str(tmp_path), 2)
    assert threads() > before
    one.close()
    one.close()
    assert backend.wait_for(lambda: threads() == before)


@pytest.mark.timeout(180)
def test_the_stub_says_what_the_module_has() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "levada._native", "--allowlist", str(ALLOWED)],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
