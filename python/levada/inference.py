"""The app's own inference door: headers, then the body, then start, next and send.

Law: it only carries bytes. It has no branch for errors: a refusal is a call like any other.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from levada.asgi import Headers, Receive, Scope, Send, Unread, raw_path, read_body
from levada.waits import Waits

if TYPE_CHECKING:
    from levada._native import Call, Gateway

# A call that lives this long is watched for its client leaving. Most small answers end
# sooner, and a task for each of them would be the dearest thing this door does.
WATCH_AFTER_SECONDS = 0.01


class Inference:
    """An ASGI handler over one gateway; it answers every path that has no handler of its own."""

    def __init__(self, gateway: Gateway, body_seconds: float) -> None:
        self.calls = 0  # in progress
        self._gateway = gateway
        self._bodies = Waits(body_seconds)
        self._answers = Waits(WATCH_AFTER_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = await self._opened(scope, receive)
        self.calls += 1
        try:
            with Watch(call, receive, self._answers):
                await relay(call, send)
        finally:
            self.calls -= 1

    async def _opened(self, scope: Scope, receive: Receive) -> Call:
        """The call; refused before its body is read where its headers are enough for that."""
        method: str = scope["method"]
        path = raw_path(scope)
        headers: Headers = scope["headers"]
        admitted = self._gateway.authenticate(method, path, headers)
        if hasattr(admitted, "start"):
            return cast("Call", admitted)
        if admitted.announced > admitted.body_limit:
            return admitted.refuse(Unread.TOO_LARGE.value)
        body = await read_body(receive, admitted.body_limit, self._bodies)
        if isinstance(body, Unread):
            return admitted.refuse(body.value)
        return admitted.open(body)


class Watch:
    """Ends the call and its handler when the client leaves; the call, however the handler fails."""

    __slots__ = ("_call", "_gone", "_handler", "_receive", "_task", "_waits")

    def __init__(self, call: Call, receive: Receive, waits: Waits) -> None:
        self._call = call
        self._receive = receive
        self._waits = waits
        self._handler = cast("asyncio.Task[None]", asyncio.current_task(waits.loop))
        self._task: asyncio.Task[None] | None = None
        self._gone = False

    def __enter__(self) -> None:
        self._waits.begin(self)

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        self._waits.end(self)
        if self._task is not None:
            self._task.cancel()
        if kind is not None:
            self._call.cancel()
        # Nobody is there to be told; or the answer broke off: it ends without its last message,
        # and so the server cuts the connection, which says so to the client.
        return self._gone or kind is ConnectionAbortedError

    def late(self) -> None:
        self._task = self._waits.loop.create_task(self._until_gone())

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._call.cancel()
        self._handler.cancel()


async def relay(call: Call, send: Send) -> None:
    """From the head to the last byte: one message for a whole answer, one per piece of a stream."""
    status, headers = await call.start()
    await send({"type": "http.response.start", "status": status, "headers": headers})
    ended = False
    while not ended:
        piece = await call.next()
        ended = piece is None or call.ended
        await send({"type": "http.response.body", "body": piece or b"", "more_body": not ended})
