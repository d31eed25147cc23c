"""The published contract against the engine: every example is what it says, and the page is served.

What a page promises is only worth something if each word of it can be had.
"""

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from provider_host import CHAT, Host, error
from rawhttp import call
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from served import Start, eventually
from upstream import ScriptedBackend

from levada import profiles
from levada.profiles.compiled import compiled
from levada.profiles.facts import HEADERS, facts

# A body that says much, to be changed in one place; and what may come there.
CALLED = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
IMAGE = {"type": "image_url", "image_url": {"url": "http://a.test/b", "detail": "low"}}
WHOLE: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "json"}, IMAGE]},
        {"role": "assistant", "content": None, "tool_calls": [CALLED]},
        {"role": "tool", "tool_call_id": "c", "content": "x"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "tool_choice": "auto",
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
    "temperature": 1,
    "n": 1,
    "stop": ["a"],
    "user": "u",
    "max_tokens": 5,
    "logit_bias": {"5": 1},
    "metadata": {"a": "b"},
    "logprobs": True,
    "top_logprobs": 2,
    "stream_options": None,
}
VALUES: list[Any] = [None, True, 0, 3, -1, 129, 2.5, "x", "", "none", [], ["a"], [1], {}, {"a": 1}]
# The parameters of the checks between fields.
BETWEEN = ("stream_options", "top_logprobs", "tool_choice")

Hosts = Callable[[str, str], Host]


@pytest.mark.parametrize("profile", profiles.names())
def test_every_example_is_the_engines_own_answer(host: Hosts, profile: str) -> None:
    one, read = host(profile, "edge"), profiles.load(profile)
    told = facts(compiled(read), read.version, model="m")
    for example in told.examples:
        key = {"YOUR_KEY": one.levada.key, None: "", "wrong": "wrong"}[example.key]
        answer, seen = one.ask(
            example.path, example.body.encode(), example.method, key, content_type=example.media
        )
        assert (answer.status, seen) == (example.status, []), example.title
        assert answer.body == example.answer.encode(), example.title
        lines = {f"{name}: {value}" for name, value in answer.headers}
        assert set(example.headers) <= lines, example.title


def test_every_header_that_is_named_comes(host: Hosts, door: str) -> None:
    one = host("openai", door)
    met = {name for name, _ in one.chat()[0].headers}
    met |= {name for name, _ in one.ask(CHAT, {}, key="")[0].headers}
    met |= {name for name, _ in one.ask(CHAT, None, method="GET")[0].headers}
    # Only when the backends are not well, which tests/flow see to.
    assert {name for name, _ in HEADERS} - met == {"retry-after"}


def test_an_answer_has_the_published_shape(host: Hosts) -> None:
    one = host("openai", "edge")
    spec = json.loads(call(one.levada.base, "GET", "/openapi.json").body)
    registry = Registry().with_resource("urn:spec", Resource(spec, DRAFT202012))
    shapes = {"ChatCompletion": one.chat()[0], "ModelList": one.ask("/v1/models", method="GET")[0]}
    shapes["Error"] = one.chat(n=0)[0]
    for name, answer in shapes.items():
        schema = {"$ref": f"urn:spec#/components/schemas/{name}"}
        Draft202012Validator(schema, registry=registry).validate(json.loads(answer.body))


def mutated(body: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """The body with one value somewhere in it taken out or replaced."""
    body = copy.deepcopy(body)
    holders: list[Any] = [body]
    for one in holders:
        inner = one.values() if isinstance(one, dict) else one
        holders += [value for value in inner if value and isinstance(value, dict | list)]
    holder = chance.choice(holders)
    key = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    if isinstance(holder, dict) and chance.random() < 0.25:
        del holder[key]
    else:
        holder[key] = chance.choice(VALUES)
    return body


@pytest.mark.parametrize("profile", ["openai", "flexai"])
def test_the_document_and_the_engine_agree(host: Hosts, profile: str) -> None:
    """No body that breaks its schema is taken; one that keeps it fails at a check, or its model."""
    one, chance = host(profile, "edge"), random.Random(7)
    spec = json.loads(call(one.levada.base, "GET", "/openapi.json").body)
    registry = Registry().with_resource("urn:spec", Resource(spec, DRAFT202012))
    schema = {"$ref": "urn:spec#/components/schemas/chat.completions.Body"}
    validator = Draft202012Validator(schema, registry=registry)
    taken = 0
    for _ in range(400):
        body = mutated(WHOLE, chance)
        answer, _ = one.ask(CHAT, body)
        taken += answer.status == 200
        if validator.is_valid(body) and answer.status != 200:
            param, code = error(answer)["param"], error(answer)["code"]
            words = error(answer)["message"]
            known = param in BETWEEN or "'tool'" in words or code == "model_not_found"
            assert known or words == "you must provide a model parameter", (body, words)
        else:
            assert validator.is_valid(body) is (answer.status == 200), body
    assert 50 < taken < 350


def test_it_is_served_to_anybody_at_both_doors(host: Hosts, door: str) -> None:
    base = host("ionos", door).levada.base
    page = call(base, "GET", "/docs/compatibility")
    assert (page.status, page.header("content-type")) == (200, "text/html; charset=utf-8")
    assert f"<code>{base}/v1</code>".encode() in page.body
    with urlopen(Request(f"{base}/docs/compatibility", method="HEAD"), timeout=10) as head:
        assert (head.status, head.read()) == (200, b"")
    spec = call(base, "GET", "/openapi.json")
    OpenAPIV31SpecValidator(spec.json).validate()
    assert spec.json["info"]["title"].startswith("ionos")
    refused = call(base, "POST", "/openapi.json", {}, b"{}")
    assert refused.status == 401


def test_it_follows_a_reload(levada: Start, tmp_path: Path) -> None:
    with ScriptedBackend(models=["m"]) as backend:
        mine = tmp_path / "mine.yaml"
        mine.write_text("id: mine\nversion: 'first'\nextends: openai\n")
        config = {"backends": [{"name": "one", "url": backend.url}], "profile": str(mine)}
        one = levada(config=config)

        def version() -> str:
            return str(call(one.base, "GET", "/openapi.json").json["info"]["version"])

        assert version() == "first"
        mine.write_text(
            "id: mine\nversion: 'second'\nextends: openai\nendpoints: {embeddings: absent}\n"
        )
        assert version() == "first"
        file = one.data.parent / "levada.yaml"
        file.write_text(file.read_text() + "\n")
        assert eventually(lambda: version() == "second")
        assert b"embeddings</a>" not in call(one.base, "GET", "/docs/compatibility").body
