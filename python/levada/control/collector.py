"""Carries the journal's records into the ledger.

Law: what the ledger has is acknowledged, and nothing else; while it cannot write, the journal grows
and calls go on. Calls come first: while they keep the machine busy, the ledger has a small share.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from levada.control.rhythm import beat
from levada.control.store import StoreError

if TYPE_CHECKING:
    from levada._native import Gateway
    from levada.control.ledger import Ledger

log = structlog.get_logger(__name__)

# A call is in the ledger about so long after its end, while the store keeps up.
PAUSE_SECONDS = 0.2
# How long is looked before it is known how busy the machine is; doubled from look to look.
LOOK_SECONDS = 0.01
LONGEST_LOOK_SECONDS = 0.2
# The pause after a store that could not write, doubled up to the longest.
RETRY_SECONDS = 0.5
LONGEST_RETRY_SECONDS = 10.0
# Records of one transaction.
BATCH = 1000
# Calls keep the machine busy when they take more than this part of a core.
BUSY = 0.25
# Then the ledger has one part in so many of a core, until it has been behind for so long.
SHARE = 64
PATIENCE_SECONDS = 60.0


class Collector:
    """The one task that asks the engine for its records."""

    def __init__(self, gateway: Gateway, ledger: Ledger) -> None:
        self._gateway = gateway
        self._ledger = ledger
        self._told: set[str] = set()
        self._alarmed: set[str] = set()
        self._caught_up = time.monotonic()

    async def run(self) -> None:
        """Until it is cancelled."""
        wait = RETRY_SECONDS
        while True:
            began = time.monotonic()
            try:
                took = await self._take()
            except StoreError as error:
                log.error("the ledger cannot be written; records wait", detail=str(error))
                await asyncio.sleep(wait)
                wait = min(wait * 2, LONGEST_RETRY_SECONDS)
                continue
            wait = RETRY_SECONDS
            await self._rest(took, time.monotonic() - began)

    async def _rest(self, took: int, spent: float) -> None:
        """While there may be more, until calls that keep the machine busy had their share of it."""
        used, began = time.process_time(), time.monotonic()
        if took < BATCH:
            self._caught_up = began
            await beat(PAUSE_SECONDS)
            return
        look, busy = LOOK_SECONDS, began - self._caught_up < PATIENCE_SECONDS
        while busy and time.monotonic() - began < spent * (SHARE - 1):
            await asyncio.sleep(look)
            look = min(look * 2, LONGEST_LOOK_SECONDS)
            busy = time.process_time() - used > (time.monotonic() - began) * BUSY

    async def end(self) -> None:
        """Takes what is left; what cannot be written now is found by the next worker."""
        try:
            while await self._take():
                pass
        except StoreError as error:
            log.error("the ledger cannot be written; records stay", detail=str(error))

    async def _take(self) -> int:
        lines, damages = self._gateway.records(BATCH)
        for damage in damages:
            if damage not in self._told:
                self._told.add(damage)
                log.error("the journal is damaged", detail=damage)
        took = await self._ledger.take(lines)
        if took:
            self._gateway.acknowledge(took)
        for model in self._ledger.unpriced.keys() - self._alarmed:
            self._alarmed.add(model)
            log.error("calls have no price; add it and see `levada ledger check`", model=model)
        return took
