"""The bill as it is seen from outside: by a key, by an operator, by counters; all tell the same."""

import hashlib
import hmac
import json
import time
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
from rawhttp import Answer, Wire, call, request
from served import Levada, Start, eventually
from upstream import ScriptedBackend, chat_chunk, chunked, hang, http, send, stream_head
from upstream.wire import Request

WHOLE = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
EMBED = {"model": "m", "input": "x"}
SECRET = "whsec_" + b64encode(b"k" * 32).decode()
TAKEN = (send(http(204, {})),)


def rows(running: Levada) -> list[dict[str, Any]]:
    told = running.command("usage", "--by", "call", "--json")
    return [json.loads(line) for line in told.splitlines()]


def settled(running: Levada, count: int) -> list[dict[str, Any]]:
    assert eventually(lambda: len(rows(running)) == count, 20), (rows(running), running.logs)
    return rows(running)


def summed(page: Answer, *names: str) -> tuple[int, ...]:
    assert page.status == 200, page.body
    results = [one for bucket in page.json["data"] for one in bucket["results"]]
    return tuple(sum(one[name] for one in results) for name in names)


def operator(running: Levada, path: str) -> Answer:
    token = json.loads((running.data / "admin.json").read_text())["token"]
    return call(running.admin, "GET", path, {"authorization": f"Bearer {token}"})


def some_traffic(running: Levada, backend: ScriptedBackend) -> int:
    """Calls of all fates; how many of them leave a row."""
    for _ in range(3):
        assert running.chat(WHOLE).status == 200
    assert running.post("/v1/embeddings", EMBED).status == 200
    assert running.chat({**WHOLE, "stream": True}).status == 200
    assert running.chat({**WHOLE, "model": "none"}).status == 404
    assert running.chat({**WHOLE, "temperature": 9}).status == 400
    tool = {"type": "function", "function": {"name": "f"}}
    assert running.chat({**WHOLE, "tools": [tool]}).status == 400
    backend.script(send(http(500, {})))
    assert running.chat(WHOLE).status >= 500
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    piece = chunked(chat_chunk("a", usage=usage), end=False)
    backend.script(send(stream_head() + piece), hang())
    wire = running.begin("/v1/chat/completions", {**WHOLE, "stream": True})
    assert wire.read_until(b'"a"')
    wire.close()
    return 7


@pytest.mark.timeout(90)
def test_all_who_tell_of_the_use_tell_the_same(
    levada: Start, backend: ScriptedBackend, door: str
) -> None:
    config = {"models": [{"name": "m", "abilities": {"tools": False}}]}
    running = levada(backend.url, door=door, config=config)
    count = some_traffic(running, backend)
    found = settled(running, count)
    sums = (
        sum(row["input_tokens"] for row in found),
        sum(row["output_tokens"] for row in found),
        len(found),
    )
    names = ("input_tokens", "output_tokens", "num_model_requests")
    span = f"start_time={int(time.time()) - 3600}"
    for more in ("", "&bucket_width=1m&limit=100", "&bucket_width=1h&group_by=model"):
        assert summed(running.get(f"/v1/usage?{span}{more}"), *names) == sums
    other = running.create_key()[1]
    theirs = call(
        running.base, "GET", f"/v1/usage?{span}", {"authorization": f"Bearer {other}"}, timeout=5
    )
    if theirs.status == 401:  # a new key counts within a second
        time.sleep(1)
        theirs = running.get(f"/v1/usage?{span}", authorization=f"Bearer {other}")
    assert summed(theirs, *names) == (0, 0, 0)
    chats = operator(running, f"/v1/organization/usage/completions?{span}&group_by=api_key_id")
    embeddings = operator(running, f"/v1/organization/usage/embeddings?{span}")
    first, second = summed(chats, *names), summed(embeddings, names[0], names[2])
    assert (first[0] + second[0], first[1], first[2] + second[1]) == sums
    samples = running.metrics()
    assert samples['levada_tokens_total{model="m",kind="prompt"}'] == sums[0]
    assert samples['levada_tokens_total{model="m",kind="completion"}'] == sums[1]
    assert running.total("levada_calls_total") == len(found)


