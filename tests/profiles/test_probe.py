"""The probe against Levada itself, and against a server with one fault at a time."""

import pytest
from probed_engine import engine
from provider_host import Hosts
from upstream.faults import FAULTS
from upstream.wrong_server import KEY, WrongServer

from levada import profiles
from levada.probe import Client, probe, run
from levada.probe.rows import Outcome

# Rows that judge what other rows have asked.
ALL_ANSWERS = ("IO-9", "MS-3", "MD-13", "rate/exceeded")
# What Levada does not keep yet, by the ids of the rows: a list that only shrinks.
GAPS: dict[str, set[str]] = {
    # The default limit of bodies is 20 MiB, below OpenAI's 25: the operator's choice.
    "openai": {"size/under"},
}
# Limits that are told and that no probe uses up.
WIDE = {"requests": [{"requests": 100_000, "per_s": 60}]}


@pytest.mark.parametrize("profile", profiles.names())
def test_levada_keeps_its_profiles(host: Hosts, door: str, profile: str) -> None:
    one = host(profile, door, limits=WIDE)
    one.backend.forget().every = engine(profile)
    client = Client(one.levada.base, one.levada.key, 10)
    rows = probe(client, profiles.load(profile))
    assert client.asked == len(client.said), "nobody was turned away"
    broken = {row.id: row for row in rows if row.outcome is Outcome.broken}
    assert [row for id, row in broken.items() if id not in GAPS.get(profile, set())] == []
    assert GAPS.get(profile, set()) - set(broken) == set(), "kept now: take it out of GAPS"
    assert sum(row.outcome is Outcome.held for row in rows) > 200


@pytest.mark.parametrize("profile", ["ionos", "mittwald-shared"])
def test_a_limit_is_waited_for(host: Hosts, door: str, profile: str) -> None:
    """Four requests a second; the one profile says how long to wait, the other does not."""
    small = {"requests": [{"requests": 4, "per_s": 1}]}
    one = host(profile, door, limits=small)
    one.backend.forget().every = engine(profile)
    client = Client(one.levada.base, one.levada.key, 10)
    promised = profiles.load(profile)
    rows = {row.id: row for row in probe(client, promised, only="embeddings/")}
    assert rows["embeddings/many"].outcome is Outcome.held
    late = [answer for _, answer in client.said if answer.status == 429]
    assert late and client.asked == len(client.said) - len(late)
    assert not [row for row in rows.values() if row.outcome is not Outcome.held]
    for _, _, judge in run.overall(promised, []):
        judge(client.said)


@pytest.mark.parametrize("profile", profiles.names())
def test_a_right_server_breaks_nothing(profile: str) -> None:
    promised = profiles.load(profile)
    with WrongServer(promised) as server:
        rows = probe(Client(server.url, KEY, 10), promised)
    assert [row for row in rows if row.outcome is Outcome.broken] == []
    assert sum(row.outcome is Outcome.held for row in rows) > 200


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_by_its_row(name: str) -> None:
    fault = FAULTS[name]
    promised = profiles.load(fault.profile)
    with WrongServer(promised, fault) as server:
        # No fault is waited for in earnest, and rows about all answers need all of them.
        only = "" if fault.row in ALL_ANSWERS else fault.row
        rows = probe(Client(server.url, KEY, 10), promised, only=only, sleep=lambda _: None)
    broken = [row for row in rows if row.outcome is Outcome.broken]
    assert fault.row in {row.id for row in broken}
    assert all(row.why for row in broken)
