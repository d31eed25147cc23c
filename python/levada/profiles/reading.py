"""What a schema says of one value: the forms it may have, their names, their range in words.

Pure. Knows JSON Schema as far as the field tables use it, and nothing of profiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

# Beyond what any client means: the bound of the number's own type.
ENDLESS = 2**63 - 1
MOST_SHOWN = 10
# The bounds of each kind, and what is counted.
SPANS = (
    ("minimum", "maximum", ""),
    ("minItems", "maxItems", "item"),
    ("minLength", "maxLength", "character"),
    ("minProperties", "maxProperties", "member"),
)


def forms(schema: Schema, value: Schema) -> list[Schema]:
    """What a value may be, one form at a time. Beside any string, a list of some says nothing."""
    found = list(branches(schema, value))
    free = any(one.get("type") == "string" and not listed(one) for one in found)
    return [one for one in found if not (free and listed(one))]


def listed(form: Schema) -> list[Any]:
    """The only values that a form has; none where it has any."""
    return [form["const"]] if "const" in form else list(form.get("enum", ()))


def kinds(schema: Schema, value: Schema) -> str:
    """The kinds of a value: `string or array of strings`."""
    names = dict.fromkeys(_kind(schema, one) for one in forms(schema, value))
    *rest, last = names
    return f"{', '.join(rest)} or {last}" if rest else last


def ranges(schema: Schema, value: Schema) -> list[str]:
    """The values that are allowed, in words."""
    words: list[str] = []
    for one in forms(schema, value):
        if values := listed(one):
            shown = ", ".join(f"`{name}`" for name in values)
            words.append(shown if len(values) <= MOST_SHOWN else f"one of {len(values)} values")
        words += [
            span(one.get(least), one.get(most), unit)
            for least, most, unit in SPANS
            if least in one or most in one
        ]
        if "pattern" in one:
            words.append(f"matches `{one['pattern']}`")
        if "maxLength" in one.get("propertyNames", {}):
            words.append(f"names: {span(None, one['propertyNames']['maxLength'], 'character')}")
    return list(dict.fromkeys(words))


def inner(schema: Schema, value: Schema, path: str, above: tuple[int, ...] = ()) -> Iterator[str]:
    """The bounds of what lies within a value, each with its path; lists of values are left out."""
    for one in forms(schema, value):
        if id(one) in above:
            continue
        below = (*above, id(one))
        steps = [(f"{path}.{name}", each) for name, each in one.get("properties", {}).items()]
        if isinstance(one.get("items"), dict):
            steps.append((f"{path}[]", one["items"]))
        for place, each in steps:
            bounds = [words for words in ranges(schema, each) if not words.startswith(("`", "one"))]
            yield from (f"`{place}`: {words}" for words in bounds)
            yield from inner(schema, each, place, below)


def span(least: float | None, most: float | None, unit: str) -> str:
    """`1 to 4 items`."""
    if most is None or most >= ENDLESS:
        words, last = f"at least {least}", least
    else:
        words, last = f"at most {most}" if least is None else f"{least} to {most}", most
    return f"{words} {unit}{'' if last == 1 else 's'}" if unit else words


def smallest(schema: Schema, value: Schema) -> Any:
    """A value that fits, as small as it can be."""
    form = forms(schema, value)[0]
    if values := listed(form):
        return values[0]
    match form.get("type"):
        case "object":
            needed, fields = form.get("required", ()), form.get("properties", {})
            named = sorted(needed, key=lambda name: not listed(fields[name]))
            return {name: smallest(schema, fields[name]) for name in named}
        case "array":
            return [smallest(schema, form["items"])] if form.get("minItems") else []
        case "integer" | "number":
            return form.get("minimum", 1)
        case "boolean":
            return True
    return "hello"


def branches(schema: Schema, value: Schema) -> Iterator[Schema]:
    """What a value may be, one form at a time."""
    if "$ref" in value:
        yield from branches(schema, schema["$defs"][value["$ref"].removeprefix("#/$defs/")])
        return
    unions = value.get("anyOf") or value.get("oneOf")
    if unions is None:
        yield value
        return
    for one in unions:
        yield from branches(schema, one)


def _kind(schema: Schema, form: Schema) -> str:
    kind = form.get("type", "string" if listed(form) else "any")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array" and isinstance(form.get("items"), dict):
        items = {_kind(schema, one) for one in forms(schema, form["items"])}
        if len(items) == 1:
            first, _, rest = items.pop().partition(" ")
            return f"array of {first}s {rest}".strip()
    return str(kind)
