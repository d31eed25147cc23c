"""A model that repeats what it is told, on the scripted backend: the same answer to the same
request, and every shape of answer that a judge asks for.

It calls a tool when it is given one, obeys a JSON schema, and refuses what is no request.
"""

import base64
import json
import re
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from upstream import DONE, Request, ScriptedBackend, chunked, event, json_answer, send, stream_head
from upstream.steps import Step, pause

from conformance.suite import Address, Backend

MODEL = "echo"
VECTOR = (0.25, -0.5, 0.125, 1.0)
SAID_SECONDS = 1_700_000_000
TOKEN_SECONDS = 0.01  # between two events, as of a quick model


@contextmanager
def echo() -> Iterator[Backend]:
    with ScriptedBackend(models=[MODEL]) as backend:
        backend.every = answer
        yield Backend(Address(backend.url, MODEL))


def answer(request: Request) -> list[Step]:
    try:
        asked = json.loads(request.body)
        reply = REPLIES[request.path]
        if asked["model"] != MODEL:
            return refuse(404, f"The model `{asked['model']}` does not exist", "model_not_found")
        return reply(asked)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        return refuse(400, f"not a request: {error!r}", None)


def refuse(status: int, message: str, code: str | None) -> list[Step]:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return [send(json_answer({"error": error}, status))]


def embeddings(asked: dict[str, Any]) -> list[Step]:
    inputs = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
    packed = base64.b64encode(struct.pack(f"<{len(VECTOR)}f", *VECTOR)).decode()
    vector = packed if asked.get("encoding_format") == "base64" else VECTOR
    data = [{"object": "embedding", "index": at, "embedding": vector} for at in range(len(inputs))]
    usage = {"prompt_tokens": len(inputs), "total_tokens": len(inputs)}
    return [send(json_answer({"object": "list", "data": data, "model": MODEL, "usage": usage}))]


def completions(asked: dict[str, Any]) -> list[Step]:
    prompt = asked["prompt"] if isinstance(asked["prompt"], list) else [asked["prompt"]]
    words, finish = bounded(asked, str(prompt[0]))
    usage = counted(len(words), len(words))

    def part(text: str, end: str | None) -> dict[str, Any]:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": end}
        return whole("text_completion", [choice], usage)

    if asked.get("stream"):
        return streamed([*(part(word, None) for word in words), part("", finish)])
    return [send(json_answer(part("".join(words), finish)))]


def chat(asked: dict[str, Any]) -> list[Step]:
    told = text(asked["messages"][-1]["content"])
    calls = tool_calls(asked, told)
    words, finish = ([], "tool_calls") if calls else bounded(asked, content(asked, told))
    usage = counted(len(told.split()), len(words))
    if asked.get("stream"):
        return streamed(chunks(asked, words, calls, finish, usage))
    message: dict[str, Any] = {"role": "assistant", "content": None if calls else "".join(words)}
    message |= {"refusal": None, "annotations": []} | ({"tool_calls": calls} if calls else {})
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    return [send(json_answer(whole("chat.completion", [choice], usage)))]


def counted(read: int, said: int) -> dict[str, int]:
    """Usage, of which there is always some."""
    read, said = max(1, read), max(1, said)
    return {"prompt_tokens": read, "completion_tokens": said, "total_tokens": read + said}


def whole(kind: str, choices: list[dict[str, Any]], usage: dict[str, int] | None) -> dict[str, Any]:
    stamp = {"id": "chatcmpl-echo", "object": kind, "created": SAID_SECONDS, "model": MODEL}
    return {**stamp, "choices": choices, "usage": usage}


def chunks(
    asked: dict[str, Any],
    words: list[str],
    calls: list[dict[str, Any]],
    finish: str,
    usage: dict[str, int],
) -> Iterator[dict[str, Any]]:
    """The stream of the same answer: a name before its arguments, the usage last if asked for."""

    def chunk(delta: dict[str, Any], end: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": end}
        return whole("chat.completion.chunk", [choice], None)

    yield chunk({"role": "assistant", "content": None if calls else ""})
    yield from (chunk({"content": word}) for word in words)
    for at, call in enumerate(calls):
        arguments = call["function"]["arguments"]
        named = {**call, "index": at, "function": {**call["function"], "arguments": ""}}
        yield chunk({"tool_calls": [named]})
        for part in (arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :]):
            yield chunk({"tool_calls": [{"index": at, "function": {"arguments": part}}]})
    yield chunk({}, finish)
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield whole("chat.completion.chunk", [], usage)


def streamed(values: Iterable[dict[str, Any]]) -> list[Step]:
    steps = [send(stream_head())]
    for value in values:
        steps += [send(chunked(event(value), end=False)), pause(TOKEN_SECONDS)]
    return [*steps, send(chunked(DONE))]


def text(content: str | list[dict[str, Any]] | None) -> str:
    """What a message says: its text, or the text of its parts."""
    if isinstance(content, list):
        return " ".join(part["text"] for part in content if part["type"] == "text")
    return content or "nothing"


def content(asked: dict[str, Any], told: str) -> str:
    wanted = asked.get("response_format") or {"type": "text"}
    if wanted["type"] == "json_schema":
        return compact(instance(wanted["json_schema"]["schema"], told))
    if wanted["type"] == "json_object":  # the keys are what stands in quotes
        return compact(dict.fromkeys(re.findall(r"'(\w+)'", told), told))
    return told


def bounded(asked: dict[str, Any], said: str) -> tuple[list[str], str]:
    """The words within the most that are wanted, and why they end."""
    words = re.findall(r"\s*\S+\s*?", said)
    most = asked.get("max_completion_tokens") or asked.get("max_tokens") or len(words)
    return words[:most], "stop" if most >= len(words) else "length"


def tool_calls(asked: dict[str, Any], told: str) -> list[dict[str, Any]]:
    """The tool that is named, else the first, else all if they may be called side by side. None
    after a tool's answer, and none if it is forbidden.
    """
    choice = asked.get("tool_choice", "auto")
    offered = asked.get("tools") or []
    if choice == "none" or (choice == "auto" and asked["messages"][-1]["role"] == "tool"):
        return []
    if isinstance(choice, dict):
        name = choice["function"]["name"]
        offered = [tool for tool in offered if tool["function"]["name"] == name]
    elif not asked.get("parallel_tool_calls"):
        offered = offered[:1]
    return [tool_call(at, tool["function"], told) for at, tool in enumerate(offered)]


def tool_call(at: int, function: dict[str, Any], told: str) -> dict[str, Any]:
    arguments = compact(instance(function.get("parameters") or {"type": "object"}, told))
    called = {"name": function["name"], "arguments": arguments}
    return {"id": f"call_{at}", "type": "function", "function": called}


def instance(schema: dict[str, Any], told: str) -> Any:
    """A value of the schema: numbers and texts are those that it was told."""
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return instance(schema["anyOf"][0], told)
    kind = schema.get("type", "string")
    number = int((re.findall(r"\d+", told) or ["1"])[0])
    if kind == "object":
        members = schema.get("properties", {})
        return {name: instance(member, told) for name, member in members.items()}
    if kind == "array":
        return [instance(schema.get("items", {}), told)]
    return {"integer": number, "number": number, "boolean": True, "null": None}.get(kind, told)


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


REPLIES = {
    "/v1/chat/completions": chat,
    "/v1/completions": completions,
    "/v1/embeddings": embeddings,
}
