"""A profile as programs read it: OpenAPI 3.1.

Pure. Made of the document that the engine checks requests with: a body that breaks its schema here
is refused there. What no schema can say (checks between fields, members that are never accepted) is
said in words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from levada.profiles import answers, usage
from levada.profiles.errors import STATUSES, statuses
from levada.profiles.facts import CHECKS
from levada.profiles.reading import Schema, forms, listed

EVENTS = "text/event-stream"
# What is not simply taken over from a field table.
SPECIAL = ("anyOf", "discriminator", "properties")
# Refusals in each dialect.
ERRORS = {"openai": "Error", "anthropic": "AnthropicError"}
# What a refusal carries beside its body.
SENT = {
    401: ("WWW-Authenticate", {"type": "string"}),
    405: ("Allow", {"type": "string"}),
    429: ("Retry-After", {"type": "integer", "minimum": 1}),
    503: ("Retry-After", {"type": "integer", "minimum": 1}),
}


def openapi(made: Mapping[str, Any], version: str) -> dict[str, Any]:
    """The document of the compiled profile `made`."""
    schemas = dict(answers.schemas())
    name = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
    model = _operation("models.retrieve", "One model", _json("Model"))
    base = made["base_paths"][0]
    paths: dict[str, Any] = {
        f"{base}/models": {"get": _operation("models.list", "The models", _json("ModelList"))},
        f"{base}/models/{{model}}": {"parameters": [name], "get": model},
    }
    used = _operation("usage", "What the key has used", _json("UsagePage"))
    paths[usage.PATH] = {"get": {**used, "parameters": usage.parameters()}}
    schemas |= usage.schemas()
    for endpoint, rules in made["endpoints"].items():
        if rules:
            schemas |= _Body(endpoint, rules, nullable=not made["null_counts"]).components()
            paths[answers.path(endpoint, base)] = {"post": _call(endpoint, rules)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{made['name']}: OpenAI-compatible API",
            "version": version,
            "description": f"Never accepted in a body, at any depth: {', '.join(made['denied'])}.",
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "headers": {"RequestId": {"schema": {"type": "string"}}},
            "responses": dict(_refusals(made)),
            "schemas": dict(sorted(schemas.items())),
        },
    }


def _call(name: str, rules: dict[str, Any]) -> dict[str, Any]:
    """One endpoint that is passed on to a backend."""
    answer = answers.answer(name)
    content = _json(answer.whole) if answer.media == answers.JSON else {answer.media: {}}
    if "stream" in rules["schema"]["properties"]:
        # No schema: to readers of OpenAPI it would be the event's, not that of what is in its data.
        content[EVENTS] = {}
    checks = "; ".join(CHECKS.get(one, one) for one in rules["checks"])
    told = [f"Checked between fields: {checks}."] if checks else []
    told += (
        [f"A stream has one `{answer.events}` in each event's data."] if EVENTS in content else []
    )
    return {
        **_operation(name, answer.title, content, answer.dialect),
        **({"security": [{"bearer": []}, {"key": []}]} if answer.dialect == "anthropic" else {}),
        **({"description": " ".join(told)} if told else {}),
        "requestBody": {
            "required": True,
            "content": {answer.form: {"schema": _ref(f"{name}.Body")}},
        },
    }


def _operation(
    name: str, summary: str, content: dict[str, Any], dialect: str = "openai"
) -> dict[str, Any]:
    refusals = {
        str(status): {"$ref": f"#/components/responses/{ERRORS[dialect]}{status}"}
        for status, _, _ in STATUSES
    }
    answer = {"description": "The answer.", "headers": _headers(), "content": content}
    return {"operationId": name, "summary": summary, "responses": {"200": answer, **refusals}}


def _refusals(made: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every refusal in both dialects."""
    for status, kind, when in statuses(made):
        headers = _headers()
        if status in SENT:
            name, schema = SENT[status]
            headers[name] = {"schema": schema}
        words = f"{when[0].upper()}{when[1:]}"
        shared = {"headers": headers, "description": f"{words}."}
        odd = _odd(made["errors"], status)
        yield f"AnthropicError{status}", {**shared, "content": odd or _json("AnthropicError")}
        shared["description"] = f"{words}; `type` is mostly `{kind}`."
        yield f"Error{status}", {**shared, "content": odd or _json("Error")}


