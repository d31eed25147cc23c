"""What each judge lets pass, and what it calls broken: answers by hand, one fault each."""

import base64
import json
import struct
from typing import Any

import pytest
from upstream.answers import chat_answer, embeddings_answer

from levada import profiles
from levada.probe import answered, doors, expect, judges, numbered, rates, shapes
from levada.probe.client import Answer, get
from levada.probe.endpoints import ENDPOINTS, Target
from levada.probe.expect import exactly
from levada.probe.rows import BrokenError, Judge, UntestableError
from levada.profiles.compiled import compiled

JSON = (("content-type", "application/json"),)
EVENTS = (("content-type", "text/event-stream; charset=utf-8"),)
OPENAI = profiles.load("openai")
FLEXAI = profiles.load("flexai")
KEY = {"message": "m", "type": "invalid_request_error", "param": None, "code": None}


def said(value: Any, status: int = 200, **headers: str) -> Answer:
    lines = tuple((name.replace("_", "-"), text) for name, text in headers.items())
    return Answer(status, JSON + lines, json.dumps(value).encode())


def refusal(status: int = 400, **fields: Any) -> Answer:
    return said({"error": {**KEY, **fields}}, status)


def streamed(*events: str, complete: bool = True) -> Answer:
    body = "".join(f"data: {event}\n\n" for event in events).encode()
    return Answer(200, EVENTS, body, complete)


def chat(**fields: Any) -> Answer:
    answer = chat_answer()
    answer["choices"][0].update(fields)
    return said(answer)


def numbers(vector: Any) -> Answer:
    return said({**embeddings_answer(), "data": [{"embedding": vector}]})


def number(id: str, profile: str = "mittwald-dedicated", **errors: Any) -> Judge:
    """The judge of a numbered promise, under a compiled profile with these errors."""
    one = profiles.load(profile)
    made = compiled(one)
    made["errors"].update(errors)
    made["endpoints"]["chat.completions"]["default_max_tokens"] = 16
    targets = {name: Target(name, endpoint, "m") for name, endpoint in ENDPOINTS.items()}
    found = [row for row in numbered.promises(one, made, targets) if row.id == id]
    assert found[0].judge is not None
    return found[0].judge


def key_judge(profile: profiles.Profile, id: str, **errors: Any) -> Judge:
    made = compiled(profile)
    made["errors"].update(errors)
    (row,) = [one for one in doors.promises(profile, made, []) if one.id == id]
    assert row.judge is not None
    return row.judge


NONE = "key/v1/models/none"
PACKED = base64.b64encode(struct.pack("<2f", 0.5, 0.25)).decode()
SPANS = ("1m0s", "20ms", "8.64s", "1h0m3s", "6m0s")
ONE = b'event: response.created\ndata: {"type":"response.created"}\n\n'
LAST = b'event: response.completed\ndata: {"type":"response.completed"}\n\n'
MESSAGE = {"id": "x", "type": "message", "role": "assistant", "model": "m", "content": []}
LIMITS = {
    "x_ratelimit_limit_requests": "10",
    "x_ratelimit_remaining_requests": "9",
    "x_ratelimit_reset_requests": "34",
}
RESET, LEFT = "x_ratelimit_reset_requests", "x_ratelimit_remaining_requests"
RESPONSE = answered.stream("response.created", ("response.completed",))
TOLD_TO_ANTHROPIC = expect.refused(OPENAI, None, None, 404, dialect="anthropic")
ABSENT = {"type": "not_found_error", "message": ""}
STRANGE = {**embeddings_answer()}
STRANGE["data"] = [{"object": "embedding", "index": 0, "embedding": PACKED}]
USED = {"prompt_tokens": 1, "completion_tokens": 17, "total_tokens": 18}


