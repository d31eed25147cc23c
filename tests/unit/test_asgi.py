"""The app's own web framework: routes, bodies with limits, JSON."""

import asyncio
import json
from typing import Any

import pytest

from levada import asgi
from levada.waits import Waits


def messages(*parts: Any) -> asgi.Receive:
    waiting = list(parts)

    async def receive() -> asgi.Message:
        if not waiting:
            await asyncio.Event().wait()
        part = waiting.pop(0)
        if isinstance(part, tuple):
            return {"type": "http.request", "body": part[0], "more_body": part[1]}
        return {"type": part}

    return receive


async def here(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
    raise NotImplementedError


async def there(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
    raise NotImplementedError


async def elsewhere(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
    raise NotImplementedError


def test_exact_paths_win_over_prefixes_and_the_rest_goes_elsewhere() -> None:
    routes = asgi.Routes(elsewhere)
    routes.prefix("/a/", here)
    routes.exact("/a/b", there)
    assert routes.find("/a/b") is there
    assert routes.find("/a/c") is here
    assert routes.find("/a") is elsewhere


def test_a_path_is_taken_as_it_was_written() -> None:
    assert asgi.raw_path({"raw_path": b"/v1/%2e%2e/\xff"}) == "/v1/%2e%2e/\xff"


def test_a_doubled_header_counts_as_absent() -> None:
    headers = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]
    assert asgi.header(headers, b"b") == b"2"
    assert asgi.header(headers, b"a") is None
    assert asgi.header(headers, b"c") is None


@pytest.mark.asyncio
async def test_a_body_in_one_piece_and_in_many() -> None:
    assert await asgi.read_body(messages((b"ab", False)), 2, Waits(5)) == b"ab"
    assert (
        await asgi.read_body(messages((b"a", True), (b"", True), (b"b", False)), 2, Waits(5))
        == b"ab"
    )


@pytest.mark.asyncio
async def test_a_message_without_its_fields_is_the_end_of_an_empty_body() -> None:
    assert await asgi.read_body(messages("http.request"), 2, Waits(5)) == b""


@pytest.mark.asyncio
async def test_a_body_whose_end_was_not_seen_is_not_returned() -> None:
    broken = messages((b"ab", True), "http.disconnect")
    assert await asgi.read_body(broken, 10, Waits(5)) is asgi.Unread.BROKEN
    assert await asgi.read_body(messages((b"abc", False)), 2, Waits(5)) is asgi.Unread.TOO_LARGE
    assert await asgi.read_body(messages((b"ab", True)), 10, Waits(0.01)) is asgi.Unread.TIMEOUT


@pytest.mark.asyncio
async def test_a_handler_that_is_cancelled_while_it_reads_is_cancelled() -> None:
    task = asyncio.create_task(asgi.read_body(messages((b"ab", True)), 10, Waits(5)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.asyncio
async def test_json_has_its_length_and_is_not_cached() -> None:
    sent: list[Any] = []

    async def send(message: asgi.Message) -> None:
        sent.append(message)

    await asgi.send_json(send, 422, {"ä": [1]}, ((b"allow", b"GET"),))
    headers = dict(sent[0]["headers"])
    assert (sent[0]["status"], sent[1]["more_body"]) == (422, False)
    assert json.loads(sent[1]["body"]) == {"ä": [1]}
    assert headers[b"content-length"] == str(len(sent[1]["body"])).encode()
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"server"] == b"levada"
    assert headers[b"allow"] == b"GET"
