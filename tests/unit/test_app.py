"""The composition root, built and taken down over a gateway without an engine."""

import asyncio
import json
import os
import signal
import socket
import sys
import types
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from fake_gateway import FakeCall, FakeGateway

from levada import app as module
from levada.admin.auth import Guard
from levada.app import App, Inheritance, Tasks, create_app
from levada.config import Config
from levada.inference import Inference
from levada.loading import ConfigProblems, Overrides, Source
from levada.sockets import bind, bind_local

GUARD = Guard(door="door", token="token")
BACKEND = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("LEVADA_")]:
        monkeypatch.delenv(name)
    yield
    structlog.reset_defaults()


class Parent:
    """What a parent process has for its worker."""

    def __init__(self, folder: Path, door: str = "edge") -> None:
        self.source = Source(None, Overrides((BACKEND,), door=door, data=folder / "data"))
        self.orphaned, self.end = os.pipe()
        self.ready: list[bool] = []
        self.sockets = [bind("127.0.0.1", 0, 30), bind("127.0.0.1", 0, 30), bind_local(folder)]
        public, admin, local = self.sockets
        config, enclosed = self.source.read()
        self.inheritance = Inheritance(
            config=config,
            enclosed=enclosed,
            data=folder / "data",
            public=public,
            admin=admin,
            local=local,
            guard=GUARD,
            ready=lambda: self.ready.append(True),
            orphaned=self.orphaned,
        )

    def close(self) -> None:
        for one in self.sockets:
            one.close()
        os.close(self.orphaned)
        os.close(self.end)


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Parent]:
    made = Parent(tmp_path)
    yield made
    made.close()


class Built:
    """The gateways that were made."""

    def __init__(self) -> None:
        self.gateways: list[FakeGateway] = []

    def __call__(self, document: bytes, data: str, *_: object) -> Any:
        self.gateways.append(FakeGateway(document, data))
        return self.gateways[-1]

    @property
    def said(self) -> list[str]:
        return [entry[0] for entry in self.gateways[-1].seen]


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[list[str]]:
    told: list[str] = []
    messages: asyncio.Queue[Any] = asyncio.Queue(2)

    async def send(message: Any) -> None:
        told.append(message["type"])

    task = asyncio.create_task(app({"type": "lifespan"}, messages.get, send))
    await messages.put({"type": "lifespan.startup"})
    async with asyncio.timeout(10):
        while not told:
            await asyncio.sleep(0.01)
    try:
        yield told
    finally:
        await messages.put({"type": "lifespan.shutdown"})
        await asyncio.wait_for(task, 10)


async def ask(app: App, path: str, method: str = "GET", headers: Any = ()) -> tuple[int, bytes]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "headers": list(headers),
    }
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message["body"] for message in sent[1:])


@pytest.mark.asyncio
async def test_a_worker_is_built_in_order_and_taken_down_in_reverse(parent: Parent) -> None:
    build = Built()
    app = create_app(parent.source, parent.inheritance, build)
    async with lifespan(app) as told:
        gateway = build.gateways[0]
        assert told == ["lifespan.startup.complete"]
        assert parent.ready == [True]
        assert build.said[:2] == ["keys", "fetch"]
        assert gateway.documents[0]["backends"][0]["url"] == BACKEND
        public, admin, local = parent.sockets
        assert gateway.edge["public"] == [public.fileno()]
        assert gateway.edge["admin"] == [admin.fileno()]
        assert gateway.edge["app"] == local.getsockname()
        assert gateway.edge["door_token"] == "door"
        assert gateway.edge["limits"]["head_seconds"] == 10.0
        assert "body_bytes" not in gateway.edge["limits"]
        gateway.call = FakeCall(404, None, [b"{}"])
        assert await ask(app, "/admin/status") == (404, b"{}")
        headers = [(b"x-levada-door", b"door"), (b"authorization", b"Bearer token")]
        status, body = await ask(app, "/admin/status", headers=headers)
        assert (status, json.loads(body)["keys"]) == (200, 1)
        assert (await ask(app, "/admin/reload", "POST", headers))[0] == 200
    assert told[-1] == "lifespan.shutdown.complete"
    assert build.said[-2:] == ["drain", "close"]
    assert sum(entry == "drain" for entry in build.said) == 1


