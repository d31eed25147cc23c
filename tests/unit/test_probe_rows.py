"""How a probe asks: its requests, its patience, its bounds; and how rows follow from a profile."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from upstream import ScriptedBackend, chunked, close, free_port, hang, send, stream_head
from upstream.answers import http, json_answer
from upstream.steps import Step
from upstream.wire import Request
from upstream.wrong_server import KEY, WrongServer

from levada import profiles
from levada.probe import Client, SilenceError, between, client, fields, patience, probe, run
from levada.probe.client import Answer, Ask, SpentError, get, post
from levada.probe.endpoints import ENDPOINTS, Target
from levada.probe.expect import body_of, passed_on, refused
from levada.probe.rows import BrokenError, Outcome, Promise, Row, UntestableError
from levada.probe.samples import breaches, extreme, instance, wrong
from levada.profiles import Profile

JSON = (("content-type", "application/json"),)
BASE = "id: mine\nversion: '1'\nextends: openai\n"


def targets(model: str | None = "m") -> list[Target]:
    return [Target(name, one, model, "none") for name, one in ENDPOINTS.items()]


def promised(name: str) -> list[Promise]:
    profile = profiles.load(name)
    offered = [one for one in targets() if profile.endpoints[one.name] != "absent"]
    return list(run.promises(profile, offered))


def mine(folder: Path, text: str) -> Profile:
    file = folder / "mine.yaml"
    file.write_text(BASE + text)
    return profiles.load(file)


def of(found: list[Promise], id: str) -> Promise:
    (one,) = [promise for promise in found if promise.id == id]
    return one


def body(promise: Promise) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(promise.asks[0].body)
    return found


@pytest.mark.parametrize("name", profiles.names())
def test_a_profile_is_asked_within_the_bound(name: str) -> None:
    found = promised(name)
    # One for the list, and as many for the models as one endpoint may take.
    asked = sum(len(one.asks) for one in found) + 1 + len(ENDPOINTS)
    assert 200 < asked <= client.MOST_REQUESTS
    assert all(one.asks or one.why for one in found)


@pytest.mark.parametrize("name", profiles.names())
def test_the_readme_says_how_many_rows_there_are(name: str) -> None:
    rows = len(promised(name)) + len([*run.overall(profiles.load(name), [])]) + 1
    readme = Path(__file__).parents[2] / "README.md"
    assert f"{rows} rows for `{name}`" in readme.read_text() or (
        f"{rows} for `{name}`" in readme.read_text()
    )


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("mittwald-dedicated", [f"MD-{n}" for n in range(1, 14)]),
        ("mittwald-shared", [f"MS-{n}" for n in range(1, 11)]),
        ("ionos", [f"IO-{n}" for n in range(1, 12)]),
        ("flexai", [f"FX-{n}" for n in range(1, 16)]),
    ],
)
def test_every_number_of_the_contract_has_its_row(
    name: str, ids: list[str], tmp_path: Path
) -> None:
    found = {one.id.partition("/")[0] for one in promised(name)}
    found |= {id for id, _, _ in run.numbered.overall(profiles.load(name))}
    assert set(ids) <= found
    (tmp_path / "mine.yaml").write_text(f"id: mine\nversion: '1'\nextends: {name}\n")
    inherited = promised(str(tmp_path / "mine.yaml"))
    assert {one.id for one in inherited} == {one.id for one in promised(name)}


def test_every_field_has_a_row_of_its_type() -> None:
    ids = {one.id for one in promised("openai")}
    made = run.compiled(profiles.load("openai"))["endpoints"]
    json = [name for name, one in ENDPOINTS.items() if not one.takes_forms]
    known = [(name, one) for name in json for one in made[name]["schema"]["properties"]]
    assert len(known) >= 140
    actions = {(name, one["field"]): one["do"] for name in json for one in made[name]["actions"]}
    refused = {one for one in known if actions.get(one) == "reject"}
    assert refused
    assert {f"{name}/{field}/type" for name, field in {*known} - refused} <= ids
    assert {f"{name}/{field}/rejected" for name, field in refused} <= ids


def test_rows_follow_the_profile(tmp_path: Path) -> None:
    text = "unknown_params: reject\nendpoints: {chat.completions: {params: {tools: {do: reject, "
    text += "except: [null], message: 'no {value}'}}, ranges: {seed: {minimum: 5}}}}\n"
    profile = mine(tmp_path, text.replace("[null]", '["[]"]'))
    found = list(run.promises(profile, targets()))
    unknown = of(found, "chat.completions/zzz/unknown")
    with pytest.raises(BrokenError, match="the status is 200, not 400"):
        (unknown.judge or pytest.fail)(Answer(200, JSON, b"{}"))
    assert body(of(found, "chat.completions/seed/minimum"))["seed"] == 4
    assert body(of(found, "chat.completions/tools/except-[]"))["tools"] == []
    # Only arrays fit, and the only one that would do passes: whatever else is refused as well.
    assert body(of(found, "chat.completions/tools/rejected"))["tools"] == {}


def test_an_endpoint_without_a_request_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    less = {name: one for name, one in ENDPOINTS.items() if name != "embeddings"}
    monkeypatch.setattr(run, "ENDPOINTS", less)
    found = list(run.promises(profiles.load("openai"), targets()[:2]))
    assert of(found, "embeddings/answer").why == "the probe has no request for this endpoint"


def test_a_check_without_a_row_says_so() -> None:
    (one,) = between.promises(profiles.load("openai"), ["colours"], targets()[0])
    assert (one.asks, one.why) == ((), "the probe does not know this check")


def test_without_endpoints_only_the_list_is_asked_for() -> None:
    found = list(run.promises(profiles.load("openai"), []))
    assert {one.asks[0].path for one in found if one.asks} >= {"/v1/models", "/v1/nowhere"}
    assert not [one for one in found if one.id.startswith("size")]


def test_values_are_made_of_a_schema() -> None:
    root: dict[str, Any] = {"$defs": {"T": {"type": "object", "properties": {}}}}
    assert instance(root, {"$ref": "#/$defs/T"}) == {}
    assert instance(root, {"type": "number"}) == 1
    assert instance(root, {"type": "null"}) is None
    assert (
        instance(root, {"type": "array", "minItems": 2, "items": {"type": "boolean"}}) == [True] * 2
    )
    assert wrong(root, {}) is None
    assert wrong(root, {"type": ["string", "integer", "boolean", "array", "object"]}) is None
    assert wrong(root, {"type": "number"}) == "x"
    assert extreme(root, {"type": "number", "maximum": 2}, "maximum") == 2
    assert extreme(root, {"type": "integer", "maximum": 2}, "maximum") is None
    begins = {"type": "string", "pattern": "^data:"}
    assert instance(root, begins) == "data:"
    (one,) = breaches(root, "f", begins)
    assert (one.rule, one.code, one.value[:6]) == ("pattern", "invalid_value", "https:")
    choice = {"enum": ["a", "b"]}
    assert (instance(root, choice), wrong(root, choice)) == ("a", 7)
    assert [one.rule for one in breaches(root, "f", choice)] == ["enum"]
    (one,) = breaches(root, "f", {"type": "array", "minItems": 3, "items": {"type": "string"}})
    assert (one.rule, one.code, one.value) == ("minItems", None, ["x", "x"])


@pytest.fixture
def server() -> Iterator[ScriptedBackend]:
    with ScriptedBackend() as one:
        yield one


def test_a_request_goes_out_as_it_is_told(server: ScriptedBackend) -> None:
    one = Client(f"{server.url}/v1/", "k", 5)
    server.always(send(json_answer({"a": 1}, **{"x_request_id": "r"})))
    answer = one.ask(post("/v1/x", {"b": 2}, openai_project="p"))
    assert (answer.status, answer.header("x-request-id"), answer.header("no")) == (200, "r", None)
    sent = server.last
    assert sent.head.startswith(b"POST /v1/x HTTP/1.1\r\n")
    assert b"authorization: Bearer k\r\n" in sent.head and b"openai-project: p\r\n" in sent.head
    assert sent.body == b'{"b": 2}'
    one.ask(post("/v1/x", {}, authorization=""))
    assert b"authorization" not in server.last.head
    Client(server.url).ask(Ask("POST", "/x", b""))
    assert b"authorization" not in server.last.head


def test_an_answer_that_breaks_off_is_not_complete(server: ScriptedBackend) -> None:
    event = b"data: 1\n\n: ping\n\n"
    server.script(send(stream_head() + chunked(event, end=False)), close())
    answer = Client(server.url, timeout=5).ask(post("/x", {}))
    assert (answer.complete, answer.blocks) == (False, [["data: 1"], [": ping"]])
    server.script(send(http(200, {"content-length": "9"}, b"abc")), close())
    assert not Client(server.url, timeout=5).ask(post("/x", {})).complete
    server.script(send(stream_head() + chunked(event, end=False)), hang())
    assert not Client(server.url, timeout=0.2).ask(post("/x", {})).complete


def test_an_answer_has_a_size_and_a_time(
    server: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MOST_BYTES", 10)
    monkeypatch.setattr(client, "PIECE_BYTES", 8)
    server.script(send(http(200, {}, b"x" * 100)))
    answer = Client(server.url, timeout=5).ask(post("/x", {}))
    assert (answer.complete, len(answer.body)) == (False, 16)


def test_an_early_refusal_is_read(server: ScriptedBackend) -> None:
    server.on_connect = [send(http(413, {"connection": "close"}, b"no")), close()]
    one = Client(server.url, timeout=5)
    try:
        assert one.ask(Ask("POST", "/x", b" " * 50_000_000)).status == 413
    except SilenceError as error:  # the refusal may be lost with the connection
        assert "ConnectionResetError" in str(error)


def test_silence_is_counted(server: ScriptedBackend) -> None:
    server.always(hang())
    one = Client(server.url, timeout=0.1)
    for _ in range(client.MOST_SILENCES):
        with pytest.raises(SilenceError, match="TimeoutError"):
            one.ask(post("/x", {}))
    with pytest.raises(SpentError, match="without an answer"):
        one.ask(get("/x"))
    with pytest.raises(SilenceError, match="TimeoutError"):
        headless = Client(server.url, timeout=0.2)
        server.script(send(stream_head()), hang())
        headless.ask(post("/x", {}))


def test_requests_are_counted(server: ScriptedBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MOST_REQUESTS", 1)
    one = Client(server.url, timeout=5)
    one.ask(get("/v1/models"))
    with pytest.raises(SpentError, match="1 requests have been made"):
        one.ask(get("/v1/models"))


def test_https_is_spoken(server: ScriptedBackend) -> None:
    server.on_connect = [send(b"no such thing\r\n"), close()]
    with pytest.raises(SilenceError, match="SSL"):
        Client(server.url.replace("http:", "https:"), timeout=5).ask(get("/v1/models"))
    with pytest.raises(SilenceError, match="refused"):
        Client(f"http://127.0.0.1:{free_port()}").ask(get("/v1/models"))


def probed(server: ScriptedBackend, model: str | None = None) -> tuple[dict[str, Row], list[float]]:
    """The rows by their ids, and the waits."""
    waits: list[float] = []
    rows = probe(Client(server.url, "k", 1), profiles.load("openai"), model, sleep=waits.append)
    return {row.id: row for row in rows}, waits


PAUSES = [1.0, 2.0, 4.0, 8.0, 16.0, 16.0, 16.0]


@pytest.mark.parametrize(
    ("after", "waits"),
    [("20", [20.0] * 3), ("soon", PAUSES), ("", PAUSES), ("900", []), ("-1", [1.0] * 75)],
)
def test_a_limit_is_waited_for_within_bounds(
    server: ScriptedBackend, after: str, waits: list[float]
) -> None:
    server.always(send(json_answer({}, 429, **({"retry_after": after} if after else {}))))
    rows, waited = probed(server)
    assert waited[: len(waits)] == waits
    assert sum(waited) <= patience.MOST_WAITING
    told = rows["answers/waits"]
    assert (told.outcome, told.why.endswith("and then no more")) == (Outcome.untestable, True)
    assert rows["chat.completions/answer"].why == (
        "no model answers /v1/chat/completions; 'm' gave 429"
    )
    assert rows["chat.completions/json"].why == "the server is busy: 429"
    assert rows["chat.completions/json"].outcome is Outcome.untestable


def test_a_server_that_is_down_is_asked_once_more(server: ScriptedBackend) -> None:
    server.always(send(json_answer({}, 503)))
    rows, waited = probed(server)
    assert set(waited) == {1.0}
    assert rows["chat.completions/json"].why == "the server is busy: 503"
    waits = len(waited)
    assert rows["answers/waits"].why == f"{waits} waits, {waits} s in all"


def test_who_must_not_come_again_does_not(server: ScriptedBackend) -> None:
    poor = {"error": {"code": "insufficient_quota"}}
    for answer in (json_answer({}, 429, x_should_retry="false"), json_answer(poor, 429)):
        server.always(send(answer))
        rows, waited = probed(server)
        assert (waited, rows["answers/waits"].why) == ([], "")


def test_a_server_that_falls_silent_is_left_alone(server: ScriptedBackend) -> None:
    server.always(close())
    rows, _ = probed(server)
    assert rows["embeddings/answer"].why.startswith("RemoteDisconnected")
    assert "without an answer" in rows["models/list"].why
    # The one answer that there was has no x-request-id.
    assert [row.id for row in rows.values() if row.outcome is Outcome.broken] == [
        "answers/x-request-id"
    ]


def test_a_fault_of_the_connection_breaks_a_row(server: ScriptedBackend) -> None:
    seen = itertools.count()
    server.on_get = lambda request: [close()] if next(seen) else [send(json_answer([]))]
    server.always(send(json_answer({}, 400)))
    rows, _ = probed(server)
    assert rows["models/list"].outcome is Outcome.broken
    assert rows["models/list"].answer is None
    assert rows["chat.completions/answer"].why == "the server lists no model"


def test_models_are_tried_in_turn(server: ScriptedBackend) -> None:
    server.models = ["a", "b"]
    words = {"error": {"message": "not\n here"}}
    server.always(send(json_answer(words, 403)))
    rows, _ = probed(server, "mine")
    assert "'mine' gave 403: not here" in rows["chat.completions/answer"].why
    rows, _ = probed(server)
    assert "'b' gave 403: not here" in rows["chat.completions/answer"].why


def test_what_is_not_there_is_told_once(server: ScriptedBackend) -> None:
    server.always(send(json_answer({"detail": "Not Found"}, 404)))
    rows, _ = probed(server)
    assert rows["rerank/offered"].why == "it is answered as a path that there is not: 404"
    others = [row for row in rows.values() if row.id.startswith("rerank/") and row.why]
    assert {row.why for row in others[1:]} == {"nothing is at /v1/rerank"}


def test_what_is_there_may_be_answered_by_no_model(server: ScriptedBackend) -> None:
    def script(request: Request) -> list[Step]:
        known = request.path == "/v1/embeddings"
        return [send(json_answer({"error": "no model" if known else "no path"}, 404))]

    server.every = script
    rows, _ = probed(server)
    assert rows["embeddings/offered"].outcome is Outcome.held
    why = "no model answers /v1/embeddings; 'm' gave 404"
    # What it says to a plain request it says to a wrong one: nothing can be told.
    assert (rows["embeddings/input/type"].outcome, rows["embeddings/input/type"].why) == (
        Outcome.untestable,
        why,
    )
    assert rows["embeddings/answer"].why == why


def test_a_silence_while_looking_is_no_verdict(server: ScriptedBackend) -> None:
    seen = itertools.count()
    missing = [send(json_answer({}, 404))]
    server.every = lambda request: [close()] if next(seen) == 1 else missing
    rows, _ = probed(server)
    assert rows["chat.completions/answer"].why == (
        "no model answers /v1/chat/completions; 'm' gave 404"
    )


def test_a_refusal_that_is_another_is_broken(server: ScriptedBackend) -> None:
    """Where no model answers, a refusal that is not the one of the plain request is judged."""
    server.always(send(json_answer({}, 400)))
    rows, _ = probed(server)
    assert rows["embeddings/input/type"].outcome is Outcome.untestable

    def script(request: Request) -> list[Step]:
        return [send(json_answer({"said": request.body.decode(errors="replace")}, 400))]

    server.every = script
    rows, _ = probed(server)
    assert rows["embeddings/input/type"].outcome is Outcome.broken


def test_what_is_passed_on_may_be_refused_by_the_engine() -> None:
    passed_on(Answer(400, JSON, b'{"error":{"message":"not with this model"}}'))
    with pytest.raises(BrokenError, match="a fault"):
        passed_on(Answer(500, JSON, b"{}"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no", "the body is not JSON"),
        (b"[]", "the body is not"),
        (b'{"error":{"message":"","type":"t","param":null,"code":null}}', "'message' is no text"),
        (b'{"error":{"message":"m","type":"t","param":1,"code":null}}', "'param' is neither"),
    ],
)
def test_an_error_that_is_none(content: bytes, words: str) -> None:
    judge = refused(profiles.load("openai"), None, None)
    with pytest.raises(BrokenError, match=words):
        judge(Answer(400, JSON, content))
    with pytest.raises(BrokenError, match="the content type is ''"):
        body_of(Answer(200, (), b"{}"))


VALUES: list[Any] = [None, 1, "x", [], {}, [None], [{}], {"a": None}]
MEMBERS = ("data", "choices", "usage", "error", "message", "delta", "embedding", "object")


def strange() -> Iterator[Answer]:
    """Answers such as no good server gives."""
    values = [*VALUES, *({name: value} for name in MEMBERS for value in VALUES)]
    values += [{"choices": [{part: value}]} for part in ("message", "delta") for value in VALUES]
    values += [{"data": [{"embedding": value}]} for value in VALUES]
    values += [{"choices": [{"message": {"tool_calls": value}}]} for value in VALUES]
    for value, status in itertools.product(values, (200, 400, 401)):
        text = json.dumps(value).encode()
        yield Answer(status, JSON, text)
        events = b"data: " + text + b"\n\ndata: [DONE]\n\n"
        yield Answer(status, (("content-type", "text/event-stream"),), events)


@pytest.mark.parametrize("name", profiles.names())
def test_no_answer_is_too_strange_to_be_judged(name: str) -> None:
    judges = {one.id + one.what: one for one in promised(name) if one.judge}
    numbered = [one for one in judges.values() if "/" not in one.id or "stream" in one.id]
    shapes = [one for one in judges.values() if one.id.endswith(("answer", "list", "many"))]
    for one, answer in itertools.product(numbered + shapes, strange()):
        try:
            (one.judge or pytest.fail)(*[answer] * len(one.asks))
        except (BrokenError, UntestableError) as error:
            assert str(error)


def test_a_right_server_has_the_promises_of_a_file(tmp_path: Path) -> None:
    promised = mine(tmp_path, "unknown_params: drop\ndenylist: [secret, b*]\n")
    with WrongServer(promised) as right:
        rows = probe(Client(right.url, KEY, 5), promised)
    assert [row for row in rows if row.outcome is Outcome.broken] == []


def test_what_is_mapped_is_accepted() -> None:
    promised = profiles.load("openai")
    made = run.compiled(promised)
    rules = made["endpoints"]["chat.completions"]
    rules["actions"] = [{"field": "user", "do": "map", "from": ['"a"'], "to": ['"b"']}]
    found = list(fields.promises(promised, made, targets()[0]))
    assert body(of(found, 'chat.completions/user/map-"a"'))["user"] == "a"
    assert of(found, "chat.completions/user/type").asks


def test_what_may_be_anything_has_no_row_of_its_type() -> None:
    promised = profiles.load("openai")
    made = run.compiled(promised)
    made["endpoints"]["embeddings"]["schema"]["properties"]["user"] = {}
    found = {one.id for one in fields.promises(promised, made, targets()[2])}
    assert "embeddings/user/type" not in found and "embeddings/input/type" in found


@pytest.mark.parametrize("name", profiles.names())
def test_a_file_may_offer_next_to_nothing(name: str, tmp_path: Path) -> None:
    offered = "chat.completions: absent, completions: absent, embeddings: absent"
    text = f"id: mine\nversion: '1'\nextends: {name}\ndenylist: []\n"
    (tmp_path / "mine.yaml").write_text(f"{text}endpoints: {{{offered}}}\n")
    found = list(run.promises(profiles.load(tmp_path / "mine.yaml"), []))
    assert "chat.completions/absent/post" in {one.id for one in found}


def test_nothing_may_be_denied(tmp_path: Path) -> None:
    found = run.promises(mine(tmp_path, "denylist: []\n"), targets())
    assert not [one.id for one in found if one.id.endswith("/denied")]
