"""The composition root: an ASGI app whose lifespan builds the house and takes it down in reverse.

store → gateway → keys → discovery → tasks → routes → doors. Law: the only file that imports the
engine at run time, and the only one that may catch every exception (in the supervisor of tasks).
"""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import os
import signal
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import structlog

from levada import loading, snapshot
from levada.admin.api import Api
from levada.admin.auth import Guard
from levada.admin.costs import PATH as COSTS
from levada.admin.costs import OrganizationCosts
from levada.admin.usage import BASE, KINDS, OrganizationUsage
from levada.asgi import Receive, Routes, Scope, Send, raw_path
from levada.config import Config, Enclosed
from levada.contract import Contract
from levada.control import keys
from levada.control.buckets import Buckets
from levada.control.collector import Collector
from levada.control.discovery import Discovery
from levada.control.jwks import Jwks
from levada.control.ledger import Ledger
from levada.control.outbox import Outbox
from levada.control.refresh import Keys, Running
from levada.control.sharing import Sharing
from levada.control.store import Store, opened
from levada.control.webhooks import Webhooks
from levada.inference import Inference, relay
from levada.log import configure
from levada.pipe import Pipe
from levada.usage.own import PATH, OwnUsage
from levada.usage.page import Pages

if TYPE_CHECKING:
    from levada._native import Gateway

log = structlog.get_logger(__name__)

# How long a failed task rests before it begins again; doubled up to the second figure.
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
# How often the end of the calls is looked for at a stop.
LOOK_SECONDS = 0.05
# How often room is looked for on a full disk.
ROOM_SECONDS = 1.0

