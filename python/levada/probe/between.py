"""The checks between fields, as promises: each by the name that a profile gives it.

Law: a check that a profile may name has its rows here, or is reported as not testable.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from levada.probe.client import Answer
from levada.probe.endpoints import SAY_HELLO, TOOL, Target
from levada.probe.expect import accepted, error, refused
from levada.probe.rows import BrokenError, Judge, Promise
from levada.profiles import Profile

CALL = {
    "id": "call_x",
    "type": "function",
    "function": {"name": "get_weather", "arguments": "{}"},
}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
REPLY = {"role": "tool", "tool_call_id": "call_x", "content": "{}"}
AS_JSON = [{"role": "user", "content": "Say hello in JSON."}]
JSON_OBJECT = {"type": "json_object"}
# Why some checks have no rows.
UNSEEN = {"images": "the probe cannot know which models see no images"}


def promises(profile: Profile, checks: list[str], target: Target) -> Iterator[Promise]:
    """The rows of the checks that the profile names for this endpoint."""
    for check in checks:
        rows = _rows(profile, check)
        for what, fields, judge in rows:
            ask = target.ask(target.body(**fields))
            yield Promise(f"{target.name}/check/{check}", what, (ask,), judge)
        if not rows:
            why = UNSEEN.get(check, "the probe does not know this check")
            yield Promise(f"{target.name}/check/{check}", f"the check '{check}'", why=why)


def _rows(profile: Profile, check: str) -> list[tuple[str, dict[str, Any], Judge]]:
    """What, the fields of the request, and the judge."""

    def no(param: str) -> Judge:
        return refused(profile, param, None, names=param.partition(".")[0])

    rows: dict[str, list[tuple[str, dict[str, Any], Judge]]] = {
        "stream_options": [
            (
                "'stream_options' without 'stream' is refused",
                {"stream_options": {"include_usage": True}},
                no("stream_options"),
            )
        ],
        "top_logprobs": [
            (
                "'top_logprobs' without 'logprobs' is refused",
                {"top_logprobs": 2},
                no("top_logprobs"),
            ),
            (
                "more than 20 'top_logprobs' are refused",
                {"logprobs": True, "top_logprobs": 21},
                no("top_logprobs"),
            ),
        ],
        "tool_choice": [
            (
                "'tool_choice' without 'tools' is refused",
                {"tool_choice": "auto"},
                no("tool_choice"),
            ),
            (
                "'tool_choice' with 'tools' is accepted",
                {"tool_choice": "auto", "tools": [TOOL]},
                accepted,
            ),
        ],
        "json_word": [
            ("JSON without the word is refused", {"response_format": JSON_OBJECT}, no("messages")),
            (
                "JSON with the word is accepted",
                {"response_format": JSON_OBJECT, "messages": AS_JSON},
                accepted,
            ),
        ],
        "tool_replies": [
            (
                "a tool message that answers no call is refused",
                {"messages": [*SAY_HELLO, REPLY]},
                refused(profile, "messages.[1].role", None, names="tool"),
            ),
            (
                "a tool call without its answer is refused",
                {"messages": [*SAY_HELLO, CALLED, *SAY_HELLO]},
                _unanswered(profile),
            ),
            (
                "a tool call with its answer is accepted",
                {"messages": [*SAY_HELLO, CALLED, REPLY]},
                accepted,
            ),
        ],
    }
    return rows.get(check, [])


def _unanswered(profile: Profile) -> Judge:
    """The exact form of this path is not known: it leads into the messages."""

    def judge(*answers: Answer) -> None:
        found = error(profile, answers[-1], 400)
        if not str(found["param"]).startswith("messages"):
            raise BrokenError(f"'param' is {found['param']!r}, which leads to no message")
        if CALL["id"] not in found["message"]:
            raise BrokenError(f"the message does not name '{CALL['id']}'")

    return judge
