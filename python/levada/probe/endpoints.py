"""How each endpoint is asked in the plainest way, and what a field needs beside it to be looked at.

Law: an endpoint that the probe knows has its row here; one that a profile offers and that has no
row is reported as not testable.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from levada.probe.client import Answer, Ask, post, upload
from levada.profiles import answers

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather at a place.",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string"}},
            "required": ["location"],
        },
    },
}
SAY_HELLO = [{"role": "user", "content": "Say hello."}]
FUNCTION = {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}
# The model that is named where none is known.
NOBODY = "levada-probe"
TEXTS = ["a river", "a stone"]
# One grey pixel, and a quarter of a second of silence at 8 kHz.
PICTURE = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU"
    b"\x00\x00\x00\nIDATx\x9cch\x00\x00\x00\x82\x00\x81w\xcdr\xb6"
    b"\x00\x00\x00\x00IEND\xaeB`\x82"
)
SILENCE = (
    b"RIFF\xc4\x0f\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0"
    b"data\xa0\x0f\0\0" + bytes(4000)
)


@dataclass(frozen=True)
class Endpoint:
    """The least body that is answered, and the fields that others need: by field."""

    name: str
    body: dict[str, Any]
    beside: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Where it lies."""
        return answers.path(self.name)

    @property
    def dialect(self) -> str:
        """In which it refuses."""
        return answers.answer(self.name).dialect

    @property
    def takes_forms(self) -> bool:
        """Whether its bodies are forms, not JSON."""
        return answers.answer(self.name).form != answers.JSON

    @property
    def is_first(self) -> bool:
        """Whether every server has it; of the others only what needs no engine is asked in full."""
        return self.name in FIRST


FIRST = ("chat.completions", "completions", "embeddings")
ENDPOINTS = {
    one.name: one
    for one in (
        Endpoint(
            "chat.completions",
            {"messages": SAY_HELLO, "max_tokens": 8},
            {
                "stream_options": {"stream": True},
                "top_logprobs": {"logprobs": True},
                "tool_choice": {"tools": [TOOL]},
                "parallel_tool_calls": {"tools": [TOOL]},
                "function_call": {"functions": [FUNCTION]},
            },
        ),
        Endpoint(
            "completions",
            {"prompt": "Say hello.", "max_tokens": 8},
            {"stream_options": {"stream": True}},
        ),
        Endpoint("embeddings", {"input": "Say hello."}),
        Endpoint("responses", {"input": "Say hello.", "max_output_tokens": 16, "store": False}),
        Endpoint("messages", {"messages": SAY_HELLO, "max_tokens": 8}),
        Endpoint("messages.count_tokens", {"messages": SAY_HELLO}),
        Endpoint("rerank", {"query": "water", "documents": TEXTS}),
        Endpoint("score", {"text_1": "water", "text_2": TEXTS}),
        # vLLM reads the one, llama.cpp the other.
        Endpoint("tokenize", {"prompt": "Say hello.", "content": "Say hello."}),
        Endpoint("detokenize", {"tokens": [1]}),
        Endpoint("moderations", {"input": "Say hello."}),
        Endpoint("images.generations", {"prompt": "A channel.", "n": 1}),
        Endpoint("images.edits", {"image": PICTURE, "prompt": "A channel."}),
        Endpoint("audio.transcriptions", {"file": SILENCE}),
        Endpoint("audio.translations", {"file": SILENCE}),
        Endpoint("audio.speech", {"input": "Hello.", "voice": "alloy"}),
    )
}


@dataclass(frozen=True)
class Target:
    """An endpoint and the model that answers it. Without one, `why` says so, and `instead` is what
    the plain request got; `missing`: nothing is at its path.
    """

    name: str
    endpoint: Endpoint
    model: str | None
    why: str = ""
    instead: Answer | None = None
    missing: bool = False

    def body(self, **fields: Any) -> dict[str, Any]:
        """The plain body with these fields besides."""
        return {"model": self.model or NOBODY, **self.endpoint.body, **fields}

    def with_field(self, name: str, value: Any) -> dict[str, Any]:
        """The plain body with this field, and with what must stand beside it."""
        return {**self.body(), **self.endpoint.beside.get(name, {}), name: value}

    def ask(self, body: dict[str, Any]) -> Ask:
        """The request of this body, as JSON or as a form."""
        if self.endpoint.takes_forms:
            return upload(self.endpoint.path, body)
        return post(self.endpoint.path, body)
