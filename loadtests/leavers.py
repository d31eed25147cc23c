"""Clients that leave in the middle of streams: is what they pay what the engine had told?

    python -m loadtests.leavers [--engine llama.cpp|vllm] [--calls 5000] [--seed 1]

Starts Levada and an engine: the tests' real llama.cpp server, or a scripted one that streams as
vLLM does. Between the two stands a witness that writes down which counts of each call went to
Levada, and when Levada left. Each client leaves after a number of events that the seed draws. Then
each row of the ledger must be a count that the engine told, and lie between what its client saw and
what its witness saw. Exit status 1 if one does not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.bench.process import Process

TESTS = Path(__file__).parents[1] / "tests"
READY_SECONDS = 60.0
TOKENS = 48
AT_ONCE = 24
COUNT = re.compile(rb'"(?:predicted_n|completion_tokens)":(\d+)')
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "tiny"}
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
LIST = b'{"object":"list","data":[{"id":"tiny","owned_by":"vllm","max_model_len":4096}]}'
MODELS = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(LIST)
    + LIST
)
REQUEST_ID = re.compile(rb"(?i)\r\nx-request-id: (\S+)\r\n")


@dataclass
class Witnessed:
    """What went to Levada of one call."""

    counts: list[int] = field(default_factory=lambda: [0])
    left: float = 0.0


@dataclass
class Seen:
    """What one client saw."""

    events: int
    ended: bool
    left: float


class Witness:
    """Stands between Levada and the engine, one connection for one call at a time."""

    def __init__(self, engine: tuple[str, int] | None) -> None:
        self.engine = engine
        self.calls: dict[str, Witnessed] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.engine is None:
                await self.script(reader, writer)
            else:
                await self.forward(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def request(self, reader: asyncio.StreamReader) -> tuple[bytes, Witnessed | None]:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        body = await reader.readexactly(int(length[1])) if length else b""
        name = REQUEST_ID.search(head)
        call = None
        if b'"stream":true' in body and name is not None:
            call = self.calls[name[1].decode()] = Witnessed()
        return head + body, call

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self.engine is not None
        answers, asks = await asyncio.open_connection(*self.engine)
        current: list[Witnessed | None] = [None]

        async def back() -> None:
            rest = b""
            while piece := await answers.read(65536):
                writer.write(piece)
                await writer.drain()
                if current[0] is not None:
                    found = COUNT.findall(rest + piece)
                    current[0].counts += [int(count) for count in found]
                    rest = (rest + piece)[-40:] if not found else b""
            writer.close()

        behind = asyncio.create_task(back())
        try:
            while True:
                request, current[0] = await self.request(reader)
                asks.write(request)
                await asks.drain()
        finally:
            if current[0] is not None:
                current[0].left = time.monotonic()
            asks.close()
            behind.cancel()

    async def script(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request, call = await self.request(reader)
            if call is None:
                writer.write(MODELS)
                continue
            asks_often = b'"continuous_usage_stats":true' in request
            gone = asyncio.create_task(reader.read(1))
            gone.add_done_callback(lambda task: task.cancelled() or task.exception())
            writer.write(STREAM)
            for count in range(TOKENS + 1):
                usage = {"prompt_tokens": 17, "completion_tokens": count}
                delta = {"content": "a"} if count else {"role": "assistant", "content": ""}
                finish = "length" if count == TOKENS else None
                choice = {"index": 0, "delta": delta, "finish_reason": finish}
                told = {"usage": usage} if asks_often else {}
                writer.write(chunked({**CHUNK, "choices": [choice], **told}))
                await writer.drain()
                call.counts.append(count)
                await asyncio.sleep(0.002)
                if gone.done():
                    call.left = time.monotonic()
                    return
            writer.write(chunked({**CHUNK, "choices": [], "usage": usage}) + END)
            await writer.drain()
            gone.cancel()
            return


def chunked(value: object) -> bytes:
    event = b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(event), event)


async def call(base: tuple[str, int], key: str, id: str, leave: int) -> Seen:
    """One stream, left after so many events with content."""
    reader, writer = await asyncio.open_connection(*base)
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": f"Tell me of water {id}"}],
        "max_tokens": TOKENS,
        "stream": True,
    }
    raw = json.dumps(body, separators=(",", ":")).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
    head += f"content-type: application/json\r\nx-request-id: {id}\r\n"
    head += f"content-length: {len(raw)}\r\n\r\n"
    writer.write(head.encode() + raw)
    seen, ended, rest = 0, False, b""
    try:
        while seen < leave and not ended:
            piece = await asyncio.wait_for(reader.read(65536), 60)
            rest += piece
            seen += rest.count(b'"content":"')
            ended = b"[DONE]" in rest or not piece
            rest = rest[-11:] if b'"content":"' not in rest[-11:] else b""
    finally:
        left = time.monotonic()
        writer.close()
    return Seen(seen, ended, left)


async def drive(base: str, key: str, calls: int, seed: int) -> dict[str, Seen]:
    host, port = base.removeprefix("http://").removesuffix("/v1").split(":")
    chance, seen = random.Random(seed), {}
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, leave: int) -> None:
        async with turns:
            id = f"leaver-{seed}-{number}"
            seen[id] = await call((host, int(port)), key, id, leave)
            if len(seen) % 500 == 0:
                print(f"# {len(seen)} of {calls} calls", flush=True)

    await asyncio.gather(*(one(n, chance.randint(1, TOKENS + 8)) for n in range(calls)))
    return seen


def judge(
    rows: list[dict[str, object]], seen: dict[str, Seen], witness: Witness
) -> tuple[list[str], dict[str, object]]:
    """What is wrong, and the figures."""
    wrong, ends, late = [], Counter[str](), []
    behind = Counter[int]()
    found = Counter(str(row["request_id"]) for row in rows)
    for id in seen:
        if found[id] != 1:
            wrong.append(f"{id}: {found[id]} rows")
    for row in rows:
        id, billed = str(row["request_id"]), int(str(row["output_tokens"]))
        if id not in seen:
            wrong.append(f"{id}: nobody made this call")
            continue
        told, client = witness.calls.get(id, Witnessed()), seen[id]
        ends[str(row["ended"])] += 1
        if billed not in told.counts:
            wrong.append(f"{id}: billed {billed}, which the engine never told ({row['source']})")
        if not client.events - 1 <= billed <= max(told.counts):
            wrong.append(f"{id}: billed {billed}, seen {client.events}, told {max(told.counts)}")
        behind[max(told.counts) - billed] += 1
        if told.left and not client.ended:
            late.append(max(0.0, told.left - client.left))
    late.sort()
    figures = {
        "calls": len(seen),
        "ends": dict(ends),
        "tokens_billed": sum(int(str(row["output_tokens"])) for row in rows),
        "sources": dict(Counter(str(row["source"]) for row in rows)),
        "counts_behind_the_engine": {str(k): v for k, v in sorted(behind.items())},
        "backend_left_ms_p50": round(late[len(late) // 2] * 1000, 1) if late else None,
        "backend_left_ms_p99": round(late[len(late) * 99 // 100] * 1000, 1) if late else None,
        "backend_left_ms_max": round(late[-1] * 1000, 1) if late else None,
    }
    return wrong, figures


async def run(engine: str, calls: int, seed: int) -> int:
    target, stop = None, None
    if engine == "llama.cpp":
        sys.path.insert(0, str(TESTS))
        from engine import Engine, write_tiny_model

        model = Path(tempfile.mkdtemp(prefix="levada-leavers-")) / "tiny.gguf"
        write_tiny_model(model)
        real = await asyncio.to_thread(Engine, model)
        host, port = real.url.removeprefix("http://").split(":")
        target, stop = (host, int(port)), real.stop
    witness = Witness(target)
    server = await asyncio.start_server(witness.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with tempfile.TemporaryDirectory(prefix="levada-leavers-") as folder:
        flags = ["--backend", url, "--port", "0", "--admin-port", "0", "--data", f"{folder}/data"]
        levada = [sys.executable, "-m", "levada"]
        process = Process([*levada, "serve", *flags], None, Path(folder))
        with process:
            base = await asyncio.to_thread(
                process.until, lambda: process.line("listening:"), READY_SECONDS
            )
            key = process.line("key:") or ""
            await asyncio.sleep(2)
            seen = await drive(base, key, calls, seed)
            await asyncio.sleep(3)
            usage = [*levada, "usage", "--by", "call", "--json", "--data", f"{folder}/data"]
            told = await asyncio.create_subprocess_exec(*usage, stdout=asyncio.subprocess.PIPE)
            out, _ = await told.communicate()
    server.close()
    if stop is not None:
        stop()
    rows = [json.loads(line) for line in out.splitlines()]
    wrong, figures = judge(rows, seen, witness)
    print(json.dumps({"engine": engine, "seed": seed, **figures, "wrong": len(wrong)}, indent=2))
    for one in wrong[:20]:
        print(one, file=sys.stderr)
    return 1 if wrong else 0


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=["llama.cpp", "vllm"], default="vllm")
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    return asyncio.run(run(options.engine, options.calls, options.seed))


if __name__ == "__main__":
    sys.exit(main())
