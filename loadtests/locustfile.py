"""Chat through Levada as users see it: time to first token, time between tokens, errors.

    LEVADA_KEY=sk-... locust -f loadtests/locustfile.py --host http://127.0.0.1:8080 \\
        --headless --users 4 --run-time 20s

Each streamed answer leaves three rows in locust's statistics: the request, `first token`, and
`between tokens` (one entry for each token after the first). An answer that breaks off, holds an
error event, or has no `[DONE]` is a failure.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from locust import FastHttpUser, between, events, task
from locust.argument_parser import LocustArgumentParser

PATH = "/v1/chat/completions"
DONE = b"[DONE]"
PROMPT = "Tell me about water in one sentence."


class StreamError(Exception):
    """A stream that did not end as it should."""


def options(parser: LocustArgumentParser) -> None:
    """What locust cannot know."""
    add = parser.add_argument
    add("--key", env_var="LEVADA_KEY", default="", help="Levada: API key", is_secret=True)
    add("--model", env_var="LEVADA_MODEL", default="", help="Levada: default, the first served")
    add("--max-tokens", env_var="LEVADA_MAX_TOKENS", type=int, default=32, help="Levada: length")
    add("--prompt", env_var="LEVADA_PROMPT", default=PROMPT, help="Levada: the question")


parser_made: Any = events.init_command_line_parser
parser_made.add_listener(options)


def data_lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The data of each event. Pieces of one byte: a longer read would wait until it is full, and
    the first token would seem as late as the tenth."""
    line = bytearray()
    for piece in pieces:
        line += piece
        if line.endswith(b"\n"):
            if line.startswith(b"data:"):
                yield bytes(line[5:].strip())
            line.clear()


def has_text(data: bytes) -> bool:
    """Whether a chunk brings text; an error event ends the stream with an exception."""
    chunk = json.loads(data)
    if "error" in chunk:
        raise StreamError(f"error event: {chunk['error'].get('message')}")
    return any(choice.get("delta", {}).get("content") for choice in chunk.get("choices", []))


class Chatter(FastHttpUser):
    """Somebody who reads an answer, thinks a moment, and asks again."""

    wait_time = between(0.1, 0.5)
    network_timeout = 120.0
    connection_timeout = 10.0

    def on_start(self) -> None:
        """Learns the model's name if none was given."""
        given = self.environment.parsed_options
        self.headers = {"Authorization": f"Bearer {given.key}"} if given.key else {}
        self.model = given.model or self.first_model()

    def first_model(self) -> str:
        """The first model in the list."""
        with self.client.get("/v1/models", headers=self.headers, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
                return ""
            models: list[dict[str, Any]] = response.json()["data"]
            return str(models[0]["id"]) if models else ""

    def ask(self, *, stream: bool, name: str) -> Any:
        """One question; the answer as locust's context manager."""
        given = self.environment.parsed_options
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": given.prompt}],
            "max_tokens": given.max_tokens,
            "stream": stream,
        }
        return self.client.post(
            PATH, json=body, headers=self.headers, stream=stream, catch_response=True, name=name
        )

    @task(4)
    def streamed(self) -> None:
        """A streamed answer."""
        begin = time.perf_counter()
        with self.ask(stream=True, name=f"{PATH} stream") as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
                return
            try:
                pieces = response.iter_content(chunk_size=1, decode_content=False)
                self.read(data_lines(pieces), begin)
                response.success()
            except (StreamError, ValueError, OSError) as broken:
                response.failure(f"stream: {broken}")

    def read(self, data: Iterator[bytes], begin: float) -> None:
        """Reads to the end, firing a statistic for each token."""
        before, name = begin, "first token"
        for event in data:
            if event == DONE:
                return
            if has_text(event):
                now = time.perf_counter()
                self.fire(name, now - before, len(event))
                before, name = now, "between tokens"
        raise StreamError("ended without [DONE]")

    def fire(self, name: str, seconds: float, length: int) -> None:
        """One entry in locust's statistics."""
        self.environment.events.request.fire(
            request_type="SSE",
            name=name,
            response_time=seconds * 1000,
            response_length=length,
            exception=None,
            context={},
        )

    @task(1)
    def whole(self) -> None:
        """An answer in one piece."""
        with self.ask(stream=False, name=PATH) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
            elif not response.json().get("choices"):
                response.failure("no choices")
