"""The engine's verdict against an outside reader of the same types: 100,000 generated bodies.

The oracle is jsonschema-rs on the compiled schema. Where the two may differ is listed in `JUDGED`:
what the engine checks beyond a schema, and what OpenAI forgives.
"""

import json
import random
from collections import Counter
from copy import deepcopy
from typing import Any

import jsonschema_rs
import pytest

from levada.profiles import load, validate
from levada.profiles.compiled import compiled

ENDPOINTS = ("chat.completions", "completions", "embeddings")
CASES = 100_000
# Refusals that no schema says: between fields, of messages, of names.
BETWEEN = (
    "is only allowed when",
    "must contain the word 'json'",
    "must be a response to a preceeding",
    "must be followed by tool messages",
    "Invalid value for 'top_logprobs'",
    "Duplicate parameter",
    "Unknown parameter",
    "you must provide a model parameter",
)
TEXTS = [
    "",
    "x",
    "m",
    "auto",
    "none",
    "user",
    "tool",
    "text",
    "json_schema",
    "function",
    "é",
    "low",
]
# Not 2.0: to a schema it is a whole number, to the engine (and to OpenAI) what it is written as.
OTHERS: list[Any] = [None, True, False, 0, 1, -1, 5, 0.5, [], {}, ["x"], [1], [[1, 2]]]


class Maker:
    """Bodies out of a schema: mostly right, each with a few values exchanged."""

    def __init__(self, schema: dict[str, Any], chance: random.Random) -> None:
        self.schema = schema
        self.chance = chance

    def resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema:
            schema = self.schema["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        return schema

    def value(self, schema: dict[str, Any], depth: int = 0) -> Any:
        schema = self.resolve(schema)
        inner = schema.get("anyOf") or schema.get("oneOf")
        if inner:
            return self.value(self.chance.choice(inner), depth)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.chance.choice(schema["enum"])
        kind = schema.get("type", "string")
        kind = self.chance.choice(kind) if isinstance(kind, list) else kind
        return getattr(self, kind)(schema, depth)

    def null(self, schema: dict[str, Any], depth: int) -> None:
        return None

    def boolean(self, schema: dict[str, Any], depth: int) -> bool:
        return self.chance.random() < 0.5

    def string(self, schema: dict[str, Any], depth: int) -> str:
        return self.chance.choice([*TEXTS[1:], "x" * schema.get("maxLength", 3)])

    def integer(self, schema: dict[str, Any], depth: int) -> int:
        least = int(schema.get("minimum", 0))
        return self.chance.randint(least, min(int(schema.get("maximum", 9)), least + 9))

    def number(self, schema: dict[str, Any], depth: int) -> float:
        least, most = schema.get("minimum", -1), schema.get("maximum", 1)
        return self.chance.choice([least, most, round(self.chance.uniform(least, most), 3)])

    def array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        least = schema.get("minItems", 0)
        count = self.chance.randint(least, least + (1 if depth > 3 else 2))
        return [self.value(schema.get("items", {}), depth + 1) for _ in range(count)]

    def object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        members, required = schema.get("properties", {}), schema.get("required", [])
        rare = 0.12 if depth == 0 else 0.3 if depth < 5 else 0.0
        out = {
            name: self.value(member, depth + 1)
            for name, member in members.items()
            if name in required or self.chance.random() < rare
        }
        more = schema.get("additionalProperties")
        if isinstance(more, dict) and self.chance.random() < 0.5:
            out["7"] = self.value(more, depth + 1)
        return out

    def body(self) -> dict[str, Any]:
        """A right body in which up to two places are exchanged for anything or left out."""
        body: dict[str, Any] = self.object(self.resolve(self.schema), 0)
        for _ in range(self.chance.choice([0, 1, 1, 1, 2])):
            self.change(body)
        return body

    def change(self, body: Any) -> None:
        place = body
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                return
            key = self.chance.choice(keys)
            inside = place[key]
            if isinstance(inside, dict | list) and inside and self.chance.random() < 0.7:
                place = inside
            elif isinstance(place, dict) and self.chance.random() < 0.25:
                del place[key]
                return
            else:
                place[key] = deepcopy(self.chance.choice([*OTHERS, *TEXTS, 129, 2.5, ["a"] * 5]))
                return


def forgiving(schema: Any) -> Any:
    """What OpenAI forgives: an explicit null where a field may be left out is an omission."""
    if isinstance(schema, list):
        return [forgiving(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: forgiving(value) for key, value in schema.items()}
    if "properties" in out:
        required = out.get("required", [])
        out["properties"] = {
            name: one if name in required else {"anyOf": [one, {"type": "null"}]}
            for name, one in out["properties"].items()
        }
    return out


@pytest.mark.parametrize("name", ENDPOINTS)
def test_the_engine_and_the_schema_agree(name: str) -> None:
    schema = compiled(load("openai"))["endpoints"][name]["schema"]
    oracle = jsonschema_rs.validator_for(forgiving(schema))
    maker = Maker(schema, random.Random(20261122))
    verdicts: Counter[str] = Counter()
    for _ in range(CASES // len(ENDPOINTS) + 1):
        body = maker.body()
        problems = validate("openai", name, body)
        said = problems[0].message if problems else ""
        if any(words in said for words in BETWEEN):
            verdicts["beyond a schema"] += 1
            continue
        right = oracle.is_valid(body)
        assert right == (not problems), (
            json.dumps(body),
            said,
            [str(e) for e in oracle.iter_errors(body)][:2],
        )
        verdicts["taken" if right else "refused"] += 1
    # Both verdicts must be common, or the comparison says nothing.
    assert min(verdicts["taken"], verdicts["refused"]) > CASES // len(ENDPOINTS) // 5, verdicts
