"""The catalogue of messages, byte for byte through both doors; nothing of it reaches a backend."""

import json
from pathlib import Path
from typing import Any

import pytest
from provider_host import Hosts

ROWS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "catalogue.json").read_text()
)
PATHS = {"chat.completions": "/v1/chat/completions", "embeddings": "/v1/embeddings"}


def test_the_catalogue_is_whole() -> None:
    assert len({row["id"] for row in ROWS}) >= 20
    assert len(ROWS) >= 70


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_a_row(host: Hosts, door: str, row: dict[str, Any]) -> None:
    answer, seen = host("openai", door).ask(PATHS[row["endpoint"]], row["body"].encode())
    wanted = {
        "message": row["message"],
        "type": "invalid_request_error",
        "param": row["param"],
        "code": row["code"],
    }
    assert (answer.status, seen) == (400, [])
    assert answer.body == json.dumps({"error": wanted}, separators=(",", ":")).encode()
