"""From a Profile to what the engine reads: each endpoint's schema with the profile's bounds in it.

Pure. The field tables come from the SDK (`generate.py`); a profile says only what differs.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from levada.document import Problem
from levada.profiles.reading import branches
from levada.profiles.schema import Endpoint, Map, Off, Profile, ProfileError, Reject
from levada.wording import nearest

# To which kinds of value a bound belongs.
KINDS = {
    "minimum": ("integer", "number"),
    "maximum": ("integer", "number"),
    "minItems": ("array",),
    "maxItems": ("array",),
    "minLength": ("string",),
    "maxLength": ("string",),
    "pattern": ("string",),
    "maxProperties": ("object",),
    "propertyNames": ("object",),
}


def compiled(profile: Profile) -> dict[str, Any]:
    """The engine's form of a profile. ProfileError for a field or a path that does not exist."""
    endpoints = {
        name: None if one == "absent" else _endpoint(profile, name, one)
        for name, one in profile.endpoints.items()
    }
    return {
        "name": profile.id,
        "denied": [name for name in profile.denylist if name not in profile.allow_inner],
        "base_paths": profile.base_path,
        "null_counts": profile.null_policy == "sdk_types",
        "severs": profile.stream.on_failure == "close",
        "body_bytes": profile.limits.body_bytes,
        "schema_fallback": profile.json_schema_fallback,
        "lists_category": profile.models.category,
        "lists_live": profile.models.live_only,
        "rate": _rate(profile),
        "errors": _errors(profile),
        "endpoints": endpoints,
    }


def _rate(profile: Profile) -> dict[str, Any]:
    rate = profile.rate
    for at, window in enumerate(rate.windows):
        place = f"rate.windows[{at}]"
        if window.burst is not None and window.burst < window.requests:
            words = f"is less than its {window.requests} requests"
            raise _mistake(profile, f"{place}.burst", words)
        for name in window.endpoints:
            if name not in profile.endpoints:
                hint = nearest(name, profile.endpoints)
                raise _mistake(profile, f"{place}.endpoints", f"no endpoint is '{name}'", hint)
    windows = timed(window.model_dump() for window in rate.windows)
    return {"unit": rate.unit, "headers": rate.headers, "windows": windows}


def timed(windows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Windows as the engine reads them: in milliseconds."""
    return [
        {
            "requests": window["requests"],
            "per_ms": round(window["per_s"] * 1000),
            "burst": window["burst"],
            "endpoints": [*window["endpoints"]],
        }
        for window in windows
    ]


def _errors(profile: Profile) -> dict[str, Any]:
    """The odd forms count only where the profile is told to be odd."""
    strict = profile.strict_quirks
    quirks = profile.quirks if strict else type(profile.quirks)()
    return {
        **profile.errors.model_dump(),
        "unauthorized_body": quirks.unauthorized_body,
        "flat_overflow": quirks.flat_overflow,
    }


def _endpoint(profile: Profile, name: str, rules: Endpoint) -> dict[str, Any]:
    tables = _tables()
    if name not in tables:
        message = f"no such endpoint; there are {', '.join(tables)}"
        raise _mistake(profile, f"endpoints.{name}", message, nearest(name, tables))
    schema = copy.deepcopy(tables[name])
    fields = schema["properties"]
    fields.update(copy.deepcopy(rules.types))
    schema["required"] = [one for one in schema["required"] if one not in rules.optional]
    for inner, allowed in profile.allow_inner.items():
        fields[inner] = _closed(allowed)
    for field, action in rules.params.items():
        if action == "ignore" and field in READ:
            message = "is read by the engine and cannot be ignored"
            raise _mistake(profile, f"endpoints.{name}.params.{field}", message)
        # A field that only this provider knows: anything may stand in it.
        fields.setdefault(field, {})
    for path, bounds in rules.ranges.items():
        if wrong := _bound(schema, path, bounds):
            raise _mistake(profile, f"endpoints.{name}.ranges.{path}", *wrong)
    order = [one for one in rules.order if one in fields]
    return {
        "schema": schema,
        "unknown": profile.unknown_params,
        "order": order,
        "checks": list(rules.checks),
        "fingerprint": rules.response.system_fingerprint,
        "cache_counters": rules.response.cache_counters,
        "both_reasonings": rules.response.reasoning == "both",
        "default_max_tokens": _default_limit(profile, rules),
        "actions": [one for one in map(_action, rules.params, rules.params.values()) if one],
    }


def _mistake(profile: Profile, path: str, message: str, hint: str | None = None) -> ProfileError:
    return ProfileError(Problem(profile.id, None, path, message, hint))


def _default_limit(profile: Profile, rules: Endpoint) -> int | None:
    """How many tokens an answer has to which no limit was given."""
    if rules.default_max_tokens is None and profile.strict_quirks:
        return rules.strict_max_tokens
    return rules.default_max_tokens


# What the engine itself reads stays in the body.
READ = ("model", "messages", "stream", "stream_options")


def _action(field: str, action: Any) -> dict[str, Any] | None:
    if action == "validate":
        return None
    if isinstance(action, Reject):
        return {"field": field, "do": "reject", "message": action.message, "except": action.passes}
    if isinstance(action, Off):
        return {"field": field, "do": "off", "value": action.value}
    if isinstance(action, Map):
        pairs = {"from": list(action.values), "to": list(action.values.values())}
        return {"field": field, "do": "map", **pairs}
    return {"field": field, "do": action}


def _closed(names: list[str]) -> dict[str, Any]:
    """An object of nothing but these members, each a plain value."""
    plain = {"type": ["boolean", "number", "string", "null"]}
    return {
        "type": "object",
        "properties": dict.fromkeys(names, plain),
        "additionalProperties": False,
    }


def _bound(
    schema: dict[str, Any], path: str, bounds: dict[str, Any]
) -> tuple[str, str | None] | None:
    """Puts the bounds at every value that the path leads to; what is wrong with them, if it is."""
    targets = [schema]
    for step in path.replace("[]", ".[]").split("."):
        targets = [one for target in targets for one in _step(schema, target, step)]
    found = False
    for target in targets:
        for branch in branches(schema, target):
            for word, value in bounds.items():
                if word not in KINDS:
                    return f"'{word}' is no bound", nearest(word, KINDS)
                if branch.get("type") in KINDS[word] and not _only(branch):
                    branch[word] = value
                    found = True
    return None if found else ("there is no such field", None)


def _only(branch: dict[str, Any]) -> bool:
    return "enum" in branch or "const" in branch


def _step(schema: dict[str, Any], target: dict[str, Any], step: str) -> Iterator[dict[str, Any]]:
    for branch in branches(schema, target):
        if step == "[]" and isinstance(branch.get("items"), dict):
            yield branch["items"]
        elif step in branch.get("properties", {}):
            yield branch["properties"][step]


def table_file() -> Path:
    """The field tables of the pinned SDK."""
    return Path(__file__).with_name("fields.json")


@cache
def _tables() -> dict[str, Any]:
    files = (table_file(), table_file().with_name("engines.json"))
    read = [json.loads(file.read_text(encoding="utf-8"))["endpoints"] for file in files]
    return {name: table for tables in read for name, table in tables.items()}
