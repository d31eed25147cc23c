"""How much a tenant, a project, a key or all callers of a model may use, as operators write it.

Pure. Money is counted in whole millionths of its unit; no fraction of it is ever a float.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from levada.section import Section
from levada.values import Count, Seconds

_MICRO = 1_000_000
_MOST = 2**53
_RULES = 11
_MONEY = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")
_PER = {"minute": 60_000, "day": 86_400_000}


def micro(text: str) -> int:
    """The millionths in a sum such as "25", "0.5" or "19.990000"; ValueError for anything else."""
    if not _MONEY.fullmatch(text):
        raise ValueError("is not a sum such as '25' or '19.99', with six places at most")
    return int(Decimal(text) * _MICRO)


def _money(value: object) -> object:
    if isinstance(value, bool | float):
        raise ValueError("is not a whole number; write a sum with a fraction in quotes: '19.99'")
    if isinstance(value, int | str):
        micro(str(value))
        return str(value)
    return value


Money = Annotated[str, BeforeValidator(_money)]
Most = Annotated[Count | None, Field(ge=1, le=_MOST)]


class Counted(Section):
    """So much of one thing in so many seconds."""

    count: Literal["requests", "input", "output", "tokens"]
    most: Count = Field(ge=1, le=_MOST)
    per_s: Seconds = Field(ge=0.001, le=366 * 86400)


class Budget(Section):
    """So much money, so many tokens, or both, in each period of the calendar (UTC) or for ever."""

    money: Money | None = None
    tokens: Most = None
    per: Literal["day", "month", "ever"] = "month"


class Allowance(Section):
    """What may be used: in every stretch of a minute, of a day, of any time; at once; for money."""

    requests_per_minute: Most = None
    requests_per_day: Most = None
    input_tokens_per_minute: Most = None
    input_tokens_per_day: Most = None
    output_tokens_per_minute: Most = None
    output_tokens_per_day: Most = None
    tokens_per_minute: Most = None
    tokens_per_day: Most = None
    windows: tuple[Counted, ...] = ()
    concurrency: Annotated[Count | None, Field(ge=1, le=2**32 - 1)] = None
    budget: Budget | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        windows = [(one["count"], one["per_ms"]) for one in self._windows()]
        for count, per_ms in windows:
            if windows.count((count, per_ms)) > 1:
                raise ValueError(f"{count} in {per_ms / 1000:g} s are limited twice")
        found = self.document() or {}
        rules = [*windows, *found.get("budgets", ()), *([1] if self.concurrency else ())]
        if len(rules) > _RULES:
            raise ValueError(f"has more than {_RULES} limits")
        return self

    def document(self) -> dict[str, Any] | None:
        """As the engine reads it; None where nothing is limited."""
        budget = self.budget or Budget()
        budgets = [
            {"unit": unit, "most": most, "per": budget.per}
            for unit, most in (
                ("money", None if budget.money is None else micro(budget.money)),
                ("tokens", budget.tokens),
            )
            if most is not None
        ]
        parts = {
            "windows": list(self._windows()),
            "concurrency": self.concurrency,
            "budgets": budgets,
        }
        return {name: part for name, part in parts.items() if part} or None

    def written(self) -> dict[str, Any]:
        """As it was written, without what was left out."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def _windows(self) -> Iterator[dict[str, Any]]:
        for what in ("requests", "input_tokens", "output_tokens", "tokens"):
            for per, per_ms in _PER.items():
                most = getattr(self, f"{what}_per_{per}")
                if most is not None:
                    count = what.removesuffix("_tokens")
                    yield {"count": count, "most": most, "per_ms": per_ms}
        for one in self.windows:
            yield {"count": one.count, "most": one.most, "per_ms": round(one.per_s * 1000)}
