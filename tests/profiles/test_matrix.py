"""The endpoint matrix through both doors: what reaches the backend, what comes back, what it costs,
and how each tells an error.
"""

import json
from typing import Any

import pytest
from provider_host import Host, Hosts, error
from upstream import DONE, chunked, close, error_answer, http, json_answer, send, stream_head
from upstream.steps import Step

MODEL = {"name": "m", "backends": ["one"], "upstream": "engine/m"}
COUNTED = {"input_tokens": 7, "output_tokens": 3}
# Path, body, the path at the backend, a good answer, and the tokens that it cost.
JSON: dict[str, tuple[str, dict[str, Any], str, dict[str, Any], tuple[int, int]]] = {
    "responses": (
        "/v1/responses",
        {"model": "m", "input": "x", "store": False},
        "/v1/responses",
        {"id": "r", "object": "response", "model": "engine/m", "error": None, "usage": COUNTED},
        (7, 3),
    ),
    "messages": (
        "/v1/messages",
        {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]},
        "/v1/messages",
        {
            "type": "message",
            "model": "engine/m",
            "content": [{"type": "text", "text": "x"}],
            "usage": {**COUNTED, "cache_read_input_tokens": 2},
        },
        (9, 3),
    ),
    "count_tokens": (
        "/v1/messages/count_tokens",
        {"model": "m", "messages": [{"role": "user", "content": "x"}]},
        "/v1/messages/count_tokens",
        {"input_tokens": 7},
        (0, 0),
    ),
    "rerank": (
        "/v1/rerank",
        {"model": "m", "query": "x", "documents": ["a", "b"]},
        "/v1/rerank",
        {"model": "engine/m", "results": [], "usage": {"prompt_tokens": 7}},
        (7, 0),
    ),
    "score": (
        "/v1/score",
        {"model": "m", "text_1": "a", "text_2": ["b"]},
        "/v1/score",
        {"model": "engine/m", "data": [], "usage": {"prompt_tokens": 7, "completion_tokens": 0}},
        (7, 0),
    ),
    "tokenize": (
        "/v1/tokenize",
        {"model": "m", "prompt": "x"},
        "/tokenize",
        {"tokens": [1]},
        (0, 0),
    ),
    "detokenize": (
        "/v1/detokenize",
        {"model": "m", "tokens": [1]},
        "/detokenize",
        {"prompt": "x"},
        (0, 0),
    ),
    "moderations": (
        "/v1/moderations",
        {"model": "m", "input": "x"},
        "/v1/moderations",
        {"model": "engine/m", "results": []},
        (0, 0),
    ),
    "images": (
        "/v1/images/generations",
        {"model": "m", "prompt": "x"},
        "/v1/images/generations",
        {"created": 1, "data": [{"b64_json": "eA=="}], "usage": COUNTED},
        (7, 3),
    ),
}


def one(host: Hosts, door: str) -> Host:
    return host("openai", door, models=[MODEL])


def tokens(one: Host) -> tuple[float, float]:
    """The tokens of the prompt and of the answer that its metrics have counted."""
    found = one.levada.metrics()
    names = (f'levada_tokens_total{{model="m",kind="{kind}"}}' for kind in ("prompt", "completion"))
    prompt, completion = (found.get(name, 0.0) for name in names)
    return prompt, completion


@pytest.mark.parametrize("name", JSON)
def test_a_json_endpoint(host: Hosts, door: str, name: str) -> None:
    path, body, upstream, good, _ = JSON[name]
    levada = one(host, door)
    levada.script = (send(json_answer(good)),)
    answer, seen = levada.ask(path, {**body, "zzz": [1.50]})
    assert answer.status == 200
    assert seen == [{**body, "model": "engine/m", "zzz": [1.5]}]
    assert levada.backend.last.path == upstream
    public = {**good, **({"model": "m"} if "model" in good else {})}
    assert json.loads(answer.body) == public


@pytest.mark.parametrize("name", JSON)
def test_a_json_endpoint_refuses_and_fails_alike(host: Hosts, door: str, name: str) -> None:
    path, body, _, _, _ = JSON[name]
    levada = one(host, door)
    answer, seen = levada.ask(path, {**body, "model": "nowhere"})
    assert (answer.status, seen) == (404, [])
    answer, seen = levada.ask(path, {**body, "kv_transfer_params": {}})
    assert (answer.status, seen) == (400, [])
    levada.script = (send(error_answer(500, "stack trace at 10.0.0.7")),)
    answer, _ = levada.ask(path, body)
    assert answer.status == 502 and b"10.0.0.7" not in answer.body
    told = json.loads(answer.body)
    if name in ("messages", "count_tokens"):
        assert (told["type"], told["error"]["type"]) == ("error", "api_error")
    else:
        assert told["error"]["code"] == "upstream_error"


