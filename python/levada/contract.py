"""The contract in force, published: /docs/compatibility for people, /openapi.json for programs.

Law: no key is asked for, for nothing here is secret; and nothing is said but of the profile that
the engine has now. Whoever does not read is answered like on any unknown path.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from levada.asgi import Handler, Receive, Scope, Send, header, send_whole
from levada.profiles.facts import facts
from levada.profiles.html import html
from levada.profiles.openapi import openapi

if TYPE_CHECKING:
    from levada.config import Made
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
SCHEMES = (b"http", b"https")
READING = ("GET", "HEAD")
# Of how many profiles what was written is kept.
KEPT = 8


class Contract:
    """The handlers; `otherwise` answers all but GET and HEAD."""

    def __init__(self, running: Running, otherwise: Handler) -> None:
        self._running = running
        self._otherwise = otherwise
        self._written: tuple[Written, ...] = ()

    async def page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET /docs/compatibility: the page, with the address that it was asked for at."""
        if scope["method"] not in READING:
            await self._otherwise(scope, receive, send)
            return
        await send_whole(send, 200, HTML, self._read(scope).page(base(scope)), POLICY)

    async def document(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET /openapi.json."""
        if scope["method"] not in READING:
            await self._otherwise(scope, receive, send)
            return
        await send_whole(send, 200, JSON, self._read(scope).document())

    def _read(self, scope: Scope) -> Written:
        """What is written of the profile of the host that is asked; the latest few are kept."""
        host = header(scope["headers"], b"host")
        made = self._running.profile(None if host is None else host.decode("latin-1"))
        others = [one for one in self._written if one.made is not made]
        (written,) = [one for one in self._written if one.made is made] or [Written(made)]
        self._written = (written, *others[: KEPT - 1])
        return written


@dataclass(slots=True)
class Written:
    """What was written last of a profile: a reload brings another one, never a changed one."""

    made: Made
    _page: tuple[str | None, bytes] | None = None
    _document: bytes = b""

    def page(self, base: str | None) -> bytes:
        if self._page is None or self._page[0] != base:
            told = facts(self.made.form, self.made.version)
            self._page = base, html(told, base).encode()
        return self._page[1]

    def document(self) -> bytes:
        if not self._document:
            told = openapi(self.made.form, self.made.version)
            self._document = json.dumps(told, ensure_ascii=False).encode()
        return self._document


def base(scope: Scope) -> str | None:
    """The address of this server as the client sees it."""
    host = header(scope["headers"], b"host")
    scheme = header(scope["headers"], b"x-forwarded-proto") or scope.get("scheme", "http").encode()
    if host is None or scheme not in SCHEMES:
        return None
    return f"{scheme.decode()}://{host.decode('latin-1')}"