@pytest.mark.parametrize(
    ("judge", "answers", "words"),
    [
        (shapes.chat, [chat(message={"role": "user"})], "no message of an assistant"),
        (shapes.chat, [chat(message={"role": "assistant"})], "no content, neither"),
        (lambda one: shapes.embeddings(one, 1), [numbers("x")], "'object' is not"),
        (lambda one: shapes.embeddings(one, 1), [said(STRANGE)], "no list of numbers"),
        (judges.counters, [said({"usage": None})], "there is no usage"),
        (shapes.chunks, [streamed("{}", "[DONE]", complete=False)], "broke off"),
        (shapes.chunks, [streamed("{", "[DONE]")], "before the last is no JSON"),
        (shapes.chunks, [streamed("[DONE]")], "no chunks"),
        (judges.person, [chat(message={"content": '{"name":"A"}'})], "does not fit"),
        (judges.person, [chat(message={"content": '{"name":"A","age":""}'})], "does not fit"),
        (judges.called, [chat(message=None)], "a choice has no message"),
        (judges.overflow(OPENAI, flat=False), [refusal(param="messages")], "'param' and 'code'"),
        (judges.overflow(OPENAI, flat=True), [refusal(param="messages")], "is not flat"),
        (judges.dimensions(2, OPENAI), [refusal(param="x")], "not by its name"),
        (judges.dimensions(2, OPENAI), [numbers([])], "neither obeyed nor refused"),
        (judges.same_vector, [numbers(PACKED), numbers(PACKED)], "no list of numbers"),
        (judges.same_vector, [numbers([0.5]), numbers(PACKED)], "other numbers"),
        (judges.readable, [numbers([])], "is empty"),
        (judges.readable, [numbers("?")], "neither numbers nor base64"),
        (rates.told("flexai", 0), [said({}, x_ratelimit_limit_requests="x")], "is 'x'"),
        (rates.told("flexai", 2e9), [said({}, **LIMITS)], "is 34, which is no Unix time"),
        (rates.told("openai", 0), [said({}, **LIMITS)], "reset-requests is '34'"),
        (rates.told("openai", 0), [said({}, **{**LIMITS, RESET: ""})], "reset-requests is ''"),
        (rates.told("openai", 0), [said({}, **{**LIMITS, RESET: "1"})], "is '1'"),
        (rates.told("flexai", 0), [said({})], "limit-requests is None"),
        (rates.told("flexai", 0), [said({}, **{**LIMITS, LEFT: "11"})], "11 requests of 10 remain"),
        (answered.sound, [said({})], "which is no sound"),
        (answered.whole("Ranking"), [said([])], "the answer is no object"),
        (answered.whole("Ranking"), [said({})], "the answer has no 'results'"),
        (answered.whole("Ranking"), [said({"results": [7]})], "one of 'results' is no object"),
        (answered.whole("TokenCount"), [said({"input_tokens": True})], "is no integer"),
        (answered.whole("Text"), [said({})], "has no 'content'"),
        (answered.whole("Response"), [said({"id": "r", "object": "x"})], "has no 'model'"),
        (answered.whole("ModelList"), [said({"object": "list", "data": [{}]})], "has no 'id'"),
        (RESPONSE, [said({})], "not text/event-stream"),
        (RESPONSE, [streamed("{}", complete=False)], "broke off"),
        (RESPONSE, [streamed("{")], "an event is no JSON"),
        (RESPONSE, [streamed('{"type":"a"}')], "not named for its type"),
        (RESPONSE, [streamed()], r"go from \[\] to \[\]"),
        (expect.refused(OPENAI, None, None, dialect="anthropic"), [refusal()], "body is not"),
        (TOLD_TO_ANTHROPIC, [said({"type": "error", "error": {"type": "x"}}, 404)], "'type' is"),
        (TOLD_TO_ANTHROPIC, [said({"type": "error", "error": ABSENT}, 404)], "is no text"),
        (TOLD_TO_ANTHROPIC, [said({}, 400)], "the status is 400, not 404"),
        (judges.called, [chat(message={"content": "x"})], "no tool was called"),
        (judges.enforced_or_named(OPENAI), [refusal()], "does not name 'response_format'"),
        (judges.at_most(16), [said({"usage": USED})], "is 17, not at most 16"),
        (judges.at_most(16), [said({})], "is None"),
        (exactly(401, "x"), [said("x")], "the status is 200"),
        (exactly(401, "x"), [said("x", 401)], "the body is not x"),
        (number("MD-4"), [refusal()], "does not name 'logit_bias'"),
        (number("FX-7", "flexai"), [refusal(401, doc_url="y")], "'doc_url' is another"),
        (number("MD-1", unauthorized_body="x"), [said("y", 401)], "the body is not x"),
        (number("MD-10", flat_overflow=True), [said({}, 400)], "is not flat"),
        (number("IO-2", "ionos"), [said({"usage": USED})], "not at most 16"),
        (key_judge(OPENAI, NONE), [refusal(401, param="x")], "'type' and 'param' are"),
        (key_judge(OPENAI, NONE), [refusal(401, code="x")], "'code' is 'x'"),
        (
            key_judge(FLEXAI, NONE),
            [refusal(401, type="authentication_error", doc_url="y")],
            "'doc_url' is 'y', not 'https",
        ),
        (key_judge(OPENAI, NONE, unauthorized_body="x"), [refusal(401)], "the body is not x"),
    ],
)
def test_it_is_broken(judge: Judge, answers: list[Answer], words: str) -> None:
    with pytest.raises(BrokenError, match=words):
        judge(*answers)


