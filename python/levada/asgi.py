"""The ASGI messages as types, a route table, one way to send an answer and one to read a body.

Law: this is all the web framework there is; nothing here knows what a path means.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from enum import Enum
from typing import Any

from levada.waits import Waits

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Handler = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

# Every answer names the product, and neither the host server nor its version.
SERVER = (b"server", b"levada")


class Unread(Enum):
    """Why a body may not be acted on; the values are names of refusals."""

    TOO_LARGE = "body_too_large"
    TIMEOUT = "body_timeout"
    BROKEN = "bad_framing"


class Routes:
    """Exact paths first, then the first prefix that fits, else the handler for all the rest."""

    def __init__(self, otherwise: Handler) -> None:
        self._exact: dict[str, Handler] = {}
        self._prefixes: list[tuple[str, Handler]] = []
        self._otherwise = otherwise

    def exact(self, path: str, handler: Handler) -> None:
        self._exact[path] = handler

    def prefix(self, start: str, handler: Handler) -> None:
        self._prefixes.append((start, handler))

    def find(self, path: str) -> Handler:
        handler = self._exact.get(path)
        if handler is not None:
            return handler
        for start, handler in self._prefixes:
            if path.startswith(start):
                return handler
        return self._otherwise


def raw_path(scope: Scope) -> str:
    """The path as the client wrote it: undecoded, without the query."""
    raw: bytes = scope["raw_path"]
    return raw.decode("latin-1")


def header(headers: Headers, name: bytes) -> bytes | None:
    """The value of a header that came exactly once; a doubled one counts as absent."""
    found = None
    for key, value in headers:
        if key == name:
            if found is not None:
                return None
            found = value
    return found


async def read_body(receive: Receive, limit: int, waits: Waits) -> bytes | Unread:
    """The whole body, or why it is not whole: a body whose end was not seen is never returned."""
    parts: list[bytes] = []
    size = 0
    deadline = Deadline(asyncio.current_task(waits.loop))
    waits.begin(deadline)
    try:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return Unread.BROKEN
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > limit:
                return Unread.TOO_LARGE
            parts.append(part)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)
    except asyncio.CancelledError:
        if deadline.passed:
            return Unread.TIMEOUT
        raise
    finally:
        waits.end(deadline)


class Deadline:
    """What `asyncio.timeout` does for a task, at a tenth of the price."""

    __slots__ = ("_task", "passed")

    def __init__(self, task: asyncio.Task[object] | None) -> None:
        self.passed = False
        self._task = task

    def late(self) -> None:
        self.passed = self._task is not None and self._task.cancel()


async def send_json(
    send: Send, status: int, value: object, extra: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    """One JSON answer."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    await send_whole(send, status, b"application/json", body, extra)


async def send_whole(
    send: Send, status: int, kind: bytes, body: bytes, extra: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    """One answer at once, never cached and never sniffed."""
    headers = [
        (b"content-type", kind),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        SERVER,
        *extra,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