@pytest.mark.asyncio
async def test_the_contract_in_force_is_published(parent: Parent) -> None:
    app = create_app(parent.source, parent.inheritance, Built())
    async with lifespan(app):
        status, body = await ask(app, "/openapi.json")
        assert (status, json.loads(body)["info"]["title"]) == (200, "openai: OpenAI-compatible API")
        status, body = await ask(app, "/docs/compatibility")
        assert (status, body[:15]) == (200, b"<!doctype html>")


@pytest.mark.asyncio
async def test_with_the_apps_door_the_edge_finds_the_app_by_the_pipe(tmp_path: Path) -> None:
    parent, build = Parent(tmp_path, "app"), Built()
    with socket.socket(socket.AF_UNIX) as other:
        async with lifespan(create_app(parent.source, parent.inheritance, build)):
            assert build.gateways[0].edge["public"] == []
            loop = asyncio.get_running_loop()
            other.setblocking(False)
            await loop.sock_connect(other, str(parent.sockets[2].getsockname()))
            connection, _ = await asyncio.wait_for(accepted(parent.sockets[0]), 5)
            await loop.sock_sendall(other, b"hello")
            connection.setblocking(False)
            assert await asyncio.wait_for(loop.sock_recv(connection, 5), 5) == b"hello"
            connection.close()
        assert parent.sockets[2].fileno() > 0
        parent.close()


async def accepted(listener: socket.socket) -> tuple[socket.socket, Any]:
    listener.setblocking(False)
    return await asyncio.get_running_loop().sock_accept(listener)


@pytest.mark.asyncio
async def test_a_guest_makes_its_own_key_and_has_no_admin_paths(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LEVADA_BACKEND", BACKEND)
    monkeypatch.setenv("LEVADA_DATA", str(tmp_path / "data"))
    module_ = types.ModuleType("levada._native")
    build = Built()
    module_.Gateway = build  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "levada._native", module_)
    app = create_app()
    async with lifespan(app):
        gateway = build.gateways[0]
        gateway.call = FakeCall(404, None, [b"{}"])
        headers = [(b"x-levada-door", b""), (b"authorization", b"Bearer ")]
        assert await ask(app, "/admin/status", headers=headers) == (404, b"{}")
        assert gateway.edge is None
    assert capsys.readouterr().out.startswith("key: sk-")
    async with lifespan(create_app()):
        pass
    assert "key:" not in capsys.readouterr().out


@pytest.mark.asyncio
async def test_a_guest_may_have_its_data_in_a_temporary_folder(tmp_path: Path) -> None:
    file = tmp_path / "levada.yaml"
    limits = "limits: {redis: 'redis://h'}"
    file.write_text(f"data: null\n{limits}\nbackends: [{{name: one, url: '{BACKEND}'}}]\n")
    folders: list[str] = []

    def make(document: bytes, data: str, config: Config) -> Any:
        folders.append(data)
        assert os.path.isdir(data)
        return FakeGateway(document, data)

    async with lifespan(create_app(Source(file), None, make)):
        pass
    assert not os.path.exists(folders[0])


@pytest.mark.asyncio
async def test_a_guest_without_a_configuration_does_not_serve() -> None:
    told: list[str] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        told.append(message["type"])

    app = create_app(make=Built())
    with pytest.raises(ConfigProblems):
        await app({"type": "lifespan"}, receive, send)
    assert told == ["lifespan.startup.failed"]
    await app({"type": "websocket"}, receive, send)
    assert told[-1] == "websocket.close"


@pytest.mark.asyncio
async def test_what_other_servers_leave_open_is_completed() -> None:
    scope: Any = {"path": "/v1/ä b", "raw_path": None, "headers": iter([[b"a", bytearray(b"1")]])}
    module.complete(scope)
    assert scope["raw_path"] == b"/v1/%C3%A4%20b"
    assert scope["headers"] == [(b"a", b"1")]


@pytest.mark.asyncio
async def test_a_worker_whose_file_went_bad_serves_as_its_parent_read_it(
    parent: Parent, tmp_path: Path
) -> None:
    file = tmp_path / "levada.yaml"
    file.write_text("nonsense: 1\n")
    build = Built()
    async with lifespan(create_app(Source(file), parent.inheritance, build)):
        assert build.gateways[0].documents[0]["backends"][0]["url"] == BACKEND


