"""The pepper: the secret under which keys are hashed. Given, or a file of the data folder.

Law: without it every stored hash is worthless, so it is made only for a store without keys, and
what a store has of it is a mark by which another pepper is known.
"""

import hmac
import os
import secrets
from pathlib import Path

_FILE = "pepper"
_BYTES = 32


class PepperError(ValueError):
    """There is no pepper that this store's keys could be checked with; the text says why."""


def mark(pepper: bytes) -> str:
    """What tells peppers apart and gives none away."""
    return hmac.digest(pepper, b"levada: the mark of a pepper", "sha256").hex()


def kept(data: Path, *, make: bool) -> bytes:
    """The pepper of a data folder; made once, whoever comes first. PepperError."""
    path = data / _FILE
    if not path.exists():
        if not make:
            raise PepperError(
                f"{path} is missing: no key can be checked without it. Bring the file back, or the "
                f"other hosts' if there are any, or give 'store.pepper'"
            )
        _make(path, secrets.token_hex(_BYTES))
    try:
        pepper = bytes.fromhex(path.read_text())
    except ValueError:
        pepper = b""
    if len(pepper) != _BYTES:
        raise PepperError(f"{path} does not hold {2 * _BYTES} hexadecimal digits")
    return pepper


def _make(path: Path, text: str) -> None:
    """A private file, whole or not at all; one that another process made first stays."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
