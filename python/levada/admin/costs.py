"""GET /v1/organization/costs: what all keys have to pay, as OpenAI's admin API tells it.

Law: as for usage. Amounts are sums of whole micro-units; only as they are told are they divided,
and beside what OpenAI's clients read stands the whole number.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from levada.admin.usage import FILTERS, told
from levada.asgi import Receive, Scope, Send
from levada.usage.page import Result
from levada.usage.query import DAYS, read

if TYPE_CHECKING:
    from levada.admin.api import Api
    from levada.usage.page import Pages

PATH = "/v1/organization/costs"
GROUPS = ("project_id", "line_item", "api_key_id")
MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class OrganizationCosts:
    """The handler. A line item is a model; calls without a price are not in it."""

    api: Api
    pages: Pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if await self.api.admitted("GET", scope, receive, send):
            await told(send, self._page(scope["query_string"]))

    async def _page(self, query: bytes) -> dict[str, Any]:
        question = read(query, int(time.time()), GROUPS, ("project_ids", "api_key_ids"), DAYS)
        only = {FILTERS[name]: values for name, values in question.only.items()}
        # Amounts of two currencies have no sum.
        question = replace(question, group_by=(*question.group_by, "currency"))
        sums = {"amount": "amount"}
        return await self.pages.page(question, sums, _shape, rating=["rated"], **only)


def _shape(result: Result) -> Result:
    micro = result["amount"]
    value = {"value": micro / MICRO, "value_micros": micro, "currency": result["currency"]}
    groups = {name: result.get(name) for name in GROUPS}
    return {"object": "organization.costs.result", "amount": value, **groups}
