"""The bytes between the private socket and the app's own port."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from levada.pipe import Pipe


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line.upper())
    writer.close()


async def opened(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.wait_for(asyncio.open_unix_connection(path), 5)


@pytest.mark.asyncio
async def test_what_goes_in_comes_out_and_each_end_ends_the_other(tmp_path: Path) -> None:
    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pipe = await asyncio.start_unix_server(Pipe("127.0.0.1", port, False), tmp_path / "s")
    reader, writer = await opened(tmp_path / "s")
    writer.write(b"a" * 50_000 + b"\n")
    assert await asyncio.wait_for(reader.readline(), 5) == b"A" * 50_000 + b"\n"
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    pipe.close()
    server.close()


@pytest.mark.asyncio
async def test_a_side_that_breaks_is_a_side_that_ends(tmp_path: Path) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        writer.transport.abort()

    server = await asyncio.start_server(reset, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pipe = await asyncio.start_unix_server(Pipe("127.0.0.1", port, False), tmp_path / "s")
    reader, writer = await opened(tmp_path / "s")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    pipe.close()
    server.close()


@pytest.mark.asyncio
async def test_without_the_app_the_connection_is_closed(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        refused = Pipe("127.0.0.1", taken.getsockname()[1], False)
        pipe = await asyncio.start_unix_server(refused, tmp_path / "s")
        reader, writer = await opened(tmp_path / "s")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        pipe.close()


def test_our_own_certificate_needs_no_name() -> None:
    context = Pipe("127.0.0.1", 1, True)._context()
    assert context is not None
    assert context.verify_mode is ssl.CERT_NONE
    assert Pipe("127.0.0.1", 1, False)._context() is None