@pytest.mark.parametrize("name", ["messages", "count_tokens"])
def test_anthropics_clients_have_a_header_of_their_own(host: Hosts, door: str, name: str) -> None:
    path, body, _, good, _ = JSON[name]
    levada = one(host, door)
    levada.script = (send(json_answer(good)),)
    answer, _ = levada.ask(path, body, key="", x_api_key=levada.levada.key)
    assert answer.status == 200
    answer, _ = levada.ask(path, body, key="", x_api_key="sk-wrong")
    assert answer.status == 401
    assert json.loads(answer.body)["error"]["type"] == "authentication_error"
    assert levada.ask("/v1/models", method="GET", key="", x_api_key="x")[0].status == 401


def event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


RESPONSES = [
    event("response.created", response={"model": "engine/m"}, sequence_number=0),
    event("response.output_text.delta", delta="x", sequence_number=1),
    event(
        "response.completed", response={"model": "engine/m", "usage": COUNTED}, sequence_number=2
    ),
]
MESSAGES = [
    event(
        "message_start",
        message={"model": "engine/m", "usage": {"input_tokens": 7, "output_tokens": 1}},
    ),
    event("content_block_delta", delta={"type": "text_delta", "text": "x"}),
    event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 3}),
    event("message_stop"),
]
STREAMS = {"responses": RESPONSES, "messages": MESSAGES}


def streamed(levada: Host, name: str, *steps: Step) -> Any:
    path, body, _, _, _ = JSON[name]
    levada.script = steps
    return levada.ask(path, {**body, "stream": True})


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_of_typed_events(host: Hosts, door: str, name: str) -> None:
    levada, events = one(host, door), b"".join(STREAMS[name])
    answer, seen = streamed(levada, name, send(stream_head() + chunked(events)))
    assert seen[0]["stream"] is True and "stream_options" not in seen[0]
    assert answer.body == events.replace(b'"engine/m"', b'"m"')
    assert answer.complete


@pytest.mark.parametrize("name", STREAMS)
def test_what_follows_the_last_event_is_not_passed_on(host: Hosts, door: str, name: str) -> None:
    levada, events = one(host, door), b"".join(STREAMS[name])
    answer, _ = streamed(levada, name, send(stream_head() + chunked(events + DONE)))
    assert answer.body == events.replace(b'"engine/m"', b'"m"')


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_breaks_ends_with_an_error_event(host: Hosts, door: str, name: str) -> None:
    levada, begun = one(host, door), b"".join(STREAMS[name][:2])
    answer, _ = streamed(levada, name, send(stream_head() + chunked(begun, end=False)), close())
    *whole, last = answer.body.removesuffix(b"\n\n").split(b"\n\n")
    assert len(whole) == 2
    kind, data = last.split(b"\n")
    told = json.loads(data.removeprefix(b"data: "))
    assert (kind, told["type"]) == (b"event: error", "error")
    if name == "responses":
        assert (told["code"], told["sequence_number"]) == ("upstream_error", 2)
    else:
        assert told["error"]["type"] == "api_error"


BOUNDARY = "x1"


def form(**fields: str | bytes) -> bytes:
    """A form; bytes are a file."""
    lines = []
    for name, value in fields.items():
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name.replace("__", "[]")}"'
        if isinstance(value, bytes):
            head += '; filename="a.wav"\r\nContent-Type: audio/wav'
        content = value if isinstance(value, bytes) else value.encode()
        lines.append(head.encode() + b"\r\n\r\n" + content)
    return b"\r\n".join(lines) + f"\r\n--{BOUNDARY}--\r\n".encode()


def upload(levada: Host, path: str, body: bytes, kind: str = "multipart/form-data") -> Any:
    return levada.ask(path, body, content_type=f"{kind}; boundary={BOUNDARY}")


SOUND = bytes(range(256)) * 40 + b"\r\n--x\r\n"


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/audio/translations"])
def test_sound_is_heard(host: Hosts, door: str, path: str) -> None:
    levada = one(host, door)
    levada.script = (send(json_answer({"text": "x", "usage": {"type": "tokens", **COUNTED}})),)
    fields: dict[str, str | bytes] = {"model": "m", "file": SOUND, "temperature": "0.5", "zzz": "1"}
    answer, seen = upload(levada, path, form(**fields))
    assert (answer.status, seen) == (200, [form(**{**fields, "model": "engine/m"})])
    sent = levada.backend.last
    assert (sent.path, sent.header("content-type")) == (
        path,
        f"multipart/form-data; boundary={BOUNDARY}",
    )


