"""The contract in force, published: /docs/compatibility for people, /openapi.json for programs.

Law: no key is asked for, for nothing here is secret; and nothing is said but of the profile that
the engine has now. Whoever does not read is answered like on any unknown path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from levada.asgi import Handler, Receive, Scope, Send, header, send_whole
from levada.profiles.facts import facts
from levada.profiles.html import html
from levada.profiles.openapi import openapi

if TYPE_CHECKING:
    from levada.control.refresh import Running

HTML = b"text/html; charset=utf-8"
JSON = b"application/json"
# The page is text and style; whatever else got into it would not be loaded.
POLICY = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        b"form-action 'none'; frame-ancestors 'none'",
    ),
    (b"referrer-policy", b"no-referrer"),
)
# A specification that any page may read: API browsers live on hosts of their own.
ANYBODY = ((b"access-control-allow-origin", b"*"),)
SCHEMES = (b"http", b"https")
READING = ("GET", "HEAD")


class Contract:
    """The handlers; `otherwise` answers all but GET and HEAD."""

    def __init__(self, running: Running, otherwise: Handler) -> None:
        self._running = running
        self._otherwise = otherwise
        # What was written last, and of what: a reload brings another profile, never a changed one.
        self._made: Mapping[str, Any] | None = None
        self._document = b""
        self._page = b""
        self._base: str | None = None

    async def page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET /docs/compatibility: the page, with the address that it was asked for at."""
        if scope["method"] not in READING:
            await self._otherwise(scope, receive, send)
            return
        self._write(base(scope))
        await send_whole(send, 200, HTML, self._page, POLICY)

    async def document(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET /openapi.json."""
        if scope["method"] not in READING:
            await self._otherwise(scope, receive, send)
            return
        self._write(self._base)
        await send_whole(send, 200, JSON, self._document, ANYBODY)

    def _write(self, base: str | None) -> None:
        made, version = self._running.profile()
        if made is not self._made:
            self._document = json.dumps(openapi(made, version), ensure_ascii=False).encode()
        if made is not self._made or base != self._base:
            self._page = html(facts(made, version), base).encode()
        self._made, self._base = made, base


def base(scope: Scope) -> str | None:
    """The address of this server as the client sees it."""
    host = header(scope["headers"], b"host")
    scheme = header(scope["headers"], b"x-forwarded-proto") or scope.get("scheme", "http").encode()
    if host is None or scheme not in SCHEMES:
        return None
    return f"{scheme.decode()}://{host.decode('latin-1')}"
