"""What a call costs: its units and a price to one whole number, and how it came about.

Pure. Law: the one rule of `amount`, in whole numbers, divided once. The same units and the same
version always give the same rating.
"""

from __future__ import annotations

from levada.prices import MICRO, Price, Version

UNITS = (
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "created_tokens",
    "reasoning_tokens",
    "images",
    "audio_ms",
    "characters",
)
"""What is counted of a call, in the order of `Units`."""

Units = tuple[int, int, int, int, int, int, int, int]
Rating = tuple[str, int | None, str | None]
"""The state, the amount of a rated call in micro-units, and the version that was asked."""

UNRATED = "unrated"  # there is no price list
NOTHING = "nothing"  # there is nothing to pay for
UNPRICED = "unpriced"  # something of it has no price: an alarm, and never 0
RATED = "rated"

MOST = 2**63 - 1
"""What the store can hold. An amount above it is not one that anybody meant: unpriced."""

# Prices are by the million or each, and audio is counted in thousandths of a second.
_EACH = MICRO
_SECOND = MICRO // 1000
_HALF = MICRO // 2


def rate(version: Version | None, model: str | None, ended: str, units: Units) -> Rating:
    """The rating of a call where there is a price list; `version` None: none was in force yet."""
    whole = ended == "done"
    price = None if version is None or model is None else version.models.get(model)
    name = None if version is None else version.id
    if not any(units) and not (whole and price is not None and price.request):
        return NOTHING, None, name
    found = None if price is None else amount(price, units)
    return (UNPRICED, None, name) if found is None else (RATED, found, name)


def amount(price: Price, units: Units) -> int | None:
    """Units times prices, added up and rounded once, a half up; None without a price for one.

    Cached tokens are part of the input and tokens of reasoning part of the output.
    """
    given, made, cached, _created, reasoning, images, audio_ms, characters = units
    cached, reasoning = min(cached, given), min(reasoning, made)
    used = [(given - cached, price.input), (cached, price.cached)]
    used += [(made - reasoning, price.output), (reasoning, price.reasoning)]
    if images or audio_ms or characters:
        used += [(images * _EACH, price.image), (audio_ms * _SECOND, price.audio_second)]
        used.append((characters, price.character))
    total = price.request * _EACH
    for count, cost in used:
        if cost is not None:
            total += count * cost
        elif count:
            return None
    found = (total + _HALF) // MICRO
    return found if found <= MOST else None
