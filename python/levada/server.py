"""From a Config to a served address: sockets, store, admin token, and one supervised worker.

Law: the only file that names granian. The listening sockets are bound here, before any fork,
and outlive every worker: a connection may have to wait, it is never refused.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import secrets
import select
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces, Loops, SSLProtocols
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.mp import MPServer

from levada.admin.auth import Guard
from levada.log import configure
from levada.sockets import BACKLOG, address, bind, bind_local

if TYPE_CHECKING:
    from levada.app import App
    from levada.config import Config, Enclosed, Storage
    from levada.loading import Source

log = structlog.get_logger(__name__)

# With the sockets' send buffer, all that a reader who stops reading can hold.
HTTP_BUFFER_BYTES = 64 * 1024
# Connections that the worker takes at once. More would wait unseen, so this lies far above
# every limit that is answered with 429 or 503.
BACKPRESSURE = 8192
# A successor that is not ready by then is given up.
READY_SECONDS = 30.0
# From the end of the calls' grace to the end of the worker by force.
KILL_AFTER_GRACE_SECONDS = 10.0
# A worker that is to end is told again this often.
TELL_AGAIN_SECONDS = 1.0
# A worker that dies this young makes the next one wait, longer each time.
SHORT_LIFE_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0

# granian's own words, errors only, go where our log goes: stdout is for the addresses.
LOGGING = {
    "handlers": {"console": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr"}},
    "loggers": {"_granian": {"handlers": ["console"], "propagate": False}},
}

Made = TypeVar("Made")
Worker = Any  # granian's WorkerProcess, whose methods have no types
Begin = Callable[[], Worker]
# Runs in the worker, given a function to call when start-up is complete and the descriptor
# that becomes readable when the parent is gone.
MakeApp = Callable[[Callable[[], None], int], "App"]


class Supervisor(MPServer):
    """Keeps one worker serving: a dead one is replaced; on SIGHUP the next is ready first."""

    def __init__(self, listener: socket.socket, others: list[socket.socket], **options: Any):
        super().__init__("levada", **options)
        self._listener = listener
        self._others = others
        self._ready_end, self._say_ready_end = os.pipe()
        self._orphan_end, self._parent_end = os.pipe()
        os.set_blocking(self._ready_end, False)
        self._ready: set[int] = set()
        self._short_lives = 0

    def run(self, make: MakeApp) -> int:
        """Serve until told to stop; returns the exit status."""
        try:
            self.serve(target_loader=partial(self._load, make), wrap_loader=False)
        except SystemExit:
            return 1
        finally:
            for end in (self._ready_end, self._say_ready_end, self._orphan_end, self._parent_end):
                os.close(end)
        return 0

    def _load(self, make: MakeApp) -> App:
        """In the worker: the parent alone holds its end of the second pipe."""
        os.close(self._parent_end)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)  # the parent's handlers mean nothing here
        # Ctrl-C is the parent's alone: granian's worker loses its streams at a second signal.
        os.setpgid(0, 0)
        return make(lambda: _write_pid(self._say_ready_end), self._orphan_end)

    def _is_ready(self, worker: Worker) -> bool:
        """Whether this worker's start-up is complete; never waits."""
        if select.select([self._ready_end], [], [], 0)[0]:
            self._ready.update(map(int, os.read(self._ready_end, 4096).split()))
        return worker.inner.pid in self._ready

    def _was_killed(self) -> bool:
        """Whether the worker that died did so by no doing of its own, whatever the settings are."""
        return bool(self.wrks[0].inner.exitcode == -signal.SIGKILL)

    # From here on: granian's own steps, in the way of this house.

    def _init_shared_socket(self) -> None:
        holder: Any = SocketHolder
        local = self._listener.family == socket.AF_UNIX
        self._ssp: Any = None
        self._shd: Any = holder(self._listener.fileno(), local, BACKLOG)
        self._sso: Any = self._listener

    def _drop_shared_socket(self) -> None:
        """From here on a new connection is refused, and not left waiting for nobody."""
        for listener in (self._listener, *self._others):
            listener.close()

    def _serve_loop(self, spawn_target: Any, target_loader: Any) -> None:
        begin = partial(self._begin, spawn_target, target_loader)
        while not self.interrupt_signal:
            self.main_loop_interrupt.wait()
            self.main_loop_interrupt.clear()
            if self.interrupt_children and not self.interrupt_signal:
                if not self._is_ready(self.wrks[0]) and not self._ready and not self._was_killed():
                    return  # the very first start failed: the settings are wrong
                self._revive(begin)
            if self.reload_signal and not self.interrupt_signal:
                self.reload_signal = False
                self._replace(begin)
        self.interrupt_children.clear()

    def _begin(self, spawn_target: Any, target_loader: Any) -> Worker:
        worker: Worker = self._spawn_worker(0, spawn_target, target_loader)
        worker.start()
        return worker

    def _revive(self, begin: Begin) -> None:
        """A successor for a dead worker: at once, but for those that keep dying young."""
        short = time.monotonic() - self.wrks[0].birth < SHORT_LIFE_SECONDS
        self._short_lives = self._short_lives + 1 if short else 0
        log.error("the worker died; starting another", short_lives=self._short_lives)
        if self._short_lives > 1:
            pause = FIRST_PAUSE_SECONDS * 2 ** min(self._short_lives, 10)
            time.sleep(min(pause, LONGEST_PAUSE_SECONDS))
        self.interrupt_children.clear()
        self.wrks[0] = begin()

    def _replace(self, begin: Begin) -> None:
        """A successor while the old worker still serves; the old one stays if that fails."""
        worker = begin()
        worker.interrupt_by_parent = True  # until it serves, its end is not the service's
        give_up = time.monotonic() + READY_SECONDS
        while not self._is_ready(worker):
            if not worker.is_alive() or self.interrupt_signal or time.monotonic() > give_up:
                log.error("the new worker did not start; the old one goes on")
                worker.kill()
                return
            select.select([self._ready_end], [], [], 0.1)
        old, self.wrks[0] = self.wrks[0], worker
        worker.interrupt_by_parent = False
        if not worker.is_alive():
            self.interrupt_children.append(0)
            self.main_loop_interrupt.set()
        threading.Thread(target=self._end, args=(old,)).start()

    def _stop_workers(self) -> None:
        for worker in self.wrks:
            self._end(worker)
        self.wrks.clear()

    def _end(self, worker: Worker) -> None:
        """Told until it has heard: a worker that is just starting may not listen yet."""
        give_up = time.monotonic() + (self.workers_kill_timeout or 0)
        while worker.is_alive() and time.monotonic() < give_up:
            worker.terminate()
            worker.join(TELL_AGAIN_SECONDS)
        if worker.is_alive():
            worker.kill()
            worker.join()


