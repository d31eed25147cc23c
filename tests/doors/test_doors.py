"""Every case through both doors: the status it must have, and the same headers and bytes from the
edge and the app.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from door_cases import CASES, FAULTS, Case
from rawhttp import Answer, Wire, request
from served import DOORS, Levada, Start
from upstream import ScriptedBackend, free_port

SECONDS = 1.5
PROFILE = str(Path(__file__).with_name("lists-all.yaml"))
CONFIG = {
    "models": [
        {"name": "m", "backends": ["one"]},
        {"name": "alias", "backends": ["one"], "upstream": "m"},
        {"name": "gone", "backends": ["gone"]},
    ],
    "deadlines": {"connect": 1, "first_byte": SECONDS, "idle": SECONDS, "total": 20, "drain": 5},
    "limits": {"body_bytes": 65536, "body_seconds": SECONDS},
    "breaker": {"failures": 1000},
    "retry": {"ratio": 0, "per_second": 0},
    "health": {"interval": 3600},
}


@dataclass
class Door:
    """A Levada, the backend behind it, and its answers to the cases asked so far."""

    levada: Levada
    backend: ScriptedBackend
    keys: dict[str, str] = field(default_factory=dict)
    answers: dict[str, tuple[Answer, list[tuple[bytes, list[str]]]]] = field(default_factory=dict)

    def ask(self, case: Case) -> tuple[Answer, list[tuple[bytes, list[str]]]]:
        """The answer, and what the backend saw of it: bodies and header lines."""
        if case.name not in self.answers:
            self.backend.forget()
            if case.script is not None:
                self.backend.always(*case.script())
            answer = self.send(case)
            seen = [(call.body, comparable(call.headers)) for call in self.backend.calls]
            self.answers[case.name] = (answer, seen)
        return self.answers[case.name]

    def send(self, case: Case) -> Answer:
        headers = {"x-request-id": f"case_{case.name}"}
        if case.method != "GET":
            headers["content-type"] = "application/json"
        if case.key != "":
            headers["authorization"] = f"Bearer {self.keys.get(case.key, case.key)}"
        sent = request(case.method, case.path, "levada.test", headers | case.headers, case.sent)
        with Wire(self.levada.base, timeout=10) as wire:
            wire.send_what_is_taken(sent[: len(sent) - case.cut_body])
            answer = wire.read_answer()
        assert answer is not None, f"{case.name}: no answer"
        return answer


def unnamed(body: bytes) -> bytes:
    """Without the few letters of a key that a refusal repeats: each door has keys of its own."""
    return re.sub(rb"sk-\w+\*+\w+", b"sk-***", body)


def comparable(headers: list[tuple[str, str]]) -> list[str]:
    differs = ("date", "host", "openai-processing-ms")
    return sorted(f"{name}: {value}" for name, value in headers if name not in differs)


def make_keys(levada: Levada) -> dict[str, str]:
    """Every kind of key that the table names."""
    _, restricted = levada.create_key("--models", "alias")
    _, expired = levada.create_key("--expires", "0.1s")
    number, revoked = levada.create_key()
    levada.command("key", "revoke", number)
    return {
        "whole": levada.key,
        "restricted": restricted,
        "expired": expired,
        "revoked": revoked,
    }


@pytest.fixture(scope="module")
def doors(levada_for_module: Start) -> Iterator[dict[str, Door]]:
    opened: dict[str, Door] = {}
    for name in DOORS:
        backend = ScriptedBackend().start()
        backends = [
            {"name": "one", "url": backend.url, "models": ["m"]},
            {"name": "gone", "url": f"http://127.0.0.1:{free_port()}", "models": ["gone"]},
        ]
        levada = levada_for_module(
            door=name, config={**CONFIG, "backends": backends, "profile": PROFILE}
        )
        opened[name] = Door(levada, backend, make_keys(levada))
    time.sleep(1.0)  # by then a key is in force, or no longer
    yield opened
    for door in opened.values():
        door.backend.stop()


def test_the_table_is_large_and_names_are_used_once() -> None:
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_both_doors_give_the_same_answer(doors: dict[str, Door], case: Case) -> None:
    edge, seen_by_edge = doors["edge"].ask(case)
    app, seen_by_app = doors["app"].ask(case)
    assert (edge.status, edge.reason) == (app.status, app.reason)
    assert unnamed(edge.body) == unnamed(app.body)
    assert edge.complete == app.complete
    assert set(comparable(edge.headers)) ^ set(comparable(app.headers)) == set()
    assert len(edge.headers) == len(app.headers)
    assert seen_by_edge == seen_by_app


@pytest.mark.timeout(120)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_answer_is_the_right_one(doors: dict[str, Door], door: str, case: Case) -> None:
    answer, seen = doors[door].ask(case)
    assert answer.status == case.status, answer.body[:300]
    assert answer.complete is case.complete
    assert answer.header("x-request-id") == f"case_{case.name}"
    for part in case.holds:
        assert part in answer.body
    for part in (*case.lacks, str(doors[door].backend.port).encode()):
        assert part not in answer.body
    for name, value in case.has.items():
        assert (answer.header(name) or "").startswith(value)
    if case.is_refusal:
        check_refusal(case, answer)
    if case.is_refusal and case not in FAULTS:
        assert seen == []


def check_refusal(case: Case, answer: Answer) -> None:
    """OpenAI's envelope with all four keys, and the headers that every refusal has."""
    assert list(answer.json) == ["error"]
    assert list(answer.error) == ["message", "type", "param", "code"]
    assert answer.error["message"]
    assert answer.header("content-type") == "application/json"
    assert answer.header("cache-control") == "no-store"
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("content-length") == str(len(answer.body))
    if case.code is not None:
        assert answer.error["code"] == case.code
    if case.param is not None:
        assert answer.error["param"] == case.param


def test_a_request_id_is_made_when_the_clients_is_none(doors: dict[str, Door], door: str) -> None:
    for given in (None, "", "has space", "x" * 65, "ünï"):
        headers = {} if given is None else {"x-request-id": given}
        answer = doors[door].levada.get("/v1/models", **headers)
        assert re.fullmatch(r"req_[0-9a-f]{32}", answer.header("x-request-id") or ""), given


def test_stopping_leaves_no_process(levada: Start, backend: ScriptedBackend, door: str) -> None:
    running = levada(backend.url, door=door)
    assert (
        running.chat({"model": "m", "messages": [{"role": "user", "content": "x"}]}).status == 200
    )
    began = time.monotonic()
    assert running.stop() == 0
    assert time.monotonic() - began < 10
