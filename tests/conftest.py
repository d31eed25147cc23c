"""Fixtures that every kind of test uses: a scripted backend, and the real Levada in front of any
backends.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import served
from engine import Engine, write_tiny_model
from upstream import ScriptedBackend

from levada.config import Storage
from loadtests.servers import postgres
from loadtests.servers import redis as redis_servers

# How long an example takes says what else the machine does, not whether it is right.
hypothesis.settings.register_profile("levada", deadline=None)
hypothesis.settings.load_profile("levada")


@pytest.fixture
def backend() -> Iterator[ScriptedBackend]:
    with ScriptedBackend() as one:
        yield one


@pytest.fixture(params=served.DOORS)
def door(request: pytest.FixtureRequest) -> str:
    """Each of the two doors in turn."""
    name: str = request.param
    return name


def starter(folder: Path, running: list[served.Levada]) -> served.Start:
    def start(*backends: str, key: str = "", **options: Any) -> served.Levada:
        one = served.start(folder / f"levada-{len(running)}", *backends, **options)
        running.append(one)
        return one.ready(key)

    return start


def stop_all(running: list[served.Levada]) -> None:
    """Ends every Levada, also when one of them does not end well."""
    for one in running:
        if one.process.poll() is None:
            one.stop()
        # Some 80 MiB for each worker: hundreds of tests would fill a disk.
        shutil.rmtree(one.data / "journal", ignore_errors=True)


@pytest.fixture
def levada(tmp_path: Path) -> Iterator[served.Start]:
    """A factory: `levada(url, ..., door=, config=, environment=, key=)` gives a running Levada."""
    running: list[served.Levada] = []
    yield starter(tmp_path, running)
    stop_all(running)


@pytest.fixture(scope="module")
def levada_for_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[served.Start]:
    """The same factory for what a whole file shares."""
    running: list[served.Levada] = []
    yield starter(tmp_path_factory.mktemp("levada"), running)
    stop_all(running)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF file that llama.cpp loads."""
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.gguf")


@pytest.fixture(scope="session")
def llamacpp(tiny_model: Path) -> Iterator[Engine]:
    """The real llama.cpp server, shared by all tests: do not stop it."""
    with Engine(tiny_model) as engine:
        yield engine


def started() -> postgres.Server:
    programs = postgres.found()
    if programs is None:
        pytest.skip("there is no PostgreSQL: install Debian's package 'postgresql'")
    return postgres.Server(programs)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[postgres.Server]:
    """A real PostgreSQL, shared by all tests: do not stop it."""
    with started() as server:
        yield server


@pytest.fixture(scope="module")
def postgresql_to_stop() -> Iterator[postgres.Server]:
    """Another for a file that does stop it, and starts it again."""
    with started() as server:
        yield server


@pytest.fixture
def redis() -> Iterator[redis_servers.Server]:
    """A real Redis of the test's own, which it may stop."""
    program = redis_servers.found()
    if program is None:
        pytest.skip("there is no Redis: install Debian's package 'redis-server'")
    with redis_servers.Server(program) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest) -> Storage:
    """Where a store is kept: each of the two databases in turn."""
    if request.param == "sqlite":
        return Storage()
    server: postgres.Server = request.getfixturevalue("postgresql")
    return Storage.model_validate({"url": server.database()})
