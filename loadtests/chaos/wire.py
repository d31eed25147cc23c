"""One connection of a caller: sends bytes, and takes an answer apart as it comes.

Law: what ends before its framing says so is gone; what was never connected is unsent.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

RESET = struct.pack("ii", 1, 0)
SLOW_BYTES = 4096


class GoneError(Exception):
    """The connection ended where it should not."""


class UnsentError(Exception):
    """There was nobody to connect to."""


class Line:
    """A connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.since = asyncio.get_running_loop().time()

    @classmethod
    async def to(cls, host: str, port: int, slow: bool) -> Line:
        kernel = socket.socket()
        kernel.setblocking(False)
        if slow:
            kernel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BYTES)
        try:
            await asyncio.get_running_loop().sock_connect(kernel, (host, port))
            limit = SLOW_BYTES if slow else 2**16
            return cls(*await asyncio.open_connection(sock=kernel, limit=limit))
        except OSError:
            kernel.close()
            raise UnsentError from None

    @property
    def gone(self) -> bool:
        return self.reader.at_eof() or self.writer.is_closing()

    def close(self, reset: bool = False) -> None:
        if reset and not self.writer.is_closing():
            kernel = self.writer.get_extra_info("socket")
            kernel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.writer.transport.abort()
        else:
            self.writer.close()

    async def send(self, data: bytes) -> None:
        try:
            self.writer.write(data)
            await self.writer.drain()
        except OSError:
            raise GoneError from None

    async def until(self, end: bytes) -> bytes:
        try:
            return await self.reader.readuntil(end)
        except (asyncio.IncompleteReadError, OSError):
            raise GoneError from None

    async def exactly(self, count: int) -> bytes:
        try:
            return await self.reader.readexactly(count)
        except (asyncio.IncompleteReadError, OSError):
            raise GoneError from None

    async def head(self) -> tuple[int, dict[str, str]]:
        first, *rest = (await self.until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = dict(one.split(": ", 1) for one in rest if one)
        return int(first.split(" ")[1]), {name.lower(): value for name, value in fields.items()}

    async def events(self) -> AsyncIterator[bytes]:
        """The data of each event, until the framing says that there are no more."""
        rest = b""
        while size := int(await self.until(b"\r\n"), 16):
            rest += (await self.exactly(size + 2))[:-2]
            *whole, rest = rest.split(b"\n\n")
            for event in whole:
                yield b"".join(
                    line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")
                )
        await self.until(b"\r\n")
        if rest:
            raise GoneError
