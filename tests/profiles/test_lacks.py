"""What the gateway does for a backend that lacks something, and what it learns of a backend from
its list of models; through both doors.
"""

import json
import struct
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import pytest
from provider_host import Host, error
from served import Start
from upstream import (
    DONE,
    ScriptedBackend,
    chat_chunk,
    chunked,
    embeddings_answer,
    event,
    json_answer,
    send,
    stream_head,
)

EMBED = "/v1/embeddings"
IMAGE = {"type": "image_url", "image_url": {"url": "https://pictures.test/a.png"}}
SEEING = [
    {"role": "system", "content": "x"},
    {"role": "user", "content": [{"type": "text", "text": "x"}, IMAGE]},
]


@pytest.fixture(scope="module")
def lacking(levada_for_module: Start) -> Iterator[Any]:
    """`lacking(door, profile, **backend)`: a Levada in front of such a backend."""
    hosts: dict[str, Host] = {}

    def of(door: str, profile: str = "openai", listed: Any = None, **said: Any) -> Host:
        named = json.dumps([door, profile, listed, said])
        if named not in hosts:
            backend = ScriptedBackend(models=["m"]).start()
            if listed is not None:
                backend.on_get = [send(json_answer(listed))]
            config = {
                "backends": [{"name": "one", "url": backend.url, **said}],
                "profile": profile,
                "health": {"interval": 3600},
            }
            hosts[named] = Host(levada_for_module(door=door, config=config), backend)
        return hosts[named]

    yield of
    for one in hosts.values():
        one.backend.stop()


def test_nulls_do_not_reach_a_backend_that_takes_them_for_values(lacking: Any, door: str) -> None:
    one = lacking(door, lacks=["null"])
    _, (seen,) = one.chat(n=None, zzz=None, seed=3, stop=None)
    assert list(seen) == ["model", "messages", "seed"]
    _, (seen,) = one.ask(EMBED, {"encoding_format": None, "model": "m", "input": "x"})
    assert seen == {"model": "m", "input": "x"}


def test_nulls_reach_any_other_backend(lacking: Any, door: str) -> None:
    _, (seen,) = lacking(door).chat(n=None, zzz=None)
    assert list(seen)[2:] == ["n", "zzz"]


@pytest.mark.parametrize(
    ("lacks", "name"),
    [
        ([], "max_completion_tokens"),
        (["max_tokens"], "max_completion_tokens"),
        (["max_completion_tokens"], "max_tokens"),
    ],
)
def test_a_limit_goes_on_under_the_name_that_the_backend_knows(
    lacking: Any, door: str, lacks: list[str], name: str
) -> None:
    one = lacking(door, lacks=lacks)
    for given in ({"max_tokens": 9, "max_completion_tokens": 7}, {"max_completion_tokens": 7}):
        _, (seen,) = one.chat(**given, seed=1)
        limits = {key: value for key, value in seen.items() if key.startswith("max_")}
        assert (limits, seen["seed"]) == ({name: 7}, 1)
    _, (seen,) = one.ask("/v1/completions", {"model": "m", "prompt": "x", "max_tokens": 5})
    assert seen["max_tokens"] == 5


def test_fx_5_vectors_become_base64(lacking: Any, door: str) -> None:
    one = lacking(door, lacks=["base64"])
    body = {"model": "m", "input": ["a", "b"], "encoding_format": "base64"}
    vectors = [[0.1, -2.5e-3, 16777217, 1], [3.4028235e38, 0, -0.0, 1e-45]]
    answer = embeddings_answer(2)
    for entry, vector in zip(answer["data"], vectors, strict=True):
        entry["embedding"] = vector
    one.script = (send(json_answer(answer)),)
    got, (seen,) = one.ask(EMBED, body)
    assert seen == {**body, "encoding_format": "float"}
    for entry, vector in zip(json.loads(got.body)["data"], vectors, strict=True):
        assert b64decode(entry["embedding"]) == struct.pack("<4f", *vector)
    one.script = (send(json_answer(answer)),)
    got, _ = one.ask(EMBED, {**body, "encoding_format": "float"})
    assert [entry["embedding"] for entry in json.loads(got.body)["data"]] == vectors


def test_many_vectors_become_base64_and_too_many_are_refused(lacking: Any, door: str) -> None:
    one = lacking(door, lacks=["base64"])
    body = {"model": "m", "input": "x", "encoding_format": "base64"}
    many = b"0.125," * 100_000 + b"0.125"
    one.script = (send(json_answer(b'{"data":[{"embedding":[' + many + b"]}]}")),)
    got, _ = one.ask(EMBED, body)
    found = b64decode(json.loads(got.body)["data"][0]["embedding"])
    assert found == struct.pack("<f", 0.125) * 100_001
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 60000000\r\n\r\n"
    one.script = (send(head),)
    got, _ = one.ask(EMBED, body)
    assert (got.status, error(got)["param"]) == (400, "encoding_format")
    assert "float" in error(got)["message"]


