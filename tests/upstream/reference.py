"""A second reading of the profiles, as plain as can be: what is wrong with a request body.

Law: it shares no code with the engine and none with the probe; it reads the compiled profile.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]
KINDS = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
GOT = {"object": "an object", "array": "an array", "null": "null", "number": "a decimal number"}
INVALID = "invalid_request_error"


@dataclass
class RefusedError(Exception):
    """What is wrong: `code` as OpenAI's table has it, before a profile styles it."""

    message: str
    param: str | None = None
    code: str | None = None
    status: int = 400
    kind: str = INVALID


def kind_of(value: Any) -> str:
    return KINDS.get(type(value), "integer" if isinstance(value, int) else "number")


class Reader:
    """Reads bodies of one endpoint under one profile."""

    def __init__(self, made: dict[str, Any], endpoint: str) -> None:
        self.made = made
        self.rules = made["endpoints"][endpoint]
        self.schema: Schema = self.rules["schema"]
        self.actions = {one["field"]: one for one in self.rules["actions"]}

    def read(self, body: Any) -> dict[str, Any]:
        """The body without what is ignored. RefusedError."""
        if not isinstance(body, dict) or not isinstance(body.get("model"), str | None):
            raise RefusedError("We could not parse the JSON body of your request.")
        if not body.get("model") and "model" in self.schema["required"]:
            raise RefusedError("you must provide a model parameter")
        for name in self.schema["required"]:
            if body.get(name) is None:
                raise missing(name)
        fields = self.schema["properties"]
        for name, value in body.items():
            if name not in fields:
                self.stranger(name, value)
        order = [*self.rules["order"], *fields]
        for name in sorted(body.keys() & fields.keys(), key=order.index):
            self.field(name, body[name], fields[name])
            if name in self.rules["checks"]:
                self.check(name, body)
        for name in self.rules["checks"]:
            self.check(name, body)
        return {name: body[name] for name in body if self.action(name)["do"] != "ignore"}

    def action(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.actions.get(name, {"do": "validate"})
        return found

    def stranger(self, name: str, value: Any) -> None:
        for path, key in keys(name, value):
            for denied in self.made["denied"]:
                if key == denied or (denied[-1] == "*" and key.startswith(denied[:-1])):
                    raise unknown(path)
        if self.rules["unknown"] == "reject":
            raise unknown(name)

    def field(self, name: str, value: Any, node: Schema) -> None:
        action = self.action(name)
        if action["do"] in ("ignore", "forward"):
            return
        nullable = any(form.get("type") == "null" for form, _ in self.forms(node))
        if value is None and (nullable or not self.made["null_counts"]):
            return
        if value is None and action["do"] != "reject":
            raise wrong_type(name, value)
        if action["do"] == "off" and value == action["value"]:
            return
        if action["do"] == "reject" and json.dumps(value) not in action["except"]:
            raise RefusedError(action["message"].replace("{value}", str(value)), name)
        if value is not None:
            self.value(value, node, name)

    def forms(self, node: Schema) -> Iterator[tuple[Schema, str | None]]:
        """Each form of a value, with the member that tells it from the others."""
        if "$ref" in node:
            yield from self.forms(self.schema["$defs"][node["$ref"].rpartition("/")[2]])
            return
        union = node.get("anyOf") or node.get("oneOf")
        if union is None:
            yield node, None
        told = node.get("discriminator", {}).get("propertyName")
        for one in union or ():
            for form, inner in self.forms(one):
                yield form, told or inner

    def value(self, value: Any, node: Schema, path: str) -> None:
        kind = kind_of(value)
        accepted = {kind, "number"} if kind == "integer" else {kind}
        fit = []
        for form, told in self.forms(node):
            types = form.get("type", "string" if "enum" in form else kind)
            if accepted & {types} if isinstance(types, str) else accepted & {*types}:
                fit.append((form, told))
        if not fit:
            raise wrong_type(path, value)
        if kind == "object":
            self.object(value, self.case(value, fit, path), path)
        elif kind == "array":
            self.array(value, [form for form, _ in fit], path)
        elif kind == "string":
            self.string(value, [form for form, _ in fit], path)
        elif kind in ("integer", "number"):
            self.number(value, fit[0][0], path)

    def case(self, value: Any, fit: list[tuple[Schema, str | None]], path: str) -> Schema:
        form, told = fit[0]
        if told is None:
            return form
        if told not in value:
            raise missing(f"{path}.{told}")
        for form, _ in fit:
            if form["properties"][told]["const"] == value[told]:
                return form
        words = [form["properties"][told]["const"] for form, _ in fit]
        raise enum(f"{path}.{told}", value[told], words)

    def object(self, value: dict[str, Any], form: Schema, path: str) -> None:
        members, others = form.get("properties", {}), form.get("additionalProperties")
        longest = form.get("propertyNames", {}).get("maxLength")
        for key, inner in value.items():
            if key in members:
                if inner is not None:
                    self.value(inner, members[key], f"{path}.{key}")
            elif others is False:
                raise unknown(f"{path}.{key}")
            elif isinstance(others, dict):
                if longest and len(key) > longest:
                    raise beyond(path, "property_name_above_max_length")
                self.value(inner, others, f"{path}.{key}")
        for key in form.get("required", ()):
            if key not in value:
                raise missing(f"{path}.{key}")
        if len(value) > form.get("maxProperties", len(value)):
            raise beyond(path, "object_above_max_properties")

    def array(self, value: list[Any], forms: list[Schema], path: str) -> None:
        form = forms[0]
        for one in forms if value else ():
            types = {inner.get("type") for inner, _ in self.forms(one.get("items", {}))}
            if kind_of(value[0]) in types:
                form = one
                break
        for at, inner in enumerate(value):
            self.value(inner, form.get("items", {}), f"{path}[{at}]")
        if len(value) < form.get("minItems", 0):
            raise beyond(path, "empty_array")
        if len(value) > form.get("maxItems", len(value)):
            raise beyond(path, "array_above_max_length")

    def string(self, value: str, forms: list[Schema], path: str) -> None:
        closed = [
            form["enum"] if "enum" in form else [form["const"]]
            for form in forms
            if "enum" in form or "const" in form
        ]
        words = [word for some in closed for word in some]
        if len(closed) == len(forms) and value not in words:
            raise enum(path, value, words)
        begins = next((form["pattern"][1:] for form in forms if "pattern" in form), "")
        if not value.startswith(begins):
            raise beyond(path, "invalid_value")
        bounds = next((form for form in forms if "maxLength" in form or "minLength" in form), {})
        if len(value) < bounds.get("minLength", 0):
            raise beyond(path, "empty_string")
        if len(value) > bounds.get("maxLength", len(value)):
            raise beyond(path, "string_above_max_length")

    def number(self, value: float, form: Schema, path: str) -> None:
        kind = "integer" if form["type"] == "integer" else "decimal"
        if value < form.get("minimum", value):
            raise beyond(path, f"{kind}_below_min_value")
        if value > form.get("maximum", value):
            raise beyond(path, f"{kind}_above_max_value")

    def check(self, name: str, body: dict[str, Any]) -> None:
        """The check of this name."""
        if name == "stream_options" and body.get(name) is not None and not body.get("stream"):
            raise RefusedError(f"The '{name}' parameter needs 'stream'.", name)
        if name == "top_logprobs" and body.get(name) is not None:
            if not body.get("logprobs") or body[name] > 20:
                raise RefusedError(f"The '{name}' parameter is not allowed so.", name)
        if name == "tool_choice" and body.get(name) not in (None, "none") and not body.get("tools"):
            raise RefusedError(f"'{name}' is only allowed with 'tools'.", name)
        form = body.get("response_format")
        if name == "json_word" and form and form.get("type") == "json_object":
            if "json" not in str(body["messages"]).lower():
                raise RefusedError("'messages' must contain the word 'json'.", "messages")
        if name == "tool_replies":
            replies(body["messages"])


def replies(messages: list[dict[str, Any]]) -> None:
    """Tool messages answer tool calls, and all of them."""
    waiting: list[str] = []
    for at, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                words = "messages with role 'tool' must be a response to 'tool_calls'."
                raise RefusedError(words, f"messages.[{at}].role")
            waiting.remove(message["tool_call_id"])
        elif waiting:
            raise RefusedError(f"Without response: {waiting[0]}", f"messages.[{at - 1}].role")
        else:
            waiting = [call["id"] for call in message.get("tool_calls") or ()]


def keys(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Every member at any depth: its path and its name."""
    yield path, path.rpartition(".")[2]
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from keys(f"{path}.{key}", inner)
    for at, inner in enumerate(value if isinstance(value, list) else ()):
        yield from list(keys(f"{path}[{at}]", inner))[1:]


def missing(path: str) -> RefusedError:
    words = f"Missing required parameter: '{path}'."
    return RefusedError(words, path, "missing_required_parameter")


def unknown(path: str) -> RefusedError:
    return RefusedError(f"Unknown parameter: '{path}'.", path, "unknown_parameter")


def wrong_type(path: str, value: Any) -> RefusedError:
    got = GOT.get(kind_of(value), f"a {kind_of(value)}")
    return RefusedError(f"Invalid type for '{path}': got {got}.", path, "invalid_type")


def enum(path: str, value: str, words: list[str]) -> RefusedError:
    text = f"Invalid value: '{value}'. Supported values are: {words}."
    return RefusedError(text, path, "invalid_value")


def beyond(path: str, code: str) -> RefusedError:
    return RefusedError(f"Invalid '{path}': {code.replace('_', ' ')}.", path, code)
