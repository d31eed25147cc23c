"""What is wrong with a profile's words, in one sentence for each mistake, and what was meant.

Pure. Where a value may have several forms, only the form that was begun is spoken of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from levada.config import Where
from levada.profiles.schema import Profile
from levada.wording import message, nearest

Mistake = tuple[Where, str, str | None]
"""Where it is, what it is, and perhaps what was meant."""


def judged(values: Mapping[str, Any]) -> Profile | list[Mistake]:
    """The profile that these words are, or all that is wrong with them."""
    try:
        return Profile.model_validate(values)
    except ValidationError as error:
        return list(_told(error.errors(include_url=False), values))


def _told(errors: list[ErrorDetails], values: Mapping[str, Any]) -> Iterator[Mistake]:
    """The errors of pydantic as sentences; a key that is only misspelt is not missing too."""
    meant = set()
    for error in errors:
        if error["type"] == "extra_forbidden":
            where = _way(error["loc"], values)
            hint = nearest(str(where[-1]), _keys(where[:-1]))
            meant.add((where[:-1], hint))
            yield where, f"unknown key '{where[-1]}'", hint
    for error in errors:
        where = _way(error["loc"], values)
        kind = error["type"]
        if kind == "missing" and (where[:-1], f"did you mean '{where[-1]}'?") in meant:
            continue
        if kind == "union_tag_invalid":
            yield _begun(where, error)
        elif kind != "extra_forbidden":
            given = error["input"]
            known = _words(where) if isinstance(given, str) else ()
            yield where, message(error), nearest(str(given), known)


def _begun(where: Where, error: ErrorDetails) -> Mistake:
    """An action that says what it does in a word that is none."""
    tags = error["ctx"]["expected_tags"].replace("'", "").split(", ")
    known = [tag for tag in tags if tag != "word"]
    given = error["ctx"]["tag"]
    what = f"'{given}' is not one of {', '.join(known)}"
    return (*where, "do"), what, nearest(given, known)


def _way(loc: Where, values: Any) -> Where:
    """The way through the file: what pydantic says of forms on the way is left out."""
    way: list[str | int] = []
    for place, part in enumerate(loc):
        inside = isinstance(values, Mapping) and part in values
        if inside or (isinstance(values, list) and isinstance(part, int)):
            values = values[part]
        elif place < len(loc) - 1 or not isinstance(values, Mapping):
            continue
        way.append(part)
    return tuple(way)


def _keys(where: Where) -> list[str]:
    """The keys of the mapping at this place."""
    kinds = (kind for kind in _at(where) if isinstance(kind, type) and issubclass(kind, BaseModel))
    return [field.alias or name for kind in kinds for name, field in kind.model_fields.items()]


def _words(where: Where) -> list[str]:
    """The words that may stand at this place."""
    kinds = (kind for kind in _at(where) if get_origin(kind) is Literal)
    return [word for kind in kinds for word in get_args(kind)]


def _at(where: Where) -> list[Any]:
    """The types of what may stand at this place."""
    kinds: list[Any] = [Profile]
    for part in where:
        kinds = [inner for kind in kinds for inner in _inside(kind, part)]
    return kinds


def _inside(kind: Any, part: str | int) -> Iterator[Any]:
    if get_origin(kind) in (dict, list):
        yield from _forms(get_args(kind)[-1])
    elif isinstance(kind, type) and issubclass(kind, BaseModel) and part in kind.model_fields:
        yield from _forms(kind.model_fields[str(part)].annotation)


def _forms(kind: Any) -> Iterator[Any]:
    """A type without what is said about it, each form of a union by itself."""
    if get_origin(kind) is Annotated:
        yield from _forms(get_args(kind)[0])
    elif get_origin(kind) is Union or get_origin(kind) is UnionType:
        for one in get_args(kind):
            yield from _forms(one)
    else:
        yield kind
