"""What a profile says of each field, as promises: types, bounds, choices, what is ignored, refused,
passed on, denied.

Law: every row follows from the compiled profile, which is what the engine is given; no field has a
row of its own here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

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
    yield from one.unknown()


class _Fields:
    """The fields of one endpoint as its rules have them."""

    def __init__(self, profile: Profile, made: dict[str, Any], target: Target) -> None:
        self.profile, self.made, self.target = profile, made, target
        self.rules = made["endpoints"][target.name]
        self.schema: dict[str, Any] = self.rules["schema"]
        self.fields: dict[str, Any] = self.schema["properties"]
        self.actions = {one["field"]: one for one in self.rules["actions"]}

    def promise(
        self, place: str, what: str, body: dict[str, Any], judge: Judge
    ) -> Iterator[Promise]:
        """One request to this endpoint; none where a form cannot say it."""
        if not self.target.endpoint.takes_forms or all(map(sayable, body.values())):
            ask = self.target.ask(body)
            yield Promise(f"{self.target.name}/{place}", what, (ask,), judge)

    def refused(
        self, param: str | None, code: str | None, *, names: str = "", message: str | None = None
    ) -> Judge:
        """Refused as this endpoint's clients read it."""
        dialect = self.target.endpoint.dialect
        return refused(self.profile, param, code, names=names, message=message, dialect=dialect)

    def field(
        self, place: str, what: str, name: str, value: Any, judge: Judge
    ) -> Iterator[Promise]:
        """The same, of a plain body in which the field has this value."""
        body = self.target.with_field(name, value)
        yield from self.promise(f"{name}/{place}", what, body, judge)

    def of(self, name: str) -> Iterator[Promise]:
        """What becomes of one field."""
        action = self.actions.get(name, {"do": "validate"})
        if action["do"] == "ignore":
            value = wrong(self.schema, self.fields[name]) or BAD_VALUE
            yield from self.field(
                "ignored", f"'{name}' is ignored, whatever it is", name, value, accepted
            )
        elif action["do"] == "forward":
            value = instance(self.schema, self.fields[name])
            what = f"'{name}' goes to the engine"
            yield from self.field("forwarded", what, name, value, passed_on)
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
        # Whatever a form says may be read as a text.
        if isinstance(value, str) or (value is not None and not self.target.endpoint.takes_forms):
            judge = self.refused(param, code, names=param or "")
            what = f"'{name}' of a wrong type is refused"
            yield from self.field("type", what, name, value, judge)
        for one in breaches(self.schema, name, node):
            named = "" if one.rule == "enum" else one.path
            judge = self.refused(one.path, one.code, names=named)
            # What means "off" stands beyond the bound and is no breach of it.
            value = one.value - 0.5 if one.value == action.get("value") else one.value
            what = f"'{one.path}' against its {one.rule} is refused"
            place = one.path.removeprefix(name).lstrip(".")
            yield from self.field(f"{place}:{one.rule}".lstrip(":"), what, name, value, judge)
        if action["do"] == "off":
            off = action["value"]
            yield from self.field("off", f"'{name}' of {off:g} means off", name, off, accepted)
        for text in action.get("from", ()):
            what = f"'{name}' of {text} is taken for another"
            yield from self.field(f"map-{text}", what, name, json.loads(text), accepted)

    def rejected(self, name: str, action: dict[str, Any]) -> Iterator[Promise]:
        """Refused in the profile's words, but for what changes nothing."""
        value = rejectable(self.schema, self.fields[name], action["except"])
        shown = json.dumps(value)
        message = action["message"].replace("{value}", shown)
        judge = self.refused(name, None, message=message)
        yield from self.field("rejected", f"'{name}' of {shown} is refused", name, value, judge)
        for text in action["except"]:
            what = f"'{name}' of {text} changes nothing"
            yield from self.field(f"except-{text}", what, name, json.loads(text), accepted)

    def extremes(self) -> Iterator[Promise]:
        """Decimals just within their bounds, all together."""
        checked = {name: node for name, node in self.fields.items() if self.bound(name)}
        for rule in ("minimum", "maximum"):
            found = ((name, extreme(self.schema, node, rule)) for name, node in checked.items())
            values = {name: value for name, value in found if value is not None}
            if values:
                shown = ", ".join(f"{name} {value:g}" for name, value in values.items())
                body = self.target.body(**values)
                yield from self.promise(f"at-{rule}", f"accepted: {shown}", body, accepted)

    def bound(self, name: str) -> bool:
        """Whether the bounds of a field hold."""
        return name not in self.actions or self.actions[name]["do"] in ("off", "map")

    def required(self) -> Iterator[Promise]:
        """What must be there, and must not be null."""
        for name in self.schema["required"]:
            body = self.target.body()
            model = name == "model"
            param, code = (None, None) if model else (name, "missing_required_parameter")
            judge = self.refused(param, code, names=name)
            rest = {key: value for key, value in body.items() if key != name}
            yield from self.promise(f"{name}/required", f"'{name}' must be there", rest, judge)
            null = {**body, name: None}
            yield from self.promise(f"{name}/required-null", f"'{name}' is not null", null, judge)

    def nulls(self) -> Iterator[Promise]:
        """An explicit null: an omission, or a value where the SDK's types know none."""
        counts = self.made["null_counts"]
        free = [name for name in self.fields if name not in self.target.body()]
        checked = [name for name in free if name not in self.actions]
        strict = [name for name in checked if "null" not in kinds(self.schema, self.fields[name])]
        for name in strict if counts else ():
            judge = self.refused(name, "invalid_type", names=name)
            yield from self.field("null", f"'{name}' is not null", name, None, judge)
        omitted = [name for name in checked if not counts or name not in strict]
        body = self.target.body(**dict.fromkeys(omitted))
        what = "a null where one may be counts as omitted"
        yield from self.promise("nulls", what, body, accepted)

    def denied(self) -> Iterator[Promise]:
        """Fields that reach into an engine are refused, at the top of a body and deep in it."""
        names = [one.replace("*", "x") for one in self.made["denied"]]
        # One list for all endpoints: the whole of it is asked for once.
        for name in names if self.target.name == "chat.completions" else names[:1]:
            judge = self.refused(name, "unknown_parameter", names=name)
            yield from self.field("denied", f"'{name}' is never accepted", name, "x", judge)
        for name in names[:1]:
            yield from self.deep(name)

    def deep(self, name: str) -> Iterator[Promise]:
        """A denied field within an unknown one."""
        deep = {"a": [{name: "x"}]}
        closed = self.rules["unknown"] == "reject"
        path = STRANGER if closed else f"{STRANGER}.a[0].{name}"
        judge = self.refused(path, "unknown_parameter", names=path)
        what = f"'{name}' is not accepted at any depth"
        yield from self.field("denied", what, STRANGER, deep, judge)

    def inner(self) -> Iterator[Promise]:
        """Denied fields of which some members are allowed."""
        for name, allowed in self.profile.allow_inner.items():
            value = dict.fromkeys(allowed, False)
            yield from self.field("allowed", f"'{name}' may hold {allowed}", name, value, accepted)
            path = f"{name}.chat_template"
            judge = self.refused(path, "unknown_parameter", names=path)
            other = {"chat_template": "x"}
            yield from self.field("closed", f"'{name}' may hold nothing else", name, other, judge)

    def unknown(self) -> Iterator[Promise]:
        """A field that nobody knows."""
        judge: Judge = accepted
        if self.rules["unknown"] == "reject":
            judge = self.refused(STRANGER, "unknown_parameter", names=STRANGER)
        what = f"an unknown field: {self.profile.unknown_params}"
        yield from self.field("unknown", what, STRANGER, {"a": [1]}, judge)


def sayable(value: Any) -> bool:
    """Whether a part of a form can be this."""
    return isinstance(value, str | bytes | int | float) and not isinstance(value, bool)


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
