"""Forms read back, by the standard library: the wrong server shares no code with the engine."""

import json
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

from upstream.reference import RefusedError


def read(kind: str, raw: bytes, fields: dict[str, Any]) -> dict[str, Any]:
    """The parts by their names: a file is an empty text, a number is one where the field's schema
    knows no text. RefusedError.
    """
    boundary = kind.partition("boundary=")[2]
    if not raw.rstrip().endswith(f"--{boundary}--".encode()):
        raise RefusedError("We could not parse the multipart form of your request.")
    whole = BytesParser(policy=HTTP).parsebytes(f"content-type: {kind}\r\n\r\n".encode() + raw)
    found: dict[str, Any] = {}
    for part in whole.iter_parts():
        name = str(part.get_param("name", header="content-disposition"))
        found[name] = "" if part.get_filename() else value(part.get_content(), fields.get(name))
    return found


def value(text: str, node: dict[str, Any] | None) -> Any:
    if node is None or '"string"' in json.dumps(node) or "enum" in json.dumps(node):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
