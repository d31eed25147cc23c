"""The shapes of the answers beyond the first endpoints: as the table `answers.json` has them, and
streams of typed events.

Law: pure; what clients rely on and nothing else. What is in an answer is the model's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from levada.probe.client import Answer
from levada.probe.endpoints import Target
from levada.probe.expect import accepted, body_of, is_stream
from levada.probe.rows import BrokenError, Judge, Promise
from levada.profiles import answers

KINDS: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}
# How a stream begins, and how it may end: by endpoint.
ENDS = {
    "responses": (
        "response.created",
        ("response.completed", "response.incomplete", "response.failed"),
    ),
    "messages": ("message_start", ("message_stop",)),
}


def promises(target: Target) -> Iterator[Promise]:
    """The rows of the answers of one endpoint."""
    known = answers.answer(target.name)
    judge = whole(known.whole) if known.media == answers.JSON else sound
    place = f"{target.name}/answer"
    yield Promise(place, f"an answer is {known.whole}", (target.ask(target.body()),), judge)
    if target.name in ENDS:
        first, last = ENDS[target.name]
        what = f"a stream goes from {first} to its last event"
        ask = target.ask(target.body(stream=True))
        yield Promise(f"{target.name}/stream", what, (ask,), stream(first, last))


def whole(name: str) -> Judge:
    """A 200 of this shape."""

    def judge(answer: Answer) -> None:
        accepted(answer)
        fit(answers.schemas()[name], body_of(answer), "the answer")

    return judge


def sound(answer: Answer) -> None:
    """Bytes of sound, or their stream."""
    accepted(answer)
    kind = answer.header("content-type") or ""
    if not kind.startswith(("audio/", "application/octet-stream")) or not answer.body:
        raise BrokenError(f"the content type is '{kind}', which is no sound")


def fit(schema: dict[str, Any], value: Any, place: str) -> None:
    """BrokenError where the value is not of the shape."""
    if "$ref" in schema:
        fit(answers.schemas()[schema["$ref"].rpartition("/")[2]], value, place)
    elif "anyOf" in schema:
        _any(schema["anyOf"], value, place)
    else:
        _fit(schema, value, place)


def _any(forms: list[dict[str, Any]], value: Any, place: str) -> None:
    *others, last = forms
    for form in others:
        try:
            fit(form, value, place)
        except BrokenError:
            continue
        return
    fit(last, value, place)


def _fit(schema: dict[str, Any], value: Any, place: str) -> None:
    if "const" in schema and value != schema["const"]:
        raise BrokenError(f"{place} is not '{schema['const']}'")
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(kind, value) for kind in kinds):
        raise BrokenError(f"{place} is no {' or '.join(kinds)}")
    if isinstance(value, dict):
        for name in schema.get("required", ()):
            if name not in value:
                raise BrokenError(f"{place} has no '{name}'")
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                fit(inner, value[name], f"'{name}'")
    for one in value if isinstance(value, list) else ():
        fit(schema.get("items", {}), one, f"one of {place}")


def _is(kind: str, value: Any) -> bool:
    return isinstance(value, KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool))


def stream(first: str, last: tuple[str, ...]) -> Judge:
    """A stream of typed events, whole and in order."""

    def judge(answer: Answer) -> None:
        accepted(answer)
        if not is_stream(answer):
            raise BrokenError("the content type is not text/event-stream")
        if not answer.complete:
            raise BrokenError("the stream broke off")
        blocks = [one for one in answer.blocks if any(line[0] != ":" for line in one)]
        found = [_event(block) for block in blocks]
        kinds = [one["type"] for one in found]
        if not kinds or kinds[0] != first or kinds[-1] not in last:
            raise BrokenError(f"the events go from {kinds[:1]} to {kinds[-1:]}")
        numbers = [one["sequence_number"] for one in found if "sequence_number" in one]
        if numbers and numbers != list(range(len(found))):
            raise BrokenError("'sequence_number' does not count the events")

    return judge


def _event(block: list[str]) -> dict[str, Any]:
    """The data of one event, whose name is its type."""
    said = {name: text.removeprefix(" ") for name, _, text in (one.partition(":") for one in block)}
    try:
        data = json.loads(said.get("data", ""))
    except ValueError:
        raise BrokenError(f"an event is no JSON: {block}") from None
    if not isinstance(data, dict) or not data.get("type") or data["type"] != said.get("event"):
        raise BrokenError(f"an event is not named for its type: {block}")
    return data