def _write_pid(descriptor: int) -> None:
    os.write(descriptor, b"%d\n" % os.getpid())


def in_child(work: Callable[..., Made], *given: Any) -> Made:
    """The result of work done in a short-lived process, whose imports cost this one nothing.

    Of errors it knows OSError and ValueError; the process ends by itself, whatever becomes of us.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_told, args=(theirs, work, given))
    child.start()
    theirs.close()
    try:
        result: Made | OSError | ValueError = ours.recv()
    except EOFError:
        raise OSError("the store could not be prepared") from None
    finally:
        ours.close()
        child.join()
    if isinstance(result, OSError | ValueError):
        raise result
    return result


def _told(pipe: Connection, work: Callable[..., object], given: tuple[Any, ...]) -> None:
    try:
        pipe.send(work(*given))
    except (OSError, ValueError) as error:
        pipe.send(error)


def prepare(data: Path, given: str | None, storage: Storage | None = None) -> str | None:
    """The store, made or migrated, with at least one key in it; the text of a key made here."""
    from levada.control import keys
    from levada.control.store import Store, StoreAwayError, StoreError

    async def run() -> str | None:
        store = await Store.open(data, storage=storage)
        try:
            return await keys.ensure_first(store, given)
        finally:
            await store.close()

    # Types that the parent knows without importing the store.
    try:
        return asyncio.run(run())
    except StoreAwayError as error:
        raise ConnectionError(str(error)) from None
    except StoreError as error:
        raise ValueError(str(error)) from None


def prepared(data: Path, given: str | None, storage: Storage) -> str | None:
    """The same in a child; a database that is away is waited for, and a signal ends the wait."""
    pause = FIRST_PAUSE_SECONDS
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while True:
            try:
                return in_child(prepare, data, given, storage)
            except ConnectionError as error:
                log.error("the store is away; serving begins once it is back", detail=str(error))
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
    finally:
        signal.signal(signal.SIGTERM, before)


def write_admin(data: Path, url: str, token: str) -> None:
    """Where `levada reload` finds the admin listener; readable by this user alone."""
    draft = data / f".admin.{secrets.token_hex(4)}"
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump({"url": url, "token": token}, file)
    draft.replace(data / "admin.json")


def take_turns() -> None:
    """From here on a thread of this process that is woken waits until the one that woke it rests.

    Three threads hand each call of the app's door on. Where they share a core the kernel lets the
    woken one push the other aside, call by call; in turns they carry many calls at a time, for half
    the price. Linux only; where it is not allowed, all works as before.
    """
    with suppress(AttributeError, OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def folder(stack: ExitStack, prefix: str) -> Path:
    """A private folder that is gone afterwards."""
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix)))


def options(config: Config, local: Path) -> dict[str, Any]:
    """What granian is told. With the edge it serves the private socket, else the public port."""
    tls = config.listen.tls if config.door == "app" else None
    place: dict[str, Any] = {"uds": local, "uds_permissions": 0o600}
    if config.door == "app":
        place = {"address": config.listen.host, "port": config.listen.port}
    # The edge keeps its connections to the app; a stranger's have to say something soon.
    limits = config.limits
    head = limits.head_seconds if config.door == "app" else limits.keep_alive_seconds
    return {
        **place,
        "interface": Interfaces.ASGI,
        "loop": Loops.uvloop,
        "http": HTTPModes.http1,
        "http1_settings": HTTP1Settings(
            header_read_timeout=int(head * 1000), max_buffer_size=HTTP_BUFFER_BYTES
        ),
        "websockets": False,
        "workers": 1,
        "backlog": BACKLOG,
        "backpressure": BACKPRESSURE,
        "respawn_failed_workers": True,
        "workers_kill_timeout": config.deadlines.drain + KILL_AFTER_GRACE_SECONDS,
        "ssl_cert": tls and tls.certificate,
        "ssl_key": tls and tls.key,
        "ssl_protocol_min": SSLProtocols.tls12,
        "log_level": LogLevels.error,
        "log_dictconfig": LOGGING,
        "process_name": "levada" if find_spec("setproctitle") else None,
    }


def serve(
    config: Config, enclosed: Enclosed, *, key: str | None = None, source: Source | None = None
) -> int:
    """Serve until SIGTERM or SIGINT; the exit status. `source` is where reloads read from."""
    multiprocessing.set_start_method("fork", force=True)
    configure(config.log.level, config.log.format)
    with ExitStack() as stack:
        try:
            return _serve(config, enclosed, key, source, stack)
        except (OSError, ValueError) as error:
            print(f"levada: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 0


def _serve(
    config: Config, enclosed: Enclosed, key: str | None, source: Source | None, stack: ExitStack
) -> int:
    listen, write_seconds = config.listen, config.limits.write_seconds
    public = stack.enter_context(bind(listen.host, listen.port, write_seconds))
    admin = stack.enter_context(bind(listen.admin_host, listen.admin_port, write_seconds))
    local = stack.enter_context(bind_local(folder(stack, "levada-door-")))
    data = config.data
    if data is None:
        data = folder(stack, "levada-data-")
        log.warning("no data folder given: keys and records end with this process")
    made = prepared(data, key, config.store)
    guard = Guard(secrets.token_hex(32), secrets.token_urlsafe(32))
    write_admin(data, address(admin), guard.token)
    print(f"listening: {address(public, 'https' if listen.tls else 'http')}")
    print(f"admin: {address(admin)}")
    if made is not None:
        print(f"key: {made}")
    sys.stdout.flush()

    def make(ready: Callable[[], None], orphaned: int) -> App:
        from levada.app import Inheritance, create_app

        if config.door == "app":
            take_turns()
        read = (config, enclosed)
        inherited = Inheritance(*read, data, public, admin, local, guard, ready, orphaned)
        return create_app(source, inherited)

    door = public if config.door == "app" else local
    others = [one for one in (public, admin, local) if one is not door]
    where = Path(local.getsockname())
    return Supervisor(door, others, **options(config, where)).run(make)
