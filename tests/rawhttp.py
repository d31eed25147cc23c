"""A client on raw sockets: sends exactly the bytes it is given and keeps exactly the bytes it gets,
with their times.
"""

import json
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

LINGER_ZERO = struct.pack("ii", 1, 0)


@dataclass
class Answer:
    """One HTTP answer. `body` is unframed; `pieces` are the reads it came in, with their
    times.
    """

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    complete: bool = False  # the framing said that this was all
    head: bytes = b""
    pieces: list[tuple[float, bytes]] = field(default_factory=list)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.json["error"]
        return error

    @property
    def events(self) -> list[bytes]:
        """The events of a stream, each without its empty line. What follows the last one is left
        out.
        """
        return self.body.split(b"\n\n")[:-1]


class Wire:
    """One connection to a server."""

    def __init__(self, address: str, timeout: float = 10.0) -> None:
        parts = urlsplit(address)
        assert parts.hostname is not None
        self.host = parts.netloc
        self.socket = socket.create_connection((parts.hostname, parts.port or 80), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.left = b""  # read and not yet used
        self.reads: list[tuple[float, bytes]] = []

    def send(self, data: bytes) -> Self:
        self.socket.sendall(data)
        return self

    def send_what_is_taken(self, data: bytes) -> Self:
        """Sends, and forgives a server that answers and closes before it has read everything."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return self

    def read(self) -> bytes:
        """One read of the socket; empty at the end, also when the end is a reset."""
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        self.reads.append((time.monotonic(), data))
        self.left += data
        return data

    def read_until(self, end: bytes) -> bytes:
        """Bytes up to and with `end`; what there was when the connection ends first."""
        while end not in self.left and self.read():
            pass
        at = self.left.find(end)
        return self.take(len(self.left) if at < 0 else at + len(end))

    def read_exactly(self, size: int) -> bytes:
        while len(self.left) < size and self.read():
            pass
        return self.take(size)

    def take(self, size: int) -> bytes:
        taken, self.left = self.left[:size], self.left[size:]
        return taken

    def read_head(self) -> Answer | None:
        """The head of an answer, or None when the connection ends without one."""
        before = len(self.reads)
        head = self.read_until(b"\r\n\r\n")
        if not head.endswith(b"\r\n\r\n"):
            return None
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        _, status, reason = (first + " ").split(" ", 2)
        pairs = [line.split(":", 1) for line in lines]
        headers = [(name.lower(), value.strip()) for name, value in pairs]
        answer = Answer(int(status), reason.strip(), headers, head=head)
        answer.pieces = self.reads[before:]
        return answer

    def read_answer(self) -> Answer | None:
        """A whole answer, or what there was of it; None when not even a head came."""
        answer = self.read_head()
        while answer is not None and answer.status == 100:
            answer = self.read_head()
        if answer is not None:
            self.read_body(answer)
        return answer

    def read_body(self, answer: Answer) -> None:
        before = len(self.reads)
        length = answer.header("content-length")
        if answer.header("transfer-encoding") == "chunked":
            self.read_chunks(answer)
        elif length is not None:
            answer.body = self.read_exactly(int(length))
            answer.complete = len(answer.body) == int(length)
        elif answer.status not in (204, 304):
            while self.read():
                pass
            answer.body = self.take(len(self.left))
            answer.complete = True
        answer.pieces += self.reads[before:]

    def read_chunks(self, answer: Answer) -> None:
        while (line := self.read_until(b"\r\n")).endswith(b"\r\n"):
            size = int(line.split(b";")[0], 16)
            chunk = self.read_exactly(size + 2)
            answer.body += chunk[:size]
            if size == 0:
                answer.complete = chunk == b"\r\n"
                return
            if len(chunk) < size + 2:
                return

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def request(
    method: str,
    path: str,
    host: str,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
) -> bytes:
    """The bytes of a request; content-length is added to a body that no header frames."""
    given = headers or {}
    lines = [f"{method} {path} HTTP/1.1"]
    if "host" not in given:
        lines.append(f"host: {host}")
    lines += [f"{name}: {value}" for name, value in given.items()]
    if body is not None and not {"content-length", "transfer-encoding"} & set(given):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


def call(
    address: str,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    timeout: float = 10.0,
) -> Answer:
    """One request on a connection of its own."""
    with Wire(address, timeout) as wire:
        wire.send_what_is_taken(request(method, path, wire.host, headers, body))
        answer = wire.read_answer()
    assert answer is not None, f"no answer to {method} {path}"
    return answer
