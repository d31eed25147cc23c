"""Who may use the admin API, and what it answers."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from fake_gateway import FakeGateway

from levada import asgi
from levada.admin.api import Api
from levada.admin.auth import Guard
from levada.config import Enclosed
from levada.control.discovery import Discovery
from levada.control.refresh import Running
from levada.loading import Source

GUARD = Guard(door="d" * 8, token="t" * 8)
INSIDE = [(b"x-levada-door", b"d" * 8), (b"authorization", b"Bearer tttttttt")]
ONE = "backends: [{name: one, url: 'http://127.0.0.1:9'}, {name: two, url: 'http://127.0.0.1:8'}]\n"


class Held:
    count = 7


class Ask:
    """The API over a file and a gateway without an engine."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.gateway: Any = FakeGateway()
        config = Source(file).load({})
        self.running = Running(self.gateway, Source(file), config, Enclosed(), b"p")
        self.discovery = Discovery(self.gateway, self.running)
        self.api = Api(GUARD, self.running, self.discovery, Held(), self.elsewhere)  # type: ignore[arg-type]

    async def elsewhere(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        await send({"status": 404, "headers": []})
        await send({"body": b"null"})

    def __call__(self, name: str, method: str, headers: Any) -> tuple[int, Any, Any]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            raise NotImplementedError

        scope = {"method": method, "headers": headers}
        asyncio.run(getattr(self.api, name)(scope, receive, send))
        return sent[0]["status"], json.loads(sent[1]["body"]), dict(sent[0]["headers"])


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    file = tmp_path / "levada.yaml"
    file.write_text(ONE)
    return Ask(file)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        INSIDE[1:],
        [(b"x-levada-door", b"wrong"), INSIDE[1]],
        [INSIDE[0], *INSIDE],
        [(b"x-levada-door", b""), INSIDE[1]],
    ],
)
def test_by_any_other_door_the_paths_do_not_exist(ask: Ask, headers: Any) -> None:
    assert ask("reload", "POST", headers)[0] == 404
    assert ask("status", "GET", headers)[0] == 404
    assert ask.running.version == 1


@pytest.mark.parametrize(
    "value", [None, b"", b"Bearer", b"Bearer wrong", b"tttttttt", b"Basic tttttttt"]
)
def test_without_the_token_nothing_is_told(ask: Ask, value: bytes | None) -> None:
    headers = INSIDE[:1] + ([] if value is None else [(b"authorization", value)])
    status, answer, _ = ask("reload", "POST", headers)
    assert (status, answer["error"]["code"]) == (401, "invalid_admin_token")
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert ask.running.version == 1


def test_the_scheme_of_the_token_has_no_case(ask: Ask) -> None:
    assert ask("status", "GET", [INSIDE[0], (b"authorization", b"bearer  tttttttt")])[0] == 200


def test_another_method_is_told_the_right_one(ask: Ask) -> None:
    status, _, headers = ask("reload", "GET", INSIDE)
    assert (status, headers[b"allow"]) == (405, b"POST")
    status, _, headers = ask("status", "POST", INSIDE)
    assert (status, headers[b"allow"]) == (405, b"GET")


def test_a_reload_answers_with_the_version(ask: Ask) -> None:
    assert ask("reload", "POST", INSIDE)[:2] == (200, {"version": 2})


def test_a_bad_file_is_answered_with_every_problem(ask: Ask) -> None:
    ask.file.write_text("backends: []\nlimit: {}\n")
    status, answer, _ = ask("reload", "POST", INSIDE)
    assert status == 422
    assert len(answer["problems"]) == 2
    assert answer["error"]["code"] == "invalid_configuration"
    assert answer["error"]["message"].count("\n") == 1


def test_the_state_is_told_without_secrets(ask: Ask) -> None:
    url = "http://127.0.0.1:9/v1/models"
    ask.gateway.answers[url] = (200, b'{"data":[{"id":"a"}]}')
    asyncio.run(ask.discovery._ask(ask.running.config.backends[0]))
    status, answer, _ = ask("status", "GET", INSIDE)
    assert status == 200
    assert answer == {
        "version": 2,
        "backends": [
            {"name": "one", "url": "http://127.0.0.1:9", "up": True, "detail": "ok"},
            {"name": "two", "url": "http://127.0.0.1:8", "up": None, "detail": "not asked yet"},
        ],
        "models": ["a"],
        "keys": 7,
    }


def test_the_guard_does_not_show_its_secrets() -> None:
    assert "tttt" not in repr(GUARD)
    assert "dddd" not in repr(GUARD)
