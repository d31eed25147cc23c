"""The callers of the chaos run: many at once, good and bad, patient and not, each with a log.

    python -m loadtests.chaos.client --seed 1 --calls 1000 --port 8080 --keys FILE --log FILE

Law: what is called, in which order and with which script, follows from the seed alone. A line of
the log says what was asked, what was seen of the answer, and how it ended for the caller.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loadtests.chaos.log import Log
from loadtests.chaos.script import Script, draw
from loadtests.chaos.wire import GoneError, Line, UnsentError

PATIENCE_SECONDS = 40.0
# How long a caller who is told that nobody is there waits, and one whose turn has not come.
REFUSED_SECONDS = 0.1
GATE_SECONDS = 0.05
PATHS = {"chat": "/v1/chat/completions", "text": "/v1/completions", "vectors": "/v1/embeddings"}
# Where a caller leaves: while it sends, once it has sent, with the head, amid the tokens, before
# the last word, behind it.
PHASES = ("body", "sent", "head", "amid", "amid", "amid", "late", "end")
BAD = ("json", "model", "key", "type", "missing", "empty", "utf8")


@dataclass(slots=True)
class Plan:
    """One call as it will be made."""

    script: Script
    kind: str
    model: str
    stream: bool
    include: bool
    key: int
    bad: str = ""
    leaves: str = ""
    leave_at: int = 0
    reset: bool = False
    slow: bool = False
    fresh: bool = False
    own_id: bool = True
    wait: float = 0.0

    def body(self) -> dict[str, Any]:
        text = self.script.text()
        value: dict[str, Any] = {"model": self.model}
        match self.kind:
            case "chat":
                value["messages"] = [{"role": "user", "content": text}]
            case "text":
                value["prompt"] = text
            case _:
                value["input"] = text
        if self.stream:
            value["stream"] = True
        if self.include:
            value["stream_options"] = {"include_usage": True}
        if self.script.n > 1:
            value["n"] = self.script.n
        return value

    def bytes(self) -> bytes:
        value = self.body()
        match self.bad:
            case "model":
                value["model"] = "nobody"
            case "type":
                value["model"] = 7
            case "missing":
                del value["model"]
            case "empty":
                return b""
        text = json.dumps(value).encode()
        match self.bad:
            case "json":
                return text[:-3]
            case "utf8":
                return text.replace(b"@@chaos", b"@@\xffchaos", 1)
        return text


@dataclass(slots=True)
class Seen:
    """What the caller has seen of the answer."""

    state: str = "lost"
    status: int = 0
    id: str = ""
    code: str = ""
    finished: int = 0
    done: bool = False
    failed: bool = False
    usage: dict[str, int] | None = None
    tokens: dict[int, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def text(self, nonce: str, choice: int, text: str) -> None:
        """Counts tokens; each must be the call's own, and the next of its choice."""
        for word in text.split():
            at = self.tokens.get(choice, 0)
            if word != f"{nonce}.{at}":
                self.wrong.append(f"choice {choice} got {word} for {nonce}.{at}")
            self.tokens[choice] = at + 1

    def take(self, nonce: str, value: Any) -> None:
        """Takes a chunk, or a whole answer."""
        if not isinstance(value, dict) or "error" in value:
            self.failed = True
            return
        for one in value.get("choices", []):
            said = one.get("delta") or one.get("message") or one
            self.text(nonce, one["index"], said.get("content") or said.get("text") or "")
            self.finished += one.get("finish_reason") is not None
        if value.get("usage"):
            self.usage = value["usage"]


class LeftError(Exception):
    """The caller has had enough."""


def plan(chance: random.Random, nonce: str, given: argparse.Namespace) -> Plan:
    """The next call."""
    kind = chance.choices(("chat", "text", "vectors"), (75, 15, 10))[0]
    stream = kind != "vectors" and chance.random() < 0.68
    model = "embed" if kind == "vectors" else chance.choices(("v", "l", "p"), (60, 25, 15))[0]
    key = chance.randrange(5)
    if given.calm:
        tokens = chance.randint(1, 20)
        script = Script(nonce, chance.randint(1, 500), tokens, pace_us=200, n=chance.choice((1, 2)))
        return Plan(script, kind, model, stream, stream and chance.random() < 0.5, key)
    script = draw(chance, nonce, stream, ["v1", "v2", "l1", "p1"])
    made = Plan(script, kind, model, stream, stream and chance.random() < 0.4, key)
    made.reset, made.fresh = chance.random() < 0.5, chance.random() < 0.3
    made.own_id = chance.random() < 0.7
    made.slow = chance.random() < 0.05
    kind = chance.choices(("bad", "leaves", ""), (5, 15, 80))[0]
    if kind == "bad":
        made.bad = chance.choice(BAD)
    elif kind == "leaves":
        made.leaves = chance.choice(PHASES)
        made.leave_at = chance.randint(1, max(1, script.tokens * script.n - 1))
        made.wait = chance.choice((0.0, 0.001, 0.01, 0.05))
    return made


