"""Takes the targets through the rounds of a scenario and measures each turn.

Targets take turns within a round and the order rotates, so that a drift of the machine meets all.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.bench import measure, process, targets
from loadtests.bench.figures import DIRECT, Run, Runs
from loadtests.bench.scenario import Scenario
from loadtests.bench.targets import Running

BINARIES = Path(__file__).parent / "target" / "release"
WARM_SECONDS = 0.4
SETTLE_SECONDS = 0.15
REST_SECONDS = 1.0
LOAD_SECONDS = 120


def say(line: str) -> None:
    """Progress, apart from the result."""
    print(f"# {line}", file=sys.stderr, flush=True)


@dataclass
class Rounds:
    """What is up: the mock and the targets in front of it."""

    names: list[str]
    count: int
    folder: Path
    stack: contextlib.ExitStack
    mock: Running
    up: dict[str, Running] = field(default_factory=dict)

    @classmethod
    def open(
        cls, names: list[str], count: int, stack: contextlib.ExitStack, folder: Path
    ) -> Rounds:
        """Starts the mock; the targets follow when a scenario needs them."""
        command = [str(BINARIES / "mock"), "--port", "0"]
        backend = stack.enter_context(process.Process(command, process.cores()[1], folder))
        address = backend.until(lambda: backend.line("listening:"), 10)
        mock = Running(DIRECT, int(address.rpartition(":")[2]), backend)
        return cls(names, count, folder, stack, mock)

    def take(self, scenario: Scenario) -> Runs:
        """All rounds of one scenario."""
        if scenario.fresh:
            self.end()
        self.start()
        if scenario.unit == "none":
            return self.at_rest()
        if not scenario.fresh:
            for running in self.up.values():
                self.load(scenario, running, WARM_SECONDS)
        runs: Runs = {}
        count = min(scenario.rounds or self.count, self.count)
        for turn in range(count):
            for running in self.order(turn):
                runs.setdefault(running.name, []).append(self.once(scenario, running))
            say(f"{scenario.letter}: round {turn + 1} of {count}")
        return runs

    def order(self, turn: int) -> list[Running]:
        """Who follows whom; the mock itself is first and last in turn."""
        running = list(self.up.values())
        shift = turn % max(len(running), 1)
        order = [*running[shift:], *running[:shift]]
        return [self.mock, *order] if turn % 2 == 0 else [*order, self.mock]

    def start(self) -> None:
        """Starts every target that is not up."""
        place = targets.Place(process.cores()[0], self.folder, self.mock.port, self.stack)
        for name in self.names:
            if name not in self.up:
                self.up[name] = targets.start(name, place)

    def end(self) -> None:
        """Ends every target."""
        for running in self.up.values():
            running.process.end()
        self.up.clear()

    def at_rest(self) -> Runs:
        """Memory of each target before it has done anything but answer once."""
        time.sleep(REST_SECONDS)
        kib = {name: measure.proportional_kib(r.process.pid) for name, r in self.up.items()}
        return {name: [{"pss_mib": value / 1024}] for name, value in kib.items()}

    def once(self, scenario: Scenario, running: Running) -> Run:
        """One turn of one target, with what it and the rig have used meanwhile."""
        pid, mock = running.process.pid, self.mock.process.pid
        measure.forget_peak(pid)
        before_kib = measure.resident_kib(pid)
        before, mock_before = measure.usage(pid), measure.usage(mock)
        run = self.load(scenario, running)
        time.sleep(SETTLE_SECONDS)
        spent, switches = before.until(measure.usage(pid))
        mock_spent, _ = mock_before.until(measure.usage(mock))
        run["rig"] = (mock_spent / 1e9 + run["cpu_s"]) / run["elapsed_s"]
        if running is not self.mock:
            units = run["chunks"] if scenario.unit == "chunk" else run["ok"] + run["errors"]
            run |= {"cpu_us": spent / 1e3 / max(units, 1), "switches": switches / max(units, 1)}
            run |= {"before_kib": before_kib, "peak_kib": measure.peak_kib(pid)}
        if run["ok"] < run["started"]:
            say(f"{scenario.letter} {running.name}: {run['unfinished']} unfinished, "
                f"{run['errors']} errors {run['error_kinds']} {run['words']}")  # fmt: skip
        return run

    def load(self, scenario: Scenario, running: Running, seconds: float | None = None) -> Run:
        """Lets the load generator loose on a target; what it saw."""
        body = self.folder / f"{scenario.letter}.json"
        body.write_bytes(scenario.body(targets.MODEL))
        command = [str(BINARIES / "load"), "--port", str(running.port), "--body", str(body)]
        for header, value in running.headers.items():
            command += ["--header", f"{header}: {value}"]
        command += scenario.arguments(seconds)
        pipe = subprocess.PIPE
        with process.spawn(command, process.cores()[1], self.folder, pipe, pipe) as child:
            try:
                said, words = child.communicate(timeout=LOAD_SECONDS)
            finally:
                child.kill()
        if child.returncode:
            raise process.StartError(f"load: {words.decode()[-600:]}")
        run: Run = json.loads(said)
        return run | {"words": words.decode().strip()[:400]}
