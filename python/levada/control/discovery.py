"""Asks every backend which models it serves and whether it is well, again and again.

Law: one request per backend and turn serves both questions; a backend that is away keeps the
models that it was last seen with, so that its calls end in 503 and not in "unknown model".
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import structlog

from levada import engines
from levada.control.health import Health, answered, silent
from levada.snapshot import Served

if TYPE_CHECKING:
    from levada._native import Gateway
    from levada.config import Backend
    from levada.control.refresh import Running

log = structlog.get_logger(__name__)

# How long start-up waits for the backends' first answers; who is slower is known later.
FIRST_ANSWERS_SECONDS = 2.0

# While the models of a backend are not known it is asked this often.
UNKNOWN_AGAIN_SECONDS = 1.0

# More models than this are no list of models.
MODELS_MAX = 10_000


class Discovery:
    """The probes of all backends of the configuration in force."""

    def __init__(self, gateway: Gateway, running: Running) -> None:
        self._gateway = gateway
        self._running = running
        self._last: dict[str, Health] = {}

    async def first(self) -> None:
        """One turn before the doors open, bounded in time."""
        try:
            async with asyncio.timeout(FIRST_ANSWERS_SECONDS):
                await self.turn()
        except TimeoutError:
            log.warning("some backends have not answered yet; starting without them")

    async def run(self) -> None:
        """A turn every interval, sooner while a backend's models are unknown."""
        while True:
            interval = self._running.config.health.interval
            if self._unknown():
                interval = min(interval, UNKNOWN_AGAIN_SECONDS)
            await asyncio.sleep(interval)
            await self.turn()

    def _unknown(self) -> bool:
        backends = self._running.config.backends
        return any(b.models is None and b.name not in self._running.served for b in backends)

    async def turn(self) -> None:
        """Ask all at once; each answer counts as soon as it is there."""
        async with asyncio.TaskGroup() as group:
            for backend in self._running.config.backends:
                group.create_task(self._ask(backend))

    async def _ask(self, backend: Backend) -> None:
        try:
            prefix, status, body = await self._models(backend)
        except OSError as error:
            self._report(backend, silent(error))
            return
        health = answered(status)
        served = listed(body, prefix) if status == 200 else None
        if served is not None and self._says(backend, served):
            self._running.found(backend.name, served)
        elif status == 200 and served is None and backend.models is None:
            health = Health(True, "its list of models is not one")
        self._report(backend, health)

    def _says(self, backend: Backend, served: Served) -> bool:
        """Whether an answer says anything new to who names the models himself."""
        return backend.models is None or served.tells or backend.name in self._running.served

    async def _models(self, backend: Backend) -> tuple[str, int, bytes]:
        """The answer to "which models", and the prefix under which it was given."""
        headers = [(b"accept", b"application/json")]
        if backend.key is not None:
            bearer = f"Bearer {backend.key.get_secret_value()}"
            headers.append((b"authorization", bearer.encode()))
        timeout = self._running.config.health.timeout
        *guesses, last = ("/v1", "") if backend.prefix is None else (backend.prefix,)
        for prefix in guesses:
            url = f"{backend.origin}{prefix}/models"
            status, body = await self._gateway.fetch("GET", url, headers, timeout)
            if status != 404:
                return prefix, status, body
        url = f"{backend.origin}{last}/models"
        return last, *await self._gateway.fetch("GET", url, headers, timeout)

    def _report(self, backend: Backend, health: Health) -> None:
        self._gateway.report(backend.name, health.document())
        if self._last.get(backend.name) != health:
            self._last[backend.name] = health
            say = log.info if health.up and health.detail == "ok" else log.warning
            say("backend", name=backend.name, up=health.up, detail=health.detail)

    def states(self) -> dict[str, Health]:
        """What was last seen of each backend."""
        return dict(self._last)


def listed(body: bytes, path: str = "/v1") -> Served | None:
    """What an OpenAI list of models says; None if the body is not such a list."""
    try:
        document = json.loads(body)
    except ValueError:
        return None
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, list) or len(data) > MODELS_MAX:
        return None
    entries = [entry for entry in data if isinstance(entry, dict)]
    named = {entry["id"]: entry for entry in entries if _is_name(entry.get("id"))}
    more = document.get("models")
    capable = {
        one.get("name"): one.get("capabilities")
        for one in (more if isinstance(more, list) else ())
        if isinstance(one, dict) and isinstance(one.get("name"), str)
    }
    said = {name: engines.learned(entry, capable.get(name)) for name, entry in named.items()}
    learned = {name: one for name, one in said.items() if one != engines.Learned()}
    return Served(path, tuple(named), engines.recognised(entries), learned)


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name != ""