class Signals:
    """Catches what the worker would send to itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[int] = []
        monkeypatch.setattr(os, "kill", lambda pid, number: self.sent.append(number))


@pytest.mark.asyncio
async def test_calls_begin_to_end_at_the_signal(
    parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, kill = Built(), os.kill
    signals = Signals(monkeypatch)
    try:
        async with lifespan(create_app(parent.source, parent.inheritance, build)):
            gateway = build.gateways[0]

            async def drain(grace: float) -> int:
                gateway.seen.append(("drain", grace))
                return 2

            gateway.drain = drain  # type: ignore[method-assign]
            kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(5):
                while not signals.sent:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0)
            kill(os.getpid(), signal.SIGTERM)  # a second one changes nothing
            await asyncio.sleep(0.05)
            assert gateway.seen[-1][0] == "drain"
            assert 599 < gateway.seen[-1][1] <= 600
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
    assert signals.sent == [signal.SIGINT]
    assert sum(entry == "drain" for entry in build.said) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("grace", [5.0, 0.0])
async def test_the_engine_drains_when_this_doors_calls_have_ended(grace: float) -> None:
    gateway: Any = FakeGateway()
    inference = Inference(gateway, 5)
    inference.calls = 1
    departure = module.Departure(gateway, inference, grace)
    task = departure.begin()
    await asyncio.sleep(0.02)
    assert [entry[0] for entry in gateway.seen] == (["ready"] if grace else ["ready", "drain"])
    inference.calls = 0
    assert departure.begin() is task
    await asyncio.wait_for(departure.end(), 5)
    assert gateway.seen[-1][1] <= grace


@pytest.mark.asyncio
async def test_an_orphan_leaves(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    build, signals = Built(), Signals(monkeypatch)
    async with lifespan(create_app(parent.source, parent.inheritance, build)):
        os.close(parent.end)
        async with asyncio.timeout(5):
            while "drain" not in build.said:
                await asyncio.sleep(0.01)
    assert signals.sent == [signal.SIGINT]
    parent.end = os.open(os.devnull, os.O_RDONLY)


@pytest.mark.asyncio
async def test_an_orphan_does_not_wait_for_what_it_needs_to_begin(
    parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, began = asyncio.Event(), asyncio.Event()

    def leave(status: int) -> None:
        asyncio.get_running_loop().remove_reader(parent.orphaned)
        left.set()

    async def away(data: Path, storage: Any) -> Any:
        began.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(module.os, "_exit", leave)
    monkeypatch.setattr(module, "opened", away)

    async def start() -> None:
        async with lifespan(create_app(parent.source, parent.inheritance, Built())):
            raise AssertionError

    waiting = asyncio.create_task(start())
    async with asyncio.timeout(5):
        await began.wait()
        os.close(parent.end)
        await left.wait()
    parent.end = os.open(os.devnull, os.O_RDONLY)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


@pytest.mark.asyncio
async def test_a_worker_waits_for_room_on_its_disk(
    parent: Parent, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "ROOM_SECONDS", 0.01)
    build, refusals = Built(), [OSError(28, "full"), OSError(28, "full")]

    def full(*given: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return build(*given)

    async with lifespan(create_app(parent.source, parent.inheritance, full)) as told:
        assert told == ["lifespan.startup.complete"]
    assert "the disk is full" in capsys.readouterr().err
    refusals = [OSError(5, "broken")]
    with pytest.raises(OSError, match="broken"):
        async with lifespan(create_app(parent.source, parent.inheritance, full)):
            raise AssertionError


@pytest.mark.asyncio
async def test_a_failing_task_begins_again_and_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(module, "LONGEST_PAUSE_SECONDS", 0.02)
    runs: list[int] = []
    done = asyncio.Event()

    async def work() -> None:
        runs.append(1)
        if len(runs) == 4:
            await asyncio.sleep(0.1)  # well for a while: the next failure is news
        if len(runs) == 6:
            done.set()
            return
        raise ValueError("broken")

    tasks = Tasks()
    tasks.start("work", work)
    await asyncio.wait_for(done.wait(), 5)
    await tasks.end()
    assert capsys.readouterr().out.count("a task failed") == 2
