"""Which models the backends serve, and whether they are well."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from fake_gateway import FakeGateway

from levada.config import Config, Enclosed
from levada.control import discovery as module
from levada.control.discovery import Discovery, listed
from levada.control.refresh import Running
from levada.loading import Source
from levada.snapshot import Served

URL = "http://127.0.0.1:9"
LIST = json.dumps({"object": "list", "data": [{"id": "a"}, {"id": "b"}]}).encode()


def made(**backend: Any) -> tuple[FakeGateway, Running, Discovery]:
    config = Config.model_validate(
        {"backends": [{"name": "one", "url": URL, **backend}], "health": {"interval": 0.05}}
    )
    gateway = FakeGateway()
    running = Running(gateway, Source(), config, Enclosed(), b"p" * 32)  # type: ignore[arg-type]
    return gateway, running, Discovery(gateway, running)  # type: ignore[arg-type]


def asked(gateway: FakeGateway) -> list[str]:
    return [entry[1].removeprefix(URL) for entry in gateway.seen if entry[0] == "fetch"]


@pytest.mark.asyncio
async def test_models_are_found_and_handed_to_the_engine_once() -> None:
    gateway, running, discovery = made(key="secret")
    gateway.answers[f"{URL}/v1/models"] = (200, LIST)
    await discovery.turn()
    await discovery.turn()
    assert running.served == {"one": Served("/v1", ("a", "b"))}
    assert [document.get("version") for document in gateway.documents] == [None, 2]
    assert gateway.health["one"] == {"up": True, "detail": "ok"}
    assert (b"authorization", b"Bearer secret") in gateway.seen[0][2]
    assert discovery.states()["one"].up


@pytest.mark.asyncio
async def test_without_a_path_the_prefix_is_learnt() -> None:
    gateway, running, discovery = made()
    gateway.answers |= {f"{URL}/v1/models": (404, b""), f"{URL}/models": (200, LIST)}
    await discovery.turn()
    assert asked(gateway) == ["/v1/models", "/models"]
    assert running.served["one"].path == ""


@pytest.mark.asyncio
async def test_with_a_path_only_that_is_asked() -> None:
    gateway, running, discovery = made(url=f"{URL}/api/")
    gateway.answers[f"{URL}/api/models"] = (200, LIST)
    await discovery.turn()
    assert asked(gateway) == ["/api/models"]
    assert running.served["one"].path == "/api"


@pytest.mark.asyncio
@pytest.mark.parametrize("body", [LIST, b"<html>"])
async def test_models_that_the_operator_listed_are_only_probed(body: bytes) -> None:
    gateway, running, discovery = made(models=["x"])
    gateway.answers[f"{URL}/v1/models"] = (200, body)
    await discovery.turn()
    assert running.served == {}
    assert gateway.health["one"] == {"up": True, "detail": "ok"}


@pytest.mark.asyncio
async def test_what_a_probed_backend_is_is_learnt_and_kept_until_it_says_otherwise() -> None:
    gateway, running, discovery = made(models=["x"])
    said = json.dumps({"data": [{"id": "x", "owned_by": "llamacpp"}]}).encode()
    for answer, engine in (
        ((200, said), "llama.cpp"),
        (OSError("away"), "llama.cpp"),
        ((503, b""), "llama.cpp"),
        ((200, b"<html>"), "llama.cpp"),
        ((200, LIST), None),
    ):
        gateway.answers[f"{URL}/v1/models"] = answer
        await discovery.turn()
        assert running.served["one"].engine == engine
    assert [document.get("version") for document in gateway.documents] == [None, 2, 3]
    assert running.models() == ["x"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "up", "detail"),
    [
        (OSError("refused"), False, "refused"),
        ((503, b""), False, "loading (503)"),
        ((401, b""), True, "refuses our key (401)"),
        ((200, b"<html>"), True, "its list of models is not one"),
    ],
)
async def test_a_backend_that_is_away_keeps_the_models_it_had(
    answer: Any, up: bool, detail: str
) -> None:
    gateway, running, discovery = made()
    gateway.answers[f"{URL}/v1/models"] = (200, LIST)
    await discovery.turn()
    gateway.answers[f"{URL}/v1/models"] = answer
    await discovery.turn()
    assert running.served["one"].models == ("a", "b")
    assert gateway.health["one"] == {"up": up, "detail": detail}


@pytest.mark.asyncio
async def test_a_slow_backend_does_not_hold_up_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_ANSWERS_SECONDS", 0.02)
    gateway, running, discovery = made()

    async def never() -> None:
        await asyncio.Event().wait()

    gateway.answers[f"{URL}/v1/models"] = never
    await asyncio.wait_for(discovery.first(), 5)
    assert running.served == {}


@pytest.mark.asyncio
async def test_it_goes_on_asking() -> None:
    gateway, running, discovery = made()
    task = asyncio.create_task(discovery.run())
    await until(lambda: "one" in gateway.health)
    gateway.answers[f"{URL}/v1/models"] = (200, LIST)
    await until(lambda: "one" in running.served)
    count = len(gateway.seen)
    await until(lambda: len(gateway.seen) > count)
    task.cancel()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (LIST, ("a", "b")),
        (b'{"data":[]}', ()),
        (b'{"data":[{"id":1},{"id":""},3,{"id":"x"}]}', ("x",)),
        (b"[1]", None),
        (b'{"data":{}}', None),
        (b"\xff", None),
    ],
)
def test_what_is_no_list_of_models_is_none(body: bytes, names: Any) -> None:
    found = listed(body)
    assert (found and found.models) == names


def test_a_list_without_end_is_none() -> None:
    data = [{"id": str(number)} for number in range(module.MODELS_MAX + 1)]
    assert listed(json.dumps({"data": data}).encode()) is None


@pytest.mark.asyncio
async def test_a_backend_without_a_list_is_up_and_serves_what_is_known() -> None:
    gateway, running, discovery = made()
    gateway.answers |= {f"{URL}/v1/models": (404, b""), f"{URL}/models": (404, b"")}
    await discovery.turn()
    assert gateway.health["one"] == {"up": True, "detail": "answers 404"}
    assert running.served == {}
