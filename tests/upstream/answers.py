"""Bytes of HTTP answers and event streams, as an OpenAI-shaped server makes them. Pure: bytes and
dicts only.
"""

import json
from collections.abc import Iterable
from typing import Any

REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    429: "Too Many Requests",
}
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


def compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def http(status: int, headers: dict[str, str], body: bytes = b"") -> bytes:
    """An answer with these headers, and content-length unless one of them frames the body."""
    framed = {name.lower() for name in headers} & {
        "content-length",
        "transfer-encoding",
        "connection",
    }
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if not framed:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def json_answer(value: Any, status: int = 200, **headers: str) -> bytes:
    """A JSON answer. `value` may be bytes; `retry_after=` becomes the header `retry-after`."""
    body = value if isinstance(value, bytes) else compact(value)
    extra = {name.replace("_", "-"): text for name, text in headers.items()}
    return http(status, {"content-type": "application/json", **extra}, body)


def error_answer(status: int, message: str = "no", **headers: str) -> bytes:
    """An error as llama.cpp writes it: integer code, no param."""
    error = {"code": status, "message": message, "type": "invalid_request_error"}
    return json_answer({"error": error}, status, **headers)


def stream_head(content_type: str = "text/event-stream", **headers: str) -> bytes:
    extra = {name.replace("_", "-"): text for name, text in headers.items()}
    return http(200, {"content-type": content_type, "transfer-encoding": "chunked", **extra})


def chunked(*pieces: bytes, end: bool = True) -> bytes:
    """Chunk framing around each piece, and the last chunk."""
    framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece)
    return framed + (b"0\r\n\r\n" if end else b"")


def event(value: Any) -> bytes:
    data = value if isinstance(value, bytes) else compact(value)
    return b"data: " + data + b"\n\n"


def chat_chunk(
    content: str | None, model: str = "m", finish: str | None = None, **extra: Any
) -> bytes:
    """One event of a chat stream; with `content` None an empty delta."""
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": model,
            "choices": [choice],
            **extra,
        }
    )


def usage_chunk(model: str = "m", usage: dict[str, int] | None = None) -> bytes:
    return event(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": model,
            "choices": [],
            "usage": usage or USAGE,
        }
    )


def chat_stream(words: Iterable[str], model: str = "m", usage: bool = False) -> list[bytes]:
    """The events of a whole chat stream, in order, the last one [DONE]."""
    events = [chat_chunk(word, model) for word in words]
    events.append(chat_chunk(None, model, finish="stop"))
    if usage:
        events.append(usage_chunk(model))
    return [*events, DONE]


def chat_answer(content: str = "Hello there.", model: str = "m", **message: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": None, **message},
                "logprobs": None,
                "finish_reason": "tool_calls" if "tool_calls" in message else "stop",
            }
        ],
        "usage": USAGE,
    }


def completion_answer(text: str = "Hello there.", model: str = "m") -> dict[str, Any]:
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1_700_000_000,
        "model": model,
        "choices": [{"text": text, "index": 0, "logprobs": None, "finish_reason": "stop"}],
        "usage": USAGE,
    }


def embeddings_answer(count: int = 1, model: str = "m", size: int = 8) -> dict[str, Any]:
    vector = [round(0.01 * number, 4) for number in range(size)]
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": at, "embedding": vector} for at in range(count)],
        "model": model,
        "usage": {"prompt_tokens": 2 * count, "total_tokens": 2 * count},
    }


def models_answer(models: Iterable[str]) -> dict[str, Any]:
    card = {"object": "model", "created": 1_700_000_000, "owned_by": "test"}
    return {"object": "list", "data": [{"id": model, **card} for model in models]}
