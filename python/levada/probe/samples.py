"""Values made of a schema: one that fits, one of a wrong kind, and every place where a bound or a
choice can be broken.

Pure; reads the JSON Schema that the engine is given, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]

# One value of each kind, in the order in which a wrong one is looked for.
KINDS = {"string": "x", "integer": 7, "boolean": True, "array": [], "object": {}}
# No choice of any field, and the beginning of none.
BOGUS = "bogus"
ELSEWHERE = "https://images.example/cat.png"


@dataclass(frozen=True)
class Breach:
    """A value of a field that breaks one rule: at `path`, for which OpenAI's code is `code`."""

    path: str
    rule: str
    code: str | None
    value: Any


@dataclass(frozen=True)
class _Place:
    """A value within a field: its path, its forms, and the whole field around it. `told` is the
    member that tells its forms apart, when one does.
    """

    path: str
    node: Schema
    around: Callable[[Any], Any]
    told: str | None = None


def forms(root: Schema, node: Schema) -> list[Schema]:
    """What a value may be, one form at a time, without references and unions."""
    if "$ref" in node:
        return forms(root, root["$defs"][node["$ref"].removeprefix("#/$defs/")])
    union = node.get("anyOf") or node.get("oneOf")
    return [form for one in union for form in forms(root, one)] if union else [node]


def kinds(root: Schema, node: Schema) -> set[str]:
    """The kinds that a value may have; empty when anything may stand there."""
    found: set[str] = set()
    for form in forms(root, node):
        kind = form.get("type", "string" if "enum" in form else [])
        found |= {kind} if isinstance(kind, str) else set(kind)
    return found


def wrong(root: Schema, node: Schema) -> Any:
    """A value of a kind that does not fit; None when every kind does."""
    fit = kinds(root, node)
    if not fit:
        return None
    fit |= {"integer"} if "number" in fit else set()
    return next((value for kind, value in KINDS.items() if kind not in fit), None)


def instance(root: Schema, node: Schema) -> Any:
    """The least value that fits."""
    form = forms(root, node)[0]
    if "const" in form:
        return form["const"]
    if "enum" in form:
        return form["enum"][0]
    if "pattern" in form:
        # A profile's patterns are beginnings: `^data:`.
        return form["pattern"].removeprefix("^")
    kind = form.get("type", "string")
    if kind == "array":
        return [instance(root, form.get("items", {}))] * form.get("minItems", 0)
    if kind == "object":
        fields = form.get("properties", {})
        return {name: instance(root, fields[name]) for name in form.get("required", ())}
    plain = {"string": "x", "boolean": True, "integer": form.get("minimum", 1)}
    return plain.get(kind, form.get("minimum", 1) if kind == "number" else None)


def breaches(root: Schema, field: str, node: Schema) -> list[Breach]:
    """One breach of each bound and of each closed choice within the field; each once."""
    found: dict[tuple[str, str], Breach] = {}
    for place in _places(root, _Place(field, node, lambda value: value), set()):
        for one in (*_choices(root, place), *_bounds(root, place)):
            found.setdefault((one.path, one.rule), one)
    return list(found.values())


def extreme(root: Schema, node: Schema, rule: str) -> Any:
    """The least or the greatest number that a field may hold, where a decimal is bounded."""
    numbers = (form for form in forms(root, node) if form.get("type") == "number")
    return next((form[rule] for form in numbers if rule in form), None)


def _places(root: Schema, place: _Place, seen: set[str]) -> Iterator[_Place]:
    """The place and all within it; a named object is looked into once."""
    yield place
    for name, form, told in _named(root, place.node):
        if name in seen:
            continue
        seen |= {name} if name else set()
        for inner in _within(root, place, form, told):
            yield from _places(root, inner, seen)


def _within(root: Schema, place: _Place, form: Schema, told: str | None) -> Iterator[_Place]:
    for key, node in form.get("properties", {}).items():
        if key != told:
            yield _Place(f"{place.path}.{key}", node, _member(place, instance(root, form), key))
    others, items = form.get("additionalProperties"), form.get("items")
    if isinstance(others, dict):
        yield _Place(f"{place.path}.7", others, _member(place, {}, "7"))
    if isinstance(items, dict):
        yield _Place(f"{place.path}[0]", items, lambda value: place.around([value]))


def _member(place: _Place, base: dict[str, Any], key: str) -> Callable[[Any], Any]:
    return lambda value: place.around({**base, key: value})


def _named(root: Schema, node: Schema) -> Iterator[tuple[str, Schema, str | None]]:
    """The forms, each with its name and with the member that tells it from the others."""
    if "$ref" in node:
        name = node["$ref"].removeprefix("#/$defs/")
        for _, form, told in _named(root, root["$defs"][name]):
            yield name, form, told
        return
    told = node.get("discriminator", {}).get("propertyName")
    union = node.get("anyOf") or node.get("oneOf")
    if not union:
        yield "", node, told
    for one in union or ():
        for name, form, inner in _named(root, one):
            yield name, form, told or inner


def _choices(root: Schema, place: _Place) -> Iterator[Breach]:
    """A word that is none of those listed, unless any word will do."""
    closed = [form for form in forms(root, place.node) if "enum" in form or "const" in form]
    if closed and not any(form.get("type") == "string" for form in _open(root, place.node)):
        yield Breach(place.path, "enum", "invalid_value", place.around(BOGUS))
    for told in {told for _, form, told in _named(root, place.node) if told}:
        yield Breach(f"{place.path}.{told}", "enum", "invalid_value", place.around({told: BOGUS}))


def _open(root: Schema, node: Schema) -> list[Schema]:
    return [form for form in forms(root, node) if not ("enum" in form or "const" in form)]


def _bounds(root: Schema, place: _Place) -> Iterator[Breach]:
    for form in forms(root, place.node):
        for rule, code, value in _beyond(root, form):
            yield Breach(place.path, rule, code, place.around(value))


def _beyond(root: Schema, form: Schema) -> Iterator[tuple[str, str | None, Any]]:
    """For each bound of the form: its name, OpenAI's code, and a value just beyond."""
    kind = "integer" if form.get("type") == "integer" else "decimal"
    item = instance(root, form.get("items", {})) if "items" in form else None
    least, most = form.get("minItems", 0), form.get("maxItems", 0)
    longest = form.get("propertyNames", {}).get("maxLength", 0)
    others = form.get("additionalProperties")
    inner = instance(root, others) if isinstance(others, dict) else "x"
    every: dict[str, tuple[str | None, Any]] = {
        "minimum": (f"{kind}_below_min_value", form.get("minimum", 0) - 1),
        "maximum": (f"{kind}_above_max_value", form.get("maximum", 0) + 1),
        "minItems": ("empty_array" if least == 1 else None, [item] * (least - 1)),
        "maxItems": ("array_above_max_length", [item] * (most + 1)),
        "minLength": ("empty_string", ""),
        "pattern": ("invalid_value", ELSEWHERE),
        "maxLength": ("string_above_max_length", "x" * (form.get("maxLength", 0) + 1)),
        "maxProperties": (
            "object_above_max_properties",
            {str(at): inner for at in range(form.get("maxProperties", 0) + 1)},
        ),
        "propertyNames": ("property_name_above_max_length", {"7" * (longest + 1): inner}),
    }
    yield from ((rule, *every[rule]) for rule in form if rule in every)
