"""Tells the log when limits are no longer shared with other replicas, and when they are again.

Law: it looks and says; the engine goes on by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from levada.control.rhythm import beat

if TYPE_CHECKING:
    from levada._native import Gateway

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0


class Sharing:
    """What was said last; a start that finds Redis away says so too."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._shared = True

    async def run(self) -> None:
        """Looks forever."""
        while True:
            await beat(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Says what has changed."""
        shared = self._gateway.shared()
        if shared == self._shared:
            return
        self._shared = shared
        if shared:
            log.info("limits are shared with the other replicas again")
        else:
            log.warning("Redis does not answer in time; limits hold for this replica's part alone")
