"""The parent process: sockets, store, admin token, and the supervision of a real server."""

import asyncio
import json
import multiprocessing
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import structlog
from granian.constants import Interfaces, Loops

from levada import server, sockets
from levada.app import App
from levada.config import Config, Enclosed, Storage
from levada.loading import Source
from levada.server import Supervisor, serve

BACKENDS = [{"name": "one", "url": "http://127.0.0.1:9"}]


def config(**values: Any) -> Config:
    listen = {"port": 0, "admin_port": 0, **values.pop("listen", {})}
    return Config.model_validate({"backends": BACKENDS, "listen": listen, **values})


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The server takes the signals of its process, and decides how it forks."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = [signal.getsignal(number) for number in numbers]
    method = multiprocessing.get_start_method()
    yield
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)
    multiprocessing.set_start_method(method, force=True)
    structlog.reset_defaults()


def test_a_connection_inherits_its_buffer_and_its_deadline() -> None:
    with sockets.bind("127.0.0.1", 0, 2.5) as listener:
        with socket.create_connection(listener.getsockname()):
            connection, _ = listener.accept()
            with connection:
                timeout = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
                size = connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        assert timeout == 2500
        assert size == 2 * sockets.SEND_BUFFER_BYTES  # the kernel doubles it for its own needs
        assert listener.get_inheritable()
        with pytest.raises(OSError, match=r"cannot listen on 127\.0\.0\.1:\d+: Address already"):
            sockets.bind(*listener.getsockname(), 2.5)


def test_the_private_socket_is_private(tmp_path: Path) -> None:
    with sockets.bind_local(tmp_path) as listener:
        path = Path(listener.getsockname())
        assert path.parent == tmp_path
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert listener.get_inheritable()


@pytest.mark.parametrize(
    ("name", "url"),
    [
        (("127.0.0.1", 1), "http://127.0.0.1:1"),
        (("0.0.0.0", 1), "http://127.0.0.1:1"),
        (("::1", 1, 0, 0), "http://[::1]:1"),
        (("::", 1, 0, 0), "http://[::1]:1"),
    ],
)
def test_the_printed_address_is_one_that_works_here(name: Any, url: str) -> None:
    class Listener:
        def getsockname(self) -> Any:
            return name

    assert sockets.address(Listener()) == url  # type: ignore[arg-type]


def test_what_is_done_in_a_child_is_not_done_here() -> None:
    assert server.in_child(os.getpid) != os.getpid()
    with pytest.raises(ValueError, match="invalid literal"):
        server.in_child(int, "x")
    with pytest.raises(OSError, match="could not be prepared"):
        server.in_child(os._exit, 0)


def test_threads_take_turns_where_the_system_lets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def policy() -> int:
        server.take_turns()
        return os.sched_getscheduler(0)

    assert server.in_child(policy) == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == os.SCHED_OTHER

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    server.take_turns()
    monkeypatch.delattr(os, "sched_setscheduler")
    server.take_turns()
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_the_child_tells_what_it_has_made_or_why_not() -> None:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    with ours, theirs:
        server._told(theirs, int, ("7",))
        assert ours.recv() == 7
        server._told(theirs, int, ("x",))
        assert isinstance(ours.recv(), ValueError)


def test_the_first_key_is_made_once_and_a_given_one_is_taken(tmp_path: Path) -> None:
    made = server.prepare(tmp_path, None)
    assert made is not None
    assert made.startswith("sk-")
    assert server.prepare(tmp_path, None) is None
    assert server.prepare(tmp_path, "of-my-own") is None


def test_a_store_that_cannot_be_used_is_an_error_that_the_parent_knows(tmp_path: Path) -> None:
    server.prepare(tmp_path, None)
    pepper = (tmp_path / "pepper").read_text()
    (tmp_path / "pepper").unlink()
    with pytest.raises(ValueError, match=r"the store in .*pepper is missing"):
        server.prepare(tmp_path, None)
    (tmp_path / "pepper").write_text(pepper)
    (tmp_path / "levada.db").write_bytes(b"not a database, but long enough to be read as one" * 40)
    with pytest.raises(ValueError, match="file is not a database"):
        server.prepare(tmp_path, None)


