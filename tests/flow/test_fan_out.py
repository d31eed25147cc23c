"""Several choices of a backend that makes one: it is asked once for each, and the client gets one
answer.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from rawhttp import Answer, Wire
from served import DOORS, Levada, Start, eventually
from upstream import (
    DONE,
    ScriptedBackend,
    chat_answer,
    chat_chunk,
    chat_stream,
    chunked,
    close,
    error_answer,
    hang,
    json_answer,
    pause,
    send,
    send_forever,
    stream_head,
    usage_chunk,
)

MESSAGES = [{"role": "user", "content": "x"}]
WHOLE = {"model": "m", "messages": MESSAGES, "n": 3}
STREAM = {**WHOLE, "stream": True}
USAGE = {**STREAM, "stream_options": {"include_usage": True}}
CHAT = "/v1/chat/completions"
BEGUN = send(stream_head() + chunked(chat_chunk("x"), end=False))


@pytest.fixture(scope="module")
def one() -> Iterator[ScriptedBackend]:
    with ScriptedBackend() as backend:
        yield backend


@pytest.fixture(autouse=True)
def fresh(one: ScriptedBackend) -> None:
    one.forget()


def lacking(*lacking: ScriptedBackend, more: tuple[ScriptedBackend, ...] = ()) -> dict[str, Any]:
    """A configuration: backends that make one choice, and `more` that make several."""
    backends = [
        {"name": f"b{at}", "url": backend.url, "models": ["m"]}
        for at, backend in enumerate(lacking + more)
    ]
    for backend in backends[: len(lacking)]:
        backend["lacks"] = ["n"]
    free = {"retry": {"ratio": 1, "per_second": 1000}, "breaker": {"failures": 1000}}
    return {"backends": backends, "health": {"interval": 3600}, **free}


@pytest.fixture(scope="module", params=DOORS)
def running(
    levada_for_module: Start, one: ScriptedBackend, request: pytest.FixtureRequest
) -> Levada:
    return levada_for_module(door=request.param, config=lacking(one))


def chunks(answer: Answer) -> list[dict[str, Any]]:
    """The data of a stream that ended well."""
    assert (answer.status, answer.complete) == (200, True)
    assert answer.events[-1] == b"data: [DONE]" and answer.body.count(DONE) == 1
    return [json.loads(event.removeprefix(b"data: ")) for event in answer.events[:-1]]


def tokens(running: Levada) -> tuple[float, float]:
    samples = running.metrics()
    kinds = ("prompt", "completion")
    name = 'levada_tokens_total{{model="m",kind="{}"}}'
    prompt, completion = (samples.get(name.format(kind), 0) for kind in kinds)
    return prompt, completion


def counted(running: Levada, before: tuple[float, float], wanted: tuple[float, float]) -> bool:
    """Whether the records of the calls since `before` come to this: prompt, completion."""

    def grown() -> bool:
        now = tokens(running)
        return (now[0] - before[0], now[1] - before[1]) == wanted

    return eventually(grown, 2)


def test_whole_answers_are_one(running: Levada, one: ScriptedBackend) -> None:
    before = tokens(running)
    for word in "abc":
        first = word == "a"
        one.script(
            *([] if first else [pause(0.02)]),
            send(json_answer({**chat_answer(word), "id": word, "service_tier": word})),
        )
    answer = running.chat({**WHOLE, "seed": 7, "temperature": 1.50})
    assert answer.status == 200
    choices = answer.json["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2]
    assert sorted(choice["message"]["content"] for choice in choices) == ["a", "b", "c"]
    assert answer.json["service_tier"] == answer.json["id"] == choices[0]["message"]["content"]
    assert answer.json["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 9,
        "total_tokens": 14,
    }
    assert counted(running, before, (5, 9))
    sent = sorted((call.body for call in one.calls), key=lambda body: json.loads(body)["seed"])
    whole = json.dumps({**WHOLE, "seed": 7, "temperature": 1.50})
    one_choice = whole.replace('"n": 3', '"n": 1')
    assert sent == [
        one_choice.replace('"seed": 7', f'"seed": {seed}').encode() for seed in (7, 8, 9)
    ]
    ids = {call.header("x-request-id") for call in one.calls}
    assert ids == {f"{answer.header('x-request-id')}-{at}" for at in range(3)}


def test_completions_of_a_list_of_prompts(running: Levada, one: ScriptedBackend) -> None:
    """Those of one prompt stand together, as OpenAI's do; all else goes on as it is."""
    listed = [{"index": at, "text": f"{at}", "finish_reason": "stop"} for at in (0, 1)]
    one.always(send(json_answer({"object": "text_completion", "choices": listed})))
    body = {"model": "m", "prompt": ["a", "b"], "n": 2, "best_of": 4, "echo": True}
    choices = running.post("/v1/completions", body).json["choices"]
    assert [(choice["index"], choice["text"]) for choice in choices] == [
        (0, "0"),
        (1, "0"),
        (2, "1"),
        (3, "1"),
    ]
    assert [json.loads(call.body) for call in one.calls] == [{**body, "n": 1}] * 2


