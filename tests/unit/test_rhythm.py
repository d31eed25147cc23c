"""Tasks that look again and again are woken together."""

from __future__ import annotations

import asyncio

import pytest

from levada.control.rhythm import beat


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("now", "seconds", "until"),
    [(10.0, 0.25, 10.25), (10.125, 0.25, 10.25), (10.1875, 0.25, 10.5), (10.1875, 0.5, 10.5)],
)
async def test_it_ends_at_a_multiple_and_no_sooner_than_after_half(
    monkeypatch: pytest.MonkeyPatch, now: float, seconds: float, until: float
) -> None:
    slept: list[float] = []

    async def sleep(wait: float) -> None:
        slept.append(wait)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    await beat(seconds)
    assert slept == [until - now]
