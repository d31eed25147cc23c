"""Who may use the admin paths: who came through the admin listener and knows the token.

Law: both secrets are compared in constant time, and neither is ever sent back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hmac import compare_digest

from levada.asgi import Headers, header


@dataclass(frozen=True, slots=True)
class Guard:
    """The two secrets: the edge proves its listener by one, the operator himself by the other."""

    door: str = field(repr=False)
    token: str = field(repr=False)

    def at_admin_door(self, headers: Headers) -> bool:
        """Whether the request came in by the admin listener."""
        return _same(header(headers, b"x-levada-door"), self.door)

    def is_operator(self, headers: Headers) -> bool:
        """Whether the request carries the admin token."""
        value = header(headers, b"authorization") or b""
        scheme, _, token = value.partition(b" ")
        return scheme.lower() == b"bearer" and _same(token.strip(), self.token)


def _same(given: bytes | None, secret: str) -> bool:
    return given is not None and compare_digest(given, secret.encode())
