"""Gateways side by side on one machine: CPU per request and per streamed chunk, as ratios to nginx.

    python -m loadtests.bench.bench [--scenarios ABCPEDLS] [--rounds 3] [--gate]

Starts the mock backend, every target in front of it, and the load, all on loopback; targets on one
core, mock and load on the other. Whatever was started is ended, whatever happens.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtests import report
from loadtests.bench import process, scenario, targets
from loadtests.bench.figures import Figures, Judged, Runs, figures, judge
from loadtests.bench.rounds import Rounds, say

BASELINES = Path(__file__).parent.parent / "baselines"
ORDER = "IABCPELSD"
BASELINE = "nginx"
FILES = 20_000


def build() -> None:
    """Builds mock and load, as far as they are not built."""
    manifest = Path(__file__).parent / "Cargo.toml"
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--manifest-path"]
    if subprocess.run([*command, str(manifest)], check=False).returncode:
        raise process.StartError("mock and load could not be built")


def machine(names: Sequence[str]) -> dict[str, Any]:
    """Where and with what the figures were taken."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return {
        "cpu": next(
            (line.partition(":")[2].strip() for line in lines if "model name" in line), "?"
        ),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "versions": {name: targets.version(name) for name in names},
    }


def run(options: argparse.Namespace) -> int:
    """Starts, measures, prints, writes; the exit status."""
    scenarios = scenario.read_all()
    seen: dict[str, dict[str, Figures]] = {}
    raw: dict[str, Runs] = {}
    gates: list[Judged] = []
    build()
    with process.alone(), contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="levada-bench-")))
        rounds = Rounds.open(options.targets, options.rounds, stack, folder)
        for letter in options.scenarios:
            wanted = scenarios[letter]
            raw[letter] = rounds.take(wanted)
            seen[letter] = figures(wanted, raw[letter], options.baseline)
            print(report.table(wanted, seen[letter]), flush=True)
            gates += judge(wanted, seen[letter])
    print(report.verdicts(gates))
    if options.output:
        result = report.document(machine(options.targets), options.baseline, seen, gates)
        report.write(options.output, result | {"runs": raw}, scenarios)
    return int(options.gate and not all(judged.passed for judged in gates))


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--scenarios", default=ORDER, help=f"letters, default {ORDER}")
    add("--targets", help="by comma; default: nginx and haproxy if installed, both doors of Levada")
    add("--peers", default="", help="more of them; vllm-router is installed on first use")
    add("--baseline", default=BASELINE, help="what ratios are to")
    add("--rounds", type=int, default=3)
    add("--gate", action="store_true", help="exit 1 if a gate is not kept")
    add("--output", type=Path, help="for bench.json and bench.svg; default, if whole: baselines/")
    options = parser.parse_args(words)
    names = options.targets.split(",") if options.targets else targets.present()
    options.targets = [*names, *filter(None, options.peers.split(","))]
    unknown = [name for name in options.targets if name not in targets.KNOWN]
    unknown += [letter for letter in options.scenarios if letter not in ORDER]
    if unknown:
        parser.error(f"not known: {', '.join(unknown)}")
    if options.rounds < 1:
        parser.error("--rounds is at least 1")
    if options.output is None and set(options.scenarios) == set(ORDER):
        options.output = BASELINES
    return options


def main() -> int:
    """Entry point."""
    options = arguments()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard) if hard > 0 else FILES, hard))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the stack unwinds
    try:
        return run(options)
    except (process.StartError, FileNotFoundError) as error:
        say(str(error))
        return 2


if __name__ == "__main__":
    sys.exit(main())
