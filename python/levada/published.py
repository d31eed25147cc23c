"""The JSON Schema of levada.yaml, for editors: derived from `config`, so that it cannot differ.

Pure.
"""

from typing import Any

from levada.config import Config

_REFERENCE = {"type": "string", "pattern": r"\$\{[^}]+\}"}
_DURATION = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?(ms|s|m|h|d)?$"}
_PLAIN = {"integer", "number", "boolean"}


def schema() -> dict[str, Any]:
    """The schema as JSON values. Wherever a number or a truth value stands, a `${VAR}` may too."""
    document: dict[str, Any] = _open(Config.model_json_schema())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **document,
        "title": "levada.yaml",
    }


def _open(node: Any) -> Any:
    if isinstance(node, list):
        return [_open(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("type") in _PLAIN:
        outer = {name: node[name] for name in ("default", "title", "description") if name in node}
        inner = {name: value for name, value in node.items() if name not in outer}
        words = [_DURATION, _REFERENCE] if inner.pop("unit", None) == "s" else [_REFERENCE]
        return {**outer, "anyOf": [inner, *words]}
    if "enum" in node:
        return {"anyOf": [node, _REFERENCE]}
    return {name: _open(value) for name, value in node.items()}
