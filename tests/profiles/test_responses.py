"""Responses, through both doors: on a backend that has only chat completions, and what is refused
at every backend.
"""

import json
from typing import Any

import pytest
from provider_host import Host, Hosts, error
from rawhttp import Answer
from upstream import (
    DONE,
    chat_answer,
    chat_chunk,
    chat_stream,
    chunked,
    close,
    error_answer,
    event,
    json_answer,
    send,
    stream_head,
    usage_chunk,
)
from upstream.steps import Step

PATH = "/v1/responses"
MODEL = {"name": "m", "backends": ["one"], "upstream": "engine/m"}
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}}


def chats(host: Hosts, door: str, *more: str, words: str = "") -> Host:
    """A Levada in front of a backend that has no Responses, and lacks this besides."""
    return host("openai", door, words, lacks=["responses", *more], models=[MODEL])


def whole(levada: Host, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A response in one piece, and the chat that the backend was asked for."""
    answer, seen = levada.ask(PATH, {"model": "m", "input": "x", **fields})
    assert answer.status == 200, answer.body
    assert levada.backend.last.path == "/v1/chat/completions"
    made: dict[str, Any] = json.loads(answer.body)
    return made, seen[0]


def streamed(levada: Host, *steps: Step, **fields: Any) -> tuple[Answer, list[dict[str, Any]]]:
    """A response in pieces, and its events: each named twice and numbered."""
    levada.script = steps
    answer, seen = levada.ask(PATH, {"model": "m", "input": "x", "stream": True, **fields})
    assert seen[0]["stream_options"] == {"include_usage": True}
    events = []
    for at, one in enumerate(answer.body.removesuffix(b"\n\n").split(b"\n\n")):
        name, data = one.split(b"\n")
        told = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + told["type"].encode()
        assert told["sequence_number"] == at
        events.append(told)
    return answer, events


def test_a_response_is_made_of_a_chat(host: Hosts, door: str) -> None:
    levada = chats(host, door)
    levada.script = (send(json_answer(chat_answer("Hi", model="engine/m", reasoning="hm"))),)
    made, asked = whole(
        levada, instructions="Be brief.", max_output_tokens=9, temperature=0.50, zzz=[1.50]
    )
    assert asked == {
        "model": "engine/m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "x"},
        ],
        "max_completion_tokens": 9,
        "temperature": 0.5,
        "zzz": [1.5],
    }
    assert (made["object"], made["status"], made["model"]) == ("response", "completed", "m")
    assert made["id"].startswith("resp_") and made["created_at"] > 1_700_000_000
    thought, message = made["output"]
    assert thought["content"] == [{"type": "reasoning_text", "text": "hm"}]
    assert message["content"] == [
        {"type": "output_text", "annotations": [], "logprobs": [], "text": "Hi"}
    ]
    assert made["usage"] == {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 8,
    }
    assert (made["instructions"], made["max_output_tokens"], made["store"]) == (
        "Be brief.",
        9,
        False,
    )
    assert made["error"] is made["previous_response_id"] is made["incomplete_details"] is None


def test_a_conversation_with_tools_is_told_to_a_chat(host: Hosts, door: str) -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c1", "output": "sunny"}
    levada = chats(host, door, "max_completion_tokens")
    function = {"name": "weather", "arguments": '{"city":"Funchal"}'}
    calls = [{"id": "c2", "type": "function", "function": function}]
    levada.script = (send(json_answer(chat_answer("", tool_calls=calls))),)
    items = [{"role": "user", "content": "x"}, {"type": "reasoning", "summary": []}, call, output]
    made, asked = whole(levada, input=items, tools=[TOOL], max_output_tokens=9)
    assert [one["role"] for one in asked["messages"]] == ["user", "assistant", "tool"]
    assert asked["messages"][1]["tool_calls"][0]["id"] == "c1"
    assert asked["tools"][0]["function"]["name"] == "weather"
    assert asked["max_tokens"] == 9
    (item,) = made["output"]
    assert item["id"].startswith("fc_")
    assert {name: item[name] for name in ("type", "status", "call_id", "name", "arguments")} == {
        "type": "function_call",
        "status": "completed",
        "call_id": "c2",
        **function,
    }
    assert made["tools"] == [TOOL]


def test_a_streamed_response(host: Hosts, door: str) -> None:
    events = chat_stream(["Hel", "lo"], model="engine/m", usage=True)
    steps = send(stream_head() + chunked(*events))
    answer, told = streamed(chats(host, door), steps)
    assert answer.complete
    assert dict(answer.headers)["content-type"].startswith("text/event-stream")
    assert [one["type"].removeprefix("response.") for one in told] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    last = told[-1]["response"]
    assert (told[6]["text"], last["model"], last["usage"]["total_tokens"]) == ("Hello", "m", 8)
    assert last["output"] == [told[8]["item"]]


def test_a_streamed_response_that_came_to_its_limit(host: Hosts, door: str) -> None:
    events = [chat_chunk("Hel", finish="length"), usage_chunk(), DONE]
    _, told = streamed(chats(host, door), send(stream_head() + chunked(*events)))
    last = told[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert last["response"]["output"][0]["status"] == "incomplete"


FAULT = event({"error": {"message": "at 10.0.0.7", "code": 500}})


@pytest.mark.parametrize("rest", [b"", DONE, FAULT], ids=["cut", "done", "error"])
def test_a_stream_that_breaks_ends_with_an_error_event(host: Hosts, door: str, rest: bytes) -> None:
    begun = stream_head() + chunked(chat_chunk("Hel"), rest, end=False)
    answer, told = streamed(chats(host, door), send(begun), close())
    assert (told[-1]["type"], told[-1]["code"]) == ("error", "upstream_error")
    assert len(told) == 6 and b"10.0.0.7" not in answer.body


def test_a_stream_that_breaks_at_once_is_a_refusal(host: Hosts, door: str) -> None:
    for begun in (FAULT, DONE, b""):
        levada = chats(host, door)
        levada.script = (send(stream_head() + chunked(begun)), close())
        answer, _ = levada.ask(PATH, {"model": "m", "input": "x", "stream": True})
        assert (answer.status, error(answer)["code"]) == (502, "upstream_error")


def test_a_backends_refusal_is_the_clients(host: Hosts, door: str) -> None:
    levada = chats(host, door)
    for status, wanted in ((400, 400), (500, 502)):
        levada.script = (send(error_answer(status, "too hot")),)
        answer, _ = levada.ask(PATH, {"model": "m", "input": "x"})
        assert answer.status == wanted
    for nonsense in ({"choices": []}, b"[]", b"{"):
        levada.script = (send(json_answer(nonsense)),)
        answer, _ = levada.ask(PATH, {"model": "m", "input": "x"})
        assert (answer.status, error(answer)["code"]) == (502, "upstream_error")


def test_one_call_where_one_was_asked_for(host: Hosts, door: str) -> None:
    calls = [
        {"index": at, "id": f"c{at}", "function": {"name": "f", "arguments": "{}"}}
        for at in range(2)
    ]
    levada = chats(host, door)
    levada.script = (send(json_answer(chat_answer("", tool_calls=calls))),)
    made, asked = whole(levada, tools=[TOOL], parallel_tool_calls=False)
    assert asked["parallel_tool_calls"] is False
    assert [one["call_id"] for one in made["output"]] == ["c0"]
    choice = {"index": 0, "delta": {"tool_calls": calls}, "finish_reason": "tool_calls"}
    stream = send(stream_head() + chunked(event({"choices": [choice]}), DONE))
    _, told = streamed(chats(host, door), stream, tools=[TOOL], parallel_tool_calls=False)
    assert len(told[-1]["response"]["output"]) == 1


def test_a_profiles_counters_hold(host: Hosts, door: str) -> None:
    words = "endpoints: {responses: {response: {cache_counters: true}}}"
    levada = chats(host, door, words=words)
    made, _ = whole(levada)
    assert made["usage"]["cache_read_input_tokens"] == 0
    events = chat_stream(["x"], usage=True)
    _, told = streamed(levada, send(stream_head() + chunked(*events)))
    assert told[-1]["response"]["usage"]["cache_creation_input_tokens"] == 0


def test_tokens_are_counted_for_responses(host: Hosts, door: str) -> None:
    levada = chats(host, door)

    def counted() -> list[float]:
        found = levada.levada.metrics()
        names = (
            'levada_tokens_total{model="m",kind="prompt"}',
            'levada_tokens_total{model="m",kind="completion"}',
            'levada_calls_total{model="m",endpoint="responses",end="done"}',
        )
        return [found.get(name, 0.0) for name in names]

    before = counted()
    levada.script = (send(json_answer(chat_answer())),)
    whole(levada)
    events = chat_stream(["x"], usage=True)
    streamed(levada, send(stream_head() + chunked(*events)))
    after = counted()
    assert [new - old for new, old in zip(after, before, strict=True)] == [10, 6, 2]


def test_a_chat_goes_to_such_a_backend_as_it_is(host: Hosts, door: str) -> None:
    answer, seen = chats(host, door).chat(temperature=0.5)
    assert answer.status == 200
    assert seen[0]["messages"] == [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [TOOL, {"type": "web_search"}]}, "tools[1].type"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice.type"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0].file_id",
        ),
        ({"input": None}, "input"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
    ],
)
def test_what_a_chat_cannot_say_reaches_no_backend(
    host: Hosts, door: str, fields: dict[str, Any], param: str
) -> None:
    answer, seen = chats(host, door).ask(PATH, {"model": "m", "input": "x", **fields})
    assert (answer.status, seen) == (400, [])
    assert error(answer)["param"] == param


STORED = {
    "store": True,
    "previous_response_id": "resp_1",
    "conversation": "conv_1",
    "background": True,
    "prompt": {"id": "pmpt_1"},
}


@pytest.mark.parametrize("lacks", [[], ["responses"]], ids=["native", "chats"])
@pytest.mark.parametrize("name", STORED)
def test_nothing_is_stored_anywhere(host: Hosts, door: str, name: str, lacks: list[str]) -> None:
    levada = host("openai", door, lacks=lacks, models=[MODEL])
    answer, seen = levada.ask(PATH, {"model": "m", "input": "x", name: STORED[name]})
    assert (answer.status, seen) == (400, [])
    told = error(answer)
    assert (told["param"], told["type"]) == (name, "invalid_request_error")
    assert "not stored here" in told["message"]


@pytest.mark.parametrize("off", [False, None])
def test_what_is_off_goes_through(host: Hosts, door: str, off: bool | None) -> None:
    native = host("openai", door, models=[MODEL])
    native.script = (send(json_answer({"object": "response", "model": "engine/m"})),)
    fields = {"store": off, "background": off, "previous_response_id": None}
    answer, seen = native.ask(PATH, {"model": "m", "input": "x", **fields})
    assert (answer.status, seen[0]) == (200, {"model": "engine/m", "input": "x", **fields})
    _, asked = whole(chats(host, door), **fields)
    assert set(asked) == {"model", "messages"}
