"""A gateway without an engine: it says what it is told to say, and remembers what it was told."""

import json
from functools import partial
from typing import Any


class FakeCall:
    """One call with a scripted answer; a piece that is an Event is waited for, not sent."""

    def __init__(self, status: int = 200, headers: Any = None, pieces: Any = ()) -> None:
        self.status = status
        self.headers = headers or [(b"content-type", b"application/json")]
        self.pieces = list(pieces)
        self.cancelled = 0
        self.ends_with_its_last = False

    async def start(self) -> tuple[int, list[tuple[bytes, bytes]]]:
        return self.status, list(self.headers)

    async def next(self) -> bytes | None:
        while self.pieces:
            piece = self.pieces.pop(0)
            if isinstance(piece, bytes):
                return piece
            await piece.wait()
        return None

    @property
    def ended(self) -> bool:
        return self.ends_with_its_last and not self.pieces

    def cancel(self) -> None:
        self.cancelled += 1


class FakeCaller:
    """Who may go on to the body."""

    def __init__(self, body_limit: int = 1000) -> None:
        self.key_id = "k_test"
        self.body_limit = body_limit
        self.announced = 0
        self.open: Any = None
        self.answer: Any = None
        self.refuse: Any = None


class FakeGateway:
    """The boundary as the Python side sees it."""

    def __init__(self, document: bytes = b"{}", data: str = "") -> None:
        self.documents = [json.loads(document)]
        self.seen: list[tuple[Any, ...]] = []
        self.caller: Any = FakeCaller()
        self.call: Any = FakeCall(pieces=[b"{}"])
        self.answers: dict[str, Any] = {}
        self.refusal: Exception | None = None
        self.counts: dict[str, float] = {}
        self.health: dict[str, Any] = {}
        self.edge: Any = None
        self.missed = 0
        self.lines: list[bytes] = []
        self.damages: list[str] = []
        self.is_shared = True

    def authenticate(self, method: str, path: str, headers: Any) -> Any:
        self.seen.append(("authenticate", method, path))
        if isinstance(self.caller, FakeCaller):
            self.caller.open = partial(self.open, method, path, headers)
            self.caller.answer = self.answer
            self.caller.refuse = self.refuse
        return self.caller

    def open(self, method: str, path: str, headers: Any, body: bytes) -> Any:
        self.seen.append(("open", method, path, body))
        return self.call

    def answer(self, body: bytes) -> Any:
        return FakeCall(200, pieces=[body])

    def refuse(self, kind: str, param: str | None = None, message: str | None = None) -> Any:
        self.seen.append(("refuse", kind))
        if message is not None:
            told = {"kind": kind, "param": param, "message": message}
            return FakeCall(400, pieces=[json.dumps(told).encode()])
        return FakeCall(413, [(b"content-length", b"2")], [b"no"])

    def swap(self, document: bytes) -> int:
        if self.refusal is not None:
            raise self.refusal
        self.documents.append(json.loads(document))
        return int(self.documents[-1]["version"])

    def profile(self, host: str | None) -> int:
        self.seen.append(("profile", host))
        return 0

    def keys(self, changes: bytes) -> int:
        self.seen.append(("keys", json.loads(changes)))
        return 1

    def unknown_kids(self) -> int:
        return self.missed

    def shared(self) -> bool:
        return self.is_shared

    def records(self, limit: int) -> tuple[bytes, list[str]]:
        return b"".join(self.lines[:limit]), self.damages

    def acknowledge(self, count: int) -> None:
        del self.lines[:count]

    def report(self, backend: str, health: bytes) -> None:
        self.health[backend] = json.loads(health)

    def count(self, name: str, value: float) -> None:
        self.counts[name] = value

    async def fetch(
        self, method: str, url: str, headers: Any, timeout: float, body: bytes = b""
    ) -> tuple[int, bytes]:
        self.seen.append(("fetch", url, list(headers), *([body] if method == "POST" else [])))
        answer = self.answers.get(url, OSError("refused"))
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            answer = await answer()
        status, body = answer
        return status, body

    async def listen(self, edge: bytes) -> None:
        self.edge = json.loads(edge)

    async def drain(self, grace: float) -> int:
        self.seen.append(("drain", grace))
        return 0

    def ready(self, ready: bool) -> None:
        self.seen.append(("ready", ready))

    def close(self) -> None:
        self.seen.append(("close",))
