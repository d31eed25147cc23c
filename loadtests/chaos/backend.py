"""The scripted backend of the chaos run: does what each prompt's script says, byte for byte.

    python -m loadtests.chaos.backend --name v1 --shape vllm --port 9000 --log truth-v1.log

Law: what it is about to send is in its log before it is sent. The log of a token says how many
there are by then, and what the backend has told of its usage so far.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import socket
import struct
from pathlib import Path
from typing import Any

from loadtests.chaos.log import Log
from loadtests.chaos.script import Script
from loadtests.chaos.shapes import SHAPES, Told, models

HANG_SECONDS = 60.0
RESET = struct.pack("ii", 1, 0)
JSON_HEAD = {"content-type": "application/json"}
STREAM_HEAD = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}


class EndError(Exception):
    """The connection is over."""


def head(status: int, fields: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode()


def whole(status: int, body: bytes, **fields: str) -> bytes:
    return head(status, {**JSON_HEAD, "content-length": str(len(body)), **fields}) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


class Connection:
    """One connection of the gateway."""

    def __init__(self, backend: Backend, reader: Any, writer: Any) -> None:
        self.backend, self.reader, self.writer = backend, reader, writer

    async def serve(self) -> None:
        try:
            while True:
                request = await self.reader.readuntil(b"\r\n\r\n")
                first, *rest = request.decode("latin-1").split("\r\n")
                fields = dict(one.lower().split(": ", 1) for one in rest if one)
                body = await self.reader.readexactly(int(fields.get("content-length", 0)))
                await self.answer(first.split(" "), fields, body)
        except (EndError, OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.writer.close()

    async def answer(self, line: list[str], fields: dict[str, str], body: bytes) -> None:
        if line[0] == "GET":
            listing = json.dumps(models(self.backend.shape, self.backend.models)).encode()
            await self.send(whole(200, listing))
            return
        asked, script = json.loads(body), Script.find(body.decode())
        if script is None:
            self.backend.log.write("stray", line[1], len(body))
            await self.send(whole(400, b'{"error":{"message":"no script"}}'))
            return
        await Answer(self, script, asked, line[1], fields.get("x-request-id", "")).run()

    async def send(self, data: bytes) -> None:
        if self.reader.at_eof():
            raise EndError
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        kernel = self.writer.get_extra_info("socket")
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.transport.abort()
        raise EndError


class Answer:
    """One answer: the script is followed to its end, to its fault, or until the gateway leaves."""

    def __init__(self, to: Connection, script: Script, asked: Any, path: str, id: str) -> None:
        backend = to.backend
        self.to, self.script, self.asked, self.path = to, script, asked, path
        self.log = backend.log
        self.number = f"{backend.pid}-{next(backend.numbers)}"
        self.shape = SHAPES[backend.shape](script, asked, path, backend.models[0])
        ours = not script.only or script.only == backend.name
        self.fault = script.fault if ours else ""
        self.log.write("begin", self.number, script.nonce, id, backend.name, asked.get("n") or 1)

    async def run(self) -> None:
        how = "gone"
        try:
            streams = self.asked.get("stream") and not self.shape.vectors
            how = await (self.stream() if streams else self.plain())
        except OSError:
            raise EndError from None
        finally:
            self.log.write("end", self.number, how)
        if how != "done" and how not in ("B11", "B12", "B13", "B20", "B22", "B27"):
            raise EndError

    def tell(self, generated: int, told: Told | None, final: bool = False) -> None:
        self.log.write("told", self.number, generated, told and list(told), final)

    async def before(self) -> str | None:
        """The faults that come before any answer does."""
        send, fault = self.to.send, self.fault
        error = b'{"error":{"message":"scripted","type":"x","param":null,"code":null}}'
        match fault:
            case "B03":
                self.log.write("end", self.number, fault)
                self.to.reset()
            case "B04":
                await self.wait(HANG_SECONDS)
            case "B11":
                await send(whole(500, b"<html>" + b"x" * 20000, **{"content-type": "text/html"}))
            case "B12":
                await send(whole(429, error, **{"retry-after": "7"}))
            case "B13":
                await send(whole(400, error))
            case "B20":
                await send(whole(200, b"\x1f\x8b garbage", **{"content-encoding": "gzip"}))
            case "B22":
                await send(whole(302, b"", location="http://127.0.0.1:1/"))
            case "B28":
                await send(head(200, {**JSON_HEAD, "x-large": "x" * 1_000_000}))
            case "B27" if not self.asked.get("stream"):
                await send(whole(200, error))
            case _:
                return None
        return fault

    async def plain(self) -> str:
        if (how := await self.before()) is not None:
            return how
        told, value = self.shape.whole()
        body = json.dumps(value).encode()
        self.tell(self.shape.generated, told, True)
        if self.fault == "B14":
            await self.to.send(
                head(200, {**JSON_HEAD, "content-length": str(len(body) + 9)}) + body
            )
            return "B14"
        await self.to.send(whole(200, body))
        return "done"

    async def stream(self) -> str:
        if (how := await self.before()) is not None:
            return how
        await self.to.send(head(200, STREAM_HEAD))
        if self.fault == "B05":
            await self.wait(HANG_SECONDS)
            return "B05"
        if self.fault == "B27":
            await self.events(event({"error": {"message": "scripted", "code": 500}}))
            await self.to.send(b"0\r\n\r\n")
            return "B27"
        for place, (generated, told, values) in enumerate(self.shape.stream()):
            if place == self.script.at and (how := await self.amid(generated, told, values)):
                return how
            self.tell(generated, told)
            await self.events(b"".join(map(event, values)))
            if self.script.pace_us:
                await asyncio.sleep(self.script.pace_us / 1e6)
        return await self.last()

    async def last(self) -> str:
        told, values = self.shape.last(self.fault == "B23")
        if self.fault == "B18":
            await self.to.send(b"0\r\n\r\n")
            return "B18"
        self.tell(self.shape.generated, told, True)
        done = b"" if self.fault == "B17" else b"data: [DONE]\n\n"
        await self.events(b"".join(map(event, [*self.shape.finish(), *values])) + done)
        if self.fault == "B21":
            await self.events(b'data: {"never":1}\n\n')
        await self.to.send(b"0\r\n\r\n")
        return "done"

    async def amid(self, generated: int, told: Told | None, values: list[Any]) -> str | None:
        """The faults that come in the middle: before this chunk, or with the half of it."""
        match self.fault:
            case "B06-fin":
                pass
            case "B06-rst":
                self.log.write("end", self.number, self.fault)
                self.to.reset()
            case "B08":
                # What is torn has been made, and has told nobody anything.
                self.log.write("torn", self.number, generated)
                await self.to.send(chunk(event(values[0])[:40]))
            case "B09":
                await self.events(b'data: {"choices":[{"index":0,\n\n')
            case "B10":
                await self.wait(HANG_SECONDS)
            case "B16":
                await self.events(b'data: {"x":"' + b"x" * 1_500_000 + b'"}\n\n')
            case "B27-amid":
                await self.events(event({"error": {"message": "scripted", "code": 500}}))
            case _:
                return None
        return self.fault

    async def events(self, data: bytes) -> None:
        if self.fault != "B07":
            await self.to.send(chunk(data))
            return
        framed = chunk(data)
        for at in range(0, len(framed), 7):
            await self.to.send(framed[at : at + 7])
            await asyncio.sleep(0)

    async def wait(self, seconds: float) -> None:
        """Until the gateway leaves, or so long."""
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end and not self.to.reader.at_eof():
            await asyncio.sleep(0.05)


class Backend:
    """One process of it."""

    def __init__(self, name: str, shape: str, served: list[str], log: Path) -> None:
        self.name, self.shape, self.models = name, shape, served
        self.log = Log(log)
        self.pid = os.getpid()
        self.numbers = itertools.count()
        self.busy: set[Any] = set()

    async def serve(self, port: int) -> None:
        async def accept(reader: Any, writer: Any) -> None:
            kernel = writer.get_extra_info("socket")
            kernel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await Connection(self, reader, writer).serve()

        server = await asyncio.start_server(accept, "127.0.0.1", port, backlog=1024)
        async with server:
            await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--models", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    given = parser.parse_args()
    backend = Backend(given.name, given.shape, given.models.split(","), given.log)
    asyncio.run(backend.serve(given.port))


if __name__ == "__main__":
    main()
