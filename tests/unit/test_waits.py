"""Many waits under one timer."""

import asyncio
import time

import pytest

from levada.waits import Waits


class Waiter:
    def __init__(self) -> None:
        self.late_at = 0.0

    def late(self) -> None:
        self.late_at = time.monotonic()


@pytest.mark.asyncio
async def test_who_ends_in_time_hears_nothing_and_who_does_not_is_told_once_in_order() -> None:
    waits = Waits(0.2)
    begun = []
    for _ in range(4):
        one = Waiter()
        begun.append((one, time.monotonic()))
        waits.begin(one)
        await asyncio.sleep(0.01)
    waits.end(begun[1][0])
    await asyncio.sleep(0.4)
    told = [one.late_at - at for one, at in begun if one.late_at]
    assert len(told) == 3
    assert begun[1][0].late_at == 0
    assert all(0.2 <= after < 0.4 for after in told), told
    waits.end(begun[0][0])  # after it was told: nothing


@pytest.mark.asyncio
async def test_the_timer_rings_for_those_who_come_later() -> None:
    waits = Waits(0.01)
    first, second = Waiter(), Waiter()
    waits.begin(first)
    waits.end(first)
    await asyncio.sleep(0.03)
    waits.begin(second)
    await asyncio.sleep(0.03)
    assert first.late_at == 0
    assert second.late_at > 0
