"""Asks the issuers of tokens for the keys that they sign with.

Law: whatever clients send, an issuer is asked at most once in ten seconds. What it last said counts
while it is away, for a day; what is no set of keys changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from levada.control.rhythm import beat
from levada.jwks import JWKS_BYTES, NotKeysError, public_keys

if TYPE_CHECKING:
    from levada._native import Gateway
    from levada.control.refresh import Running

log = structlog.get_logger(__name__)

# How long start-up waits for the first answers; tokens of who is slower count later.
FIRST_ANSWERS_SECONDS = 2.0
# How often it is looked whether there is anything to ask.
LOOK_SECONDS = 1.0
# A key that is taken back counts for no longer than this and one answer, so below five minutes.
INTERVAL_SECONDS = 240.0
# The least time between two questions to one issuer, answered or not.
PAUSE_SECONDS = 10.0
# How long an answer may take: a slow issuer does not hold up the new key of another for long.
TIMEOUT_SECONDS = 3.0
# How long keys count without their issuer's word.
KEPT_SECONDS = 24 * 3600.0


@dataclass(slots=True)
class _Source:
    """One address of keys, and what came of asking it."""

    good: float
    asked: float | None = None
    missing: bool = True  # a key is wanted that was not in the last good answer

    def due(self, now: float) -> bool:
        if self.asked is None:
            return True
        wait = PAUSE_SECONDS if self.missing else INTERVAL_SECONDS
        return now - self.asked >= wait


class Jwks:
    """The keys of every issuer of the configuration in force that has an address for them."""

    def __init__(
        self, gateway: Gateway, running: Running, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._gateway = gateway
        self._running = running
        self._clock = clock
        self._sources: dict[str, _Source] = {}
        self._missed = gateway.unknown_kids()

    async def first(self) -> None:
        """One turn before the doors open, bounded in time."""
        try:
            async with asyncio.timeout(FIRST_ANSWERS_SECONDS):
                await self.turn()
        except TimeoutError:
            log.warning("some issuers have not answered yet; starting without their keys")

    async def run(self) -> None:
        """Look whether there is anything to ask, again and again."""
        while True:
            await beat(LOOK_SECONDS)
            await self.turn()

    async def turn(self) -> None:
        """Ask whoever is due, all at once; drop what nobody has confirmed for too long."""
        now = self._clock()
        urls = [one.jwks for one in self._running.config.auth.jwt if "://" in one.jwks]
        self._sources = {url: self._sources.get(url) or _Source(good=now) for url in urls}
        missed = self._gateway.unknown_kids()
        if missed != self._missed:
            self._missed = missed
            for source in self._sources.values():
                source.missing = True
        async with asyncio.TaskGroup() as group:
            for url, source in self._sources.items():
                if source.due(now):
                    group.create_task(self._ask(url, source))
        for url in list(self._running.jwks):
            known = self._sources.get(url)
            if known is None or self._clock() - known.good >= KEPT_SECONDS:
                self._running.signed_with(url, None)
                log.warning("keys of an issuer count no longer", url=url)

    async def _ask(self, url: str, source: _Source) -> None:
        source.asked = self._clock()
        try:
            headers = [(b"accept", b"application/json")]
            status, body = await self._gateway.fetch("GET", url, headers, TIMEOUT_SECONDS)
            if status != 200 or len(body) > JWKS_BYTES:
                raise NotKeysError(f"answered {status} with {len(body)} bytes")
            keys = public_keys(body)
        except (OSError, NotKeysError) as error:
            source.missing = True
            log.warning("no keys of an issuer", url=url, problem=str(error))
            return
        source.good, source.missing = self._clock(), False
        self._running.signed_with(url, keys)