def test_a_store_that_is_away_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as nobody:
        port = nobody.getsockname()[1]
    url = f"postgresql://someone:canary@127.0.0.1:{port}/db"
    storage = Storage.model_validate({"url": url})
    with pytest.raises(ConnectionError, match=f"the store at 127.0.0.1:{port}/db: .*refused|fail"):
        server.prepare(tmp_path, None, storage)
    monkeypatch.setattr(server, "FIRST_PAUSE_SECONDS", 0.01)
    tries = [ConnectionError("away"), ConnectionError("away")]

    def in_child(work: Any, *given: Any) -> str:
        if tries:
            raise tries.pop()
        return "made"

    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patched:
        patched.setattr(server, "in_child", in_child)
        assert server.prepared(tmp_path, None, storage) == "made"
    assert signal.getsignal(signal.SIGTERM) == before
    # A signal ends the wait as it ends the service.
    threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    assert serve(config(data=tmp_path, store={"url": url}), Enclosed(), source=Source()) == 0
    assert signal.getsignal(signal.SIGTERM) == before
    output = capsys.readouterr()
    assert "the store is away; serving begins once it is back" in output.err
    assert "canary" not in output.err + output.out


def test_the_admin_token_is_for_this_user_alone(tmp_path: Path) -> None:
    for token in ("old", "new"):
        server.write_admin(tmp_path, "http://127.0.0.1:1", token)
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text()) == {"url": "http://127.0.0.1:1", "token": "new"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_apps_server_listens_where_its_door_is(tmp_path: Path) -> None:
    edge = server.options(config(), tmp_path / "app.sock")
    assert (edge["uds"], edge["uds_permissions"]) == (tmp_path / "app.sock", 0o600)
    assert edge["http1_settings"].header_read_timeout == 75_000
    assert edge["workers_kill_timeout"] == 610.0
    pem = tmp_path / "a.pem"
    own = server.options(
        config(door="app", listen={"port": 8443, "tls": {"certificate": pem, "key": pem}}),
        tmp_path,
    )
    assert (own["port"], own["ssl_cert"]) == (8443, pem)
    assert own["http1_settings"].header_read_timeout == 10_000
    assert "uds" not in own


Made = Callable[[Callable[[], None], int], App]


@pytest.mark.parametrize(("door", "family"), [("edge", socket.AF_UNIX), ("app", socket.AF_INET)])
def test_it_prints_where_it_listens_and_hands_everything_to_its_worker(
    door: str,
    family: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    apps: list[Any] = []

    def run(self: Supervisor, make: Made) -> int:
        apps.append(make(lambda: None, 3))
        assert self._listener.family == family
        assert len(self._others) == 2
        assert all(other.fileno() > 0 for other in self._others)
        return 7

    turns: list[None] = []
    monkeypatch.setattr(server, "take_turns", lambda: turns.append(None))
    monkeypatch.setattr(Supervisor, "run", run)
    settings = config(door=door, data=tmp_path / "data")
    assert serve(settings, Enclosed(), source=Source()) == 7
    listening, admin, key = capsys.readouterr().out.splitlines()
    inherited = apps[0]._inherited
    told = json.loads((tmp_path / "data" / "admin.json").read_text())
    assert listening.startswith("listening: http://127.0.0.1:")
    assert admin == f"admin: {told['url']}"
    assert key.startswith("key: sk-")
    assert told["token"] == inherited.guard.token
    assert inherited.orphaned == 3
    assert len(turns) == (door == "app")
    assert serve(settings, Enclosed(), source=Source()) == 7
    assert "key:" not in capsys.readouterr().out


def test_without_a_data_folder_it_uses_one_that_does_not_stay(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders: list[Path] = []

    def run(self: Supervisor, make: Made) -> int:
        app: Any = make(lambda: None, 3)
        folders.append(app._inherited.data)
        assert folders[0].is_dir()
        return 0

    monkeypatch.setattr(Supervisor, "run", run)
    assert serve(config(data=None, log={"format": "json"}), Enclosed(), source=Source()) == 0
    assert not folders[0].exists()
    warnings = [line for line in capsys.readouterr().err.splitlines() if "no data folder" in line]
    assert len(warnings) == 1


def test_what_cannot_be_served_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with sockets.bind("127.0.0.1", 0, 1) as taken:
        listen = {"port": taken.getsockname()[1]}
        assert serve(config(listen=listen, data=tmp_path), Enclosed(), source=Source()) == 1
    assert capsys.readouterr().err.startswith("levada: cannot listen on 127.0.0.1:")
    (tmp_path / "levada.db").write_text("no database" * 100)
    assert serve(config(data=tmp_path), Enclosed(), source=Source()) == 1
    assert f"levada: the store in {tmp_path}: " in capsys.readouterr().err


# ---- supervision, with a real server and real signals


class Small:
    """A small app: its worker's pid on every path, on /slow after a while."""

    def __init__(self, flags: Path, ready: Callable[[], None]) -> None:
        self.flags = flags
        self.ready = ready

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            if (self.flags / "fail").exists():
                await send({"type": "lifespan.startup.failed"})
                return
            await send({"type": "lifespan.startup.complete"})
            self.ready()
            await receive()
            (self.flags / f"ended-{os.getpid()}").touch()
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["path"] == "/slow":
            await asyncio.sleep(1)
        body = b"%d" % os.getpid()
        headers = [(b"content-length", b"%d" % len(body)), (b"server", b"levada")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


class Service:
    """A supervisor in this process, and a person in a thread who plays with it."""

    def __init__(self, folder: Path, local: bool) -> None:
        multiprocessing.set_start_method("fork", force=True)
        self.folder = folder
        self.failure: BaseException | None = None
        self.other = sockets.bind("127.0.0.1", 0, 30)
        place: dict[str, Any] = {}
        if local:
            self.listener = sockets.bind_local(folder)
            place = {"uds": Path(self.listener.getsockname()), "uds_permissions": 0o600}
        else:
            self.listener = sockets.bind("127.0.0.1", 0, 30)
        self.name = self.listener.getsockname()
        self.supervisor = Supervisor(
            self.listener,
            [self.other],
            interface=Interfaces.ASGI,
            loop=Loops.uvloop,
            websockets=False,
            log_enabled=False,
            workers_kill_timeout=20,
            **place,
        )

    def run(self, play: Callable[[], None]) -> int:
        thread = threading.Thread(target=self._play, args=(play,))
        thread.start()
        status = self.supervisor.run(lambda ready, orphaned: Small(self.folder, ready))  # type: ignore[arg-type, return-value]
        thread.join(20)
        if self.failure is not None:
            raise self.failure
        return status

    def _play(self, play: Callable[[], None]) -> None:
        try:
            self.pid()
            play()
        except BaseException as failure:
            self.failure = failure
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    def pid(self, path: str = "/") -> int:
        """Which worker answers; every call is a new connection."""
        connection = HTTPConnection("127.0.0.1", timeout=20)
        connection.sock = socket.socket(self.listener.family)
        connection.sock.settimeout(20)
        with closing(connection):
            connection.sock.connect(self.name)
            connection.request("GET", path)
            return int(connection.getresponse().read())

    def ended(self, pid: int) -> bool:
        return (self.folder / f"ended-{pid}").exists()


def until(true: Callable[[], bool], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("local", [True, False])
def test_a_killed_worker_is_replaced_and_nobody_is_refused(tmp_path: Path, local: bool) -> None:
    service = Service(tmp_path, local)
    pids: list[int] = []

    def play() -> None:
        for _ in range(3):  # also when it happens again and again
            pids.append(service.pid())
            os.kill(pids[-1], signal.SIGKILL)
            began = time.monotonic()
            pids.append(service.pid())
            if len(pids) == 2:  # at once; the figure leaves room for a busy machine
                assert time.monotonic() - began < 3.0

    assert service.run(play) == 0
    assert len(set(pids)) == 4
    assert service.ended(pids[-1])


def test_at_a_hangup_the_next_worker_serves_before_the_old_one_ends(tmp_path: Path) -> None:
    service = Service(tmp_path, local=True)
    slow: list[int] = []

    def play() -> None:
        old = service.pid()
        thread = threading.Thread(target=lambda: slow.append(service.pid("/slow")))
        thread.start()
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGHUP)
        until(lambda: service.pid() != old)
        thread.join(10)
        assert slow == [old]
        until(lambda: service.ended(old))

    assert service.run(play) == 0


def test_at_a_hangup_the_old_worker_stays_if_the_next_one_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service = Service(tmp_path, local=True)

    def play() -> None:
        old = service.pid()
        (tmp_path / "fail").touch()
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(1.0)
        assert service.pid() == old
        assert not service.ended(old)

    assert service.run(play) == 0
    assert "the old one goes on" in capsys.readouterr().out


def test_the_terminal_does_not_reach_the_worker(tmp_path: Path) -> None:
    service = Service(tmp_path, local=True)
    groups: list[int] = []
    assert service.run(lambda: groups.append(os.getpgid(service.pid()))) == 0
    assert groups != [os.getpgid(0)]


def test_at_the_end_calls_in_progress_are_answered(tmp_path: Path) -> None:
    service = Service(tmp_path, local=False)
    slow: list[int] = []
    threads: list[threading.Thread] = []

    def play() -> None:
        threads.append(threading.Thread(target=lambda: slow.append(service.pid("/slow"))))
        threads[0].start()
        time.sleep(0.3)

    assert service.run(play) == 0
    threads[0].join(10)
    assert len(slow) == 1
    with pytest.raises(ConnectionRefusedError):
        service.pid()
    assert service.other.fileno() == -1


def test_a_service_that_never_started_ends_with_a_failure(tmp_path: Path) -> None:
    service = Service(tmp_path, local=True)
    (tmp_path / "fail").touch()
    assert service.supervisor.run(lambda ready, _: Small(tmp_path, ready)) == 1  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(("ended", "killed"), [(-signal.SIGKILL, True), (1, False), (0, False)])
def test_a_worker_that_was_killed_says_nothing_of_the_settings(
    supervisor: Supervisor, ended: int, killed: bool
) -> None:
    worker = Worker()
    worker.exitcode = ended
    supervisor.wrks = [worker]  # type: ignore[list-item]
    assert supervisor._was_killed() is killed


class Worker:
    """A worker that does what the test wants."""

    exitcode: int | None = None

    def __init__(self, alive: bool = True, age: float = 0) -> None:
        self.alive = alive
        self.birth = time.monotonic() - age
        self.calls: list[str] = []
        self.interrupt_by_parent = False
        self.inner = self
        self.pid = os.getpid()

    def start(self) -> None:
        self.calls.append("start")

    def is_alive(self) -> bool:
        return self.alive

    def terminate(self) -> None:
        self.calls.append("terminate")

    def join(self, timeout: float | None = None) -> None:
        self.calls.append("join None" if timeout is None else f"join {timeout:g}")
        time.sleep(0.005)

    def kill(self) -> None:
        self.calls.append("kill")


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    service = Service(tmp_path, local=True)
    yield service.supervisor
    service.listener.close()
    service.other.close()


def test_a_stubborn_worker_is_ended_by_force(supervisor: Supervisor) -> None:
    worker = Worker()
    supervisor.workers_kill_timeout = 0.05  # type: ignore[assignment]
    supervisor._end(worker)
    assert worker.calls[:4] == ["terminate", "join 1", "terminate", "join 1"]
    assert worker.calls[-2:] == ["kill", "join None"]


def test_a_worker_that_is_just_starting_is_told_until_it_hears(supervisor: Supervisor) -> None:
    class Deaf(Worker):
        def join(self, timeout: float | None = None) -> None:
            super().join(timeout)
            self.alive = self.calls.count("terminate") < 3

    worker = Deaf()
    supervisor.wrks = [worker]  # type: ignore[list-item]
    supervisor._stop_workers()
    assert worker.calls == ["terminate", "join 1"] * 3
    assert supervisor.wrks == []


def test_workers_that_die_young_make_the_next_one_wait(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(server.time, "sleep", pauses.append)
    supervisor.wrks = [Worker()]  # type: ignore[list-item]
    for _ in range(8):
        supervisor._revive(Worker)
    assert pauses == [0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    supervisor._revive(lambda: Worker(age=10))
    supervisor._revive(Worker)
    assert len(pauses) == 8
    assert not supervisor.interrupt_children


def test_a_worker_that_dies_when_just_taken_over_is_replaced(supervisor: Supervisor) -> None:
    old, new = Worker(), Worker(alive=False)
    supervisor.wrks = [old]  # type: ignore[list-item]
    os.write(supervisor._say_ready_end, b"%d\n" % os.getpid())
    supervisor._replace(lambda: new)
    assert supervisor.wrks == [new]
    assert supervisor.interrupt_children == [0]
    assert supervisor.main_loop_interrupt.is_set()


def test_the_worker_says_when_it_is_ready_and_does_not_hold_its_parents_end(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    groups: list[Any] = []
    monkeypatch.setattr(os, "setpgid", lambda *group: groups.append(group))

    def make(ready: Callable[[], None], orphaned: int) -> App:
        given.extend((ready, orphaned))
        return "app"  # type: ignore[return-value]

    assert not supervisor._is_ready(Worker())
    assert supervisor._load(make) == "app"  # type: ignore[comparison-overlap]
    given[0]()
    assert supervisor._is_ready(Worker())
    assert os.read(given[1], 1) == b""
    assert groups == [(0, 0)]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_the_parent_imports_neither_store_nor_app() -> None:
    code = "import levada.server, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"sqlalchemy", "alembic", "levada.app", "levada._native"}
