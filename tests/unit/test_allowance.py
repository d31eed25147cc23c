"""What operators write of limits, and what the engine reads of it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from levada.allowance import Allowance, micro


def test_every_word_has_its_rule() -> None:
    written = {
        "requests_per_minute": 1,
        "input_tokens_per_day": 2,
        "output_tokens_per_minute": 3,
        "tokens_per_minute": 4,
        "windows": [{"count": "tokens", "most": 5, "per_s": "1h"}],
        "concurrency": 6,
        "budget": {"money": "19.99", "tokens": 7, "per": "day"},
    }
    allowance = Allowance.model_validate(written)
    assert allowance.document() == {
        "windows": [
            {"count": "requests", "most": 1, "per_ms": 60_000},
            {"count": "input", "most": 2, "per_ms": 86_400_000},
            {"count": "output", "most": 3, "per_ms": 60_000},
            {"count": "tokens", "most": 4, "per_ms": 60_000},
            {"count": "tokens", "most": 5, "per_ms": 3_600_000},
        ],
        "concurrency": 6,
        "budgets": [
            {"unit": "money", "most": 19_990_000, "per": "day"},
            {"unit": "tokens", "most": 7, "per": "day"},
        ],
    }
    # What is kept of it says the same.
    assert Allowance.model_validate(json.loads(json.dumps(allowance.written()))) == allowance
    assert Allowance().document() is None
    assert Allowance.model_validate({"budget": {"money": 0}}).document() == {
        "budgets": [{"unit": "money", "most": 0, "per": "month"}]
    }


def test_money_is_exact() -> None:
    assert [micro(one) for one in ("0", "25", "0.5", "19.990001")] == [
        0,
        25 * 10**6,
        500_000,
        19_990_001,
    ]


@given(st.integers(0, 10**18 - 1))
def test_no_millionth_is_lost(millionths: int) -> None:
    assert micro(f"{millionths // 10**6}.{millionths % 10**6:06}") == millionths


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"budget": {"money": 19.99}}, "in quotes"),
        ({"budget": {"money": True}}, "in quotes"),
        ({"budget": {"money": "1.0000001"}}, "is not a sum"),
        ({"budget": {"money": "-1"}}, "is not a sum"),
        ({"budget": {"money": []}}, "valid string"),
        ({"tokens_per_minute": 0}, "greater than or equal to 1"),
        ({"tokens_per_hour": 1}, "not permitted"),
        (
            {
                "tokens_per_day": 1,
                "windows": [{"count": "tokens", "most": 2, "per_s": "1d"}],
            },
            "tokens in 86400 s are limited twice",
        ),
        (
            {"windows": [{"count": "input", "most": 1, "per_s": at + 1} for at in range(12)]},
            "more than 11 limits",
        ),
    ],
)
def test_what_is_wrong_is_said(written: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Allowance.model_validate(written)


def test_eleven_are_taken() -> None:
    ten = [{"count": "input", "most": 1, "per_s": at + 1} for at in range(10)]
    assert Allowance.model_validate({"windows": ten, "concurrency": 1}).document()
    with pytest.raises(ValidationError):
        Allowance.model_validate({"windows": ten, "concurrency": 1, "budget": {"tokens": 1}})