@pytest.mark.parametrize(
    ("judge", "answers"),
    [
        (
            judges.overflow(OPENAI, flat=True),
            [said({"object": "error", **KEY, "param": "messages", "code": 400}, 400)],
        ),
        (
            judges.overflow(OPENAI, flat=False),
            [refusal(param="messages", code="context_length_exceeded")],
        ),
        (judges.dimensions(2, OPENAI), [refusal(param="dimensions")]),
        (judges.same_vector, [numbers([0.5, 0.25]), numbers(PACKED)]),
        (judges.enforced_or_named(OPENAI), [refusal(param="response_format")]),
        (judges.at_most(17), [said({"usage": USED})]),
        (judges.no_models, [said({"data": []})]),
        *[(rates.told("openai", 0), [said({}, **{**LIMITS, RESET: one})]) for one in SPANS],
        (answered.whole("Text"), [said({"content": "x"})]),
        (answered.whole("Message"), [said(MESSAGE)]),
        (
            RESPONSE,
            [Answer(200, EVENTS, b": hi\n\n" + ONE + LAST)],
        ),
        (exactly(401, '"x"'), [said("x", 401)]),
    ],
)
def test_it_holds(judge: Judge, answers: list[Answer]) -> None:
    judge(*answers)


@pytest.mark.parametrize(
    ("judge", "answer", "words"),
    [
        (judges.person, chat(finish_reason="length"), "cut at its limit"),
        (judges.called, chat(finish_reason="length"), "to its limit of tokens"),
        (rates.told("openai", 0, must=False), said({}), "names no limit"),
        (judges.one_call, chat(message={"content": "x"}), "called no tool"),
        (judges.overflow(OPENAI, flat=False), said({}), "does not refuse"),
        (judges.no_models, said({"data": [1]}), "there are models"),
    ],
)
def test_it_cannot_be_told(judge: Judge, answer: Answer, words: str) -> None:
    with pytest.raises(UntestableError, match=words):
        judge(answer)


def test_a_call_without_its_answer_is_refused_by_name() -> None:
    (*_, row, _) = numbered_checks()
    with pytest.raises(BrokenError, match="leads to no message"):
        row(refusal(param="x"))
    with pytest.raises(BrokenError, match="does not name 'call_x'"):
        row(refusal(param="messages"))


