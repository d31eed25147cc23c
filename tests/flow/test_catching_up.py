"""How fast the ledger takes what has gathered in the journal while the store was away.

The floor is far below what a quiet machine does, for this one may be busy; the figure is printed.
"""

import json
import time
from pathlib import Path

import pytest

from levada.config import Storage
from levada.control.collector import BATCH
from levada.control.ledger import Ledger
from levada.control.store import Store

ROWS = 40_000
FLOOR = 5_000
RECORD = {
    "journal": "0123456789abcdef0123456789abcdef",
    "id": f"req_{'a' * 32}",
    "key": "k_Ab12Cd34",
    "endpoint": "chat.completions",
    "model": "qwen3-8b",
    "backend": "gpu-1",
    "attempts": 1,
    "stream": True,
    "status": 200,
    "end": "done",
    "prompt_tokens": 1200,
    "completion_tokens": 300,
    "cached_tokens": 1000,
    "created_tokens": 0,
    "reasoning_tokens": 0,
    "usage": "backend",
    "first_byte_us": 70_000,
    "total_us": 9_000_000,
}


def batch(first: int) -> bytes:
    """Lines as the journal gives them."""
    calls = range(first, first + BATCH)
    records = ({**RECORD, "call": call, "at_ms": 1_790_000_000_000 + call} for call in calls)
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


@pytest.mark.asyncio
async def test_rows_a_second(
    tmp_path: Path, storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    batches = [batch(first) for first in range(0, ROWS, BATCH)]
    store = await Store.open(tmp_path, storage=storage)
    ledger = Ledger(store)
    took = []
    began = time.monotonic()
    for lines in batches:
        started = time.monotonic()
        assert await ledger.take(lines) == BATCH
        took.append(time.monotonic() - started)
    rate = ROWS / (time.monotonic() - began)
    (sums,) = await ledger.sums("model")
    await store.close()
    assert (sums["calls"], sums["input_tokens"]) == (ROWS, ROWS * 1200)
    where = "SQLite" if storage.url is None else "PostgreSQL"
    with capsys.disabled():
        print(f"\n{where}: {rate:,.0f} rows/s, at best {BATCH / min(took):,.0f} in a batch")
    assert rate > FLOOR
