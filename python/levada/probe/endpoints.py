"""How each endpoint is asked in the plainest way, and what a field needs beside it to be looked at.

Law: an endpoint that the probe knows has its row here; one that a profile offers and that has no
row is reported as not testable.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

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


@dataclass(frozen=True)
class Endpoint:
    """A path, the least body that is answered, and the fields that others need: by field."""

    path: str
    body: dict[str, Any]
    beside: dict[str, dict[str, Any]] = field(default_factory=dict)


ENDPOINTS = {
    "chat.completions": Endpoint(
        "/v1/chat/completions",
        {"messages": SAY_HELLO, "max_tokens": 8},
        {
            "stream_options": {"stream": True},
            "top_logprobs": {"logprobs": True},
            "tool_choice": {"tools": [TOOL]},
            "parallel_tool_calls": {"tools": [TOOL]},
            "function_call": {"functions": [FUNCTION]},
        },
    ),
    "completions": Endpoint(
        "/v1/completions",
        {"prompt": "Say hello.", "max_tokens": 8},
        {"stream_options": {"stream": True}},
    ),
    "embeddings": Endpoint("/v1/embeddings", {"input": "Say hello."}),
}


@dataclass(frozen=True)
class Target:
    """An endpoint and the model that answers it; without one, `why` says so."""

    name: str
    endpoint: Endpoint
    model: str | None
    why: str = ""

    def body(self, **fields: Any) -> dict[str, Any]:
        """The plain body with these fields besides."""
        return {"model": self.model, **self.endpoint.body, **fields}

    def with_field(self, name: str, value: Any) -> dict[str, Any]:
        """The plain body with this field, and with what must stand beside it."""
        return {**self.body(), **self.endpoint.beside.get(name, {}), name: value}
