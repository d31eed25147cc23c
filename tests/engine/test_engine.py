"""The tiny model and the real server, without Levada: what the other tests may rely on."""

import time

from rawhttp import call

from engine import Engine
from engine.tiny_model import tiny_model

MESSAGES = '"messages":[{"role":"user","content":"Olá 🌊"}]'


def test_the_model_is_small_quick_and_always_the_same() -> None:
    began = time.process_time()
    model = tiny_model()
    assert time.process_time() - began < 1.0
    assert len(model) < 1_000_000
    assert model == tiny_model()
    assert model != tiny_model(seed=2)


def test_chat(llamacpp: Engine) -> None:
    body = f'{{"model":"tiny",{MESSAGES},"max_tokens":8}}'.encode()
    answer = call(llamacpp.url, "POST", "/v1/chat/completions", body=body)
    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["content"]
    assert 0 < answer.json["usage"]["completion_tokens"] <= 8


def test_stream(llamacpp: Engine) -> None:
    body = (
        f'{{"model":"tiny",{MESSAGES},"max_tokens":24,"stream":true,'
        '"stream_options":{"include_usage":true}}'
    ).encode()
    answer = call(llamacpp.url, "POST", "/v1/chat/completions", body=body)
    assert answer.complete and answer.events[-1] == b"data: [DONE]"
    assert len(answer.events) > 10


def test_completions(llamacpp: Engine) -> None:
    body = b'{"model":"tiny","prompt":"The water","max_tokens":8}'
    answer = call(llamacpp.url, "POST", "/v1/completions", body=body)
    assert answer.json["object"] == "text_completion"
    assert answer.json["choices"][0]["text"]


def test_embeddings(llamacpp: Engine) -> None:
    body = b'{"model":"tiny","input":["a","water"]}'
    answer = call(llamacpp.url, "POST", "/v1/embeddings", body=body)
    assert [len(one["embedding"]) for one in answer.json["data"]] == [64, 64]


def test_json_schema(llamacpp: Engine) -> None:
    schema = '{"type":"object","properties":{"ok":{"type":"boolean"}},"required":["ok"]}'
    response_format = (
        f'{{"type":"json_schema","json_schema":{{"name":"s","strict":true,"schema":{schema}}}}}'
    )
    body = f'{{"model":"tiny",{MESSAGES},"max_tokens":200,"response_format":{response_format}}}'
    answer = call(llamacpp.url, "POST", "/v1/chat/completions", body=body.encode())
    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["content"].lstrip().startswith("{")
