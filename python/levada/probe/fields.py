"""What a profile says of each field, as promises: types, bounds, choices, what is ignored, refused,
passed on, denied.

Law: every row follows from the compiled profile, which is what the engine is given; no field has a
row of its own here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from levada.probe.client import post
from levada.probe.endpoints import Target
from levada.probe.expect import accepted, passed_on, refused
from levada.probe.rows import Judge, Promise
from levada.probe.samples import breaches, extreme, instance, kinds, wrong
from levada.profiles import Profile

STRANGER = "zzz"
# Stands for "whatever it is" where every kind fits.
BAD_VALUE = [{"any": 1}]


def promises(profile: Profile, made: dict[str, Any], target: Target) -> Iterator[Promise]:
    """The promises for one endpoint; `made` is the compiled profile."""
    one = _Fields(profile, made, target)
    for field in one.fields:
        yield from one.of(field)
    yield from one.extremes()
    yield from one.required()
    yield from one.nulls()
    yield from one.denied()
    yield from one.inner()
    yield one.unknown()


class _Fields:
    """The fields of one endpoint as its rules have them."""

    def __init__(self, profile: Profile, made: dict[str, Any], target: Target) -> None:
        self.profile, self.made, self.target = profile, made, target
        self.rules = made["endpoints"][target.name]
        self.schema: dict[str, Any] = self.rules["schema"]
        self.fields: dict[str, Any] = self.schema["properties"]
        self.actions = {one["field"]: one for one in self.rules["actions"]}

    def promise(self, place: str, what: str, body: dict[str, Any], judge: Judge) -> Promise:
        """One request to this endpoint."""
        ask = post(self.target.endpoint.path, body)
        return Promise(f"{self.target.name}/{place}", what, (ask,), judge)

    def field(self, place: str, what: str, name: str, value: Any, judge: Judge) -> Promise:
        """The same, of a plain body in which the field has this value."""
        body = self.target.with_field(name, value)
        return self.promise(f"{name}/{place}", what, body, judge)

    def of(self, name: str) -> Iterator[Promise]:
        """What becomes of one field."""
        action = self.actions.get(name, {"do": "validate"})
        if action["do"] == "ignore":
            value = wrong(self.schema, self.fields[name]) or BAD_VALUE
            yield self.field(
                "ignored", f"'{name}' is ignored, whatever it is", name, value, accepted
            )
        elif action["do"] == "forward":
            value = instance(self.schema, self.fields[name])
            yield self.field("forwarded", f"'{name}' goes to the engine", name, value, passed_on)
        elif action["do"] == "reject":
            yield from self.rejected(name, action)
        else:
            yield from self.validated(name, action)

    def validated(self, name: str, action: dict[str, Any]) -> Iterator[Promise]:
        """Type, bounds, choices."""
        node = self.fields[name]
        value = wrong(self.schema, node)
        # OpenAI takes a model that is no text for a body that is no JSON.
        param, code = (None, None) if name == "model" else (name, "invalid_type")
        if value is not None:
            judge = refused(self.profile, param, code, names=param or "")
            yield self.field("type", f"'{name}' of a wrong type is refused", name, value, judge)
        for one in breaches(self.schema, name, node):
            named = "" if one.rule == "enum" else one.path
            judge = refused(self.profile, one.path, one.code, names=named)
            # What means "off" stands beyond the bound and is no breach of it.
            value = one.value - 0.5 if one.value == action.get("value") else one.value
            what = f"'{one.path}' against its {one.rule} is refused"
            place = one.path.removeprefix(name).lstrip(".")
            yield self.field(f"{place}:{one.rule}".lstrip(":"), what, name, value, judge)
        if action["do"] == "off":
            off = action["value"]
            yield self.field("off", f"'{name}' of {off:g} means off", name, off, accepted)
        for text in action.get("from", ()):
            what = f"'{name}' of {text} is taken for another"
            yield self.field(f"map-{text}", what, name, json.loads(text), accepted)

    def rejected(self, name: str, action: dict[str, Any]) -> Iterator[Promise]:
        """Refused in the profile's words, but for what changes nothing."""
        value = rejectable(self.schema, self.fields[name], action["except"])
        shown = json.dumps(value)
        message = action["message"].replace("{value}", shown)
        judge = refused(self.profile, name, None, message=message)
        yield self.field("rejected", f"'{name}' of {shown} is refused", name, value, judge)
        for text in action["except"]:
            what = f"'{name}' of {text} changes nothing"
            yield self.field(f"except-{text}", what, name, json.loads(text), accepted)

    def extremes(self) -> Iterator[Promise]:
        """Decimals just within their bounds, all together."""
        checked = {name: node for name, node in self.fields.items() if self.bound(name)}
        for rule in ("minimum", "maximum"):
            found = ((name, extreme(self.schema, node, rule)) for name, node in checked.items())
            values = {name: value for name, value in found if value is not None}
            if values:
                shown = ", ".join(f"{name} {value:g}" for name, value in values.items())
                body = self.target.body(**values)
                yield self.promise(f"at-{rule}", f"accepted: {shown}", body, accepted)

    def bound(self, name: str) -> bool:
        """Whether the bounds of a field hold."""
        return name not in self.actions or self.actions[name]["do"] in ("off", "map")

    def required(self) -> Iterator[Promise]:
        """What must be there, and must not be null."""
        for name in self.schema["required"]:
            body = self.target.body()
            model = name == "model"
            param, code = (None, None) if model else (name, "missing_required_parameter")
            judge = refused(self.profile, param, code, names=name)
            rest = {key: value for key, value in body.items() if key != name}
            yield self.promise(f"{name}/required", f"'{name}' must be there", rest, judge)
            null = {**body, name: None}
            yield self.promise(f"{name}/required-null", f"'{name}' is not null", null, judge)

    def nulls(self) -> Iterator[Promise]:
        """An explicit null: an omission, or a value where the SDK's types know none."""
        counts = self.made["null_counts"]
        free = [name for name in self.fields if name not in self.target.body()]
        checked = [name for name in free if name not in self.actions]
        strict = [name for name in checked if "null" not in kinds(self.schema, self.fields[name])]
        for name in strict if counts else ():
            judge = refused(self.profile, name, "invalid_type", names=name)
            yield self.field("null", f"'{name}' is not null", name, None, judge)
        omitted = [name for name in checked if not counts or name not in strict]
        body = self.target.body(**dict.fromkeys(omitted))
        yield self.promise("nulls", "a null where one may be counts as omitted", body, accepted)

    def denied(self) -> Iterator[Promise]:
        """Fields that reach into an engine are refused, at the top of a body and deep in it."""
        names = [one.replace("*", "x") for one in self.made["denied"]]
        # One list for all endpoints: the whole of it is asked for once.
        for name in names if self.target.name == "chat.completions" else names[:1]:
            judge = refused(self.profile, name, "unknown_parameter", names=name)
            yield self.field("denied", f"'{name}' is never accepted", name, "x", judge)
        for name in names[:1]:
            yield self.deep(name)

    def deep(self, name: str) -> Promise:
        """A denied field within an unknown one."""
        deep = {"a": [{name: "x"}]}
        closed = self.rules["unknown"] == "reject"
        path = STRANGER if closed else f"{STRANGER}.a[0].{name}"
        judge = refused(self.profile, path, "unknown_parameter", names=path)
        what = f"'{name}' is not accepted at any depth"
        return self.field("denied", what, STRANGER, deep, judge)

    def inner(self) -> Iterator[Promise]:
        """Denied fields of which some members are allowed."""
        for name, allowed in self.profile.allow_inner.items():
            value = dict.fromkeys(allowed, False)
            yield self.field("allowed", f"'{name}' may hold {allowed}", name, value, accepted)
            path = f"{name}.chat_template"
            judge = refused(self.profile, path, "unknown_parameter", names=path)
            other = {"chat_template": "x"}
            yield self.field("closed", f"'{name}' may hold nothing else", name, other, judge)

    def unknown(self) -> Promise:
        """A field that nobody knows."""
        judge: Judge = accepted
        if self.rules["unknown"] == "reject":
            judge = refused(self.profile, STRANGER, "unknown_parameter", names=STRANGER)
        what = f"an unknown field: {self.profile.unknown_params}"
        return self.field("unknown", what, STRANGER, {"a": [1]}, judge)


def rejectable(schema: dict[str, Any], node: dict[str, Any], passes: list[str]) -> Any:
    """A value of a right kind that is none of those that pass."""
    right = kinds(schema, node)
    tries: tuple[tuple[str, Any], ...] = (
        ("integer", 2),
        ("boolean", True),
        ("boolean", False),
        ("string", "x"),
        ("array", []),
    )
    fit = (value for kind, value in tries if kind in right and json.dumps(value) not in passes)
    return next(fit, {})