class Caller:
    """One caller, who makes one call after the other on a connection while it lasts."""

    def __init__(self, given: argparse.Namespace, keys: list[str], log: Log) -> None:
        self.given, self.keys, self.log = given, keys, log
        self.line: Line | None = None

    async def call(self, made: Plan) -> None:
        seen, began = Seen(), asyncio.get_running_loop().time()
        since = began
        try:
            if self.line is None or self.line.gone or made.fresh or made.slow:
                self.close()
                self.line = await Line.to(self.given.host, self.given.port, made.slow)
            since = self.line.since
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self.make(made, seen, self.line)
        except LeftError:
            seen.state = "left"
            self.close(made.reset)
        except GoneError:
            self.close()
        except UnsentError:
            seen.state = "unsent"
        except TimeoutError:
            seen.state = "hung"
            self.close()
        told = {**asdict(made), "script": made.script.text()}
        self.log.write(made.script.nonce, round(min(began, since), 6), told, asdict(seen))
        if seen.status == 503 or seen.state == "unsent":
            await asyncio.sleep(REFUSED_SECONDS)

    def close(self, reset: bool = False) -> None:
        if self.line is not None:
            self.line.close(reset)
        self.line = None

    async def make(self, made: Plan, seen: Seen, line: Line) -> None:
        body = made.bytes()
        head = [f"POST {PATHS[made.kind]} HTTP/1.1", f"host: {self.given.host}"]
        key = "sk-nobody" if made.bad == "key" else self.keys[made.key]
        head += [f"authorization: Bearer {key}", "content-type: application/json"]
        head += [f"x-request-id: {made.script.nonce}"] if made.own_id else []
        text = "\r\n".join([*head, f"content-length: {len(body)}", "", ""]).encode()
        if made.leaves == "body":
            await line.send(text + body[: len(body) // 2])
            await asyncio.sleep(made.wait)
            raise LeftError
        await line.send(text + body)
        if made.leaves == "sent":
            await asyncio.sleep(made.wait)
            raise LeftError
        seen.status, fields = await line.head()
        seen.id = fields.get("x-request-id", "")
        if made.leaves == "head":
            raise LeftError
        if fields["content-type"].startswith("text/event-stream"):
            await self.events(made, seen, line)
        else:
            await self.whole(made, seen, line, int(fields["content-length"]))
        if made.leaves == "end" or fields.get("connection") == "close":
            self.close(made.reset)

    async def whole(self, made: Plan, seen: Seen, line: Line, length: int) -> None:
        if made.leaves in ("amid", "late") and length > 1:
            await line.exactly(length - 1 if made.leaves == "late" else length // 2)
            raise LeftError
        body = await line.exactly(length)
        value = json.loads(body)
        if seen.status != 200:
            seen.state, seen.code = "refused", str(value.get("error", {}).get("code"))
            return
        seen.take(made.script.nonce, value)
        seen.state = "broken" if seen.failed else "complete"

    async def events(self, made: Plan, seen: Seen, line: Line) -> None:
        async for data in line.events():
            if data == b"[DONE]":
                seen.done = True
                continue
            if seen.done or seen.failed:
                seen.wrong.append("an event after the end")
            seen.take(made.script.nonce, json.loads(data))
            if made.leaves == "amid" and sum(seen.tokens.values()) >= made.leave_at:
                raise LeftError
            if made.leaves == "late" and seen.finished:
                raise LeftError
            if made.slow:
                await asyncio.sleep(0.02)
        whole = seen.done and seen.finished == made.script.n and not seen.failed
        if seen.done and not whole:
            seen.wrong.append("[DONE] behind an answer that is not whole")
        seen.state = "complete" if whole else "broken"
        if seen.state == "broken" and not seen.failed:
            seen.wrong.append("a broken stream without a word")


def gate(path: Path) -> int:
    """How many calls of this part may have begun by now."""
    return int(path.read_text() or 0)


async def work(given: argparse.Namespace) -> None:
    keys = json.loads(given.keys.read_text())
    log = Log(given.log)
    numbers = iter(range(given.calls))

    async def caller() -> None:
        one = Caller(given, keys, log)
        for number in numbers:
            while given.gate and number >= gate(given.gate):
                await asyncio.sleep(GATE_SECONDS)
            nonce = f"c{given.part}x{number}"
            # Each call has a chance of its own: what one draws changes no other.
            await one.call(plan(random.Random(f"{given.seed}-{nonce}"), nonce, given))
        one.close()

    await asyncio.gather(*(caller() for _ in range(given.callers)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--part", default="0")
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--callers", type=int, default=40)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--keys", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--gate", type=Path, help="a file that says how far calls may go")
    parser.add_argument("--calm", action="store_true", help="no fault, and nobody leaves")
    asyncio.run(work(parser.parse_args()))


if __name__ == "__main__":
    main()
