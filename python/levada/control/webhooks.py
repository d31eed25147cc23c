"""Carries the ledger's rows to the operator's own systems, as signed CloudEvents.

Law: at least once, in order for each webhook, and only a 2xx counts as taken. A webhook that is
slow or gone holds up neither calls nor the ledger nor another webhook. Only the configuration
names addresses.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import random
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from levada.control.rhythm import beat
from levada.control.store import StoreError

if TYPE_CHECKING:
    from levada._native import Gateway, Headers
    from levada.config import Webhook
    from levada.control.outbox import Outbox
    from levada.control.refresh import Running

log = structlog.get_logger(__name__)

# Events of one delivery: some 100 KiB at most.
BATCH = 100
# How often it is looked for new events, and for changes of the configuration.
LOOK_SECONDS = 0.4
# How often the waiting events are counted.
COUNT_SECONDS = 2.0
# How long a delivery may take.
TIMEOUT_SECONDS = 10.0
# The pause after a delivery that was not taken, doubled up to the longest; each drawn anew between
# its half and its whole, so that many senders do not come back at one moment.
RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 300.0

SOURCE = "/levada/ledger"
TYPE = "levada.call.settled"


class Webhooks:
    """One courier for each webhook of the configuration in force."""

    def __init__(self, gateway: Gateway, outbox: Outbox, running: Running) -> None:
        self._gateway = gateway
        self._outbox = outbox
        self._running = running
        self._delivered = self._failed = 0
        self._strangers: set[str] = set()
        self._chance = random.SystemRandom()

    async def run(self) -> None:
        """Until it is cancelled."""
        couriers: dict[Webhook, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_counting())
            while True:
                wanted = self._running.config.webhooks
                for hook in [one for one in couriers if one not in wanted]:
                    couriers.pop(hook).cancel()
                for hook in wanted:
                    if hook not in couriers:
                        couriers[hook] = group.create_task(self._carry(hook))
                await beat(LOOK_SECONDS)

    async def _keep_counting(self) -> None:
        some = True
        while True:
            # Where there is no webhook and nothing waits, there will be nothing.
            wanted = bool(self._running.config.webhooks)
            if some or wanted:
                some = await self._count() or wanted
            await beat(COUNT_SECONDS)

    async def _count(self) -> bool:
        """Whether events wait, and how many; those of a webhook that is gone are told of once."""
        try:
            waiting = await self._outbox.waiting()
        except StoreError as error:
            log.error("the outbox cannot be read", detail=str(error))
            return True
        names = {hook.name for hook in self._running.config.webhooks}
        for name in waiting.keys() - names - self._strangers:
            log.warning("events wait for a webhook that is gone", webhook=name, n=waiting[name])
            self._strangers.add(name)
        self._gateway.count("webhook_waiting", sum(waiting.values()))
        return bool(waiting)

    async def _carry(self, hook: Webhook) -> None:
        """Batch after batch to one webhook, the next when the last was taken."""
        pause = RETRY_SECONDS
        while True:
            try:
                sent, problem = await self._turn(hook)
            except StoreError as error:
                sent, problem = 0, str(error)
            if problem is None:
                pause = RETRY_SECONDS
                if sent < BATCH:
                    await beat(LOOK_SECONDS)
                continue
            self._failed += 1
            self._gateway.count("webhook_failed", self._failed)
            log.warning("a webhook has not taken its events", webhook=hook.name, problem=problem)
            await asyncio.sleep(self._chance.uniform(pause / 2, pause))
            pause = min(pause * 2, LONGEST_RETRY_SECONDS)

    async def _turn(self, hook: Webhook) -> tuple[int, str | None]:
        """One delivery: how many events it had, and why it was not taken."""
        calls = await self._outbox.first(hook.name, BATCH)
        if not calls:
            return 0, None
        body = batch(calls.values())
        secret = hook.secret.get_secret_value()
        headers = signed(message_id(calls.values()), int(time.time()), body, secret)
        try:
            url = hook.url
            status, _ = await self._gateway.fetch("POST", url, headers, TIMEOUT_SECONDS, body)
        except OSError as error:
            return len(calls), str(error) or "no answer in time"
        if not 200 <= status < 300:
            return len(calls), f"answered {status}"
        await self._outbox.taken(list(calls))
        self._delivered += len(calls)
        self._gateway.count("webhook_delivered", self._delivered)
        return len(calls), None


def batch(calls: Iterable[Mapping[str, Any]]) -> bytes:
    """Calls as CloudEvents in one batch; an event's id is that of its row, however often told."""
    return json.dumps([event(call) for call in calls], separators=(",", ":")).encode()


def event(call: Mapping[str, Any]) -> dict[str, Any]:
    """One row as a CloudEvent of its end."""
    ended = call["at"] + call["total_us"] // 1000
    told = {
        "specversion": "1.0",
        "id": call["id"],
        "source": SOURCE,
        "type": TYPE,
        "time": _time(ended),
        "datacontenttype": "application/json",
        "data": {**call, "at": _time(call["at"])},
    }
    return told if call["key"] is None else {**told, "subject": call["key"]}


def message_id(calls: Iterable[Mapping[str, Any]]) -> str:
    """The same for the same events."""
    ids = ",".join(call["id"] for call in calls)
    return f"msg_{hashlib.sha256(ids.encode()).hexdigest()[:32]}"


def signed(id: str, at: int, body: bytes, secret: str) -> Headers:
    """The headers of a delivery, with the signature of Standard Webhooks."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, b"%s.%d.%s" % (id.encode(), at, body), "sha256")
    return [
        (b"content-type", b"application/cloudevents-batch+json"),
        (b"user-agent", b"levada"),
        (b"webhook-id", id.encode()),
        (b"webhook-timestamp", b"%d" % at),
        (b"webhook-signature", b"v1," + base64.b64encode(digest)),
    ]


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
