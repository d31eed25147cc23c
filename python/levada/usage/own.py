"""GET /v1/usage: what the caller's own key has used.

Law: the key is the one that the engine has let in, and it sees its own rows alone. The engine
writes every answer, so that heads and refusals are those of the profile, at both doors.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import structlog

from levada.asgi import Receive, Scope, Send, raw_path
from levada.control.store import StoreError
from levada.usage.page import TOKENS, Pages, Result
from levada.usage.query import QueryError, read

if TYPE_CHECKING:
    from levada._native import Call, Caller, Gateway

log = structlog.get_logger(__name__)

PATH = "/v1/usage"
GROUPS = ("model",)
READING = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class OwnUsage:
    """The handler; `relay` sends the answer of a call."""

    gateway: Gateway
    pages: Pages
    relay: Callable[[Call, Send], Awaitable[None]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method: str = scope["method"]
        admitted = self.gateway.authenticate(method, raw_path(scope), scope["headers"])
        if hasattr(admitted, "start"):
            call = cast("Call", admitted)
        elif method in READING:
            call = await self._answer(admitted, scope["query_string"])
        else:
            call = admitted.refuse(
                "method_not_allowed", None, f"Not allowed to {method} on {PATH}."
            )
        await self.relay(call, send)

    async def _answer(self, caller: Caller, query: bytes) -> Call:
        try:
            question = read(query, int(time.time()), GROUPS)
            page = await self.pages.page(question, TOKENS, _shape, key=[caller.key_id])
        except QueryError as error:
            return caller.refuse(error.kind, error.param, str(error))
        except StoreError as error:
            log.error("the ledger cannot be read", detail=str(error))
            return caller.refuse("unavailable", None, "The usage cannot be read right now.")
        return caller.answer(json.dumps(page, ensure_ascii=False).encode())


def _shape(result: Result) -> Result:
    return {"object": "usage.result", "model": None, **result}
