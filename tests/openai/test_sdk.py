"""openai-python in front of the scripted backend and of llama.cpp: what people write against Levada
works.
"""

import asyncio
import json
import time
from typing import Any

import openai
import pytest
from pydantic import BaseModel
from upstream import (
    DONE,
    ScriptedBackend,
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
)

MESSAGES: Any = [{"role": "user", "content": "Say something."}]
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
BOTH = pytest.mark.parametrize("model", ["m", "tiny"])


class Person(BaseModel):
    name: str
    age: int


@BOTH
def test_chat(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=8)
    assert answer.model == model
    assert answer.choices[0].message.content
    assert answer.usage is not None and answer.usage.total_tokens > 0
    assert answer._request_id


@BOTH
def test_chat_stream(client: openai.OpenAI, model: str) -> None:
    chunks = list(
        client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=16, stream=True)
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] in ("stop", "length")
    assert all(c.usage is None for c in chunks)
    assert {c.model for c in chunks} == {model}


@BOTH
def test_chat_stream_with_usage(client: openai.OpenAI, model: str) -> None:
    chunks = list(
        client.chat.completions.create(
            model=model,
            messages=MESSAGES,
            max_tokens=16,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert chunks[-1].choices == []


def test_stream_helper(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="m", messages=MESSAGES) as stream:
        kinds = [one.type for one in stream]
        final = stream.get_final_completion()
    assert "content.delta" in kinds
    assert final.choices[0].message.content


@BOTH
def test_completions(client: openai.OpenAI, model: str) -> None:
    answer = client.completions.create(model=model, prompt="The water", max_tokens=8)
    assert answer.choices[0].text
    streamed = client.completions.create(model=model, prompt="The", max_tokens=8, stream=True)
    assert "".join(one.choices[0].text for one in streamed)


@BOTH
def test_embeddings(client: openai.OpenAI, model: str) -> None:
    answer = client.embeddings.create(model=model, input=["a", "b"])
    assert [one.index for one in answer.data] == [0, 1]
    assert len(answer.data[0].embedding) == len(answer.data[1].embedding) > 4
    plain = client.embeddings.create(model=model, input="a", encoding_format="float")
    assert len(plain.data) == 1


def test_models(client: openai.OpenAI) -> None:
    assert sorted(one.id for one in client.models.list()) == ["m", "tiny"]
    assert client.models.retrieve("tiny").id == "tiny"


@BOTH
def test_async_calls_beside_each_other(client_options: dict[str, Any], model: str) -> None:
    async def one(client: openai.AsyncOpenAI, stream: bool) -> str:
        if not stream:
            whole = await client.chat.completions.create(
                model=model, messages=MESSAGES, max_tokens=6
            )
            return whole.choices[0].message.content or ""
        pieces = await client.chat.completions.create(
            model=model, messages=MESSAGES, max_tokens=6, stream=True
        )
        return "".join([p.choices[0].delta.content or "" async for p in pieces if p.choices])

    async def many() -> list[str]:
        async with openai.AsyncOpenAI(**client_options) as client:
            return await asyncio.gather(*(one(client, bool(n % 2)) for n in range(12)))

    assert all(asyncio.run(many()))


def test_tools(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="m", messages=MESSAGES, tools=TOOLS)
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert json.loads(call.function.arguments) == {"city": "Funchal"}
    assert answer.choices[0].finish_reason == "tool_calls"


def test_streamed_tools(client: openai.OpenAI, scripted: ScriptedBackend) -> None:
    def delta(**what: Any) -> bytes:
        choice = {"index": 0, "delta": what, "finish_reason": None}
        return event(
            {
                "id": "c",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "m",
                "choices": [choice],
            }
        )

    first = {
        "index": 0,
        "id": "call_9",
        "type": "function",
        "function": {"name": "weather", "arguments": ""},
    }
    parts = ['{"ci', 'ty":"Fun', 'chal"}']
    events = [delta(role="assistant", content=None, tool_calls=[first])]
    events += [delta(tool_calls=[{"index": 0, "function": {"arguments": part}}]) for part in parts]
    events += [chat_chunk(None, finish="tool_calls"), DONE]
    scripted.script(send(stream_head() + chunked(*events)))
    with client.chat.completions.stream(model="m", messages=MESSAGES, tools=TOOLS) as stream:
        final = stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls or []
    assert (call.id, json.loads(call.function.arguments)) == ("call_9", {"city": "Funchal"})


def test_tools_reach_the_backend_and_its_answer_goes_back(
    client: openai.OpenAI, scripted: ScriptedBackend
) -> None:
    first = client.chat.completions.create(model="m", messages=MESSAGES, tools=TOOLS)
    call = first.choices[0].message.tool_calls[0]  # type: ignore[index]
    reply = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    follow: Any = [*MESSAGES, first.choices[0].message.model_dump(), reply]
    client.chat.completions.create(model="m", messages=follow)
    assert json.loads(scripted.last.body)["messages"][-1] == reply


def test_structured_output(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(model="m", messages=MESSAGES, response_format=Person)
    assert answer.choices[0].message.parsed == Person(name="Ann", age=37)


def test_md_7_structured_output_of_the_real_engine(client: openai.OpenAI) -> None:
    class Choice(BaseModel):
        ok: bool

    answer = client.chat.completions.parse(
        model="tiny", messages=MESSAGES, response_format=Choice, max_tokens=300
    )
    assert isinstance(answer.choices[0].message.parsed, Choice)


def test_parameters_arrive_as_given(client: openai.OpenAI, scripted: ScriptedBackend) -> None:
    given: dict[str, Any] = {
        "frequency_penalty": 0.5,
        "logit_bias": {"5": -100},
        "logprobs": True,
        "max_completion_tokens": 5,
        "metadata": {"a": "b"},
        "n": 2,
        "parallel_tool_calls": False,
        "presence_penalty": -0.5,
        "reasoning_effort": "low",
        "seed": 7,
        "stop": ["a", "b"],
        "temperature": 0.1,
        "top_logprobs": 2,
        "top_p": 0.9,
        "user": "u",
    }
    extra = {"top_k": 4, "chat_options": {"deep": [1, {"x": None}]}}
    client.chat.completions.create(model="m", messages=MESSAGES, extra_body=extra, **given)
    assert json.loads(scripted.last.body) == {"model": "m", "messages": MESSAGES, **given, **extra}


def test_unknown_answer_fields_arrive(client: openai.OpenAI, scripted: ScriptedBackend) -> None:
    answer = chat_answer("x", reasoning_content="because") | {"timings": {"ms": 1.50}}
    scripted.script(send(json_answer(answer)))
    got = client.chat.completions.create(model="m", messages=MESSAGES)
    assert (got.choices[0].message.model_extra or {})["reasoning_content"] == "because"
    assert (got.model_extra or {})["timings"] == {"ms": 1.5}


ERRORS = [
    (400, error_answer(400, "bad"), openai.BadRequestError),
    (404, error_answer(404, "none"), openai.NotFoundError),
    (409, error_answer(409, "busy"), openai.ConflictError),
    (422, error_answer(422, "odd"), openai.BadRequestError),
    (429, error_answer(429, "slow", retry_after="3"), openai.RateLimitError),
    (500, error_answer(500, "trace"), openai.InternalServerError),
    (503, error_answer(503, "full"), openai.InternalServerError),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("status", "answer", "kind"), ERRORS, ids=lambda x: str(x)[:12])
def test_backend_errors_are_the_sdks_errors(
    client: openai.OpenAI,
    scripted: ScriptedBackend,
    status: int,
    answer: bytes,
    kind: type[openai.APIStatusError],
    stream: bool,
) -> None:
    scripted.script(send(answer))
    with pytest.raises(kind) as caught:
        client.chat.completions.create(model="m", messages=MESSAGES, stream=stream)
    assert caught.value.type
    assert caught.value.request_id
    if status >= 500:
        assert "trace" not in caught.value.message and "full" not in caught.value.message


def test_our_own_errors(client: openai.OpenAI, client_options: dict[str, Any]) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="zebra", messages=MESSAGES)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as empty:
        client.chat.completions.create(model="m", messages=[])
    assert (empty.value.param, empty.value.code) == ("messages", "empty_array")
    with pytest.raises(openai.NotFoundError):
        client.files.list()
    stranger = openai.OpenAI(**{**client_options, "api_key": "sk-wrong"})
    with pytest.raises(openai.AuthenticationError) as nobody:
        stranger.models.list()
    assert nobody.value.code == "invalid_api_key"


def test_a_broken_stream_raises(client: openai.OpenAI, scripted: ScriptedBackend) -> None:
    scripted.script(send(stream_head() + chunked(*chat_stream(["a"])[:1], end=False)), close())
    stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
    texts = []
    with pytest.raises(openai.APIError):
        for chunk in stream:
            texts.append(chunk.choices[0].delta.content)
    assert texts == ["a"]


def test_the_sdk_tries_again_as_long_as_it_was_told(
    client_options: dict[str, Any], scripted: ScriptedBackend
) -> None:
    scripted.script(send(error_answer(429, "slow", retry_after="1")))
    patient = openai.OpenAI(**{**client_options, "max_retries": 1})
    began = time.monotonic()
    assert patient.chat.completions.create(model="m", messages=MESSAGES).choices
    assert 0.9 < time.monotonic() - began < 3
    assert len(scripted.calls) == 2


def test_leaving_a_real_stream_frees_the_engine(client: openai.OpenAI) -> None:
    for _ in range(12):  # more than the engine has slots
        stream = client.chat.completions.create(
            model="tiny", messages=MESSAGES, max_tokens=1900, stream=True
        )
        next(iter(stream))
        stream.close()
    answer = client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=4)
    assert answer.choices[0].message.content
