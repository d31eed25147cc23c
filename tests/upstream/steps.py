"""What a script is made of. A step does one thing on one connection; siblings look alike."""

import asyncio
from collections.abc import Awaitable, Callable

from upstream.wire import Peer

Step = Callable[[Peer], Awaitable[None]]


def send(data: bytes) -> Step:
    """Sends the bytes in one write."""

    async def step(peer: Peer) -> None:
        await peer.write(data)

    return step


def bytewise(data: bytes, gap: float = 0.0, size: int = 1) -> Step:
    """Sends the bytes in writes of `size`, each its own TCP segment, `gap` seconds apart."""

    async def step(peer: Peer) -> None:
        for at in range(0, len(data), size):
            await peer.write(data[at : at + size])
            await asyncio.sleep(gap)

    return step


def send_forever(data: bytes, gap: float = 0.0, most: int = 1_000_000) -> Step:
    """Sends the same bytes again and again until the gateway leaves, at most `most` times."""

    async def step(peer: Peer) -> None:
        for _ in range(most):
            if peer.gone.is_set():
                return
            await peer.write(data)
            await asyncio.sleep(gap)

    return step


def pause(seconds: float) -> Step:
    """Waits, or until the gateway leaves."""

    async def step(peer: Peer) -> None:
        try:
            await asyncio.wait_for(peer.gone.wait(), seconds)
        except TimeoutError:
            pass

    return step


def hang() -> Step:
    """Does nothing more until the gateway leaves."""

    async def step(peer: Peer) -> None:
        await peer.gone.wait()

    return step


def wait_until(ready: Callable[[], bool], timeout: float = 10.0) -> Step:
    """Waits until a test says so: `ready` is asked every millisecond."""

    async def step(_: Peer) -> None:
        for _ in range(int(timeout * 1000)):
            if ready():
                return
            await asyncio.sleep(0.001)

    return step


def stop_reading() -> Step:
    """Leaves what the gateway sends in the socket's buffers."""

    async def step(peer: Peer) -> None:
        assert peer.transport is not None
        peer.transport.pause_reading()

    return step


def half_close() -> Step:
    """Sends FIN and goes on reading."""

    async def step(peer: Peer) -> None:
        assert peer.transport is not None
        if not peer.transport.is_closing():
            peer.transport.write_eof()

    return step


def close() -> Step:
    """Closes in order: what was written is delivered, then FIN."""

    async def step(peer: Peer) -> None:
        assert peer.transport is not None
        peer.transport.close()

    return step


def reset() -> Step:
    """Ends the connection with RST. What was written just before may be lost."""

    async def step(peer: Peer) -> None:
        peer.reset()

    return step