def test_usage_has_a_chunk_of_its_own(lacking: Any, door: str) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    last = chat_chunk(None, finish="stop", usage=usage)
    one = lacking(door)
    one.script = (send(stream_head() + chunked(chat_chunk("x"), last, DONE)),)
    answer, _ = one.chat(stream=True, stream_options={"include_usage": True})
    *_, finish, told, done = answer.events
    assert done == DONE.strip()
    finish, told = json.loads(finish[6:]), json.loads(told[6:])
    assert "usage" not in finish and finish["choices"][0]["finish_reason"] == "stop"
    assert told == {**finish, "choices": [], "usage": usage}
    one.script = (send(stream_head() + chunked(chat_chunk("x"), last, DONE)),)
    answer, _ = one.chat(stream=True)
    assert len(answer.events) == 3 and b"usage" not in answer.body


def test_usage_of_two_choices_is_told_once(lacking: Any, door: str) -> None:
    usage = event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}})
    end = chat_chunk(None, finish="stop")
    one = lacking(door)
    one.script = (send(stream_head() + chunked(end, usage, end, usage, DONE)),)
    answer, _ = one.chat(stream=True, n=2, stream_options={"include_usage": True})
    assert answer.body.count(b"usage") == 1
    told = json.loads(answer.events[-2][6:])
    assert told["choices"] == [] and told["usage"]["completion_tokens"] == 6


LLAMACPP = {
    "models": [{"name": "m", "capabilities": ["completion"]}],
    "data": [
        {
            "id": "m",
            "owned_by": "llamacpp",
            "architecture": {"input_modalities": ["text"]},
            "meta": {"n_vocab": 100},
        }
    ],
}


@pytest.mark.parametrize("models", [None, ["m"]])
def test_a_backend_says_itself_what_it_is(lacking: Any, door: str, models: Any) -> None:
    one = lacking(door, listed=LLAMACPP, models=models)
    _, (seen,) = one.chat(stop=None)
    assert list(seen) == ["model", "messages"]
    answer, seen = one.chat(logit_bias={"100": 1})
    assert (answer.status, seen) == (400, [])
    answer, seen = one.chat(messages=SEEING)
    assert (answer.status, seen) == (400, [])
    assert error(answer)["param"] == "messages[1].content[1].image_url"
    assert "is not a multimodal model" in error(answer)["message"]
    part = {"type": "input_image", "image_url": "data:,x"}
    asked = {"model": "m", "input": [{"role": "user", "content": [part]}]}
    answer, seen = one.ask("/v1/responses", asked)
    assert (answer.status, seen) == (400, [])
    assert error(answer)["param"] == "input[0].content[0].image_url"


def test_the_operator_knows_better(lacking: Any, door: str) -> None:
    one = lacking(door, listed=LLAMACPP, engine="other")
    _, (seen,) = one.chat(stop=None)
    assert "stop" in seen
    one = lacking(door, listed=LLAMACPP, lacks=["n"])
    _, (seen,) = one.chat(stop=None)
    assert "stop" in seen


def test_images_pass_where_nobody_has_said_that_they_are_not_seen(lacking: Any, door: str) -> None:
    answer, (seen,) = lacking(door).chat(messages=SEEING)
    assert (answer.status, seen["messages"]) == (200, SEEING)


def test_mittwald_lets_every_image_pass(lacking: Any, door: str) -> None:
    answer, seen = lacking(door, "mittwald-dedicated", LLAMACPP).chat(messages=SEEING)
    assert (answer.status, len(seen)) == (200, 1)


def test_a_model_that_sees_is_listed_as_multimodal(lacking: Any, door: str) -> None:
    entry = {"id": "m", "architecture": {"input_modalities": ["text", "image"]}}
    one = lacking(door, "flexai", {"data": [entry]})
    answer, _ = one.ask("/v1/models", method="GET")
    assert json.loads(answer.body)["data"][0]["category"] == "multimodal"


def test_constraints_reach_vllm_under_the_name_that_it_knows(lacking: Any, door: str) -> None:
    listed = {"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 9}]}
    schema = {"type": "object"}
    _, (seen,) = lacking(door, listed=listed).chat(guided_json=schema, seed=1)
    assert list(seen) == ["model", "messages", "structured_outputs", "seed"]
    assert seen["structured_outputs"] == {"json": schema}
