"""A profile as people read it: its endpoints, and for each every parameter and what becomes of it.

Pure. The page is made of the same data that the engine checks requests with, so neither can be
right without the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from levada.profiles.compiled import compiled
from levada.profiles.schema import Profile

PATHS = {
    "chat.completions": "POST /v1/chat/completions",
    "completions": "POST /v1/completions",
    "embeddings": "POST /v1/embeddings",
}
MARKS = {
    "validate": "checked",
    "forward": "passed on",
    "ignore": "ignored",
    "reject": "restricted",
    "off": "checked",
}
BOUNDS = {
    "minimum": "at least",
    "maximum": "at most",
    "minItems": "items: at least",
    "maxItems": "items: at most",
    "minLength": "length: at least",
    "maxLength": "length: at most",
    "maxProperties": "members: at most",
}


def markdown(profile: Profile) -> str:
    """The compatibility page as Markdown."""
    made = compiled(profile)
    lines = [f"# {profile.id}", "", f"Version {profile.version}.", "", "| endpoint | offered |"]
    lines.append("|---|---|")
    for name, path in PATHS.items():
        lines.append(f"| `{path}` | {'yes' if made['endpoints'].get(name) else 'no'} |")
    for name, path in PATHS.items():
        rules = made["endpoints"].get(name)
        if rules:
            lines += ["", f"## {path}", "", "| parameter | type | what becomes of it | note |"]
            lines += ["|---|---|---|---|", *_rows(rules)]
    lines += ["", "Unknown parameters are " + _unknown(profile) + ". Never accepted, at any depth:"]
    lines += [", ".join(f"`{name}`" for name in made["denied"]) + ".", ""]
    return "\n".join(lines)


def _unknown(profile: Profile) -> str:
    words = {"forward": "passed on", "drop": "taken out", "reject": "refused"}
    return words[profile.unknown_params]


def _rows(rules: dict[str, Any]) -> Iterator[str]:
    schema, actions = rules["schema"], {one["field"]: one for one in rules["actions"]}
    order = [*rules["order"], *(one for one in schema["properties"] if one not in rules["order"])]
    for name in order:
        action = actions.get(name, {"do": "validate"})
        kinds, notes = _told(schema, schema["properties"][name])
        if name in schema["required"]:
            notes.insert(0, "required")
        if action["do"] == "reject":
            notes = [action["message"].replace("{value}", "…")]
        if action["do"] == "off":
            notes.append(f"{action['value']:g} means off")
        yield f"| `{name}` | {kinds} | {MARKS[action['do']]} | {'; '.join(notes)} |"


def _told(schema: dict[str, Any], value: dict[str, Any]) -> tuple[str, list[str]]:
    """The kinds that a value may have, and what is to be noted of them."""
    kinds: list[str] = []
    notes: list[str] = []
    for one in _forms(schema, value):
        kind = one.get("type", "any")
        for name in [kind] if isinstance(kind, str) else kind:
            if name not in kinds:
                kinds.append(name)
        if "enum" in one and len(one["enum"]) <= 10:
            notes.append(", ".join(f"`{word}`" for word in one["enum"]))
        notes += [f"{words} {one[bound]}" for bound, words in BOUNDS.items() if bound in one]
    return " or ".join(kinds), notes


def _forms(schema: dict[str, Any], value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "$ref" in value:
        yield schema["$defs"][value["$ref"].removeprefix("#/$defs/")]
        return
    for one in value.get("anyOf") or value.get("oneOf") or ():
        yield from _forms(schema, one)
    if "anyOf" not in value and "oneOf" not in value:
        yield value
