"""What one answer of a backend says about it: up or down, and why.

Law: pure. Asking is discovery's work; what calls see of a backend is the engine's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus


@dataclass(frozen=True)
class Health:
    """One backend as a probe saw it; `detail` is for the operator, never for a client."""

    up: bool
    detail: str

    def document(self) -> bytes:
        """The form that the engine takes."""
        return json.dumps({"up": self.up, "detail": self.detail}).encode()


def answered(status: int) -> Health:
    """A server that answers is up, but for the 5xx: 503 is how the engines say "still loading"."""
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return Health(True, f"refuses our key ({status})")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return Health(False, "loading (503)")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Health(False, f"answers {status}")
    return Health(True, "ok" if status == HTTPStatus.OK else f"answers {status}")


def silent(error: OSError) -> Health:
    """No answer at all: refused, unreachable or too slow."""
    return Health(False, str(error) or type(error).__name__)
