"""One accepted connection of the scripted backend: its bytes, its requests, its end. The only
reader of requests here.
"""

import asyncio
import socket
import struct
import time
from dataclasses import dataclass, field

LINGER_ZERO = struct.pack("ii", 1, 0)


@dataclass
class Request:
    """A request exactly as it arrived: `head` ends with the empty line, `body` is unframed."""

    head: bytes
    body: bytes
    at: float
    peer: "Peer" = field(repr=False)
    framed_body: bytes = b""

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode("latin-1")

    @property
    def method(self) -> str:
        return self.line.split(" ")[0]

    @property
    def path(self) -> str:
        return self.line.split(" ")[1]

    @property
    def headers(self) -> list[tuple[str, str]]:
        lines = self.head.decode("latin-1").split("\r\n")[1:-2]
        pairs = (line.split(":", 1) for line in lines)
        return [(name.strip().lower(), value.strip()) for name, value in pairs]

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


class Peer(asyncio.Protocol):
    """A connection from the gateway. All times are `time.monotonic()`."""

    def __init__(self, on_made, on_seen, on_lost) -> None:
        self.on_made = on_made
        self.on_seen = on_seen
        self.on_lost = on_lost
        self.transport: asyncio.Transport | None = None
        self.received = bytearray()
        self.requests: list[Request] = []
        self.opened = 0.0
        self.ended: float | None = None  # when EOF or RST from the gateway was seen
        self.was_reset = False
        self.gone = asyncio.Event()
        self.arrived = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.opened = time.monotonic()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.on_made(self)

    @property
    def socket(self) -> socket.socket:
        assert self.transport is not None
        return self.transport.get_extra_info("socket")

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.arrived.set()

    def eof_received(self) -> bool:
        self.mark_end()
        return True  # our half stays open: a script may go on writing

    def connection_lost(self, error: Exception | None) -> None:
        self.was_reset = isinstance(error, ConnectionResetError)
        self.on_lost(self)
        self.mark_end()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def mark_end(self) -> None:
        self.ended = self.ended or time.monotonic()
        self.gone.set()
        self.arrived.set()
        self.writable.set()
        self.on_seen()

    async def more(self) -> bool:
        """Waits for bytes; False when the gateway has gone."""
        if self.gone.is_set():
            return False
        self.arrived.clear()
        await self.arrived.wait()
        return True

    async def take_until(self, end: bytes) -> bytes | None:
        while (at := self.received.find(end)) < 0:
            if not await self.more():
                return None
        return self.take(at + len(end))

    async def take_exactly(self, size: int) -> bytes | None:
        while len(self.received) < size:
            if not await self.more():
                return None
        return self.take(size)

    def take(self, size: int) -> bytes:
        taken = bytes(self.received[:size])
        del self.received[:size]
        return taken

    async def next_request(self) -> Request | None:
        """The next whole request, or None when the gateway leaves before it is whole."""
        head = await self.take_until(b"\r\n\r\n")
        if head is None:
            return None
        request = Request(head, b"", time.monotonic(), self)
        if (request.header("transfer-encoding") or "").lower() == "chunked":
            body = await self.chunked_body(request)
        else:
            body = await self.take_exactly(int(request.header("content-length") or 0))
            request.framed_body = body or b""
        if body is None:
            return None
        request.body = body
        self.requests.append(request)
        return request

    async def chunked_body(self, request: Request) -> bytes | None:
        body = b""
        while (line := await self.take_until(b"\r\n")) is not None:
            size = int(line.split(b";")[0], 16)
            chunk = await self.take_exactly(size + 2)
            if chunk is None:
                return None
            request.framed_body += line + chunk
            if size == 0:
                return body
            body += chunk[:-2]
        return None

    async def write(self, data: bytes) -> None:
        """Writes, and waits when the gateway does not read: back-pressure shows here."""
        assert self.transport is not None
        if not self.transport.is_closing():
            self.transport.write(data)
            await self.writable.wait()

    def reset(self) -> None:
        """Ends the connection with RST."""
        assert self.transport is not None
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        self.transport.abort()