MakeGateway = Callable[[bytes, str, Config], "Gateway"]


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What the parent process hands to its worker."""

    config: Config  # as the parent read it: what it bound, and a last resort
    enclosed: Enclosed  # and what the files hold that it names
    data: Path
    public: socket.socket
    admin: socket.socket
    local: socket.socket  # where the edge finds the app
    guard: Guard
    ready: Callable[[], None]  # called once start-up is complete
    orphaned: int  # a descriptor that becomes readable when the parent is gone


class App:
    """The ASGI callable.

    Without an inheritance it is a guest in another ASGI server: it has no edge and no admin
    paths, and answers everything else itself.
    """

    def __init__(
        self, source: loading.Source, inherited: Inheritance | None, make: MakeGateway
    ) -> None:
        self._source = source
        self._inherited = inherited
        self._make = make
        self._routes: Routes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http" and self._routes is not None:
            if self._inherited is None:
                complete(scope)
            await self._routes.find(raw_path(scope))(scope, receive, send)
        else:
            await send({"type": f"{scope['type']}.close"})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        phase = "startup"
        if self._inherited is not None:
            leave_orphaned(self._inherited.orphaned)
        try:
            async with AsyncExitStack() as stack:
                self._routes = await self._build(stack)
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await receive()
            phase = "end"
            await send({"type": "lifespan.shutdown.complete"})
        finally:
            # Said, so that the server does not serve; not caught, so that it shows why.
            if phase != "end":
                await send({"type": f"lifespan.{phase}.failed", "message": f"{phase} failed"})

    async def _build(self, stack: AsyncExitStack) -> Routes:
        """Everything in its order; the stack knows how each is taken down."""
        config, enclosed = self._read()
        configure(config.log.level, config.log.format)
        store, gateway, running = await self._engine(config, enclosed, stack)
        held = Keys(gateway, store)
        await held.first()
        discovery = Discovery(gateway, running)
        await discovery.first()
        issuers = Jwks(gateway, running)
        await issuers.first()
        # Taken down behind the tasks: what the last calls have cost is taken once all have ended.
        outbox = Outbox(store, lambda: [hook.name for hook in running.config.webhooks])
        collector = Collector(gateway, Ledger(store, running.prices, outbox))
        stack.push_async_callback(collector.end)
        tasks = Tasks()
        stack.push_async_callback(tasks.end)
        tasks.start("discovery", discovery.run)
        tasks.start("keys", held.run)
        tasks.start("issuers", issuers.run)
        tasks.start("records", collector.run)
        tasks.start("webhooks", Webhooks(gateway, outbox, running).run)
        tasks.start("configuration", running.watch)
        if config.limits.redis is not None:
            tasks.start("sharing", Sharing(gateway).run)
        inference = Inference(gateway, config.limits.body_seconds)
        routes = Routes(inference)
        contract = Contract(running, inference)
        routes.exact("/docs/compatibility", contract.page)
        routes.exact("/openapi.json", contract.document)
        pages = Pages(Buckets(store))
        routes.exact(PATH, OwnUsage(gateway, pages, relay))
        departure = Departure(gateway, inference, config.deadlines.drain)
        stack.push_async_callback(departure.end)
        if self._inherited is None:
            gateway.ready(True)
        else:
            api = Api(self._inherited.guard, running, discovery, held, inference)
            routes.exact("/admin/reload", api.reload)
            routes.exact("/admin/status", api.status)
            for kind in KINDS:
                routes.exact(BASE + kind, OrganizationUsage(api, pages))
            routes.exact(COSTS, OrganizationCosts(api, pages))
            await open_doors(self._inherited, gateway, config, stack)
            departure.when_told(self._inherited.orphaned)
            # What is there now stays: the collector need not look at it again at every turn.
            gc.collect()
            gc.freeze()
            self._inherited.ready()
        return routes

    async def _engine(
        self, config: Config, enclosed: Enclosed, stack: AsyncExitStack
    ) -> tuple[Store, Gateway, Running]:
        """Store, engine and what the engine runs on."""
        data = self._data(config, stack)
        # What the parent has prepared, whatever the file says by now.
        place = config if self._inherited is None else self._inherited.config
        store = await opened(data, place.store)
        stack.push_async_callback(store.close)
        if self._inherited is None:
            await first_key(store)
        document = snapshot.compile(config, {}, version=1, pepper=store.pepper, enclosed=enclosed)
        gateway = await self._gateway(document, data, config)
        stack.callback(gateway.close)
        return store, gateway, Running(gateway, self._source, config, enclosed, store.pepper)

    async def _gateway(self, document: bytes, data: Path, config: Config) -> Gateway:
        """The engine, waited for while its disk is full."""
        told = False
        while True:
            try:
                return self._make(document, str(data), config)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
            if not told:
                words = "the disk is full; nothing is served until there is room for the journal"
                log.error(words, folder=str(data))
            told = True
            await asyncio.sleep(ROOM_SECONDS)

    def _read(self) -> tuple[Config, Enclosed]:
        """As it reads now; for a worker whose files went bad, as its parent read them."""
        try:
            return self._source.read()
        except loading.ConfigProblems as error:
            if self._inherited is None:
                raise
            problems = [str(one) for one in error.problems]
            log.error("the configuration is not taken; the parent's stays", problems=problems)
            return self._inherited.config, self._inherited.enclosed

    def _data(self, config: Config, stack: AsyncExitStack) -> Path:
        if self._inherited is not None:
            return self._inherited.data
        if config.data is not None:
            return config.data
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="levada-")))


async def open_doors(
    inherited: Inheritance, gateway: Gateway, config: Config, stack: AsyncExitStack
) -> None:
    """The edge's listeners; and where the app owns the public port, the way from edge to app."""
    edge = inherited.config.door == "edge"
    others = {"body_bytes", "event_bytes", "requests", "redis", "replicas"}
    limits = config.limits.model_dump(exclude=others)
    document = {
        "public": [inherited.public.fileno()] if edge else [],
        "admin": [inherited.admin.fileno()],
        "app": inherited.local.getsockname(),
        "door_token": inherited.guard.door,
        "trusted_proxies": list(config.listen.trusted_proxies),
        "drain_notice": True,
        "limits": limits,
    }
    if not edge:
        host, port = inherited.public.getsockname()[:2]
        pipe = Pipe(host, port, inherited.config.listen.tls is not None)
        # A copy, for the server closes its socket and the parent's must outlive it.
        server = await asyncio.start_unix_server(pipe, sock=inherited.local.dup())
        stack.callback(server.close)
    await gateway.listen(json.dumps(document).encode())


