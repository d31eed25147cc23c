"""openai-python asks for several choices of backends that make one: the scripted one, and the real
llama.cpp as if it could not either.
"""

from typing import Any

import openai
import pytest
from engine import Engine
from served import DOORS, Levada, Start
from upstream import ScriptedBackend

MESSAGES: Any = [{"role": "user", "content": "Say something."}]
BOTH = pytest.mark.parametrize("model", ["m", "tiny"])


@pytest.fixture(scope="module", params=DOORS)
def running(
    levada_for_module: Start,
    scripted: ScriptedBackend,
    llamacpp: Engine,
    request: pytest.FixtureRequest,
) -> Levada:
    backends = [
        {"name": "scripted", "url": scripted.url, "models": ["m"], "lacks": ["n"]},
        {"name": "real", "url": llamacpp.url, "models": ["tiny"], "lacks": ["n"]},
    ]
    return levada_for_module(door=request.param, config={"backends": backends})


@BOTH
def test_chat(client: openai.OpenAI, model: str) -> None:
    asked: Any = {"model": model, "messages": MESSAGES, "max_tokens": 8, "temperature": 1}
    answer = client.chat.completions.create(**asked, n=3, seed=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert all(choice.message.content for choice in answer.choices)
    one = client.chat.completions.create(**asked, seed=1)
    assert answer.choices[0].message.content == one.choices[0].message.content
    assert answer.usage is not None and one.usage is not None
    assert answer.usage.prompt_tokens == one.usage.prompt_tokens
    assert 3 <= answer.usage.completion_tokens <= 24
    assert answer.usage.total_tokens == one.usage.prompt_tokens + answer.usage.completion_tokens
    if model == "tiny":
        assert len({choice.message.content for choice in answer.choices}) == 3


@BOTH
def test_chat_stream(client: openai.OpenAI, model: str) -> None:
    chunks = list(
        client.chat.completions.create(
            model=model,
            messages=MESSAGES,
            max_tokens=8,
            n=3,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert len({chunk.id for chunk in chunks}) == 1
    choices = [choice for chunk in chunks for choice in chunk.choices]
    for index in range(3):
        mine = [choice for choice in choices if choice.index == index]
        assert "".join(choice.delta.content or "" for choice in mine)
        assert [choice.finish_reason for choice in mine if choice.finish_reason] in (
            ["stop"],
            ["length"],
        )
    told = [chunk.usage for chunk in chunks if chunk.usage]
    assert told == [chunks[-1].usage] and told[0] is not None
    assert told[0].total_tokens == told[0].prompt_tokens + told[0].completion_tokens
    assert 3 <= told[0].completion_tokens <= 24


@BOTH
def test_the_helper_for_streams_puts_them_together(client: openai.OpenAI, model: str) -> None:
    """It takes a choice that comes before a lower one for that one."""
    with client.beta.chat.completions.stream(
        model=model, messages=MESSAGES, max_tokens=8, n=3
    ) as stream:
        stream.until_done()
        final = stream.current_completion_snapshot
    assert [choice.index for choice in final.choices] == [0, 1, 2]
    assert all(choice.message.content for choice in final.choices)


@BOTH
def test_completions(client: openai.OpenAI, model: str) -> None:
    answer = client.completions.create(model=model, prompt="The water", max_tokens=8, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert all(choice.text for choice in answer.choices)
    pieces = client.completions.create(
        model=model, prompt="The water", max_tokens=8, n=3, stream=True
    )
    assert {choice.index for piece in pieces for choice in piece.choices} == {0, 1, 2}
