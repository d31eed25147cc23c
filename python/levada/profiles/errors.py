"""What a client sees when a request is refused: the statuses, and examples with request and answer.

Pure. The words are the engine's; that they are is tested by sending each example to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from levada.profiles import answers
from levada.profiles.reading import ENDLESS, Schema, forms, listed, smallest

INVALID = "invalid_request_error"
# Status, `type`, when.
STATUSES = (
    (400, INVALID, "the body, or a header, is not what it must be"),
    (401, INVALID, "there is no key, or it is not in force"),
    (403, INVALID, "the key may not use this model"),
    (404, INVALID, "there is no such model, or no such path"),
    (405, INVALID, "the path has no such method"),
    (408, "timeout_error", "the request did not arrive in time"),
    (413, "server_error", "the body is larger than allowed"),
    (415, INVALID, "the body is of another content type, or encoded"),
    (429, "requests", "the key has asked too often, or the model gets more than it can serve"),
    (500, "server_error", "a fault of the gateway"),
    (502, "server_error", "the model server gave an invalid answer"),
    (503, "server_error", "no server for the model can take the request now"),
    (504, "server_error", "the model server did not answer in time"),
)
BAD_JSON = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using "
    "your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not "
    "valid JSON.)"
)
NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header "
    "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
)
BAD_TYPE = (
    "Unsupported content type: 'text/plain'. This API method only accepts 'application/json' "
    "requests, but you specified the header 'Content-Type: text/plain'. Please try again with a "
    "supported content type."
)
# To each kind a value of another, and how both are called.
WRONG: Mapping[str, tuple[Any, str, str]] = {
    "boolean": (1, "a boolean", "an integer"),
    "integer": ("many", "an integer", "a string"),
    "number": ("hot", "a decimal", "a string"),
    "string": (1, "a string", "an integer"),
}
OTHER: Mapping[str, Any] = {"boolean": True, "integer": 2, "number": 2, "array": []}


@dataclass(frozen=True, slots=True)
class Example:
    """One request, and its refusal."""

    title: str
    path: str
    body: str
    status: int
    answer: str
    method: str = "POST"
    key: str | None = "YOUR_KEY"
    media: str = answers.JSON
    headers: tuple[str, ...] = ()


def pretty(body: str) -> str:
    """A body as people read it."""
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        return body


def statuses(made: Mapping[str, Any]) -> list[tuple[int, str, str]]:
    """The table of statuses as this profile has it."""
    rows, unauthorized = made["errors"]["rows"], made["errors"]["unauthorized_type"]
    often, credit = rows["rate_limited"] or {}, rows["no_credit"] or {}
    other = {401: unauthorized, 429: often.get("type")}
    no_credit = (
        credit.get("status") or 429,
        credit.get("type") or "insufficient_quota",
        "what was paid for is used up",
    )
    known = [(status, other.get(status) or kind, when) for status, kind, when in STATUSES]
    return sorted([*known, no_credit], key=lambda row: row[0])


def examples(made: Mapping[str, Any], model: str) -> list[Example]:
    """A refusal of each common kind, at the first endpoint that is offered."""
    for name, rules in made["endpoints"].items():
        answer = answers.answer(name)
        if rules and (answer.form, answer.dialect) == (answers.JSON, "openai"):
            return list(_Examples(made, name, rules, model).all())
    return []


class _Examples:
    """The examples at one endpoint, each a small change of a body that would be taken."""

    def __init__(
        self, made: Mapping[str, Any], name: str, rules: dict[str, Any], model: str
    ) -> None:
        self.made = made
        self.rules = rules
        self.schema: Schema = rules["schema"]
        self.base = made["base_paths"][0]
        self.path = answers.path(name, self.base)
        self.actions = {one["field"]: one for one in rules["actions"]}
        fields, needed = self.schema["properties"], self.schema["required"]
        self.body = {"model": model} | {
            one: smallest(self.schema, fields[one]) for one in needed if one != "model"
        }

    def all(self) -> Iterator[Example]:
        yield from self._keys()
        yield from self._bodies()
        yield from self._fields()
        yield from self._members()
        yield from self._ways()

    def _keys(self) -> Iterator[Example]:
        challenge = ("www-authenticate: Bearer",)
        whole = json.dumps(self.body)
        error = self._error(401, NO_KEY)
        yield Example("No key", self.path, whole, 401, error, key=None, headers=challenge)
        error = self._error(401, "Incorrect API key provided: ****.", code="invalid_api_key")
        yield Example("Wrong key", self.path, whole, 401, error, key="wrong", headers=challenge)

    def _bodies(self) -> Iterator[Example]:
        yield Example("Broken JSON", self.path, '{"model":', 400, self._error(400, BAD_JSON))
        if "model" in self.schema["required"]:
            body = {name: value for name, value in self.body.items() if name != "model"}
            error = self._error(400, "you must provide a model parameter")
            yield Example("No model", self.path, json.dumps(body), 400, error)
        for name in [name for name in self.body if name != "model"][:1]:
            body = {key: value for key, value in self.body.items() if key != name}
            words = f"Missing required parameter: '{name}'."
            error = self._error(400, words, name, "missing_required_parameter")
            yield Example(
                "A required parameter is missing", self.path, json.dumps(body), 400, error
            )

    def _fields(self) -> Iterator[Example]:
        """The first field of each sort that has one."""
        simple = list(self._simple())
        for name, form in [one for one in simple if not listed(one[1])][:1]:
            value, expected, got = WRONG[form["type"]]
            words = f"Invalid type for '{name}': expected {expected}, but got {got} instead."
            yield self._wrong("Wrong type", name, value, words, "invalid_type")
        for name, form in [one for one in simple if one[1].get("maximum", ENDLESS) < ENDLESS][:1]:
            most, kind = form["maximum"], WRONG[form["type"]][1].split()[1]
            words = (
                f"Invalid '{name}': {kind} above maximum value. "
                f"Expected a value <= {most:.15g}, but got {most + 1:.15g} instead."
            )
            yield self._wrong("Out of range", name, most + 1, words, f"{kind}_above_max_value")
        for name, form in [one for one in simple if len(listed(one[1])) > 1][:1]:
            *rest, last = [f"'{value}'" for value in listed(form)]
            values = f"{', '.join(rest)}{',' if len(rest) > 1 else ''} and {last}"
            words = f"Invalid value: 'other'. Supported values are: {values}."
            yield self._wrong("Not one of the values", name, "other", words, "invalid_value")
        for action in [one for one in self.actions.values() if one["do"] == "reject"][:1]:
            value = self._other(action)
            words = action["message"].replace("{value}", json.dumps(value))
            yield self._wrong("Not supported by this provider", action["field"], value, words)

    def _members(self) -> Iterator[Example]:
        if "stream_options" in self.rules["checks"] and "stream_options" not in self.actions:
            words = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
            value = {"include_usage": True}
            yield self._wrong("Options of a stream without one", "stream_options", value, words)
        strangers = [(name, "Never accepted") for name in self.made["denied"] if "*" not in name][
            :1
        ]
        if self.rules["unknown"] == "reject":
            strangers.append(("not_a_parameter", "Unknown parameter"))
        for name, title in strangers:
            yield self._wrong(
                title, name, "x", f"Unknown parameter: '{name}'.", "unknown_parameter"
            )

    def _ways(self) -> Iterator[Example]:
        looks, whole = self.made["errors"], json.dumps(self.body)
        status = looks["unknown_model_status"] or 404
        words = looks["unknown_model_message"] or (
            "The model `{model}` does not exist or you do not have access to it."
        )
        error = self._error(status, words.replace("{model}", "none"), code="model_not_found")
        body = json.dumps({**self.body, "model": "none"})
        yield Example("Unknown model", self.path, body, status, error)
        absent = [
            name
            for name in answers.names()
            if not self.made["endpoints"].get(name) and answers.answer(name).dialect == "openai"
        ]
        path = answers.path(absent[0] if absent else "nowhere", self.base)
        error = self._error(404, f"Invalid URL (POST {path})")
        yield Example("Endpoint that is not offered", path, '{"model": "any"}', 404, error)
        words = (
            f"Not allowed to GET on {self.path}. "
            "(HINT: Perhaps you meant to use a different HTTP method?)"
        )
        error, allow = self._error(405, words), ("allow: POST",)
        yield Example("Wrong method", self.path, "", 405, error, method="GET", headers=allow)
        error = self._error(415, BAD_TYPE, code="unsupported_content_type")
        yield Example("Wrong content type", self.path, whole, 415, error, media="text/plain")

    def _simple(self) -> Iterator[tuple[str, Schema]]:
        """The fields that are checked and have one form, in the order of the checks."""
        fields = self.schema["properties"]
        for name in dict.fromkeys([*self.rules["order"], *fields]):
            if name == "model" or name in self.actions:
                continue
            found = [one for one in forms(self.schema, fields[name]) if one.get("type") != "null"]
            if len(found) == 1 and found[0].get("type") in WRONG:
                yield name, found[0]

    def _other(self, action: dict[str, Any]) -> Any:
        """A value that fits its schema, and is not one of those that pass."""
        field = self.schema["properties"][action["field"]]
        value = OTHER.get(forms(self.schema, field)[0].get("type", ""), None)
        return smallest(self.schema, field) if value is None else value

    def _wrong(
        self, title: str, name: str, value: Any, words: str, code: str | None = None
    ) -> Example:
        body = json.dumps({**self.body, name: value})
        return Example(title, self.path, body, 400, self._error(400, words, name, code))

    def _error(
        self, status: int, message: str, param: str | None = None, code: str | None = None
    ) -> str:
        """The whole body, as the profile wants it to look."""
        looks = self.made["errors"]
        if status == 401 and looks.get("unauthorized_body"):
            return str(looks["unauthorized_body"])
        kind = next(row[1] for row in statuses(self.made) if row[0] == status)
        if looks["code_null"] and status == 400 and code not in looks["code_keep"]:
            code = None
        error = {"message": message, "type": kind, "param": param, "code": code}
        if status == 401 and looks["doc_url"]:
            error["doc_url"] = looks["doc_url"]
        return json.dumps({"error": error}, ensure_ascii=False, separators=(",", ":"))
