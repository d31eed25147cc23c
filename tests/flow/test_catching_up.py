"""How fast the ledger takes what has gathered in the journal while the store was away.

The floor is far below what a quiet machine does, for this one may be busy; the figure is printed.
"""

import asyncio
import time
from pathlib import Path

import pytest
from records import line

from levada.config import Storage
from levada.control.collector import BATCH, Collector
from levada.control.ledger import Ledger
from levada.control.store import Store

ROWS = 40_000
FLOOR = 10_000

# As long as real ones are.
LONG = {
    "journal": "0123456789abcdef0123456789abcdef",
    "id": f"req_{'a' * 32}",
    "key": "k_Ab12Cd34",
    "model": "qwen3-8b",
    "backend": "gpu-1",
    "prompt_tokens": 1200,
    "completion_tokens": 300,
    "cached_tokens": 1000,
    "first_byte_us": 70_000,
    "total_us": 9_000_000,
}


def batch(first: int) -> bytes:
    """Lines as the journal gives them."""
    calls = range(first, first + BATCH)
    return b"".join(line(call, at_ms=1_790_000_000_000 + call, **LONG) for call in calls)


class Journal:
    """The engine's part: what is not acknowledged is told again."""

    def __init__(self) -> None:
        self.batches = [batch(first) for first in range(0, ROWS, BATCH)]

    def records(self, _limit: int) -> tuple[bytes, list[str]]:
        return (self.batches[0] if self.batches else b""), []

    def acknowledge(self, count: int) -> None:
        assert count == BATCH
        self.batches.pop(0)


@pytest.mark.asyncio
async def test_rows_a_second(
    tmp_path: Path, storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    store = await Store.open(tmp_path, storage=storage)
    ledger, journal = Ledger(store), Journal()
    began = time.monotonic()
    task = asyncio.create_task(Collector(journal, ledger).run())  # type: ignore[arg-type]
    async with asyncio.timeout(60):
        while journal.batches:
            await asyncio.sleep(0.01)
    rate = ROWS / (time.monotonic() - began)
    task.cancel()
    (sums,) = await ledger.sums("model")
    await store.close()
    assert (sums["calls"], sums["input_tokens"]) == (ROWS, ROWS * 1200)
    where = "SQLite" if storage.url is None else "PostgreSQL"
    with capsys.disabled():
        print(f"\n{where}: {rate:,.0f} rows/s")
    assert rate > FLOOR