@pytest.mark.timeout(60)
def test_who_may_ask(levada: Start, backend: ScriptedBackend, door: str) -> None:
    running = levada(backend.url, door=door)
    path = "/v1/organization/usage/completions?start_time=0"
    assert operator(running, path).status == 200
    assert call(running.admin, "GET", path).status == 401
    assert running.get(path).status == 404
    assert call(running.base, "GET", "/v1/usage?start_time=0").status == 401
    with Wire(running.base) as wire:
        wire.send(request("HEAD", "/v1/usage?start_time=0", wire.host, running.auth))
        assert wire.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 200")
    bad = operator(running, path + "&group_by=size")
    assert (bad.status, bad.error["param"]) == (400, "group_by")


class Receiver:
    """An operator's system: what it has taken, checked as its author would."""

    def __init__(self, server: ScriptedBackend) -> None:
        self.server = server

    @property
    def deliveries(self) -> list[list[str]]:
        """The ids of the events of each delivery."""
        return [[event["id"] for event in opened(one)] for one in list(self.server.calls)]

    @property
    def ids(self) -> list[str]:
        """The first time that each event came."""
        return list(dict.fromkeys(id for one in self.deliveries for id in one))


def opened(request: Request) -> list[dict[str, Any]]:
    """The events of a delivery whose signature is right."""
    given = {name.lower(): value for name, value in request.headers}
    assert given["content-type"] == "application/cloudevents-batch+json"
    id, at = given["webhook-id"], given["webhook-timestamp"]
    content = f"{id}.{at}.".encode() + request.body
    key = b64decode(SECRET.removeprefix("whsec_"))
    digest = b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    assert given["webhook-signature"] == f"v1,{digest}"
    assert abs(time.time() - int(at)) < 60
    events: list[dict[str, Any]] = json.loads(request.body)
    assert {event["specversion"] for event in events} == {"1.0"}
    return events


def hooked(receiver: ScriptedBackend, name: str = "billing") -> dict[str, Any]:
    hook = {"name": name, "url": f"{receiver.url}/hooks/?from=levada", "secret": SECRET}
    return {"webhooks": [hook]}


@pytest.mark.timeout(120)
def test_a_receiver_that_fails_and_a_restart_lose_nothing(
    levada: Start, backend: ScriptedBackend, door: str, tmp_path: Path
) -> None:
    with ScriptedBackend() as server:
        receiver = Receiver(server)
        server.always(send(http(500, {})))
        server.script(hang())
        config = {**hooked(server), "data": str(tmp_path / "kept")}
        running = levada(backend.url, door=door, config=config)
        running.data = tmp_path / "kept"
        for _ in range(5):
            assert running.chat(WHOLE).status == 200
        settled(running, 5)
        # Nothing waits for the receiver that hangs.
        began = time.monotonic()
        assert running.chat(WHOLE).status == 200
        assert time.monotonic() - began < 2
        settled(running, 6)
        assert eventually(lambda: running.total("levada_webhook_waiting") == 6, 10)
        assert running.total("levada_webhook_delivered_total") == 0
        running.stop()
        server.script(send(http(500, {})))
        server.always(*TAKEN)
        again = levada(backend.url, door=door, config=config, key=running.key)
        again.data = running.data
        for _ in range(3):
            assert again.chat(WHOLE).status == 200
        found = settled(again, 9)
        assert eventually(lambda: len(receiver.ids) == 9, 30), again.logs
        assert sorted(receiver.ids) == sorted(row["id"] for row in found)
        assert receiver.ids[:6] == [row["id"] for row in found[:6]]
        assert eventually(lambda: again.total("levada_webhook_waiting") == 0, 10)
        assert again.total("levada_webhook_delivered_total") == 9
        assert again.total("levada_webhook_failed_total") >= 1
        told = {event["id"]: event["data"] for one in server.calls for event in opened(one)}
        assert told == {row["id"]: row for row in found}


@pytest.mark.timeout(90)
def test_an_answer_that_is_lost_repeats_its_events(levada: Start, backend: ScriptedBackend) -> None:
    """Taken, but the receiver's word was lost: the same events come again, under the same ids."""
    with ScriptedBackend() as server:
        receiver = Receiver(server)
        server.always(*TAKEN)
        server.script()
        running = levada(backend.url, config=hooked(server))
        assert running.chat(WHOLE).status == 200
        assert eventually(lambda: len(receiver.deliveries) == 2, 30), running.logs
        assert receiver.deliveries[0] == receiver.deliveries[1]
        messages = [dict(one.headers)["webhook-id"] for one in server.calls]
        assert messages[0] == messages[1]
        assert running.chat(WHOLE).status == 200
        assert eventually(lambda: len(receiver.ids) == 2, 30)
        assert len(receiver.deliveries) == 3