async def first_key(store: Store) -> None:
    """See to it that there is a key; one made here is shown once."""
    made = await keys.ensure_first(store, loading.given_key())
    if made is not None:
        print(f"key: {made}", flush=True)


def leave_orphaned(orphaned: int) -> None:
    """See to it that a worker whose parent dies does not wait alone for what it needs to begin."""

    def alone() -> None:
        log.error("the parent process is gone; leaving")
        # Nothing is served yet, and what is on the disk outlives any end.
        os._exit(1)

    asyncio.get_running_loop().add_reader(orphaned, alone)


class Departure:
    """The end of the calls within their grace; begun once, by a signal or by the end of the app."""

    def __init__(self, gateway: Gateway, inference: Inference, grace: float) -> None:
        self._gateway = gateway
        self._inference = inference
        self._grace = grace
        self._drain: asyncio.Task[None] | None = None

    def when_told(self, orphaned: int) -> None:
        """Begin on SIGTERM, not only once the server's own connections have ended; and alone."""
        loop = asyncio.get_running_loop()

        def leave() -> None:
            if self._drain is None:
                self.begin()
                # The server listens to this one too, and goes on with its own part of the stop.
                os.kill(os.getpid(), signal.SIGINT)

        def alone() -> None:
            loop.remove_reader(orphaned)
            log.error("the parent process is gone; leaving")
            leave()

        loop.add_signal_handler(signal.SIGTERM, leave)
        loop.add_reader(orphaned, alone)

    def begin(self) -> asyncio.Task[None]:
        if self._drain is None:
            self._drain = asyncio.get_running_loop().create_task(self._run())
        return self._drain

    async def end(self) -> None:
        await self.begin()

    async def _run(self) -> None:
        self._gateway.ready(False)
        until = time.monotonic() + self._grace
        # The engine's drain knows the edge's calls; those of this door end first.
        while self._inference.calls and time.monotonic() < until:
            await asyncio.sleep(LOOK_SECONDS)
        cut = await self._gateway.drain(max(until - time.monotonic(), 0.0))
        if cut:
            log.warning("calls were cut at the end of their grace", calls=cut)


class Tasks:
    """The background tasks; one that fails is said once, rests and begins again."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(self._keep(name, work)))

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        pause, said = FIRST_PAUSE_SECONDS, ""
        while True:
            began = time.monotonic()
            try:
                await work()
            except Exception as error:
                if time.monotonic() - began > 2 * pause:
                    pause, said = FIRST_PAUSE_SECONDS, ""  # it had been well in between
                if said != repr(error):
                    log.error("a task failed; it begins again", task=name, exc_info=True)
                said = repr(error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def complete(scope: Scope) -> None:
    """What the specification leaves open and our own server never does: the raw path, the pairs."""
    scope["raw_path"] = scope.get("raw_path") or quote(scope["path"]).encode()
    scope["headers"] = [(bytes(name), bytes(value)) for name, value in scope["headers"]]


def native(document: bytes, data: str, config: Config) -> Gateway:
    """The engine; built in the process that serves, never before a fork."""
    from levada._native import Gateway

    journal = config.journal
    power = journal.durability == "power"
    redis, replicas = config.limits.redis, config.limits.replicas
    url = None if redis is None else redis.get_secret_value()
    return Gateway(document, data, config.threads, power, journal.quota_bytes, url, replicas)


def create_app(
    source: loading.Source | None = None,
    inherited: Inheritance | None = None,
    make: MakeGateway = native,
) -> App:
    """The app for any ASGI server; without arguments it is configured by LEVADA_* alone."""
    return App(source or loading.Source(), inherited, make)
