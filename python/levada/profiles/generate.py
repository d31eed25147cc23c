"""Writes the field tables: the request types of the pinned SDK as JSON Schema.

`make fields` after a change of the pin; read the difference before it is
committed, for it is what validation will say. Needs openai-python, which nothing at run time does.
"""

from __future__ import annotations

import importlib.metadata
import json
from typing import Any, Required, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter

from levada.profiles.compiled import table_file

PIN = "1.109.1"
# The orders in which OpenAI lists what it would have accepted.
SHOWN = (
    ("system", "assistant", "user", "function", "tool", "developer"),
    ("json_object", "json_schema", "text"),
)


# What a form carries as a file, or several.
FILE = {"type": "string", "format": "binary"}
FILES: dict[str, Any] = {
    "file": FILE,
    "mask": FILE,
    "image": {"anyOf": [FILE, {"type": "array", "items": FILE}]},
}


def classes() -> dict[str, Any]:
    """The request type of each endpoint that is validated to the last member."""
    from openai.types import completion_create_params as completions
    from openai.types import embedding_create_params as embeddings
    from openai.types.chat import completion_create_params as chat

    return {
        "chat.completions": chat.CompletionCreateParamsNonStreaming,
        "completions": completions.CompletionCreateParamsNonStreaming,
        "embeddings": embeddings.EmbeddingCreateParams,
    }


def shallow_classes() -> dict[str, Any]:
    """The request type of each endpoint whose fields are validated, but not what is in them."""
    from openai.types import image_edit_params as edits
    from openai.types import image_generate_params as images
    from openai.types import moderation_create_params as moderations
    from openai.types.audio import speech_create_params as speech
    from openai.types.audio import transcription_create_params as transcriptions
    from openai.types.audio import translation_create_params as translations
    from openai.types.responses import response_create_params as responses

    return {
        "responses": responses.ResponseCreateParamsNonStreaming,
        "moderations": moderations.ModerationCreateParams,
        "images.generations": images.ImageGenerateParamsNonStreaming,
        "images.edits": edits.ImageEditParamsNonStreaming,
        "audio.transcriptions": transcriptions.TranscriptionCreateParamsNonStreaming,
        "audio.translations": translations.TranslationCreateParams,
        "audio.speech": speech.SpeechCreateParams,
    }


def tables() -> dict[str, Any]:
    """Every table, with the version it was read from."""
    found = importlib.metadata.version("openai")
    if found != PIN:
        raise SystemExit(f"openai {found} is installed, the pin is {PIN}: change both on purpose")
    return {
        "source": f"openai-python {PIN}",
        "endpoints": {
            **{name: table(one) for name, one in classes().items()},
            **{name: shallow(one) for name, one in shallow_classes().items()},
        },
    }


def table(request: Any) -> dict[str, Any]:
    """One request type as a schema that the engine understands."""
    schema: dict[str, Any] = TypeAdapter(request).json_schema()
    return streamed(tidy(schema, schema.get("$defs", {})))


def streamed(schema: dict[str, Any]) -> dict[str, Any]:
    if "stream" in schema["properties"]:
        # Typed by two classes, one for each value; a request may have either.
        schema["properties"]["stream"] = {"anyOf": [{"type": "boolean"}, {"type": "null"}]}
    return schema


def shallow(request: Any) -> dict[str, Any]:
    """One request type, each field by its kind: what is in an object or an array is not said."""
    hints = get_type_hints(request, include_extras=True)
    fields = {name: FILES.get(name) or kinds(hint) for name, hint in hints.items()}
    required = [name for name, hint in hints.items() if get_origin(hint) is Required]
    return streamed({"type": "object", "properties": fields, "required": required})


def kinds(hint: Any) -> dict[str, Any]:
    """The kinds of value that a type allows."""
    plain = get_args(hint)[0] if get_origin(hint) is Required else hint
    schema = TypeAdapter(plain).json_schema()
    found: list[dict[str, Any]] = []
    for one in branches(schema, schema.get("$defs", {})):
        if one not in found:
            found.append(one)
    if {"type": "string"} in found:
        # Beside any string, the names that OpenAI knows say nothing.
        found = [one for one in found if "enum" not in one]
    return found[0] if len(found) == 1 else {"anyOf": found}


def branches(schema: dict[str, Any], named: dict[str, Any]) -> list[dict[str, Any]]:
    target = resolve(schema, named)
    inner = target.get("anyOf") or target.get("oneOf")
    if inner:
        return [one for branch in inner for one in branches(branch, named)]
    kept = ("type", "enum", "const") if target.get("type") not in ("object", "array") else ("type",)
    return [{key: target[key] for key in kept if key in target}]


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
