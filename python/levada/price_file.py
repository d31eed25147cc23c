"""The file of prices: its words to versions of a price list, or every mistake with its line.

Pure: text in, prices out. A price is a whole number of micro-units, or a decimal in quotes that is
one exactly; a number that a computer rounds is refused.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from levada import document, wording
from levada.config import Where
from levada.document import ConfigProblems, Problem, spell
from levada.prices import MICRO, Price, Prices, Version
from levada.section import Section
from levada.values import ModelName

# No price is higher: a thousand million units of a currency.
_MOST = 10**9 * MICRO


def _micro(value: object) -> int:
    """Whole micro-units; from a text, units of the currency."""
    if isinstance(value, str):
        if not value.replace(".", "", 1).isascii() or not value.replace(".", "", 1).isdigit():
            raise ValueError("is not a price such as '0.25'")
        if "." not in value:
            raise ValueError(f"could mean two things: write '{value}.0' for units of the currency")
        scaled = Decimal(value).scaleb(6)
        if scaled != scaled.to_integral_value():
            raise ValueError("has more than six places behind the point")
        value = int(scaled)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("is not exact: write a price in quotes, such as '0.25'")
    if not 0 <= value <= _MOST:
        raise ValueError(f"is not between 0 and {_MOST} micro-units")
    return value


def _moment(value: object) -> int:
    """Milliseconds since 1970 of a date or a time; UTC where it does not say."""
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError("is not a time such as 2026-01-31 or 2026-01-31T12:00:00Z") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _currency(value: str) -> str:
    if len(value) != 3 or not (value.isascii() and value.isalpha() and value.isupper()):
        raise ValueError("is not a currency such as EUR")
    return value


Micro = Annotated[int, BeforeValidator(_micro)]


class _Prices(Section):
    """Of one model. What is cached costs the same as other input, unless it says otherwise."""

    input: Micro | None = None
    cached: Micro | None = None
    output: Micro | None = None
    reasoning: Micro | None = None
    image: Micro | None = None
    audio_second: Micro | None = None
    character: Micro | None = None
    request: Micro = 0

    @model_validator(mode="after")
    def _whole(self) -> _Prices:
        if not self.model_fields_set:
            raise ValueError("holds no price")
        for part, of in (("cached", "input"), ("reasoning", "output")):
            if getattr(self, part) is not None and getattr(self, of) is None:
                raise ValueError(f"has a price for '{part}' and none for '{of}'")
        return self

    def price(self) -> Price:
        said = self.model_dump()
        for part, of in (("cached", "input"), ("reasoning", "output")):
            said[part] = said[of] if said[part] is None else said[part]
        return Price(**said)


class _Version(Section):
    valid_from: Annotated[int, BeforeValidator(_moment)]
    models: dict[ModelName, _Prices]


class _File(Section):
    currency: Annotated[str, AfterValidator(_currency)]
    versions: tuple[_Version, ...] = Field(min_length=1)


def read(name: str, text: str) -> Prices:
    """The prices that the text of a file of this name says; ConfigProblems."""
    found = document.parse(text)
    problems = [Problem(name, line, spell(at), told) for at, line, told in found.problems]
    if problems:
        raise ConfigProblems(problems)
    try:
        file = _File.model_validate(found.values)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        # A list is not empty because its entries are wrong.
        meant = (one for one in errors if one["type"] != "too_short" or not one["input"])
        problems = [_problem(name, found, one) for one in meant]
        raise ConfigProblems(sorted(problems, key=lambda one: one.line or 0)) from None
    first: dict[int, int] = {}
    for place, one in enumerate(file.versions):
        known = first.setdefault(one.valid_from, place)
        if known != place:
            where: Where = ("versions", place, "valid_from")
            told = f"is the moment of versions[{known}] too"
            problems.append(Problem(name, found.lines[where], spell(where), told))
    if problems:
        raise ConfigProblems(problems)
    return Prices(tuple(_version(file.currency, file.versions[first[at]]) for at in sorted(first)))


def _version(currency: str, said: _Version) -> Version:
    models = {name: prices.price() for name, prices in said.models.items()}
    return Version(currency, said.valid_from, models)


def _problem(name: str, found: document.Document, error: ErrorDetails) -> Problem:
    where: tuple[Any, ...] = error["loc"]
    where = where[:-1] if where[-1:] == ("[key]",) else where
    near = where
    while near and near not in found.lines:
        near = near[:-1]
    message, hint = wording.message(error), None
    if error["type"] == "extra_forbidden":
        message = f"unknown key '{where[-1]}'"
        known: dict[int, type[Section]] = {1: _File, 3: _Version}
        hint = wording.nearest(str(where[-1]), known.get(len(where), _Prices).model_fields)
    return Problem(name, found.lines.get(near, 1), spell(where), message, hint)
