"""The probe against Levada itself, and against a server with one fault at a time."""

from collections.abc import Callable

import pytest
from probed_engine import engine
from provider_host import Host
from upstream.faults import FAULTS
from upstream.wrong_server import KEY, WrongServer

from levada import profiles
from levada.probe import Client, probe
from levada.probe.rows import Outcome

# What Levada does not keep yet, by the ids of the rows: a list that only shrinks.
GAPS: dict[str, set[str]] = {
    # The default limit of bodies is 20 MiB, below OpenAI's 25: the operator's choice.
    "openai": {"size/under"},
    # Nothing limits rates yet, so nothing tells them.
    "flexai": {"FX-11"},
}


@pytest.mark.parametrize("profile", profiles.names())
def test_levada_keeps_its_profiles(
    host: Callable[[str, str], Host], door: str, profile: str
) -> None:
    one = host(profile, door)
    one.backend.forget().every = engine(profile)
    client = Client(one.levada.base, one.levada.key, 10)
    rows = probe(client, profiles.load(profile))
    broken = {row.id: row for row in rows if row.outcome is Outcome.broken}
    assert [row for id, row in broken.items() if id not in GAPS.get(profile, set())] == []
    assert GAPS.get(profile, set()) - set(broken) == set(), "kept now: take it out of GAPS"
    assert sum(row.outcome is Outcome.held for row in rows) > 200


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
        rows = probe(Client(server.url, KEY, 10), promised, only=fault.row)
    broken = [row for row in rows if row.outcome is Outcome.broken]
    assert fault.row in {row.id for row in broken}
    assert all(row.why for row in broken)