def test_subtitles_are_text(host: Hosts, door: str) -> None:
    levada = one(host, door)
    text = b"WEBVTT\n\n00:00.000 --> 00:01.000\nx\n"
    levada.script = (send(http(200, {"content-type": "text/vtt"}, text)),)
    answer, _ = upload(
        levada, "/v1/audio/transcriptions", form(model="m", file=SOUND, response_format="vtt")
    )
    assert (answer.status, answer.body) == (200, text)
    assert ("content-type", "text/vtt") in answer.headers
    levada.script = (send(http(200, {"content-type": "text/html"}, b"<script>")),)
    answer, _ = upload(levada, "/v1/audio/transcriptions", form(model="m", file=SOUND))
    assert answer.status == 502


def test_a_transcription_in_pieces(host: Hosts, door: str) -> None:
    levada = one(host, door)
    events = event("transcript.text.delta", delta="x") + event(
        "transcript.text.done", text="x", usage=COUNTED
    )
    levada.script = (send(stream_head() + chunked(events)),)
    answer, _ = upload(
        levada, "/v1/audio/transcriptions", form(model="m", file=SOUND, stream="true")
    )
    assert (answer.body, answer.complete) == (events, True)


def test_images_are_edited(host: Hosts, door: str) -> None:
    levada = host("openai", door, models=[{**MODEL, "default_for": ["images.edits"]}])
    levada.script = (send(json_answer({"created": 1, "data": []})),)
    fields: dict[str, str | bytes] = {"image__": SOUND, "prompt": "x"}
    answer, seen = upload(levada, "/v1/images/edits", form(**fields))
    assert answer.status == 200
    # A model that nobody named is put in front.
    assert seen == [form(model="engine/m", **fields)]


def test_forms_are_judged_like_bodies(host: Hosts, door: str) -> None:
    levada, path = one(host, door), "/v1/audio/transcriptions"
    for body, param, code in (
        (form(model="m"), "file", "missing_required_parameter"),
        (form(model="m", file=SOUND, temperature="hot"), "temperature", "invalid_type"),
        (form(model="m", file=SOUND, temperature="2"), "temperature", "decimal_above_max_value"),
        (form(model="m", file=SOUND, priority="2"), "priority", "unknown_parameter"),
        (form(file=SOUND), None, None),
        (form(model="m", file=SOUND)[:-8], None, None),
    ):
        answer, seen = upload(levada, path, body)
        assert (answer.status, seen) == (400, [])
        assert (error(answer)["param"], error(answer)["code"]) == (param, code)
    for kind in ("application/json", "text/plain"):
        answer, seen = upload(levada, path, form(model="m", file=SOUND), kind)
        assert (answer.status, seen, error(answer)["code"]) == (415, [], "unsupported_content_type")
    answer, seen = levada.ask(
        "/v1/chat/completions", form(model="m"), content_type="multipart/form-data; boundary=x1"
    )
    assert (answer.status, seen) == (415, [])


def test_speech_is_sound(host: Hosts, door: str) -> None:
    levada = one(host, door)
    body = {"model": "m", "input": "x", "voice": "alloy"}
    levada.script = (send(http(200, {"content-type": "audio/mpeg"}, SOUND)),)
    answer, seen = levada.ask("/v1/audio/speech", body)
    assert (answer.status, answer.body, seen) == (200, SOUND, [{**body, "model": "engine/m"}])
    assert ("content-type", "audio/mpeg") in answer.headers


@pytest.mark.parametrize("name", ["responses", "messages", "rerank", "images"])
def test_tokens_are_counted(host: Hosts, door: str, name: str) -> None:
    path, body, _, good, cost = JSON[name]
    levada = one(host, door)
    before = tokens(levada)
    levada.script = (send(json_answer(good)),)
    levada.ask(path, body)
    after = (before[0] + cost[0], before[1] + cost[1])
    assert tokens(levada) == after
    if name in STREAMS:
        streamed(levada, name, send(stream_head() + chunked(b"".join(STREAMS[name]))))
        assert tokens(levada) == (after[0] + 7, after[1] + 3)


def test_a_get_is_no_call(host: Hosts, door: str) -> None:
    for path in ("/v1/responses", "/v1/audio/speech", "/v1/messages"):
        answer, _ = one(host, door).ask(path, method="GET")
        assert (answer.status, dict(answer.headers)["allow"]) == (405, "POST")
