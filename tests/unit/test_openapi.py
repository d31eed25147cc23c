"""The OpenAPI document: valid, whole, and of one mind with the engine's own document."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from levada import profiles
from levada.profiles import answers
from levada.profiles import usage as described
from levada.profiles.compiled import compiled
from levada.profiles.openapi import openapi
from levada.usage import own, query

CATALOGUE = Path(__file__).parents[1] / "vectors" / "catalogue.json"
# What no schema can foresee: not JSON at all, checks between fields, members never accepted.
UNFORESEEN = {
    "bad_json",
    "missing_model",
    "stream_options",
    "top_logprobs",
    "top_logprobs_max",
    "json_word",
    "tool_choice_no_tools",
    "tool_reply_missing",
    "tool_reply_orphan",
    "unknown_param",
}
MESSAGES = [{"role": "user", "content": "hi"}]
CHAT = {"model": "m", "messages": MESSAGES}


def document(name: str | Path) -> dict[str, Any]:
    profile = profiles.load(name)
    return openapi(compiled(profile), profile.version)


def takes(spec: dict[str, Any], name: str, value: Any) -> bool:
    """Whether `value` has the shape of the component `name`."""
    registry: Any = Registry().with_resource("urn:spec", Resource(spec, DRAFT202012))
    schema = {"$ref": f"urn:spec#/components/schemas/{name}"}
    return Draft202012Validator(schema, registry=registry).is_valid(value)


@pytest.mark.parametrize("name", profiles.names())
def test_a_document_is_valid_and_whole(name: str) -> None:
    spec = document(name)
    OpenAPIV31SpecValidator(spec).validate()
    made = compiled(profiles.load(name))
    offered = {answers.path(one) for one, rules in made["endpoints"].items() if rules}
    assert set(spec["paths"]) == {"/v1/models", "/v1/models/{model}", "/v1/usage", *offered}
    assert "#/$defs/" not in json.dumps(spec)
    statuses = "200 400 401 403 404 405 408 413 415 429 500 502 503 504".split()
    for path in offered:
        post = spec["paths"][path]["post"]
        assert list(post["responses"]) == statuses
        (body,) = post["requestBody"]["content"].values()
        assert body["schema"]["$ref"].endswith(".Body")
    assert spec["security"] == [{"bearer": []}]


@pytest.mark.parametrize(
    ("fields", "taken"),
    [
        ({}, True),
        ({"messages": []}, False),
        ({"messages": [{"role": "nobody", "content": "hi"}]}, False),
        ({"temperature": 2}, True),
        ({"temperature": 2.5}, False),
        ({"temperature": None}, True),
        ({"user": None}, True),
        ({"model": None}, False),
        ({"stop": list("abcde")}, False),
        ({"tools": [{"type": "function", "function": {"name": "f", "description": None}}]}, True),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, False),
        ({"not_known": {"a": 1}}, True),
    ],
)
def test_a_body_is_judged_as_the_engine_does(fields: dict[str, Any], taken: bool) -> None:
    assert takes(document("openai"), "chat.completions.Body", CHAT | fields) is taken


def test_what_the_catalogue_refuses_breaks_the_schema() -> None:
    spec = document("openai")
    rows = [row for row in json.loads(CATALOGUE.read_text()) if row["id"] not in UNFORESEEN]
    assert len(rows) > 45
    for row in rows:
        assert not takes(spec, f"{row['endpoint']}.Body", json.loads(row["body"])), row


@pytest.mark.parametrize(
    ("name", "fields", "taken"),
    [
        ("flexai", {"n": 1}, True),
        ("flexai", {"n": None}, True),
        ("flexai", {"n": 2}, False),
        ("flexai", {"user": None}, False),
        ("flexai", {"logprobs": "any"}, True),
        ("ionos", {"top_p": -1}, True),
        ("ionos", {"top_p": -2}, False),
        ("ionos", {"response_format": 5}, True),
        ("mittwald-dedicated", {"user": 5}, True),
    ],
)
def test_what_a_profile_changes(name: str, fields: dict[str, Any], taken: bool) -> None:
    assert takes(document(name), "chat.completions.Body", CHAT | fields) is taken


def test_a_closed_profile_has_closed_bodies(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("id: mine\nversion: '1'\nextends: openai\nunknown_params: reject\n")
    spec = document(file)
    OpenAPIV31SpecValidator(spec).validate()
    assert takes(spec, "chat.completions.Body", CHAT)
    assert not takes(spec, "chat.completions.Body", {**CHAT, "top_k": 1})
    odd = {**CHAT, "messages": [{**MESSAGES[0], "mood": "good"}]}
    assert not takes(spec, "chat.completions.Body", odd)


def test_a_strict_profile_has_its_odd_forms(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("id: mine\nversion: '1'\nextends: mittwald-dedicated\nstrict_quirks: true\n")
    spec = document(file)
    OpenAPIV31SpecValidator(spec).validate()
    refusals = spec["components"]["responses"]
    assert refusals["Error401"]["content"][answers.JSON]["example"] == '{"error": "Unauthorized"}'
    assert len(refusals["Error400"]["content"][answers.JSON]["schema"]["anyOf"]) == 3
    usual = document("mittwald-dedicated")["components"]["responses"]["Error400"]
    assert usual["content"][answers.JSON]["schema"]["$ref"].endswith("/Error")


def test_messages_are_refused_in_their_own_dialect() -> None:
    post = document("openai")["paths"]["/v1/messages"]["post"]
    assert post["responses"]["429"]["$ref"].endswith("/AnthropicError429")
    assert {"key": []} in post["security"]


def test_endpoints_to_come_have_their_forms() -> None:
    made = dict(compiled(profiles.load("openai")))
    plain = {"schema": {"type": "object", "properties": {"model": {"type": "string"}}}}
    rules = {**plain, "unknown": "forward", "order": [], "checks": [], "actions": []}
    rules["schema"]["required"] = ["model"]
    new = {name: rules for name in ("audio.speech", "audio.transcriptions", "video.edits")}
    spec = openapi({**made, "endpoints": {**made["endpoints"], **new}}, "1")
    OpenAPIV31SpecValidator(spec).validate()
    speech = spec["paths"]["/v1/audio/speech"]["post"]
    assert list(speech["responses"]["200"]["content"]) == ["audio/*"]
    words = spec["paths"]["/v1/audio/transcriptions"]["post"]
    assert list(words["requestBody"]["content"]) == ["multipart/form-data"]
    other = spec["paths"]["/v1/video/edits"]["post"]["responses"]["200"]["content"]
    assert other == {answers.JSON: {"schema": {"$ref": "#/components/schemas/Anything"}}}


def test_the_query_of_usage_is_the_one_that_is_read() -> None:
    told = {one["name"]: one["schema"] for one in described.parameters()}
    assert set(told) == {*query.SINGLE, "group_by"}
    assert told["bucket_width"]["enum"] == list(query.WIDTHS)
    assert told["limit"]["maximum"] == max(most for _, _, most in query.WIDTHS.values())
    assert told["start_time"]["maximum"] == query.LATEST
    assert (described.PATH, own.GROUPS) == (own.PATH, (told["group_by"]["items"]["const"],))
