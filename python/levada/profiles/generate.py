"""Writes the field tables: the request types of the pinned SDK as JSON Schema.

`make fields` after a change of the pin; read the difference before it is
committed, for it is what validation will say. Needs openai-python, which nothing at run time does.
"""

from __future__ import annotations

import importlib.metadata
import json
from typing import Any

from pydantic import TypeAdapter

from levada.profiles.compiled import table_file

PIN = "1.109.1"
# The orders in which OpenAI lists what it would have accepted.
SHOWN = (
    ("system", "assistant", "user", "function", "tool", "developer"),
    ("json_object", "json_schema", "text"),
)


def classes() -> dict[str, Any]:
    """The request type of each endpoint that is validated."""
    from openai.types import completion_create_params as completions
    from openai.types import embedding_create_params as embeddings
    from openai.types.chat import completion_create_params as chat

    return {
        "chat.completions": chat.CompletionCreateParamsNonStreaming,
        "completions": completions.CompletionCreateParamsNonStreaming,
        "embeddings": embeddings.EmbeddingCreateParams,
    }


def tables() -> dict[str, Any]:
    """Every table, with the version it was read from."""
    found = importlib.metadata.version("openai")
    if found != PIN:
        raise SystemExit(f"openai {found} is installed, the pin is {PIN}: change both on purpose")
    return {
        "source": f"openai-python {PIN}",
        "endpoints": {name: table(one) for name, one in classes().items()},
    }


def table(request: Any) -> dict[str, Any]:
    """One request type as a schema that the engine understands."""
    schema: dict[str, Any] = TypeAdapter(request).json_schema()
    tidied: dict[str, Any] = tidy(schema, schema.get("$defs", {}))
    if "stream" in tidied["properties"]:
        # Typed by two classes, one for each value; a request may have either.
        tidied["properties"]["stream"] = {"anyOf": [{"type": "boolean"}, {"type": "null"}]}
    return tidied


def tidy(schema: Any, named: dict[str, Any]) -> Any:
    """Without titles; unions of objects are told apart by their constant member."""
    if isinstance(schema, list):
        return [tidy(one, named) for one in schema]
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {
        key: {name: tidy(one, named) for name, one in value.items()}
        if key in ("properties", "$defs")
        else tidy(value, named)
        for key, value in schema.items()
        if key not in ("title", "description", "default")
    }
    if "anyOf" in out:
        out["anyOf"] = apart(flat(out["anyOf"], named), named)
        if len(out["anyOf"]) == 1:
            out = {
                **{key: value for key, value in out.items() if key != "anyOf"},
                **out["anyOf"][0],
            }
    return out


def flat(branches: list[Any], named: dict[str, Any]) -> list[Any]:
    """Unions within a union are one union."""
    out: list[Any] = []
    for branch in branches:
        target = resolve(branch, named)
        out.extend(flat(target["anyOf"], named) if "anyOf" in target else [branch])
    return out


def apart(branches: list[Any], named: dict[str, Any]) -> list[Any]:
    """The object branches as one, with the member that names each."""
    objects = [one for one in branches if resolve(one, named).get("properties")]
    if len(objects) < 2:
        return branches
    for key in ("role", "type"):
        if all("const" in resolve(one, named)["properties"].get(key, {}) for one in objects):
            said = {resolve(one, named)["properties"][key]["const"]: one for one in objects}
            order = next((shown for shown in SHOWN if set(shown) == set(said)), tuple(said))
            objects_shown = [said[name] for name in order]
            union = {"oneOf": objects_shown, "discriminator": {"propertyName": key}}
            return [*(one for one in branches if one not in objects), union]
    raise SystemExit(f"nothing tells these apart: {objects}")


def resolve(schema: Any, named: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").removeprefix("#/$defs/")
    found: dict[str, Any] = named[name] if name else schema
    return found


def main() -> None:
    file = table_file()
    file.write_text(json.dumps(tables(), indent=1) + "\n")
    print(f"{file}: written; read what changed before you commit it")