@pytest.mark.parametrize("body", [STREAM, USAGE], ids=["plain", "usage"])
def test_streams_are_one(running: Levada, one: ScriptedBackend, body: dict[str, Any]) -> None:
    before = tokens(running)
    for at in range(3):
        events = [
            event.replace(b"chatcmpl-1", b"chatcmpl-%d" % at).replace(b'"a"', b'"%d"' % at)
            for event in chat_stream(["a", "b", "c"], usage=True)
        ]
        steps = [
            step for event in events for step in (send(chunked(event, end=False)), pause(0.01))
        ]
        one.script(send(stream_head()), *steps, send(chunked()))
    got = chunks(running.chat(body))
    assert len({(chunk["id"], chunk["created"]) for chunk in got}) == 1
    texts = {at: "" for at in range(3)}
    for chunk in got:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["delta"].get("content", "")
    assert {text[1:] for text in texts.values()} == {"bc"}
    assert {text[0] for text in texts.values()} == {"0", "1", "2"}
    told = [chunk for chunk in got if chunk.get("usage")]
    total = {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}
    assert [chunk["usage"] for chunk in told] == ([total] if body is USAGE else [])
    assert len(told) == sum(not chunk["choices"] for chunk in got)
    assert not told or got[-1] is told[0]
    assert counted(running, before, (5, 9))


def test_events_go_on_as_they_come(running: Levada, one: ScriptedBackend) -> None:
    """One source that talks is heard while the others are silent."""
    for _ in range(2):
        one.script(send(stream_head()), hang())
    one.script(BEGUN, hang())
    with running.begin(CHAT, STREAM) as wire:
        head = wire.read_head()
        assert head is not None and head.status == 200
        assert b'"content":"x"' in wire.read_until(b"\n\n")
    assert one.wait_for(lambda: one.open_calls() == 0)


def test_every_copy_counts_as_load(running: Levada, one: ScriptedBackend) -> None:
    one.always(hang())
    assert eventually(lambda: running.total("levada_backend_in_flight") == 0)
    with running.begin(CHAT, WHOLE):
        assert one.wait_for(lambda: len(one.calls) == 3)
        assert running.total("levada_backend_in_flight") == 3
    assert eventually(lambda: running.total("levada_backend_in_flight") == 0)


@pytest.mark.parametrize("leave", [Wire.close, Wire.reset], ids=["fin", "rst"])
@pytest.mark.parametrize("situation", ["before_the_head", "after_a_head", "in_the_stream"])
def test_a_client_that_leaves_lets_all_go(
    running: Levada, one: ScriptedBackend, situation: str, leave
) -> None:
    before, delays = tokens(running), []
    for _ in range(20):
        one.forget()
        if situation == "after_a_head":
            one.script(BEGUN, hang())
        one.always(*([BEGUN] if situation == "in_the_stream" else []), hang())
        wire = running.begin(CHAT, STREAM)
        assert one.wait_for(lambda: len(one.calls) == 3)
        if situation == "in_the_stream":
            assert wire.read_head() is not None
            for _ in range(3):
                wire.read_until(b"\n\n")
        time.sleep(0.005)
        left = time.monotonic()
        leave(wire)
        assert one.wait_for(lambda: one.open_calls() == 0)
        delays += [call.peer.ended - left for call in one.calls]
    delays.sort()
    assert delays[int(0.98 * len(delays)) - 1] <= 0.050, delays[-5:]
    # What came is counted: a piece of each choice; the prompt was never told.
    assert counted(running, before, (0, 60 if situation == "in_the_stream" else 0))


def test_a_choice_that_has_told_its_count_is_not_forgotten(
    running: Levada, one: ScriptedBackend
) -> None:
    before = tokens(running)
    one.script(send(stream_head() + chunked(*chat_stream(["a", "b"], usage=True))))
    one.always(BEGUN, hang())
    wire = running.begin(CHAT, STREAM)
    assert wire.read_head() is not None
    for _ in range(5):
        wire.read_until(b"\n\n")
    wire.close()
    assert counted(running, before, (5, 3 + 1 + 1))


def test_a_stream_that_breaks_breaks_all(running: Levada, one: ScriptedBackend) -> None:
    one.script(BEGUN, pause(0.1), close())
    one.always(BEGUN, hang())
    answer = running.chat(USAGE)
    assert answer.status == 200 and DONE not in answer.body
    *_, last = answer.events
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "upstream_error"
    assert sum(b'"content":"x"' in event for event in answer.events) == 3
    assert one.wait_for(lambda: one.open_calls() == 0)


@pytest.mark.parametrize("status", [400, 429])
@pytest.mark.parametrize("body", [WHOLE, STREAM], ids=["whole", "stream"])
def test_a_refusal_of_one_is_that_of_all(
    running: Levada, one: ScriptedBackend, body: dict[str, Any], status: int
) -> None:
    one.script(BEGUN, hang()).script(pause(0.05), send(error_answer(status, "not this")))
    one.always(hang())
    answer = running.chat(body)
    assert answer.status == status
    assert (answer.error["message"] == "not this") is (status == 400)
    # The connection of the refusal is free; the others are let go.
    assert one.wait_for(lambda: one.open_calls() == 1)


