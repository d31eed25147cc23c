"""openai-python's Responses in front of backends that have only chat completions: the scripted one
and llama.cpp.
"""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter
from upstream import (
    DONE,
    ScriptedBackend,
    chat_chunk,
    chat_stream,
    chunked,
    close,
    event,
    send,
    stream_head,
)

BOTH = pytest.mark.parametrize("model", ["m", "tiny"])
TOOL: Any = {
    "type": "function",
    "name": "weather",
    "strict": False,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


class Person(BaseModel):
    name: str
    age: int


def keeps_to_the_types(events: Iterable[Any]) -> None:
    """The SDK reads anything; its types are strict when they are asked."""
    types: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    for one in events:
        assert types.validate_python(one.to_dict()).type == one.type


@BOTH
def test_create(client: openai.OpenAI, model: str) -> None:
    answer = client.responses.create(
        model=model,
        instructions="Be brief.",
        input="Say something.",
        max_output_tokens=8,
        temperature=0.5,
        metadata={"a": "b"},
    )
    assert answer.model == model
    assert answer.output_text
    assert (answer.instructions, answer.temperature) == ("Be brief.", 0.5)
    assert answer.status in ("completed", "incomplete")
    assert answer.usage is not None and answer.usage.input_tokens > 0
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert answer._request_id
    Response.model_validate(answer.to_dict())


@BOTH
def test_stream(client: openai.OpenAI, model: str) -> None:
    with client.responses.stream(
        model=model, input=[{"role": "user", "content": "Say something."}]
    ) as stream:
        events = list(stream)
        final = stream.get_final_response() if events[-1].type == "response.completed" else None
    assert [one.sequence_number for one in events] == list(range(len(events)))
    assert events[0].type == "response.created"
    deltas = "".join(one.delta for one in events if one.type == "response.output_text.delta")
    assert deltas
    last = events[-1]
    assert last.type in ("response.completed", "response.incomplete")
    assert last.response.output_text == deltas
    assert last.response.usage is not None and last.response.usage.output_tokens > 0
    assert final is None or final.output_text == deltas


def test_a_stream_that_comes_to_its_limit(client: openai.OpenAI) -> None:
    events = list(
        client.responses.create(model="tiny", input="x", max_output_tokens=9, stream=True)
    )
    keeps_to_the_types(events)
    last = events[-1]
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details is not None
    assert last.response.incomplete_details.reason == "max_output_tokens"
    assert last.response.usage is not None and last.response.usage.output_tokens == 9


@BOTH
def test_async_calls_beside_each_other(client_options: dict[str, Any], model: str) -> None:
    async def one(client: openai.AsyncOpenAI, stream: bool) -> str:
        if not stream:
            whole = await client.responses.create(model=model, input="x", max_output_tokens=6)
            return whole.output_text
        pieces = await client.responses.create(
            model=model, input="x", max_output_tokens=6, stream=True
        )
        return "".join([p.delta async for p in pieces if p.type == "response.output_text.delta"])

    async def many() -> list[str]:
        async with openai.AsyncOpenAI(**client_options) as client:
            return await asyncio.gather(*(one(client, bool(n % 2)) for n in range(8)))

    assert all(asyncio.run(many()))


def test_parse(client: openai.OpenAI) -> None:
    answer = client.responses.parse(model="m", input="Who?", text_format=Person)
    assert answer.output_parsed == Person(name="Ann", age=37)


def test_parse_of_the_real_engine(client: openai.OpenAI) -> None:
    class Choice(BaseModel):
        ok: bool

    answer = client.responses.parse(
        model="tiny", input="x", text_format=Choice, max_output_tokens=300
    )
    assert isinstance(answer.output_parsed, Choice)


def test_parse_of_a_stream(client: openai.OpenAI, scripted: ScriptedBackend) -> None:
    events = chat_stream(['{"name":"Ann",', '"age":37}'], usage=True)
    scripted.script(send(stream_head() + chunked(*events)))
    with client.responses.stream(model="m", input="Who?", text_format=Person) as stream:
        assert stream.get_final_response().output_parsed == Person(name="Ann", age=37)


def test_a_tool_is_called_and_answered(client: openai.OpenAI, scripted: ScriptedBackend) -> None:
    first = client.responses.create(model="m", input="Weather?", tools=[TOOL])
    (call,) = first.output
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"city": "Funchal"}
    follow: Any = [
        {"role": "user", "content": "Weather?"},
        *(one.model_dump(exclude_none=True) for one in first.output),
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"},
    ]
    answer = client.responses.create(model="m", input=follow, store=False)
    assert answer.output_text
    told = json.loads(scripted.last.body)["messages"]
    assert [one["role"] for one in told] == ["user", "assistant", "tool"]
    assert told[1]["tool_calls"][0]["id"] == told[2]["tool_call_id"] == call.call_id


def test_streamed_tools_and_thoughts(client: openai.OpenAI, scripted: ScriptedBackend) -> None:
    def delta(**what: Any) -> bytes:
        choice = {"index": 0, "delta": what, "finish_reason": None}
        return event({"object": "chat.completion.chunk", "model": "m", "choices": [choice]})

    first = {"index": 0, "id": "call_9", "function": {"name": "weather", "arguments": ""}}
    parts = ['{"ci', 'ty":"Fun', 'chal"}']
    events = [delta(reasoning_content="hm"), delta(content=None, tool_calls=[first])]
    events += [delta(tool_calls=[{"index": 0, "function": {"arguments": part}}]) for part in parts]
    events += [chat_chunk(None, finish="tool_calls"), DONE]
    scripted.script(send(stream_head() + chunked(*events)))
    keeps_to_the_types(client.responses.create(model="m", input="x", tools=[TOOL], stream=True))
    scripted.script(send(stream_head() + chunked(*events)))
    with client.responses.stream(model="m", input="x", tools=[TOOL]) as stream:
        types = [one.type for one in stream]
        thought, call = stream.get_final_response().output
    assert "response.reasoning_text.delta" in types
    assert "response.function_call_arguments.done" in types
    assert thought.type == "reasoning" and thought.content is not None
    assert thought.content[0].text == "hm"
    assert call.type == "function_call"
    assert (call.call_id, json.loads(call.arguments)) == ("call_9", {"city": "Funchal"})


def test_a_broken_stream_tells_its_error(client: openai.OpenAI, scripted: ScriptedBackend) -> None:
    scripted.script(send(stream_head() + chunked(chat_chunk("a"), end=False)), close())
    events = list(client.responses.create(model="m", input="x", stream=True))
    assert (events[-1].type, events[-2].type) == ("error", "response.output_text.delta")


def test_nothing_is_stored(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as stored:
        client.responses.create(model="m", input="x", store=True)
    assert stored.value.param == "store"
    with pytest.raises(openai.BadRequestError) as continued:
        client.responses.create(model="m", input="x", previous_response_id="resp_1")
    assert continued.value.param == "previous_response_id"
    with pytest.raises(openai.BadRequestError) as tool:
        client.responses.create(model="m", input="x", tools=[{"type": "web_search"}])
    assert tool.value.param == "tools[0].type"
