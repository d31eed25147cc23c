"""All that there is to tell of a profile, before anybody decides how it looks.

Pure. Made of the document that the engine checks requests with, so neither can be right without
the other. Texts are plain; names and values in them stand between backticks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from levada.profiles import answers
from levada.profiles.errors import Example, examples, statuses
from levada.profiles.reading import Schema, forms, inner, kinds, ranges

# Of OpenAI's API, and served by no profile.
ELSEWHERE = (
    ("assistants", "Assistants"),
    ("threads", "Threads and runs"),
    ("batches", "Batches"),
    ("files", "Files"),
    ("fine_tuning.jobs", "Fine-tuning"),
)
CHECKS = {
    "stream_options": "`stream_options` only with `stream: true`",
    "top_logprobs": "`top_logprobs` only with `logprobs: true`, and at most 20",
    "tool_choice": "`tool_choice` only with `tools`, unless it is `none`",
    "json_word": "`response_format` of type `json_object` only if a message speaks of JSON",
    "tool_replies": "each tool call of an assistant's message is answered by a tool message",
    "images": "images only for a model that is not known to see none",
}
UNKNOWN = {"forward": "passed on unchecked", "drop": "taken out", "reject": "refused"}
HEADERS = (
    ("x-request-id", "on every answer: the request's own, or a new one"),
    ("openai-processing-ms", "how long it took until the answer began"),
    ("content-type", "`application/json`; of a stream `text/event-stream`"),
    ("cache-control", "`no-store`"),
    ("x-content-type-options", "`nosniff`"),
    ("www-authenticate", "`Bearer`, with a 401"),
    ("allow", "the methods that the path has, with a 405"),
    ("retry-after", "seconds to wait, with a 429 or a 503"),
)


FINGERPRINTS = {"ensure": "always", "remove": "never"}
FALLBACKS = {
    "json_object": "becomes `json_object`, and `x-levada-response-format` says so",
    "reject": "is refused",
}


class Fate(StrEnum):
    """What becomes of a parameter."""

    CHECKED = "checked"
    PASSED = "passed on"
    IGNORED = "ignored"
    REFUSED = "refused"


MEANINGS = {
    Fate.CHECKED: "its type and range are checked, then it goes to the model",
    Fate.PASSED: "it goes to the model as it is; the model server decides",
    Fate.IGNORED: "accepted without any effect",
    Fate.REFUSED: "answered with an error",
}
FATES = {
    "validate": Fate.CHECKED,
    "off": Fate.CHECKED,
    "map": Fate.CHECKED,
    "forward": Fate.PASSED,
    "ignore": Fate.IGNORED,
    "reject": Fate.REFUSED,
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One field of a body."""

    name: str
    kinds: str
    required: bool
    fate: Fate
    range: str
    note: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path; without parameters where it takes no body."""

    method: str
    path: str
    offered: bool
    note: str
    parameters: tuple[Parameter, ...] = ()
    checks: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """A profile, told."""

    name: str
    version: str
    endpoints: tuple[Endpoint, ...]
    streaming: tuple[str, ...]
    rates: tuple[str, ...]
    statuses: list[tuple[int, str, str]]
    examples: list[Example]
    unknown: str
    denied: tuple[str, ...]
    null: str
    bases: tuple[str, ...]
    """What stands before the paths; the first is the one that is shown."""


def facts(made: Mapping[str, Any], version: str, model: str = "MODEL") -> Facts:
    """What the compiled profile `made` promises; examples name `model`."""
    offered = {name: rules for name, rules in made["endpoints"].items() if rules}
    policies = {rules["unknown"] for rules in offered.values()}
    return Facts(
        name=made["name"],
        version=version,
        endpoints=tuple(_endpoints(made, offered)),
        streaming=tuple(_streaming(made, offered)),
        rates=tuple(_rates(made)),
        statuses=statuses(made),
        examples=examples(made, model),
        unknown=", or ".join(UNKNOWN[one] for one in sorted(policies)),
        denied=tuple(made["denied"]),
        null="a value, and refused where the type has none"
        if made["null_counts"]
        else "an omission",
        bases=tuple(made["base_paths"]),
    )


def _endpoints(made: Mapping[str, Any], offered: Mapping[str, Any]) -> Iterator[Endpoint]:
    """Those that are offered first."""
    models = "The models that are served now" if made.get("lists_live") else "All models"
    models += ", each with its `category`" if made.get("lists_category") else ""
    base = made["base_paths"][0]
    yield Endpoint("GET", f"{base}/models", True, models)
    yield Endpoint("GET", f"{base}/models/{{model}}", True, "One model")
    known = list(dict.fromkeys([*answers.names(), *offered]))
    for name in [one for one in known if one in offered]:
        rules, answer = offered[name], answers.answer(name)
        note = answer.title + ("; can be streamed" if _streams(rules) else "")
        checks = tuple(CHECKS.get(one, one) for one in rules["checks"])
        answered = tuple(_answered(made, rules))
        parameters = tuple(_parameters(rules))
        path = answers.path(name, base)
        yield Endpoint("POST", path, True, note, parameters, checks, answered, name)
    absent = [(one, answers.answer(one).title) for one in known if one not in offered]
    for name, title in (*absent, *ELSEWHERE):
        yield Endpoint("POST", answers.path(name, base), False, title)


def _parameters(rules: dict[str, Any]) -> Iterator[Parameter]:
    """In the order in which their failures are reported."""
    schema: Schema = rules["schema"]
    actions = {one["field"]: one for one in rules["actions"]}
    for name in dict.fromkeys([*rules["order"], *schema["properties"]]):
        field, action = schema["properties"][name], actions.get(name, {"do": "validate"})
        fate = FATES[action["do"]]
        checked, within = fate is Fate.CHECKED, inner(schema, field, name)
        yield Parameter(
            name=name,
            kinds=kinds(schema, field),
            required=name in schema["required"],
            fate=fate,
            range="; ".join(ranges(schema, field)) if checked else "",
            note="; ".join(dict.fromkeys([*_of(action), *(within if checked else ())])),
        )


def _of(action: dict[str, Any]) -> Iterator[str]:
    """What an action says beyond its fate."""
    if action["do"] == "off":
        yield f"`{action['value']:g}` means off"
    if action["do"] == "map":
        pairs = zip(action["from"], action["to"], strict=True)
        yield from (f"`{json.loads(one)}` is passed on as `{json.loads(to)}`" for one, to in pairs)
    if action["do"] == "reject":
        passes = " or ".join(f"`{one}`" for one in action["except"])
        yield f"only {passes} passes; else \u201c{action['message'].replace('{value}', '…')}\u201d"


def _answered(made: Mapping[str, Any], rules: dict[str, Any]) -> Iterator[str]:
    """What the profile does to answers."""
    fingerprint = FINGERPRINTS.get(rules.get("fingerprint", ""))
    if fingerprint:
        yield f"`system_fingerprint` is {fingerprint} there"
    if rules.get("cache_counters"):
        yield "`usage` always has `cache_read_input_tokens` and `cache_creation_input_tokens`"
    if rules.get("both_reasonings"):
        yield "what a model thinks is told as `reasoning_content` and as `reasoning`"
    if rules.get("default_max_tokens"):
        most = rules["default_max_tokens"]
        yield f"an answer has at most {most} tokens, unless the request has a limit of its own"
    schema: Schema = rules["schema"]
    form = forms(schema, schema["properties"].get("response_format", {}))
    fallback = FALLBACKS.get(made.get("schema_fallback", ""))
    if fallback and any(one.get("type") == "object" for one in form):
        yield f"a JSON Schema asked of a model that keeps to none {fallback}"


SHARED = {
    "per_key": "each key",
    "per_project": "the keys of a project together",
    "per_contract": "the keys of a contract together",
}
RESETS = {"openai": "the time until", "flexai": "the time, in seconds since 1970, when"}


def _rates(made: Mapping[str, Any]) -> Iterator[str]:
    """How often callers may ask."""
    rate = made["rate"]
    for window in rate["windows"]:
        most, burst = window["requests"], window["burst"] or 0
        where = ", ".join(f"`{answers.path(name)}`" for name in window["endpoints"])
        yield (
            f"{most} requests in {window['per_ms'] / 1000:g} seconds"
            + (f", {burst} at once after a rest" if burst > most else "")
            + (f", at {where}" if where else "")
            + f": {SHARED[rate['unit']]}."
        )
    if not rate["windows"]:
        yield "As often as they like, unless a key has a limit of its own."
    if rate["headers"] != "none":
        yield (
            "Answers tell the limit in `x-ratelimit-limit-requests`, what is left of it in "
            f"`x-ratelimit-remaining-requests`, and {RESETS[rate['headers']]} all of it is back in "
            "`x-ratelimit-reset-requests`."
        )


def _streams(rules: dict[str, Any]) -> bool:
    return "stream" in rules["schema"]["properties"]


def _streaming(made: Mapping[str, Any], offered: Mapping[str, Any]) -> Iterator[str]:
    streamed = [name for name, rules in offered.items() if _streams(rules)]
    if not streamed:
        yield "Nothing is streamed."
        return

    def paths(names: list[str]) -> str:
        return ", ".join(f"`{answers.path(name, made['base_paths'][0])}`" for name in names)

    yield f"With `stream: true` the answer comes as server-sent events: {paths(streamed)}."
    yield "Each event is whole, and its `data` is JSON."
    yield "The status is sent with the first event: what fails before it has a status of its own."
    done = [name for name in streamed if answers.answer(name).done]
    if done:
        yield f"The last line is `data: [DONE]`: {paths(done)}."
    options = [name for name in done if "stream_options" in offered[name]["schema"]["properties"]]
    if options:
        yield (
            '`stream_options: {"include_usage": true}` adds one chunk before the end, with `usage` '
            f"and without choices: {paths(options)}. Without it there is no such chunk."
        )
    yield (
        "A stream that breaks ends with its connection: no error event, no `[DONE]`."
        if made["severs"]
        else "A stream that breaks ends with an event that tells the error, and without `[DONE]`."
    )