def _odd(looks: Mapping[str, Any], status: int) -> dict[str, Any]:
    """What stands in place of the usual shape where a profile is as odd as its provider."""
    if status == 401 and looks.get("unauthorized_body"):
        return {answers.JSON: {"example": looks["unauthorized_body"]}}
    if status == 400 and looks.get("flat_overflow"):
        forms = [_ref(name) for name in ("Error", "AnthropicError", "FlatError")]
        return {answers.JSON: {"schema": {"anyOf": forms}}}
    return {}


def _headers() -> dict[str, Any]:
    return {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}


def _json(shape: str) -> dict[str, Any]:
    return {answers.JSON: {"schema": _ref(shape)}}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


class _Body:
    """The body of one endpoint as components. Each name begins with the endpoint's, for two
    endpoints may bound the same type in two ways."""

    def __init__(self, name: str, rules: dict[str, Any], *, nullable: bool) -> None:
        self._name = name
        self._rules = rules
        self._schema: Schema = rules["schema"]
        self._nullable = nullable
        self._closed = rules["unknown"] == "reject"

    def components(self) -> dict[str, Any]:
        named = {
            f"{self._name}.{name}": self._made(one)
            for name, one in self._schema.get("$defs", {}).items()
        }
        body = self._made({key: one for key, one in self._schema.items() if key != "$defs"})
        for action in self._rules["actions"]:
            field = action["field"]
            body["properties"][field] = _acted(action, body["properties"][field])
        return {**named, f"{self._name}.Body": body}

    def _made(self, node: Any) -> Any:
        """With names of components, and as the engine takes it where it takes more than it says."""
        if isinstance(node, list):
            return [self._made(one) for one in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return _ref(f"{self._name}.{node['$ref'].removeprefix('#/$defs/')}")
        # A union's discriminator is dropped: the constants in its forms tell them apart as well.
        out = {key: self._made(one) for key, one in node.items() if key not in SPECIAL}
        if "anyOf" in node:
            out["anyOf"] = [self._made(one) for one in self._meant(node["anyOf"])]
        if "properties" in node:
            needed = node.get("required", ())
            out["properties"] = {
                name: self._member(one, name in needed) for name, one in node["properties"].items()
            }
            if self._closed:
                out.setdefault("additionalProperties", False)
        return out

    def _member(self, node: Schema, needed: bool) -> Any:
        """One field; an explicit null is an omission, but for profiles in which it counts."""
        made, found = self._made(node), forms(self._schema, node)
        null = any(one.get("type", "null") == "null" and not listed(one) for one in found)
        if needed or null or not self._nullable:
            return made
        return {"anyOf": [made, {"type": "null"}]}

    def _meant(self, branches: list[Schema]) -> list[Schema]:
        """Beside any string, a list of some says nothing."""
        free = {"type": "string"} in branches
        return [
            one for one in branches if not (free and one.get("type") == "string" and listed(one))
        ]


def _acted(action: dict[str, Any], schema: Any) -> dict[str, Any]:
    """A field of which the profile says more than its type."""
    match action["do"]:
        case "off":
            return {"anyOf": [schema, {"const": action["value"]}]}
        case "reject":
            passes = [json.loads(text) for text in action["except"]]
            return {"enum": list(dict.fromkeys([*passes, None])), "description": action["message"]}
        case "ignore":
            return {"description": "Accepted without any effect."}
        case "forward":
            return {"description": "Passed on unchecked."}
    return dict(schema)
