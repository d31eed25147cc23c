"""How much later than others the last bytes of a stream come: its record is written first.

    python -m loadtests.endings [--durability process|power] [--calls 2000] [--at-once 4]

Levada stands between a scripted backend and clients, all on loopback and by one clock. The backend
notes when it sends an event, the client when it has it. The delay of an end is what it takes longer
than the middle event of the same stream: what both cost alike falls out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

from loadtests.bench.process import Process
from loadtests.leavers import CHUNK, END, MODELS, READY_SECONDS, STREAM, chunked

EVENTS = 9
MIDDLE = 5
APART_SECONDS = 0.004
REQUEST_ID = re.compile(rb"(?i)\r\nx-request-id: (\S+)\r\n")
LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d+)")


@dataclass
class Ending:
    """How long the middle and the end of one stream took, in seconds; below nought: not seen."""

    middle: float = -1.0
    end: float = -1.0


class Backend:
    """Streams events some time apart, and notes when the middle one and the last were sent."""

    def __init__(self) -> None:
        self.sent: dict[str, tuple[float, float]] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = LENGTH.search(head)
                body = await reader.readexactly(int(length[1])) if length else b""
                name = REQUEST_ID.search(head)
                if name is None or b'"stream":true' not in body:
                    writer.write(MODELS)
                else:
                    await self.stream(name[1].decode(), writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def stream(self, id: str, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM)
        middle = 0.0
        for at in range(EVENTS):
            if at == MIDDLE:
                middle = time.perf_counter()
            finish = "stop" if at == EVENTS - 1 else None
            choice = {"index": 0, "delta": {"content": f"<{at}>"}, "finish_reason": finish}
            writer.write(chunked({**CHUNK, "choices": [choice]}))
            await asyncio.sleep(APART_SECONDS)
        usage = {"prompt_tokens": 17, "completion_tokens": EVENTS}
        self.sent[id] = middle, time.perf_counter()
        writer.write(chunked({**CHUNK, "choices": [], "usage": usage}) + END)


async def call(base: tuple[str, int], key: str, id: str, backend: Backend) -> Ending:
    reader, writer = await asyncio.open_connection(*base)
    body = {"model": "tiny", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    raw = json.dumps(body, separators=(",", ":")).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
    head += f"content-type: application/json\r\nx-request-id: {id}\r\n"
    writer.write(f"{head}content-length: {len(raw)}\r\n\r\n".encode() + raw)
    seen, middle = b"", 0.0
    while b"[DONE]" not in seen:
        piece = await asyncio.wait_for(reader.read(65536), 30)
        now = time.perf_counter()
        if not piece:
            raise ConnectionError(f"{id} ended early: {seen[-200:]!r}")
        seen += piece
        if not middle and b"<%d>" % MIDDLE in seen:
            middle = now
    writer.close()
    sent = backend.sent[id]
    return Ending(middle - sent[0], now - sent[1])


async def drive(base: str, key: str, backend: Backend, calls: int, at_once: int) -> list[Ending]:
    host, port = base.removeprefix("http://").removesuffix("/v1").split(":")
    left = iter(range(calls))

    async def caller() -> list[Ending]:
        return [await call((host, int(port)), key, f"end-{at}", backend) for at in left]

    found = await asyncio.gather(*(caller() for _ in range(at_once)))
    # The first ones warm up.
    return [one for some in found for one in some[20:]]


def figures(endings: list[Ending]) -> dict[str, dict[str, float]]:
    """Milliseconds."""
    columns = {
        "middle": [one.middle for one in endings],
        "end": [one.end for one in endings],
        "delay": [one.end - one.middle for one in endings],
    }

    def at(values: list[float], share: float) -> float:
        return round(sorted(values)[int(share * (len(values) - 1))] * 1000, 3)

    return {
        name: {"p50": at(values, 0.5), "p90": at(values, 0.9), "p99": at(values, 0.99)}
        for name, values in columns.items()
    }


async def run(durability: str, calls: int, at_once: int) -> None:
    backend = Backend()
    server = await asyncio.start_server(backend.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with tempfile.TemporaryDirectory(prefix="levada-endings-") as folder:
        config = {
            "listen": {"port": 0, "admin_port": 0},
            "data": f"{folder}/data",
            "backends": [{"name": "one", "url": url, "models": ["tiny"], "engine": "vllm"}],
            "journal": {"durability": durability},
        }
        (Path(folder) / "levada.yaml").write_text(json.dumps(config))
        line = [sys.executable, "-m", "levada", "serve", "--config", f"{folder}/levada.yaml"]
        process = Process(line, None, Path(folder))
        with process:
            base = await asyncio.to_thread(
                process.until, lambda: process.line("listening:"), READY_SECONDS
            )
            key = process.line("key:") or ""
            await asyncio.sleep(2)
            endings = await drive(base, key, backend, calls, at_once)
    server.close()
    told = {"durability": durability, "calls": len(endings), "at_once": at_once}
    print(json.dumps({**told, **figures(endings)}))


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--durability", choices=["process", "power"], default="process")
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=4)
    options = parser.parse_args()
    uvloop.run(run(options.durability, options.calls, options.at_once))
    return 0


if __name__ == "__main__":
    sys.exit(main())
