"""The probe against Levada in front of the real llama.cpp: no profile's promise is broken, and what
cannot be told there is told with its reason.
"""

import pytest
from served import Start

from engine import Engine
from engine.tiny_model import vocabulary
from levada import profiles
from levada.probe import Client, probe
from levada.probe.rows import Outcome

# What an operator says of this model, and OpenAI's own bound of a body; limits that nobody uses up.
ABILITIES = {"dimensions": False, "vocabulary": len(vocabulary())}
MODEL = {"name": "tiny", "backends": ["one"], "abilities": ABILITIES}
LIMITS = {"requests": [{"requests": 100_000, "per_s": 60}], "body_bytes": 26_214_400}
# What no text model has, however it is served.
ELSEWHERE = ("rerank", "score", "moderations", "images.", "audio.")


@pytest.mark.parametrize("profile", profiles.names())
def test_no_promise_is_broken(levada: Start, llamacpp: Engine, door: str, profile: str) -> None:
    config = {
        "backends": [{"name": "one", "url": llamacpp.url}],
        "models": [MODEL],
        "profile": profile,
        "limits": LIMITS,
    }
    one = levada(door=door, config=config)
    rows = probe(Client(one.base, one.key, 20), profiles.load(profile))
    assert [row for row in rows if row.outcome is Outcome.broken] == []
    untold = [row for row in rows if row.outcome is Outcome.untestable]
    assert all(row.why for row in untold)
    endpoints = {row.id for row in untold if row.id.endswith("/answer")}
    assert all(id.startswith(ELSEWHERE) for id in endpoints)
    assert sum(row.outcome is Outcome.held for row in rows) > 280
