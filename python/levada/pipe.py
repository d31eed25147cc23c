"""The way of the admin listener's requests when the app owns the public port.

Law: it copies bytes between the private socket, where the edge looks for the app, and the one
port that the app's server has. Nothing else uses it, and it never looks at what it carries.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

PIECE_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Pipe:
    """Every connection to the private socket is carried on to host and port."""

    host: str
    port: int
    tls: bool

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward = await asyncio.open_connection(self.host, self.port, ssl=self._context())
        except OSError:
            writer.close()
            return
        # The first side to end ends both: neither peer half-closes.
        sides = [
            asyncio.ensure_future(_copy(reader, onward[1])),
            asyncio.ensure_future(_copy(onward[0], writer)),
        ]
        try:
            await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for side in sides:
                side.cancel()
            writer.close()
            onward[1].close()

    def _context(self) -> ssl.SSLContext | None:
        """Our own port on this machine: there is no name to verify."""
        if not self.tls:
            return None
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
    except OSError:
        return  # a side that is gone is a side that has ended