def test_more_than_a_backend_is_asked_for(running: Levada, one: ScriptedBackend) -> None:
    answer = running.chat({**WHOLE, "n": 9})
    assert (answer.status, answer.error) == (
        400,
        {
            "message": "Invalid 'n': integer above maximum value. "
            "Expected a value <= 8, but got 9 instead.",
            "type": "invalid_request_error",
            "param": "n",
            "code": "integer_above_max_value",
        },
    )
    assert not one.calls
    assert len(running.chat({**WHOLE, "n": 8}).json["choices"]) == 8
    assert len(one.calls) == 8


def test_answers_too_large_to_hold(running: Levada, one: ScriptedBackend) -> None:
    one.always(send(json_answer(chat_answer("x" * 3_000_000))))
    answer = running.chat(WHOLE)
    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
    two = running.chat({**WHOLE, "n": 2})
    assert [len(choice["message"]["content"]) for choice in two.json["choices"]] == [3_000_000] * 2


def test_a_client_that_does_not_read_stops_them_all(running: Levada, one: ScriptedBackend) -> None:
    event = chunked(chat_chunk("x" * 16_000), end=False)
    one.always(send(stream_head()), send_forever(event))
    with running.begin(CHAT, STREAM) as wire:
        assert wire.read_head() is not None
        assert one.wait_for(lambda: len(one.calls) == 3)
        peers = [call.peer for call in one.calls]
        assert one.wait_for(lambda: not any(peer.writable.is_set() for peer in peers), 5)
        time.sleep(0.3)
        assert not any(peer.writable.is_set() for peer in peers)
        seen = set()
        for _ in range(3000):  # each has its turn
            event = wire.read_until(b"\n\n")
            seen.add(event.partition(b'"index":')[2][:1])
            if seen == {b"0", b"1", b"2"}:
                break
        assert seen == {b"0", b"1", b"2"}
    assert one.wait_for(lambda: one.open_calls() == 0)


def test_a_backend_that_makes_several_goes_first(levada: Start, one: ScriptedBackend) -> None:
    with ScriptedBackend() as able:
        running = levada(config=lacking(one, more=(able,)))
        for n in (2, 9):
            for _ in range(10):
                assert running.chat({**WHOLE, "n": n}).status == 200
        assert (len(able.calls), len(one.calls)) == (20, 0)
        assert json.loads(able.last.body)["n"] == 9
        able.always(send(error_answer(503)))
        assert len(running.chat(WHOLE).json["choices"]) == 3
        assert len(one.calls) == 3
        # It is no fault of the client's that only the other one could: 503, not 400.
        assert running.chat({**WHOLE, "n": 9}).status == 503


def test_a_fault_before_the_first_byte_is_mended_elsewhere(
    levada: Start, one: ScriptedBackend
) -> None:
    with ScriptedBackend() as other:
        running = levada(config=lacking(one, other))
        refused = [send(error_answer(500))]
        broken = [send(stream_head()), pause(0.05), close()]
        for body, steps in ((WHOLE, refused), (USAGE, refused), (USAGE, broken)):
            one.forget().always(send(stream_head()), hang())
            other.forget()
            count = 0
            while not one.calls:  # until it was drawn
                one.script(*steps)
                answer = running.chat(body)
                assert answer.status == 200 and b"error" not in answer.body
                count += 1
            assert len(other.calls) == 3 * count
            assert one.wait_for(lambda: one.open_calls() <= 1)


def test_what_a_profile_changes_is_changed_in_every_choice(
    levada: Start, one: ScriptedBackend
) -> None:
    """The public name, and one tool call."""
    config = lacking(one)
    config["models"] = [{"name": "pub", "upstream": "m"}]
    running = levada(config=config)
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    calls = [{**call, "id": "a", "index": 0}, {**call, "id": "b", "index": 1}]
    body = {
        **USAGE,
        "model": "pub",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "parallel_tool_calls": False,
    }
    piece = json.loads(chat_chunk(None).removeprefix(b"data: "))
    piece["choices"][0]["delta"]["tool_calls"] = calls
    events = [
        b"data: " + json.dumps(piece).encode() + b"\n\n",
        chat_chunk(None, finish="tool_calls"),
        usage_chunk(),
        DONE,
    ]
    one.always(send(stream_head() + chunked(*events)))
    got = chunks(running.chat(body))
    assert {chunk["model"] for chunk in got} == {"pub"}
    made = [chunk["choices"][0]["delta"].get("tool_calls") for chunk in got[:-1]]
    assert [len(calls) for calls in made if calls] == [1, 1, 1]
    one.always(send(json_answer(chat_answer("", tool_calls=calls))))
    answer = running.chat({**body, "stream": False, "stream_options": None}).json
    assert answer["model"] == "pub"
    assert [len(choice["message"]["tool_calls"]) for choice in answer["choices"]] == [1, 1, 1]
