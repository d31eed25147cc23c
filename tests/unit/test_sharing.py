"""What the log says of limits that are shared, or not any more."""

import asyncio
from typing import Any

import pytest
from fake_gateway import FakeGateway
from structlog.testing import capture_logs

from levada.control import sharing
from levada.control.sharing import Sharing


def test_each_change_is_told_once() -> None:
    gateway: Any = FakeGateway()
    watched = Sharing(gateway)
    with capture_logs() as logs:
        for gateway.is_shared in (True, False, False, True):
            watched.look()
    told = [(line["log_level"], line["event"]) for line in logs]
    assert told == [
        ("warning", "Redis does not answer in time; limits hold for this replica's part alone"),
        ("info", "limits are shared with the other replicas again"),
    ]


@pytest.mark.asyncio
async def test_it_looks_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "LOOK_SECONDS", 0.001)
    gateway: Any = FakeGateway()
    gateway.is_shared = False
    with capture_logs() as logs:
        task = asyncio.create_task(Sharing(gateway).run())
        while not logs:
            await asyncio.sleep(0)
        task.cancel()
    assert len(logs) == 1
