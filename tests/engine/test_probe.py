"""The probe against Levada in front of the real llama.cpp: no profile's promise is broken, and what
cannot be told there is told with its reason.
"""

import pytest
from served import Start

from engine import Engine
from levada import profiles
from levada.probe import Client, probe
from levada.probe.rows import Outcome

# Enough for a probe, so that the headers are there and nobody waits.
MANY = {"requests": [{"requests": 100_000, "per_s": 60}]}
NO_LIMITS = {"requests": []}


@pytest.mark.parametrize("profile", profiles.names())
def test_no_promise_is_broken(levada: Start, llamacpp: Engine, door: str, profile: str) -> None:
    promised = profiles.load(profile)
    config = {
        "backends": [{"name": "one", "url": llamacpp.url}],
        "profile": profile,
        "limits": MANY,
    }
    one = levada(door=door, config=config)
    rows = probe(Client(one.base, one.key, 20), promised)
    for r in rows:
        if r.outcome is not Outcome.held:
            print(
                r.outcome,
                r.id,
                "|",
                r.what,
                "|",
                r.why,
                "|",
                (r.request or {}).get("path"),
                str((r.request or {}).get("body"))[:300],
                "|",
                str(r.answer)[:300],
            )
    print(len(rows), sum(r.outcome is Outcome.held for r in rows))
    assert [row for row in rows if row.outcome is Outcome.broken] == []
