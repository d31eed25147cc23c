"""A finished call as the journal tells it to the ledger, for tests without a gateway."""

import json
from typing import Any

RECORD = {
    "journal": "j",
    "call": 0,
    "id": "req_1",
    "at_ms": 5,
    "key": "k_a",
    "endpoint": "chat.completions",
    "model": "m",
    "backend": "one",
    "attempts": 1,
    "stream": True,
    "status": 200,
    "end": "done",
    "prompt_tokens": 10,
    "completion_tokens": 2,
    "cached_tokens": 1,
    "created_tokens": 0,
    "reasoning_tokens": 0,
    "usage": "engine_final",
    "first_byte_us": 7,
    "total_us": 9,
}


def line(call: int, **more: Any) -> bytes:
    """One line of a batch."""
    return json.dumps({**RECORD, "call": call, **more}).encode() + b"\n"


def lines(*calls: int, **more: Any) -> bytes:
    """A batch."""
    return b"".join(line(call, **more) for call in calls)
