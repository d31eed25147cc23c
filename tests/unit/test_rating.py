"""What a call costs: the rule, its rounding, and what is never a silent 0."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from levada import prices
from levada.control.rating import NOTHING, RATED, UNITS, UNPRICED, Units, amount, rate
from levada.prices import Price, Version

WHOLE = Price(250_000, 50_000, 1_000_000, 2_000_000, 40_000, 100, 15_000_000)


def units(**more: int) -> Units:
    return tuple(more.get(name, 0) for name in UNITS)  # type: ignore[return-value]


def version(price: Price = WHOLE) -> Version:
    return Version("EUR", 0, {"m": price})


@pytest.mark.parametrize(
    ("used", "cost"),
    [
        ({"input_tokens": 4}, 1),
        ({"input_tokens": 1}, 0),  # 0.25
        ({"input_tokens": 2}, 1),  # 0.5: a half goes up
        ({"input_tokens": 100, "cached_tokens": 60}, 40 * 250 // 1000 + 60 * 50 // 1000),
        ({"input_tokens": 10, "cached_tokens": 1000}, 1),  # no more is cached than was given
        ({"output_tokens": 10, "reasoning_tokens": 4}, 6 + 8),
        ({"output_tokens": 10, "reasoning_tokens": 99}, 20),
        ({"input_tokens": 4, "created_tokens": 4}, 1),  # they are part of the input
        ({"images": 3}, 120_000),
        ({"audio_ms": 1500}, 150),
        ({"audio_ms": 1}, 0),
        ({"characters": 7}, 105),
        # Added up first and rounded once.
        ({"input_tokens": 1, "audio_ms": 3}, 1),
    ],
)
def test_the_rule(used: dict[str, int], cost: int) -> None:
    assert amount(WHOLE, units(**used)) == cost


def test_a_request_may_cost_too() -> None:
    asked = version(Price(request=7))
    assert rate(asked, "m", "done", units()) == (RATED, 7, asked.id)
    # Whoever left with nothing pays nothing.
    assert rate(asked, "m", "cancelled", units()) == (NOTHING, None, asked.id)
    assert amount(Price(input=1_000_000, request=7), units(input_tokens=2)) == 9


def test_without_a_price_there_is_no_amount() -> None:
    used = units(input_tokens=1)
    list_ = version(Price(input=0, cached=0))
    assert rate(list_, "m", "done", used) == (RATED, 0, list_.id)
    assert rate(list_, "n", "done", used) == (UNPRICED, None, list_.id)
    assert rate(list_, None, "done", used) == (UNPRICED, None, list_.id)
    assert rate(None, "m", "done", used) == (UNPRICED, None, None)
    assert rate(list_, "m", "done", units(output_tokens=1)) == (UNPRICED, None, list_.id)
    assert rate(list_, "m", "done", units(input_tokens=9, images=1)) == (UNPRICED, None, list_.id)
    assert rate(list_, "n", "done", units()) == (NOTHING, None, list_.id)
    assert rate(None, None, "refused", units()) == (NOTHING, None, None)


def test_what_no_store_can_hold_is_no_amount() -> None:
    most = Price(input=1_000_000, cached=0)
    assert amount(most, units(input_tokens=2**63 - 1)) == 2**63 - 1
    assert rate(version(most), "m", "done", units(input_tokens=2**63))[0] == UNPRICED


COUNTS = st.integers(0, 2**40)
COSTS = st.none() | st.integers(0, 10**9)
PRICES = st.builds(Price, COSTS, COSTS, COSTS, COSTS, COSTS, COSTS, COSTS, st.integers(0, 10**9))
USED = st.tuples(*[COUNTS] * len(UNITS))


@given(PRICES, USED, st.sampled_from(["done", "cancelled"]))
def test_a_rating_is_the_same_again(price: Price, used: Any, ended: str) -> None:
    first = version(price)
    kept = prices.read(first.text)
    state, cost, name = rate(first, "m", ended, used)
    assert rate(kept, "m", ended, used) == (state, cost, name)
    assert name == kept.id
    assert (cost is not None) == (state == RATED)
    assert cost is None or type(cost) is int


@given(PRICES, USED, st.integers(0, len(UNITS) - 1), st.integers(0, 10**6))
def test_more_costs_no_less(price: Price, used: Any, place: int, more: int) -> None:
    # A part of another count says how that is divided, and may well make it cheaper.
    if UNITS[place] in ("cached_tokens", "reasoning_tokens"):
        return
    grown = (*used[:place], used[place] + more, *used[place + 1 :])
    before, after = amount(price, used), amount(price, grown)
    assert before is None or after is None or after >= before
    assert before is not None or after is None


@given(PRICES, USED)
def test_an_amount_is_within_half_of_a_micro_unit(price: Price, used: Any) -> None:
    found = amount(price, used)
    if found is None:
        return
    given, made, cached, _, reasoning, images, audio, characters = used
    cached, reasoning = min(cached, given), min(reasoning, made)
    pairs = [
        (given - cached, price.input, 1),
        (cached, price.cached, 1),
        (made - reasoning, price.output, 1),
        (reasoning, price.reasoning, 1),
        (images, price.image, 10**6),
        (audio, price.audio_second, 10**3),
        (characters, price.character, 1),
        (1, price.request, 10**6),
    ]
    exact = sum(count * (cost or 0) * scale for count, cost, scale in pairs)
    assert -500_000 < found * 10**6 - exact <= 500_000
