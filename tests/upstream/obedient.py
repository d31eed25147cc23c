"""What the scripted backend does without a script: it behaves like a good OpenAI-shaped server."""

import json
from typing import Any

from upstream.answers import (
    DONE,
    chat_answer,
    chat_stream,
    chunked,
    completion_answer,
    embeddings_answer,
    error_answer,
    event,
    json_answer,
    stream_head,
)
from upstream.steps import Step, send
from upstream.wire import Request

WORDS = ("Hel", "lo", " there", ".")


def obey(request: Request) -> list[Step]:
    """The steps of a good answer."""
    try:
        asked = json.loads(request.body)
    except ValueError:
        return [send(error_answer(400, "not JSON"))]
    path = request.path.removeprefix("/v1")
    if path == "/chat/completions":
        return chat(asked)
    if path == "/completions":
        return completions(asked)
    if path == "/embeddings":
        inputs = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
        return [send(json_answer(embeddings_answer(len(inputs), asked["model"])))]
    return [send(error_answer(404, "no such path"))]


def chat(asked: dict[str, Any]) -> list[Step]:
    model = asked["model"]
    if asked.get("stream"):
        usage = bool((asked.get("stream_options") or {}).get("include_usage"))
        return streamed(chat_stream(WORDS, model, usage))
    if asked.get("tools"):
        function = {
            "name": asked["tools"][0]["function"]["name"],
            "arguments": '{"city":"Funchal"}',
        }
        call = {"id": "call_1", "type": "function", "function": function}
        return [send(json_answer(chat_answer("", model, tool_calls=[call])))]
    if (asked.get("response_format") or {}).get("type") == "json_schema":
        return [send(json_answer(chat_answer('{"name":"Ann","age":37}', model)))]
    return [send(json_answer(chat_answer("".join(WORDS), model)))]


def completions(asked: dict[str, Any]) -> list[Step]:
    answer = completion_answer("".join(WORDS), asked["model"])
    if not asked.get("stream"):
        return [send(json_answer(answer))]
    events = []
    for at, word in enumerate(WORDS):
        finish = "stop" if at == len(WORDS) - 1 else None
        choice = {"text": word, "index": 0, "logprobs": None, "finish_reason": finish}
        events.append(event({**answer, "choices": [choice], "usage": None}))
    return streamed([*events, DONE])


def streamed(events: list[bytes]) -> list[Step]:
    """A head, then each event in a chunk and a write of its own."""
    return [
        send(stream_head()),
        *(send(chunked(one, end=False)) for one in events),
        send(chunked()),
    ]
