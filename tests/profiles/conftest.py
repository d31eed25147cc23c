"""One Levada for each profile and door, in front of a backend that records what it is sent."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from provider_host import Host, Hosts
from served import Start
from upstream import ScriptedBackend


@pytest.fixture(scope="module")
def host(levada_for_module: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """`host(profile, door, words, lacks, **config)`: started when it is first asked for.
    `words` are what a profile file says that extends this one, `lacks` what the backend cannot do.
    """
    hosts: dict[str, Host] = {}

    def of(
        profile: str, door: str, words: str = "", lacks: Sequence[str] = (), **config: Any
    ) -> Host:
        named = json.dumps([profile, door, words, lacks, config])
        if named not in hosts:
            backend = ScriptedBackend(models=["m"]).start()
            if words:
                file = tmp_path_factory.mktemp("profile") / "profile.yaml"
                file.write_text(f"id: changed\nextends: {profile}\nversion: '1'\n{words}\n")
                profile = str(file)
            known = {"name": "one", "url": backend.url, "models": ["m"], "lacks": list(lacks)}
            whole = {
                "backends": [known],
                "profile": profile,
                "health": {"interval": 3600},
                "retry": {"ratio": 0, "per_second": 0},
                "breaker": {"failures": 1000},
                **config,
                "limits": {"requests": [], **config.get("limits", {})},
            }
            hosts[named] = Host(levada_for_module(door=door, config=whole), backend)
        return hosts[named]

    yield of
    for one in hosts.values():
        one.backend.stop()
