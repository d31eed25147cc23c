"""One Levada for each profile and door, in front of a backend that records what it is sent."""

from collections.abc import Callable, Iterator

import pytest
from provider_host import Host
from served import Start
from upstream import ScriptedBackend


@pytest.fixture(scope="module")
def host(levada_for_module: Start) -> Iterator[Callable[[str, str], Host]]:
    """`host(profile, door)`: started when it is first asked for."""
    hosts: dict[tuple[str, str], Host] = {}

    def of(profile: str, door: str) -> Host:
        if (profile, door) not in hosts:
            backend = ScriptedBackend(models=["m"]).start()
            config = {
                "backends": [{"name": "one", "url": backend.url, "models": ["m"]}],
                "profile": profile,
                "health": {"interval": 3600},
            }
            hosts[profile, door] = Host(levada_for_module(door=door, config=config), backend)
        return hosts[profile, door]

    yield of
    for one in hosts.values():
        one.backend.stop()