def numbered_checks() -> list[Judge]:
    from levada.probe.between import promises

    target = Target("chat.completions", ENDPOINTS["chat.completions"], "m")
    return [one.judge for one in promises(OPENAI, ["tool_replies"], target) if one.judge]


LATE = (get("/x"), said({}, 429))
TOLD = (get("/x"), said({}, 429, retry_after="1"))
MILLIS = (get("/x"), said({}, 429, retry_after_ms="1"))
GOOD = (get("/x"), said({}))
LIMITED = {"error": {**KEY, "type": "requests", "code": "rate_limit_exceeded"}}
UNTOLD = (get("/x"), said(LIMITED, 429))
TURNED_AWAY = (get("/x"), said(LIMITED, 429, retry_after="1"))


@pytest.mark.parametrize(
    ("profile", "id", "exchanges", "words"),
    [
        ("mittwald-dedicated", "MD-13", [GOOD, LATE], "was a 429"),
        ("mittwald-shared", "MS-3", [TOLD], "a 429 has a Retry-After"),
        ("mittwald-shared", "MS-3", [MILLIS], "a 429 has a retry-after-ms"),
        ("ionos", "IO-9", [TOLD, LATE], "a 429 has no Retry-After"),
        ("flexai", "FX-11", [LATE], "a 429 has no Retry-After"),
        ("mittwald-shared", "MS-3", [LATE], ""),
        ("flexai", "FX-11", [TOLD, GOOD], ""),
        ("mittwald-dedicated", "MD-13", [GOOD], ""),
        ("openai", "rate/exceeded", [TURNED_AWAY], ""),
        ("openai", "rate/exceeded", [(get("/x"), refusal(429))], "'code' is None"),
        ("mittwald-shared", "rate/exceeded", [TURNED_AWAY], "a 429 has a Retry-After"),
        ("flexai", "rate/exceeded", [UNTOLD], "a 429 has no Retry-After"),
        ("ionos", "rate/headers", [GOOD], ""),
        ("ionos", "rate/headers", [(get("/x"), said({}, **LIMITS))], "answered with x-ratelimit"),
    ],
)
def test_promises_about_all_answers(
    profile: str, id: str, exchanges: doors.Said, words: str
) -> None:
    promised = profiles.load(profile)
    every = [*numbered.overall(promised), *rates.overall(promised, compiled(promised))]
    (judge,) = [one for name, _, one in every if name == id]
    if not words:
        judge(exchanges)
        return
    with pytest.raises(BrokenError, match=words):
        judge(exchanges)


def test_sizes_follow_the_profile() -> None:
    made = {**compiled(OPENAI), "body_bytes": 1000}
    target = Target("chat.completions", ENDPOINTS["chat.completions"], "m")
    rows = {one.id: one for one in doors.promises(OPENAI, made, [target])}
    assert len(rows["size/under"].asks[0].body) == 1000
    assert len(rows["size/over"].asks[0].body) == 1000 + doors.MIB
    made["body_bytes"] = doors.LIMIT + 1
    rows = {one.id: one for one in doors.promises(OPENAI, made, [target])}
    assert rows["size/over"].why == "26,214,401 bytes would have to be sent"
    assert len(rows["size/under"].asks[0].body) == doors.LIMIT


def test_a_fault_of_any_answer_is_told() -> None:
    doors.no_faults([GOOD, (get("/x"), said({}, 503))])
    doors.no_faults([(get("/x"), said({}, 502))], {"/x"})
    with pytest.raises(BrokenError, match="1 answers are faults, such as 502 to GET /x"):
        doors.no_faults([GOOD, (get("/x"), said({}, 502))])


def test_what_no_model_answers_cannot_be_told() -> None:
    target = Target("chat.completions", ENDPOINTS["chat.completions"], None, "no model")
    rows = list(numbered.promises(FLEXAI, compiled(FLEXAI), {target.name: target}))
    found = {row.id: row.why for row in rows}
    assert (found["FX-3"], found["FX-5"]) == ("no model", "embeddings is not offered")
