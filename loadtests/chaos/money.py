"""What a run's calls cost, in fractions of which nothing is lost: the oracle's opinion.

Law: independent of the gateway, which has whole numbers; both must come to the same.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

MILLION = 1_000_000
# In units of money for a million tokens: the input, those from the cache, the output, reasoning.
RATES = {
    "v": ("0.25", "0.05", "1.10", "2.00"),
    "l": ("0.333333", "0.000001", "0.777777", "0.777777"),
    "p": ("1.00", "1.00", "3.00", "3.00"),
}
# Without a price, so that its tokens must be told as having none.
FREE = "embed"


def listed() -> dict[str, Any]:
    """The price list; JSON is YAML."""
    names = ("input", "cached", "output", "reasoning")
    models = {model: dict(zip(names, rates, strict=True)) for model, rates in RATES.items()}
    return {"currency": "EUR", "versions": [{"valid_from": "2020-01-01", "models": models}]}


def owed(row: dict[str, Any]) -> tuple[str, int | None]:
    """How a row is to be rated, and its amount in millionths."""
    put, out = row["input_tokens"], row["output_tokens"]
    if not put and not out:
        return "nothing", None
    if row["model"] not in RATES:
        return "unpriced", None
    cached, reasoning = min(row["cached_tokens"], put), min(row["reasoning_tokens"], out)
    counts = (put - cached, cached, out - reasoning, reasoning)
    rates = map(Fraction, RATES[row["model"]])
    exact = sum(count * rate for count, rate in zip(counts, rates, strict=True))
    # Rates are for a million, and so many millionths are one: a half goes up.
    return "rated", int(exact + Fraction(1, 2))
