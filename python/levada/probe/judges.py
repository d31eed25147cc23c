"""The judges of the numbered promises: what only one provider says of its answers.

Pure; each is named for what it asks of an answer.
"""

from __future__ import annotations

import json
import struct
from typing import Any

from levada.probe.client import Answer
from levada.probe.expect import body_of, error, is_stream, objects, success
from levada.probe.rows import BrokenError, Judge, UntestableError
from levada.probe.shapes import chunks, vector
from levada.profiles import Profile

CACHE = ("cache_read_input_tokens", "cache_creation_input_tokens")


def first(answer: Answer) -> dict[str, Any]:
    """The first choice of a chat."""
    choices = objects(success(answer), "choices")
    if not choices:
        raise BrokenError("there are no choices")
    return choices[0]


def calls(choice: dict[str, Any], part: str) -> list[dict[str, Any]]:
    """The tool calls in a message or a delta."""
    said = choice.get(part)
    if not isinstance(said, dict):
        raise BrokenError(f"a choice has no {part}")
    return objects(said, "tool_calls") if said.get("tool_calls") else []


def indexes(count: int) -> Judge:
    """As many choices as were asked for, in their order."""

    def judge(answer: Answer) -> None:
        found = [one.get("index") for one in objects(success(answer), "choices")]
        if found != list(range(count)):
            raise BrokenError(f"the indexes are {found}, not those of {count} choices")

    return judge


def one_call(answer: Answer) -> None:
    """At most one tool call, whole or streamed."""
    if is_stream(answer):
        deltas = [one for chunk in chunks(answer) for one in objects(chunk, "choices")]
        found = len({str(one.get("index")) for each in deltas for one in calls(each, "delta")})
    else:
        found = len(calls(first(answer), "message"))
    if found > 1:
        raise BrokenError(f"there are {found} tool calls")
    if not found:
        raise UntestableError("the model has called no tool")


def called(answer: Answer) -> None:
    """A tool call was forced, and came. A model that writes on till its limit may have meant to."""
    choice = first(answer)
    if not calls(choice, "message"):
        if choice.get("finish_reason") == "length":
            raise UntestableError("the model wrote to its limit of tokens and called no tool")
        raise BrokenError("no tool was called, though one had to be")


def person(answer: Answer) -> None:
    """The content is an object of a name and an age, and nothing else."""
    choice = first(answer)
    if choice.get("finish_reason") == "length":
        raise UntestableError("the answer was cut at its limit of tokens")
    try:
        found = json.loads(choice["message"]["content"])
    except (ValueError, TypeError, KeyError):
        raise BrokenError("the content is no JSON") from None
    if not isinstance(found, dict) or set(found) != {"name", "age"}:
        raise BrokenError("the content does not fit the schema")
    if not isinstance(found["name"], str) or not isinstance(found["age"], int):
        raise BrokenError("the content does not fit the schema")


def at_most(count: int) -> Judge:
    """An answer of so many tokens."""

    def judge(answer: Answer) -> None:
        usage = success(answer).get("usage")
        found = usage.get("completion_tokens") if isinstance(usage, dict) else None
        if not isinstance(found, int) or found > count:
            raise BrokenError(f"completion_tokens is {found!r}, not at most {count}")

    return judge


def overflow(profile: Profile, *, flat: bool) -> Judge:
    """A prompt and an answer beyond the context, in OpenAI's words; `flat`: in vLLM's form."""

    def judge(answer: Answer) -> None:
        if answer.status == 200:
            raise UntestableError("the engine does not refuse an answer longer than its context")
        if flat:
            said = body_of(answer)
            wanted = {"object": "error", "param": "messages", "code": 400}
            if not isinstance(said, dict) or not wanted.items() <= said.items():
                raise BrokenError("the body is not flat")
            return
        found = error(profile, answer, 400)
        if (found["param"], found["code"]) != ("messages", "context_length_exceeded"):
            raise BrokenError(
                f"'param' and 'code' are {found['param']!r} and {found['code']!r}, not 'messages' "
                "and 'context_length_exceeded'"
            )

    return judge


def no_models(answer: Answer) -> None:
    """An empty list is legal."""
    if success(answer).get("data"):
        raise UntestableError("there are models")


def dimensions(count: int, profile: Profile) -> Judge:
    """Obeyed, or refused by name."""

    def judge(answer: Answer) -> None:
        if answer.status != 200:
            if error(profile, answer, 400)["param"] != "dimensions":
                raise BrokenError("'dimensions' is refused, but not by its name")
        elif len(vector(_vector(answer))) != count:
            raise BrokenError("'dimensions' is neither obeyed nor refused")

    return judge


def same_vector(floats: Answer, encoded: Answer) -> None:
    """Numbers unless base64 is asked for, and then the same ones."""
    plain, text = _vector(floats), _vector(encoded)
    if not isinstance(plain, list):
        raise BrokenError("without an encoding_format the embedding is no list of numbers")
    if not isinstance(text, str):
        raise BrokenError("with an encoding_format of base64 the embedding is no text")
    rounded = [struct.unpack("<f", struct.pack("<f", one))[0] for one in vector(plain)]
    # An engine may run twice: the same but for the last digits.
    if len(rounded) != len(vector(text)) or any(
        abs(one - other) > 1e-3 for one, other in zip(rounded, vector(text), strict=True)
    ):
        raise BrokenError("base64 holds other numbers")


def readable(answer: Answer) -> None:
    """An embedding as any client reads it: numbers, or base64 of them."""
    if not vector(_vector(answer)):
        raise BrokenError("the embedding is empty")


def _vector(answer: Answer) -> Any:
    data = objects(success(answer), "data")
    if not data:
        raise BrokenError("there is no embedding")
    return data[0].get("embedding")


def counters(answer: Answer) -> None:
    """FlexAI's cache counters, flat in usage."""
    usage = (chunks(answer)[-1] if is_stream(answer) else success(answer)).get("usage")
    if not isinstance(usage, dict):
        raise BrokenError("there is no usage")
    lacking = [name for name in CACHE if not isinstance(usage.get(name), int)]
    if lacking:
        raise BrokenError(f"usage has no {lacking[0]}")


def fingerprint(*, there: bool) -> Judge:
    """Whether an answer, or each chunk of one, has the key `system_fingerprint`."""

    def judge(answer: Answer) -> None:
        for one in chunks(answer) if is_stream(answer) else [success(answer)]:
            if ("system_fingerprint" in one) != there:
                raise BrokenError(f"system_fingerprint is {'not ' if there else ''}there")

    return judge


def categories(answer: Answer) -> None:
    """Each model says what it is for."""
    known = "text code reasoning multimodal embedding image audio video".split()
    for one in objects(success(answer), "data"):
        if one.get("category") not in known:
            raise BrokenError(f"the category of '{one.get('id')}' is {one.get('category')!r}")


def closed_to_browsers(answer: Answer) -> None:
    """No page of any origin may read an answer."""
    if answer.header("access-control-allow-origin") == "*":
        raise BrokenError("access-control-allow-origin is *")


def enforced_or_named(profile: Profile) -> Judge:
    """JSON, or a refusal that names the field."""

    def judge(answer: Answer) -> None:
        if answer.status == 200:
            body_of(answer)
        elif "response_format" not in str(error(profile, answer, 400)):
            raise BrokenError("the refusal does not name 'response_format'")

    return judge
