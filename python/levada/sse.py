"""Server-sent events, reframed by the engine: bytes in, whole events out, however they were cut.

reframer = Reframer()
for piece in response.iter_raw():
    for event in reframer.push(piece):
        ...  # b'data: {...}\\n\\n'
"""

from __future__ import annotations

from levada import _native


class TooLargeError(ValueError):
    """An event grew beyond the limit; what came before it has been given."""


class Reframer:
    """Gathers pieces of a stream. Each event ends with one blank line; every line end is LF; a byte
    order mark and stray blank lines are dropped. Comments are events of their own.
    """

    def __init__(self, limit: int = 1 << 20) -> None:
        """`limit`: the most bytes of one event."""
        self._limit = limit
        self._reframer = _native.Reframer(limit)
        self._over = False

    def push(self, piece: bytes) -> list[bytes]:
        """The events that are whole now. TooLargeError after the last good one."""
        if self._over:
            raise TooLargeError(f"an event has more than {self._limit} bytes")
        events, self._over = self._reframer.push(piece)
        found = [event + b"\n\n" for event in events.split(b"\n\n")[:-1]]
        if self._over and not found:
            raise TooLargeError(f"an event has more than {self._limit} bytes")
        return found

    @property
    def pending(self) -> int:
        """Bytes of an event that has not ended."""
        return self._reframer.pending
