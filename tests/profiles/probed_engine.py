"""An engine behind a probed Levada: as good as vLLM, and as rude as it, where a profile promises to
hide that. What it says of system_fingerprint is the opposite of what the profile wants.
"""

import base64
import json
import struct
from collections.abc import Callable
from typing import Any

from upstream.answers import (
    DONE,
    chat_answer,
    chat_chunk,
    completion_answer,
    embeddings_answer,
    event,
    http,
    json_answer,
    usage_chunk,
)
from upstream.obedient import streamed
from upstream.right_answers import media, right, typed
from upstream.steps import Step, send
from upstream.wire import Request

FIRST = ("/chat/completions", "/completions", "/embeddings")
VOCABULARY = 32_000
CONTEXT = 32_768
FINGERPRINT = {"system_fingerprint": "fp_engine"}


def engine(profile: str) -> Callable[[Request], list[Step]]:
    """The script of a backend."""

    def script(request: Request) -> list[Step]:
        path = request.path.removeprefix("/v1")
        if path not in FIRST:
            return other(path, request.body)
        asked = json.loads(request.body)
        hidden = profile != "ionos"
        if path == "/embeddings":
            return [send(json_answer(vectors(asked)))]
        if path == "/completions":
            return completions(asked, {} if hidden else FINGERPRINT)
        return chat(asked, FINGERPRINT if hidden else {})

    return script


def other(path: str, body: bytes) -> list[Step]:
    """The endpoints beside the first; tokens are at the root."""
    name = path.strip("/").replace("/", ".")
    if b'"stream": true' in body:
        events = (f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in typed(name, "m"))
        return streamed([one.encode() for one in events])
    answer = right(name, "m")
    said = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
    return [send(http(200, {"content-type": media(name)}, said))]


def refusal(message: str) -> list[Step]:
    """A 400 in vLLM's form."""
    error = {"message": message, "type": "BadRequestError", "param": None, "code": 400}
    return [send(json_answer({"error": error}, 400))]


def chat(asked: dict[str, Any], extra: dict[str, Any]) -> list[Step]:
    if any(int(token) >= VOCABULARY for token in asked.get("logit_bias") or ()):
        words = "token_id(s) [99999999] in logit_bias contain out-of-vocab token ids. "
        return refusal(f"{words}Vocabulary size: {VOCABULARY}")
    if (asked.get("max_tokens") or 0) > CONTEXT:
        return refusal(
            f"This model's maximum context length is {CONTEXT} tokens. However, you requested "
            f"{asked['max_tokens']} tokens."
        )
    tools = tool_calls() if asked.get("tools") and asked.get("tool_choice") != "none" else []
    if asked.get("stream"):
        return streamed([*chunks(asked, tools, extra), DONE])
    message = {"tool_calls": tools} if tools else {}
    answer = chat_answer(content(asked), asked["model"], **message)
    choice = answer["choices"][0]
    answer["choices"] = [{**choice, "index": at} for at in range(asked.get("n") or 1)]
    return [send(json_answer({**answer, **extra}))]


def content(asked: dict[str, Any]) -> str:
    form = (asked.get("response_format") or {}).get("type")
    return '{"name":"Ann","age":37}' if form == "json_schema" else "Hello there."


def tool_calls() -> list[dict[str, Any]]:
    """Two of them, whatever was asked for."""
    function = {"name": "get_weather", "arguments": '{"location":"Funchal"}'}
    return [
        {"index": at, "id": f"call_{at}", "type": "function", "function": function}
        for at in range(2)
    ]


def chunks(
    asked: dict[str, Any], tools: list[dict[str, Any]], extra: dict[str, Any]
) -> list[bytes]:
    model = asked["model"]
    first = json.loads(chat_chunk("", model, **extra).removeprefix(b"data: "))
    first["choices"][0]["delta"] = {"role": "assistant", "content": ""}
    events = [event(first)]
    for one in tools:
        first["choices"][0]["delta"] = {"tool_calls": [one]}
        events.append(event(first))
    events += [chat_chunk(word, model, **extra) for word in ("Hel", "lo")]
    events.append(chat_chunk(None, model, "tool_calls" if tools else "stop", **extra))
    counted = (asked.get("stream_options") or {}).get("include_usage")
    return [*events, usage_chunk(model)] if counted else events


def completions(asked: dict[str, Any], extra: dict[str, Any]) -> list[Step]:
    answer = {**completion_answer("Hello.", asked["model"]), **extra}
    if not asked.get("stream"):
        return [send(json_answer(answer))]
    chunk = {key: value for key, value in answer.items() if key != "usage"}
    events = [event(chunk)]
    if (asked.get("stream_options") or {}).get("include_usage"):
        events.append(event({**answer, "choices": []}))
    return streamed([*events, DONE])


def vectors(asked: dict[str, Any]) -> dict[str, Any]:
    inputs = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
    answer = embeddings_answer(len(inputs), asked["model"], asked.get("dimensions") or 8)
    if asked.get("encoding_format") == "base64":
        for one in answer["data"]:
            packed = struct.pack(f"<{len(one['embedding'])}f", *one["embedding"])
            one["embedding"] = base64.b64encode(packed).decode()
    return answer
