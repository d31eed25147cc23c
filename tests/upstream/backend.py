"""The scripted backend: a server on 127.0.0.1 in a thread of its own, which does what a test
scripted, byte for byte.
"""

import asyncio
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Self

from upstream.answers import json_answer, models_answer
from upstream.obedient import obey
from upstream.steps import Step, send
from upstream.wire import Peer, Request

Script = Sequence[Step] | Callable[[Request], Sequence[Step]]


def free_port() -> int:
    """A port where nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ScriptedBackend:
    """Answers GET requests on its own (models, health); each other request takes the next script.

    Without a script it obeys like a good server. `calls` are the requests that are not GET, in
    order of arrival.
    """

    def __init__(
        self,
        models: Sequence[str] = ("m",),
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.models = list(models)
        self.tls = tls
        self.live: set[Peer] = set()
        self.seen: list[Request] = []
        self.queue: deque[Script] = deque()
        self.every: Script = obey
        self.on_connect: Sequence[Step] | None = None
        self.on_get: Script | None = None
        self.changed = threading.Condition()
        self.accepting = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.tasks: set[asyncio.Task[None]] = set()
        self.socket = socket.create_server(("127.0.0.1", port), backlog=4096)
        self.port: int = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.run, name=f"backend-{self.port}", daemon=True)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def calls(self) -> list[Request]:
        return [request for request in self.seen if request.method != "GET"]

    @property
    def last(self) -> Request:
        return self.calls[-1]

    def script(self, *steps: Step) -> Self:
        """The steps for the next call that has none yet."""
        self.queue.append(steps)
        return self

    def always(self, *steps: Step) -> Self:
        """The steps for every call that finds no script of its own."""
        self.every = steps
        return self

    def forget(self) -> Self:
        """Back to obedience, and nothing seen."""
        self.queue.clear()
        self.every, self.on_connect, self.on_get = obey, None, None
        self.seen.clear()
        return self

    def wait_for(self, ready: Callable[[], object], timeout: float = 5.0) -> bool:
        """Whether `ready` came true in time. It is asked whenever something happened on a
        connection.
        """
        until = time.monotonic() + timeout
        with self.changed:
            while not ready():
                left = until - time.monotonic()
                if left <= 0:
                    return False
                self.changed.wait(min(left, 0.05))
        return True

    def open_calls(self) -> int:
        """How many calls have a connection that the gateway has not ended."""
        return sum(call.peer.ended is None for call in self.calls)

    def notify(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def made(self, peer: Peer) -> None:
        self.live.add(peer)
        task = self.loop.create_task(self.serve(peer))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        self.notify()

    async def serve(self, peer: Peer) -> None:
        if self.on_connect is not None:
            await self.play(self.on_connect, peer)
        while (request := await peer.next_request()) is not None:
            self.seen.append(request)
            script = self.script_for(request)
            self.notify()
            await self.play(script(request) if callable(script) else script, peer)
        assert peer.transport is not None
        peer.transport.close()

    async def play(self, steps: Sequence[Step], peer: Peer) -> None:
        for step in steps:
            await step(peer)

    def script_for(self, request: Request) -> Script:
        if request.method == "GET":
            listing = json_answer(models_answer(self.models))
            return self.on_get or [send(listing)]
        return self.queue.popleft() if self.queue else self.every

    def run(self) -> None:
        asyncio.set_event_loop(self.loop)
        serving = self.loop.create_server(
            lambda: Peer(self.made, self.notify, self.live.discard), sock=self.socket, ssl=self.tls
        )
        server = self.loop.run_until_complete(serving)
        self.loop.call_soon(self.accepting.set)
        self.loop.run_forever()
        server.close()
        self.loop.run_until_complete(self.end())
        self.loop.close()

    async def end(self) -> None:
        # What was still being accepted becomes a peer first: only a peer can be closed.
        accepting = asyncio.all_tasks() - self.tasks - {asyncio.current_task()}
        if accepting:
            await asyncio.wait(accepting, timeout=1)
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        # Closed is not gone: what the gateway does not read would keep a closed transport open.
        for peer in self.live:
            assert peer.transport is not None
            peer.transport.abort()
        while self.live:
            await asyncio.sleep(0)

    def start(self) -> Self:
        self.thread.start()
        self.accepting.wait(5)
        return self

    def stop(self) -> None:
        """Closes the listener and every connection. A second call does nothing."""
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(5)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
