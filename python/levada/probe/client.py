"""HTTP as the probe speaks it: each request on a connection of its own, each answer read whole.

The only file of the probe that opens a socket. Every wait, every answer and the number of requests
have an end.
"""

from __future__ import annotations

import json
import ssl
import time
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from typing import Any
from urllib.parse import urlsplit

# All that one probe may ask: a profile that offers all sixteen endpoints has some 600 promises, of
# which nine in ten are refused before any engine hears of them. A probe is no load test.
MOST_REQUESTS = 750
# A server that has not answered this often is not asked again.
MOST_SILENCES = 3
# Far beyond any answer of a few tokens.
MOST_BYTES = 8 * 1024 * 1024
# A body is sent in pieces of this size, so that an early refusal is seen.
PIECE_BYTES = 256 * 1024
# Between the parts of a form; no part of ours holds it.
BOUNDARY = "levada-probe-7c1f"


class SilenceError(Exception):
    """The server gave no answer that can be read; the text says why."""


class SpentError(Exception):
    """Nothing more is asked; the text says why."""


@dataclass(frozen=True)
class Ask:
    """One request. `authorization` None: the key that the probe was given; empty: none."""

    method: str
    path: str
    body: bytes = b""
    authorization: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Answer:
    """What came back; `complete` is false when it broke off."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    complete: bool = True

    def header(self, name: str) -> str | None:
        """The first header of this name."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def blocks(self) -> list[list[str]]:
        """The body as blocks of an event stream: the lines between empty lines."""
        found: list[list[str]] = [[]]
        for line in self.body.decode(errors="replace").splitlines():
            if line:
                found[-1].append(line)
            else:
                found.append([])
        return [block for block in found if block]


@dataclass
class Client:
    """Asks the server at `url`, with or without `/v1` at its end, and keeps what was said."""

    url: str
    key: str = ""
    timeout: float = 30.0
    said: list[tuple[Ask, Answer]] = field(default_factory=list)
    asked: int = 0
    silences: int = 0

    def ask(self, one: Ask) -> Answer:
        """The answer. SilenceError, SpentError."""
        if self.asked == MOST_REQUESTS:
            raise SpentError(f"{MOST_REQUESTS} requests have been made, and more are not")
        if self.silences == MOST_SILENCES:
            raise SpentError(f"the server has left {MOST_SILENCES} requests without an answer")
        self.asked += 1
        try:
            answer = self._exchange(one)
        except (OSError, HTTPException, ValueError) as error:
            self.silences += 1
            raise SilenceError(f"{type(error).__name__}: {error}") from None
        self.said.append((one, answer))
        # What a limit turned away is asked again after a wait: the waits have their own bound.
        self.asked -= answer.status == 429
        return answer

    def _exchange(self, one: Ask) -> Answer:
        place = urlsplit(self.url)
        host, root = place.hostname or "", place.path.rstrip("/").removesuffix("/v1")
        connection = (
            HTTPSConnection(
                host, place.port, timeout=self.timeout, context=ssl.create_default_context()
            )
            if place.scheme == "https"
            else HTTPConnection(host, place.port, timeout=self.timeout)
        )
        try:
            connection.putrequest(one.method, root + one.path, skip_accept_encoding=True)
            for name, value in self._headers(one).items():
                connection.putheader(name, value)
            connection.endheaders()
            try:
                for at in range(0, len(one.body), PIECE_BYTES):
                    connection.send(one.body[at : at + PIECE_BYTES])
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused before it was read; the answer is there
            return _whole(connection.getresponse(), time.monotonic() + self.timeout)
        finally:
            connection.close()

    def _headers(self, one: Ask) -> dict[str, str]:
        lines = {"user-agent": "levada-probe", "accept": "*/*"}
        if one.method == "POST":
            lines |= {"content-type": "application/json", "content-length": str(len(one.body))}
        authorization = f"Bearer {self.key}" if self.key else ""
        if one.authorization is not None:
            authorization = one.authorization
        return (
            lines | ({"authorization": authorization} if authorization else {}) | dict(one.headers)
        )


def get(path: str, authorization: str | None = None, **headers: str) -> Ask:
    """A GET."""
    return Ask("GET", path, b"", authorization, _lines(headers))


def post(path: str, body: Any, authorization: str | None = None, **headers: str) -> Ask:
    """A POST of this value as JSON."""
    return Ask("POST", path, json.dumps(body).encode(), authorization, _lines(headers))


def upload(path: str, fields: dict[str, Any]) -> Ask:
    """A POST of a form: bytes are a file, all else a text."""
    parts = b"".join(_part(name, value) for name, value in fields.items())
    kind = ("content-type", f"multipart/form-data; boundary={BOUNDARY}")
    return Ask("POST", path, parts + f"--{BOUNDARY}--\r\n".encode(), None, (kind,))


def _part(name: str, value: Any) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'
    if isinstance(value, bytes):
        kind = "image/png" if value.startswith(b"\x89PNG") else "audio/wav"
        head += f'; filename="{name}"\r\nContent-Type: {kind}'
    content = value if isinstance(value, bytes) else str(value).encode()
    return head.encode() + b"\r\n\r\n" + content + b"\r\n"


def _lines(headers: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name.replace("_", "-"), value) for name, value in headers.items())


def _whole(response: HTTPResponse, until: float) -> Answer:
    """Reads what there is: a stream may pause, but not beyond the time there is."""
    body, complete = bytearray(), True
    try:
        while piece := response.read1(PIECE_BYTES):
            body += piece
            if len(body) > MOST_BYTES or time.monotonic() > until:
                complete = False
                break
    except (IncompleteRead, ConnectionResetError):
        complete = False
    except TimeoutError:
        if not body:
            raise
        complete = False
    headers = tuple((name.lower(), value) for name, value in response.getheaders())
    return Answer(response.status, headers, bytes(body), complete and not response.length)
