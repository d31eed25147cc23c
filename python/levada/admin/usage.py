"""GET /v1/organization/usage/...: what all keys have used, as OpenAI's admin API tells it.

Law: on the admin listener, with the admin token; elsewhere these paths do not exist. What a call
is counted under follows from its endpoint alone, so no call is told twice.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from levada.admin.api import refuse
from levada.asgi import Receive, Scope, Send, raw_path, send_json
from levada.control.store import StoreError
from levada.usage.page import MS, TOKENS, Result
from levada.usage.query import QueryError, Question, read

if TYPE_CHECKING:
    from levada.admin.api import Api
    from levada.usage.page import Pages

log = structlog.get_logger(__name__)

BASE = "/v1/organization/usage/"
# What may be told apart, and which column holds the names that may be asked for.
GROUPS = ("project_id", "user_id", "api_key_id", "model", "batch")
FILTERS = {"project_ids": "project", "api_key_ids": "key", "models": "model"}
CODES = {
    "missing_parameter": "missing_required_parameter",
    "unknown_parameter": "unknown_parameter",
    "invalid_value": None,
}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of use: its endpoints, what is told of them, and by what it may be grouped."""

    endpoints: tuple[str, ...]
    told: dict[str, str]
    groups: tuple[str, ...] = GROUPS[:-1]


INPUT = {"input_tokens": "input_tokens"}
KINDS = {
    "completions": Kind(
        ("chat.completions", "completions", "responses", "messages"), TOKENS, GROUPS
    ),
    "embeddings": Kind(("embeddings",), INPUT),
    "moderations": Kind(("moderations",), INPUT),
    "images": Kind(("images.generations", "images.edits"), {"images": "images"}),
    "audio_speeches": Kind(("audio.speech",), {"characters": "characters"}),
    "audio_transcriptions": Kind(
        ("audio.transcriptions", "audio.translations"), {"seconds": "audio_ms"}
    ),
}


@dataclass(frozen=True, slots=True)
class OrganizationUsage:
    """The handler of every kind."""

    api: Api
    pages: Pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not await self.api.admitted("GET", scope, receive, send):
            return
        name = raw_path(scope).removeprefix(BASE)
        await told(send, self._page(name, KINDS[name], scope["query_string"]))

    async def _page(self, name: str, kind: Kind, query: bytes) -> dict[str, Any]:
        filters = (*FILTERS, "user_ids", *(["batch"] if "batch" in kind.groups else []))
        question = read(query, int(time.time()), kind.groups, filters)
        shaped = {"object": f"organization.usage.{name}.result", **dict.fromkeys(kind.groups)}

        def shape(result: Result) -> Result:
            batch = {"batch": False} if "batch" in question.group_by else {}
            # Whole seconds are told, of which one that has begun is one.
            audio = {"seconds": -(-result["seconds"] // MS)} if "seconds" in result else {}
            return {**shaped, **result, **batch, **audio}

        only = {FILTERS[name]: values for name, values in question.only.items() if name in FILTERS}
        endpoints = () if _nobodys(question) else kind.endpoints
        return await self.pages.page(question, kind.told, shape, endpoint=endpoints, **only)


async def told(send: Send, asked: Awaitable[dict[str, Any]]) -> None:
    """Sends the page that was asked for, or why there is none."""
    try:
        page = await asked
    except QueryError as error:
        await refuse(send, 400, CODES[error.kind], [str(error)], param=error.param)
    except StoreError as error:
        log.error("the ledger cannot be read", detail=str(error))
        await refuse(send, 503, "ledger_unavailable", ["The ledger cannot be read."])
    else:
        await send_json(send, 200, page)


def _nobodys(question: Question) -> bool:
    """Whether only the calls of users or of batches are asked for: there are none."""
    batch = question.only.get("batch", ("false",))[-1]
    if batch not in ("true", "false"):
        message = "Invalid value for 'batch': it is not 'true' or 'false'."
        raise QueryError("invalid_value", "batch", message)
    return batch == "true" or "user_ids" in question.only
