"""The app's own inference door, over a gateway without an engine."""

import asyncio
from typing import Any

import pytest
from fake_gateway import FakeCall, FakeCaller, FakeGateway

from levada.inference import Inference

POST = {"type": "http", "method": "POST", "raw_path": b"/v1/x", "headers": []}


class Client:
    """One request's two ends; after its body the client stays until `left` is set."""

    def __init__(self, *parts: tuple[bytes, bool]) -> None:
        self.parts = list(parts)
        self.left = asyncio.Event()
        self.sent: list[Any] = []
        self.reads = 0

    async def receive(self) -> Any:
        self.reads += 1
        if self.parts:
            body, more = self.parts.pop(0)
            return {"type": "http.request", "body": body, "more_body": more}
        if self.reads < 10:
            await asyncio.sleep(0)
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def ask(self, gateway: FakeGateway, **scope: Any) -> list[Any]:
        await Inference(gateway, 0.05)({**POST, **scope}, self.receive, self.send)  # type: ignore[arg-type]
        return self.sent


def names(gateway: FakeGateway) -> list[Any]:
    return [entry[0] if entry[0] != "refuse" else entry for entry in gateway.seen]


@pytest.mark.asyncio
async def test_a_whole_answer_is_one_message() -> None:
    gateway, client = FakeGateway(), Client((b"{", True), (b"}", False))
    gateway.call = FakeCall(200, [(b"content-length", b"2")], [b"ok"])
    gateway.call.ends_with_its_last = True
    start, body = await client.ask(gateway)
    assert start["headers"] == [(b"content-length", b"2")]
    assert body == {"type": "http.response.body", "body": b"ok", "more_body": False}
    assert gateway.seen[-1] == ("open", "POST", "/v1/x", b"{}")
    assert gateway.call.cancelled == 0


@pytest.mark.asyncio
async def test_a_stream_is_sent_piece_by_piece_and_ended() -> None:
    gateway, client = FakeGateway(), Client((b"{}", False))
    gateway.call = FakeCall(pieces=[b"a", b"b"])
    sent = await client.ask(gateway)
    assert [(m["body"], m["more_body"]) for m in sent[1:]] == [
        (b"a", True),
        (b"b", True),
        (b"", False),
    ]


@pytest.mark.asyncio
async def test_an_answer_without_a_body_is_ended_too() -> None:
    gateway, client = FakeGateway(), Client((b"", False))
    gateway.call = FakeCall(204, [(b"content-length", b"7")], [])
    sent = await client.ask(gateway, method="HEAD")
    assert [m.get("body") for m in sent] == [None, b""]


@pytest.mark.asyncio
async def test_who_is_refused_on_its_headers_is_not_read() -> None:
    gateway, client = FakeGateway(), Client((b"{}", False))
    gateway.caller = FakeCall(401, None, [b"no"])
    sent = await client.ask(gateway)
    assert sent[0]["status"] == 401
    assert client.reads == 0
    assert names(gateway) == ["authenticate"]


@pytest.mark.asyncio
async def test_a_declared_length_above_the_callers_limit_is_refused_unread() -> None:
    gateway, client = FakeGateway(), Client((b"x" * 11, False))
    gateway.caller = FakeCaller(body_limit=10)
    gateway.caller.announced = 11
    sent = await client.ask(gateway)
    assert sent[0]["status"] == 413
    assert client.reads == 0
    assert names(gateway)[-1] == ("refuse", "body_too_large")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("parts", "kind"), [([(b"x" * 11, True)], "body_too_large"), ([(b"x", True)], "body_timeout")]
)
async def test_a_body_that_is_not_whole_is_refused(
    parts: list[tuple[bytes, bool]], kind: str
) -> None:
    gateway, client = FakeGateway(), Client(*parts)
    gateway.caller = FakeCaller(body_limit=10)
    if kind == "body_timeout":
        client.reads = 10
    await client.ask(gateway)
    assert names(gateway)[-1] == ("refuse", kind)


class Silent(FakeCall):
    """A backend that does not answer."""

    async def start(self) -> Any:
        await asyncio.Event().wait()


@pytest.mark.asyncio
@pytest.mark.parametrize("call", [FakeCall(pieces=[b"a", asyncio.Event()]), Silent()])
async def test_a_client_that_leaves_ends_its_call_before_and_after_the_head(call: FakeCall) -> None:
    gateway, client = FakeGateway(), Client((b"{}", False))
    gateway.call = call
    task = asyncio.create_task(client.ask(gateway))
    await asyncio.sleep(0.05)
    assert call.cancelled == 0
    client.left.set()
    sent = await asyncio.wait_for(task, 5)
    assert call.cancelled >= 1
    assert all(message.get("more_body", True) for message in sent)


@pytest.mark.asyncio
async def test_a_handler_that_is_cancelled_ends_its_call_and_is_cancelled() -> None:
    gateway, client = FakeGateway(), Client((b"{}", False))
    gateway.call = Silent()
    door: Any = Inference(gateway, 5)  # type: ignore[arg-type]
    task = asyncio.create_task(door(POST, client.receive, client.send))
    await asyncio.sleep(0.01)
    assert door.calls == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gateway.call.cancelled == 1
    assert door.calls == 0


@pytest.mark.asyncio
async def test_an_answer_that_breaks_off_has_no_last_message() -> None:
    class Broken(FakeCall):
        async def next(self) -> bytes | None:
            if self.pieces:
                return await super().next()
            raise ConnectionAbortedError("the answer broke off")

    gateway, client = FakeGateway(), Client((b"{}", False))
    gateway.call = Broken(pieces=[b"a"])
    sent = await client.ask(gateway)
    assert [message.get("more_body") for message in sent] == [None, True]


@pytest.mark.asyncio
async def test_a_door_that_fails_cancels_its_call() -> None:
    gateway, client = FakeGateway(), Client((b"{}", False))
    gateway.call = FakeCall(pieces=[b"a"])

    async def broken(message: Any) -> None:
        raise OSError("gone")

    client.send = broken  # type: ignore[method-assign]
    with pytest.raises(OSError, match="gone"):
        await client.ask(gateway)
    assert gateway.call.cancelled == 1
