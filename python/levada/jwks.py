"""A JWK set as issuers publish it → as much of it as the engine needs.

Pure. Private parts, certificates and whatever else stands in a set are left out: they do not reach
the engine, and a change of them changes nothing.
"""

import json
from typing import Any

# A set of keys is some 2 KiB; this is a hundred times as much.
JWKS_BYTES = 256 * 1024

_PUBLIC = ("kty", "kid", "use", "key_ops", "alg", "crv", "n", "e", "x", "y")

KeySet = dict[str, list[dict[str, Any]]]


class NotKeysError(Exception):
    """A text that is no JWK set, and why."""


def public_keys(text: bytes) -> KeySet:
    """The set with the public members of its keys alone; NotKeysError."""
    try:
        document = json.loads(text)
        keys = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
            raise NotKeysError("is not a JWK set: a JSON object with an array 'keys'")
        found = {"keys": [{name: key[name] for name in _PUBLIC if name in key} for key in keys]}
        # What cannot be written again cannot be handed on: half a character, say.
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise NotKeysError("is not JSON") from None
    return found
