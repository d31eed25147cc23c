"""Levada in front of the real llama.cpp: what it lacks is done for it, and its streams come as
OpenAI's do. Nothing is configured; what it is is learned.
"""

import json
import struct
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import pytest
from served import DOORS, Levada, Start

from engine import Engine

MESSAGES = [{"role": "user", "content": "Olá 🌊"}]
USAGE = {"stream": True, "stream_options": {"include_usage": True}}


@pytest.fixture(scope="module", params=DOORS)
def real(
    llamacpp: Engine, levada_for_module: Start, request: pytest.FixtureRequest
) -> Iterator[Levada]:
    yield levada_for_module(llamacpp.url, door=request.param)


def chunks(levada: Levada, path: str, **body: Any) -> list[dict[str, Any]]:
    answer = levada.post(path, {"model": "tiny", "max_tokens": 4, **USAGE, **body})
    *events, done = answer.events
    assert (answer.status, done) == (200, b"data: [DONE]")
    read = [json.loads(event.removeprefix(b"data: ")) for event in events]
    return [chunk for chunk in read if chunk is not None]


def told_once(read: list[dict[str, Any]]) -> Any:
    *before, last = read
    assert not any("usage" in chunk for chunk in before)
    assert last["choices"] == [] and last["id"] == before[-1]["id"]
    return last["usage"]


def test_an_encoding_of_null_is_accepted(real: Levada, llamacpp: Engine) -> None:
    body = {"model": "tiny", "input": "water", "encoding_format": None}
    answer = real.post("/v1/embeddings", body)
    assert answer.status == 200, answer.body
    floats = json.loads(answer.body)["data"][0]["embedding"]
    answer = real.post("/v1/embeddings", {**body, "encoding_format": "base64"})
    packed = b64decode(json.loads(answer.body)["data"][0]["embedding"])
    assert struct.unpack(f"<{len(floats)}f", packed) == pytest.approx(floats, rel=1e-3, abs=1e-4)


def test_completions_tell_usage_in_a_chunk_of_its_own(real: Levada) -> None:
    usage = told_once(chunks(real, "/v1/completions", prompt="The water"))
    assert usage["completion_tokens"] == 4
    usage = told_once(chunks(real, "/v1/completions", prompt=["The water", "runs"]))
    assert usage["completion_tokens"] == 8


def test_two_choices_have_one_usage(real: Levada) -> None:
    usage = told_once(chunks(real, "/v1/chat/completions", messages=MESSAGES, n=2))
    assert usage["completion_tokens"] == 8


def test_images_are_refused_before_the_model_sees_them(real: Levada) -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}}
    messages = [{"role": "user", "content": [part]}]
    answer = real.chat({"model": "tiny", "messages": messages})
    assert answer.status == 400
    assert json.loads(answer.body)["error"]["param"] == "messages[0].content[0].image_url"
