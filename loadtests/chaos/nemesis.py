"""What goes wrong in a run, and when: drawn from the seed, told in a log.

Law: each turn is due at a share of the calls, not at a time, so that the same seed does the same
to the same load on any machine. All that is stopped goes on again, all that is killed comes back.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from loadtests.chaos.house import BACKENDS, PARTS, House, RunError, until

BACK_SECONDS = 60.0
# Then only calls and backends go wrong: what leaks is not forgotten by a death.
QUIET_FROM = 0.85
# Calls go on while a turn is taken, and so far beyond the next.
SLACK = 120
# A turn that draws one of these has a worker die while something else is broken.
DEADLY = ("v1", "l1")
# Turns beside the kills of workers, for each of them.
OTHERS = {"kill-backend": 0.3, "stop-backend": 0.3, "reload": 0.15, "restart": 0.05, "fall": 0.05}


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing that goes wrong once this share of the calls has been made."""

    share: float
    what: str
    backend: str
    seconds: float


def schedule(seed: str, kills: int, more: dict[str, float]) -> list[Turn]:
    """The turns of a run, in their order; `more` is what else can go wrong, for each kill."""
    chance = random.Random(f"{seed}-nemesis")
    whats = ["kill-worker"] * kills
    for what, ratio in {**OTHERS, **more}.items():
        whats += [what] * max(1, round(kills * ratio)) if kills else []
    names = [name for name, *_ in BACKENDS]
    turns = [
        Turn(
            chance.uniform(0.02, QUIET_FROM), what, chance.choice(names), chance.uniform(0.05, 2.0)
        )
        for what in whats
    ]
    return sorted(turns, key=lambda turn: turn.share)


class Nemesis:
    """Does what is due; `begun` says how many calls have ended."""

    def __init__(self, house: House, turns: list[Turn], calls: int, ended: Callable[[], int]):
        self.house, self.turns, self.calls, self.ended = house, list(turns), calls, ended
        self.done: dict[str, int] = {}
        self.gate = house.folder / "gate"
        self.open()

    def open(self) -> None:
        """Lets calls begin up to the next turn and a little further: it must have its load."""
        share = self.turns[0].share if self.turns else 1.0
        draft = self.gate.with_suffix(".new")
        draft.write_text(str((int(share * self.calls) + SLACK) // PARTS))
        draft.replace(self.gate)

    def step(self) -> None:
        """Takes the turn that is due, if one is."""
        if not self.turns or self.ended() < self.turns[0].share * self.calls:
            return
        turn = self.turns.pop(0)
        self.open()
        self.house.log.write("turn", turn.what, turn.backend)
        getattr(self, turn.what.replace("-", "_"))(turn)
        self.done[turn.what] = self.done.get(turn.what, 0) + 1

    def kill_worker(self, turn: Turn) -> None:
        """Any worker there is; the next turn waits until the service is whole again."""
        self._back({self._kill(turn)})

    def _kill(self, turn: Turn) -> int:
        workers = until(lambda: self.house.workers() or None, BACK_SECONDS, "a worker")
        victim = workers[round(turn.seconds * 1000) % len(workers)]
        self.house.log.write("death", "kill-worker")
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        return victim

    def _back(self, gone: set[int]) -> None:
        def replaced() -> bool | None:
            there = [pid for pid in self.house.workers() if pid not in gone]
            return (self.house.is_ready() and bool(there)) or None

        until(replaced, BACK_SECONDS, "a worker in place of the dead one")

    def kill_backend(self, turn: Turn) -> None:
        child = self.house.backends[turn.backend]
        child.kill()
        child.wait(10)
        time.sleep(turn.seconds / 4)
        self.house.start_backend(turn.backend)

    def stop_backend(self, turn: Turn) -> None:
        child = self.house.backends[turn.backend]
        child.send_signal(signal.SIGSTOP)
        time.sleep(turn.seconds)
        child.send_signal(signal.SIGCONT)

    def stop_postgresql(self, turn: Turn) -> None:
        """Without a goodbye to anybody."""
        server = self.house.stores.postgresql
        assert server is not None
        server.stop()
        gone = self._meanwhile(turn)
        server.start()
        self._back(gone)

    def freeze_postgresql(self, turn: Turn) -> None:
        server = self.house.stores.postgresql
        assert server is not None
        server.freeze()
        time.sleep(turn.seconds)
        server.thaw()

    def kill_redis(self, turn: Turn) -> None:
        server = self.house.stores.redis
        assert server is not None
        server.kill()
        gone = self._meanwhile(turn)
        server.start()
        self._back(gone)

    def freeze_redis(self, turn: Turn) -> None:
        server = self.house.stores.redis
        assert server is not None
        server.freeze()
        time.sleep(turn.seconds)
        server.thaw()

    def fill_disk(self, turn: Turn) -> None:
        disk = self.house.stores.disk
        assert disk is not None
        disk.fill()
        gone = self._meanwhile(turn)
        disk.free()
        self._back(gone)

    def _meanwhile(self, turn: Turn) -> set[int]:
        """Something stays broken for a while; half of the times a worker dies, and is told."""
        gone = {self._kill(turn)} if turn.backend in DEADLY else set()
        time.sleep(turn.seconds)
        return gone

    def reload(self, turn: Turn) -> None:
        """A new worker in place of the old one, which ends its calls within its grace."""
        assert self.house.levada is not None
        name = f"reload-{time.monotonic()}"
        self.house.log.write("down", name)
        before = set(self.house.workers())
        self.house.levada.send_signal(signal.SIGHUP)

        def replaced() -> bool | None:
            return not before & set(self.house.workers()) or None

        until(replaced, BACK_SECONDS, "the old worker's end")
        self.house.log.write("up", name)

    def restart(self, turn: Turn) -> None:
        self.house.log.write("down", "restart")
        if status := self.house.stop_levada():
            raise RunError(f"levada ended with {status}: {self.house.said('levada')}")
        self.house.start_levada()
        self.house.log.write("up", "restart")

    def fall(self, turn: Turn) -> None:
        """The parent is killed; its worker notices, and leaves."""
        assert self.house.levada is not None
        self.house.log.write("down", "fall")
        orphans = self.house.workers()
        self.house.levada.kill()
        self.house.levada.wait(10)

        def over() -> bool | None:
            return not any(os.path.exists(f"/proc/{pid}") for pid in orphans) or None

        until(over, BACK_SECONDS, "the end of an orphan")
        self.house.start_levada()
        self.house.log.write("up", "fall")
