"""The shapes of good answers: models, chats, completions, embeddings, and streams of them.

Law: one function per endpoint and form, each a judge; what a profile adds to a shape stands in
`numbered.py`.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

from levada.probe import answered
from levada.probe.client import Answer, get
from levada.probe.endpoints import Target
from levada.probe.expect import accepted, is_stream, objects, success
from levada.probe.rows import BrokenError, Judge, Promise

FINISHES = ("stop", "length", "tool_calls", "content_filter", "function_call")
COUNTERS = ("prompt_tokens", "completion_tokens", "total_tokens")


def promises(target: Target) -> Iterator[Promise]:
    """The rows of the answers of one endpoint; an endpoint adds its function here."""
    rows = {"chat.completions": _chat_rows, "completions": _text_rows, "embeddings": _vector_rows}
    return rows.get(target.name, answered.promises)(target)


def listing() -> Iterator[Promise]:
    """The rows of the list of models."""
    ask = get("/v1/models")
    yield Promise("models/list", "the list of models has OpenAI's shape", (ask,), models)


def _row(target: Target, place: str, what: str, judge: Judge, **fields: Any) -> Promise:
    ask = target.ask(target.body(**fields))
    return Promise(f"{target.name}/{place}", what, (ask,), judge)


def _chat_rows(target: Target) -> Iterator[Promise]:
    yield _row(target, "answer", "a chat has OpenAI's shape", chat)
    yield from _stream_rows(target, "chat.completion.chunk")
    role = "a streamed chat begins with its role"
    yield _row(target, "stream/role", role, _role, stream=True)


def _text_rows(target: Target) -> Iterator[Promise]:
    yield _row(target, "answer", "a completion has OpenAI's shape", completion)
    yield from _stream_rows(target, "text_completion")


def _vector_rows(target: Target) -> Iterator[Promise]:
    yield _row(
        target, "answer", "an embedding is a list of numbers", lambda one: embeddings(one, 1)
    )
    what = "several inputs give as many embeddings, in their order"
    yield _row(target, "many", what, lambda one: embeddings(one, 2), input=["one", "two"])


def _stream_rows(target: Target, kind: str) -> Iterator[Promise]:
    def plain(answer: Answer) -> None:
        stream(answer, kind, asked=False)

    def counted(answer: Answer) -> None:
        stream(answer, kind, asked=True)

    yield _row(target, "stream", "a stream goes in OpenAI's order", plain, stream=True)
    what = "usage comes in a chunk of its own, last before [DONE], when it is asked for"
    options = {"include_usage": True}
    yield _row(target, "stream/usage", what, counted, stream=True, stream_options=options)


def models(answer: Answer) -> None:
    """An empty list is a list."""
    found = success(answer)
    _object(found, "list")
    for one in objects(found, "data"):
        _object(one, "model")
        _has(one, "id", str)
        _has(one, "created", int)
        _has(one, "owned_by", str)


def chat(answer: Answer) -> None:
    """A whole chat."""
    found = success(answer)
    _head(found, "chat.completion")
    for index, choice in enumerate(_choices(found)):
        _index(choice, index)
        message = choice.get("message")
        if not isinstance(message, dict) or message.get("role") != "assistant":
            raise BrokenError("a choice has no message of an assistant")
        if not isinstance(message.get("content", 0), str | None):
            raise BrokenError("a message has no content, neither text nor null")
        _finish(choice.get("finish_reason"))
    usage(found.get("usage"), COUNTERS)


def completion(answer: Answer) -> None:
    """A whole completion."""
    found = success(answer)
    _head(found, "text_completion")
    for index, choice in enumerate(_choices(found)):
        _index(choice, index)
        _has(choice, "text", str)
        _finish(choice.get("finish_reason"))
    usage(found.get("usage"), COUNTERS)


def embeddings(answer: Answer, count: int) -> None:
    """As many vectors of numbers as there were inputs."""
    found = success(answer)
    _object(found, "list")
    _has(found, "model", str)
    data = objects(found, "data")
    if len(data) != count:
        raise BrokenError(f"there are {len(data)} embeddings for {count} inputs")
    for index, one in enumerate(data):
        _object(one, "embedding")
        _index(one, index)
        if not isinstance(one.get("embedding"), list) or not vector(one["embedding"]):
            raise BrokenError("an embedding is no list of numbers")
    usage(found.get("usage"), ("prompt_tokens", "total_tokens"))


def vector(value: Any) -> list[float]:
    """An embedding as numbers: a list of them, or base64 of little-endian 32-bit ones."""
    try:
        if isinstance(value, str):
            raw = base64.b64decode(value, validate=True)
            return [one for (one,) in struct.iter_unpack("<f", raw)]
        return [float(one) for one in value]
    except (TypeError, ValueError, struct.error):
        raise BrokenError("an embedding is neither numbers nor base64 of them") from None


def usage(found: Any, counters: tuple[str, ...]) -> None:
    """Whole numbers that add up."""
    if not isinstance(found, dict):
        raise BrokenError("there is no usage")
    for name in counters:
        _has(found, name, int)
    if found["total_tokens"] != found["prompt_tokens"] + found.get("completion_tokens", 0):
        raise BrokenError("the counters of usage do not add up")


def chunks(answer: Answer) -> list[dict[str, Any]]:
    """The chunks of a whole stream; what breaks clients is broken here."""
    accepted(answer)
    if not is_stream(answer):
        raise BrokenError("the content type is not text/event-stream")
    if not answer.complete:
        raise BrokenError("the stream broke off")
    said = [_data(block) for block in answer.blocks if not all(line[0] == ":" for line in block)]
    if not said or said[-1] != "[DONE]":
        raise BrokenError("the stream does not end with [DONE]")
    try:
        found = [json.loads(one) for one in said[:-1]]
    except ValueError:
        raise BrokenError("an event before the last is no JSON") from None
    if not found or not all(isinstance(one, dict) for one in found):
        raise BrokenError("the stream has no chunks")
    return found


def stream(answer: Answer, kind: str, *, asked: bool) -> None:
    """Chunks of one answer: deltas, a reason to finish, and usage if it was asked for."""
    found = chunks(answer)
    for name in ("id", "created", "model", "object"):
        if any(one.get(name) != found[0].get(name) for one in found):
            raise BrokenError(f"'{name}' is not the same in all chunks")
    _head(found[0], kind)
    with_choices = [one for one in found if objects(one, "choices")]
    last = [choice.get("finish_reason") for one in with_choices for choice in one["choices"]]
    if not last or last[-1] is None:
        raise BrokenError("no chunk says why it finished")
    _finish(last[-1])
    counted = [one for one in found if one.get("usage") is not None]
    if not asked and counted:
        raise BrokenError("a chunk has usage that nobody asked for")
    if asked and (len(counted) != 1 or counted[0] is not found[-1] or found[-1]["choices"]):
        raise BrokenError("the last chunk before [DONE] is not the only one with usage")
    for one in counted:
        usage(one["usage"], COUNTERS)


def _role(answer: Answer) -> None:
    first = chunks(answer)[0]
    choices = objects(first, "choices")
    delta = choices[0].get("delta") if choices else None
    if not isinstance(delta, dict) or delta.get("role") != "assistant":
        raise BrokenError("the first chunk has no role")


def _data(block: list[str]) -> str:
    """The data of one event. An event without any makes the SDKs fail."""
    lines = [line.partition(":")[2].removeprefix(" ") for line in block if line.startswith("data:")]
    if not any(lines) or any(line.startswith("id") for line in block):
        raise BrokenError(f"an event that clients cannot read: {block}")
    return "\n".join(lines)


def _head(found: dict[str, Any], kind: str) -> None:
    _object(found, kind)
    _has(found, "id", str)
    _has(found, "created", int)
    _has(found, "model", str)


def _object(found: dict[str, Any], kind: str) -> None:
    if found.get("object") != kind:
        raise BrokenError(f"'object' is not '{kind}'")


def _has(found: dict[str, Any], name: str, kind: type) -> None:
    value = found.get(name)
    # A model may say nothing; nothing else is empty.
    if not isinstance(value, kind) or isinstance(value, bool) or (value == "" and name != "text"):
        raise BrokenError(f"'{name}' is not there or of a wrong type")


def _choices(found: dict[str, Any]) -> list[dict[str, Any]]:
    choices = objects(found, "choices")
    if not choices:
        raise BrokenError("there are no choices")
    return choices


def _index(found: dict[str, Any], index: int) -> None:
    if found.get("index") != index:
        raise BrokenError(f"an 'index' is {found.get('index')}, not {index}")


def _finish(reason: Any) -> None:
    if reason not in FINISHES:
        raise BrokenError(f"'finish_reason' is {json.dumps(reason)}, which is none of OpenAI's")
