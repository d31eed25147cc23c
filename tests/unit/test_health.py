"""What one answer of a backend says about it."""

import json

import pytest

from levada.control.health import Health, answered, silent


@pytest.mark.parametrize(
    ("status", "up", "word"),
    [
        (200, True, "ok"),
        (401, True, "key"),
        (403, True, "key"),
        (404, True, "404"),
        (429, True, "429"),
        (500, False, "500"),
        (503, False, "loading"),
    ],
)
def test_only_a_5xx_or_silence_is_down(status: int, up: bool, word: str) -> None:
    health = answered(status)
    assert health.up is up
    assert word in health.detail


def test_silence_is_down_and_says_why() -> None:
    assert silent(ConnectionRefusedError("refused")) == Health(False, "refused")
    assert silent(TimeoutError()) == Health(False, "TimeoutError")


def test_the_engine_reads_json() -> None:
    assert json.loads(Health(True, "ok").document()) == {"up": True, "detail": "ok"}
