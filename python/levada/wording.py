"""pydantic's error → our sentence: the wrong value, what it should be, the nearest right word.

Pure, and the only file that shows a value; a secret's value is never shown.
"""

import difflib
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from levada.config import Config, Where

_SENTENCES = {
    "int_parsing": "{value} is not a whole number",
    "int_type": "{value} is not a whole number",
    "int_from_float": "{value} is not a whole number",
    "int_parsing_size": "{value} is not a whole number",
    "float_parsing": "{value} is not a number",
    "float_type": "{value} is not a number",
    "finite_number": "{value} is not a number",
    "bool_parsing": "{value} is not true or false",
    "bool_type": "{value} is not true or false",
    "string_type": "{value} is not a text",
    "path_type": "{value} is not a path",
    "tuple_type": "{value} is not a list",
    "model_type": "{value} is not a mapping",
    "literal_error": "{value} is not one of {expected}",
    "greater_than_equal": "{value} is less than {ge:g}",
    "less_than_equal": "{value} is more than {le:g}",
    "too_short": "the list is empty",
    "value_error": "{value} {error}",
    "missing": "is missing",
    "extra_forbidden": "unknown key",
    "dict_type": "{value} is not a mapping",
    "list_type": "{value} is not a list",
    "string_pattern_mismatch": "{value} does not match {pattern}",
}
_SHOWN = 80


def is_secret(where: Where) -> bool:
    """Whether the value at this place, or in it, must not be shown: a backend's key, the store."""
    hidden = (("backends", "key"), ("webhooks", "secret"))
    return (
        where[:1] == ("store",)
        or where == ("limits", "redis")
        or (*where[:1], *where[2:3]) in hidden
    )


def sentence(error: ErrorDetails, written: Mapping[Where, str]) -> tuple[str, str | None]:
    """Message and hint. `written` has the values that held `${...}` as they stand in the file."""
    where, kind = error["loc"], error["type"]
    if kind == "extra_forbidden":
        name = str(where[-1])
        return f"unknown key '{name}'", nearest(name, known(where[:-1]))
    shown = "the value" if is_secret(where) else _show(written.get(where, error["input"]))
    if kind == "literal_error" and isinstance(error["input"], str):
        return message(error, shown), nearest(error["input"], _choices(where))
    return message(error, shown), None


def message(error: ErrorDetails, shown: str | None = None) -> str:
    """The sentence alone, about the value itself or what is shown in its place."""
    value = _show(error["input"]) if shown is None else shown
    context = error.get("ctx", {})
    return _SENTENCES.get(error["type"], "{value} does not fit").format(value=value, **context)


def nearest(word: str, right: Iterable[str]) -> str | None:
    """The question "did you mean ...", where one right word is near enough to ask it."""
    found = difflib.get_close_matches(word, list(right), n=1)
    return f"did you mean '{found[0]}'?" if found else None


def known(where: Where) -> list[str]:
    """The keys of the mapping at this place."""
    kind = _kind(where)
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []


def _choices(where: Where) -> list[str]:
    return [str(choice) for choice in get_args(_kind(where))]


def _kind(where: Where) -> Any:
    """Follows the fields of Config down to the type at this place."""
    kind: Any = Config
    for part in where:
        kind = get_args(kind)[0] if isinstance(part, int) else kind.model_fields[part].annotation
        if get_origin(kind) in (Union, UnionType):
            kind = get_args(kind)[0]
    return kind


def _show(value: object) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, str):
        return str(value)
    text = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..."
    return f"'{text}'" if text.isprintable() else repr(text)
