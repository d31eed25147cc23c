"""`make chaos SEED=1`: calls with faults on all sides, then the oracle's verdict.

    python -m loadtests.chaos --seed 1 --calls 4000 --kills 20 [--folder DIR] [--report FILE]

The seed says what is called and what goes wrong; it is printed first. Everything runs on loopback,
is bounded in count and time, and ends with the run. The logs stay where something was found.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadtests.chaos import evidence, oracle
from loadtests.chaos.house import LAUNCH, PARTS, House, RunError, gauges, until
from loadtests.chaos.nemesis import Nemesis, schedule

CALM_CALLS = 150
QUIET_SECONDS = 15.0
STALLED_SECONDS = 90.0
SHOWN = 12


def run(given: argparse.Namespace, folder: Path) -> tuple[oracle.Verdict, dict[str, Any]]:
    """One run, from nothing to the verdict."""
    before = ["--native", given.native] if given.native else []
    before += ["--planted", given.planted] if given.planted else []
    house = House(folder, given.kills, (*LAUNCH, *before))
    began = time.monotonic()
    try:
        house.start()
        nemesis = storm(given, house)
        quiet = until(lambda: still(house), QUIET_SECONDS, "quiet")
        calm = after(given, house)
        if status := house.stop_levada():
            raise RunError(f"levada ended with {status}: {house.said('levada')}")
        verified = house.command("ledger", "verify")
        checked = house.command("ledger", "check")
        (folder / "rows.json").write_text(json.dumps(house.stores.rows()))
    finally:
        house.end()
    (folder / "quiet.json").write_text(json.dumps({"calm": calm, "gauges": quiet}))
    verdict = oracle.judge(evidence.gather(folder))
    return verdict, {
        "seconds": round(time.monotonic() - began, 1),
        "turns": nemesis.done,
        "stores": house.stores.names(),
        "verified": verified.strip().splitlines()[-1:],
        "checked": checked.strip().splitlines(),
    }


class Ended:
    """How many calls have ended, by the callers' logs."""

    def __init__(self, house: House) -> None:
        self.logs = [house.folder / f"client-{at}.log" for at in range(PARTS)]
        self.read = dict.fromkeys(self.logs, 0)
        self.lines = 0

    def count(self) -> int:
        for log in filter(Path.exists, self.logs):
            with log.open("rb") as file:
                file.seek(self.read[log])
                new = file.read()
            self.read[log] += len(new)
            self.lines += new.count(b"\n")
        return self.lines


def storm(given: argparse.Namespace, house: House) -> Nemesis:
    """The calls, and what goes wrong meanwhile."""
    share = given.calls // PARTS
    nemesis = Nemesis(
        house,
        schedule(given.seed, given.kills, house.stores.turns()),
        share * PARTS,
        Ended(house).count,
    )
    gate = ("--gate", str(nemesis.gate))
    parts = [house.callers(f"{at}", given.seed, share, *gate) for at in range(PARTS)]
    moved, last, told = time.monotonic(), 0, 0.0
    while any(part.poll() is None for part in parts):
        nemesis.step()
        time.sleep(0.02)
        if (now := nemesis.ended()) != last:
            moved, last = time.monotonic(), now
        if time.monotonic() - moved > STALLED_SECONDS:
            raise RunError(f"no call has ended for {STALLED_SECONDS:.0f} s")
        if time.monotonic() - told > 10:
            told = time.monotonic()
            print(f"  {now} calls, {nemesis.done}", flush=True)
        if any(part.returncode for part in parts):
            break
    if any(part.returncode for part in parts):
        said = [house.said(f"callers-{at}") for at in range(PARTS)]
        raise RunError("callers broke: " + "".join(said))
    return nemesis


def still(house: House) -> dict[str, float] | None:
    """The gauges once they are nought; after a while as they are."""
    end = time.monotonic() + QUIET_SECONDS - 3
    while any((now := gauges(house.metrics())).values()) and time.monotonic() < end:
        time.sleep(0.1)
    return now


def after(given: argparse.Namespace, house: House) -> dict[str, int]:
    """Calls after the storm, and what the counters say of them."""
    before = counters(house)
    calm = house.callers("calm", given.seed, CALM_CALLS, "--calm", "--callers", "10")
    if calm.wait(120):
        raise RunError(house.said("callers-calm"))
    time.sleep(1.0)
    return {name: value - before[name] for name, value in counters(house).items()}


def counters(house: House) -> dict[str, int]:
    found: Counter[str] = Counter(done=0, prompt=0, completion=0)
    for name, value in house.metrics().items():
        if name.startswith("levada_calls_total{") and 'end="done"' in name:
            found["done"] += int(value)
        for kind in ("prompt", "completion"):
            if name.startswith("levada_tokens_total{") and f'kind="{kind}"' in name:
                found[kind] += int(value)
    return dict(found)


def report(given: argparse.Namespace, verdict: oracle.Verdict, more: dict[str, Any]) -> Any:
    """What is kept of a run."""
    kinds = Counter(one.kind for one in verdict.findings)
    return {
        "seed": given.seed,
        "calls": given.calls,
        "kills": given.kills,
        **more,
        "states": dict(verdict.states),
        "sources": dict(verdict.sources),
        **verdict.figures,
        "findings": dict(kinds),
        "first_findings": [asdict(one) for one in verdict.findings[:SHOWN]],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", default=str(time.time_ns() % 1_000_000))
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="where the logs go, and stay")
    parser.add_argument("--report", type=Path, help="where the report is written")
    parser.add_argument("--native", help="another build of the engine")
    parser.add_argument("--planted", help="a bug to find: see loadtests.chaos.planted")
    given = parser.parse_args()
    print(f"seed: {given.seed}", flush=True)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="levada-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        verdict, more = run(given, folder)
    except RunError as error:
        print(f"chaos: {error}\nlogs: {folder}", file=sys.stderr)
        return 2
    told = report(given, verdict, more)
    print(json.dumps(told, indent=1))
    if given.report:
        given.report.write_text(json.dumps(told, indent=1) + "\n")
    if verdict.findings:
        print(f"{len(verdict.findings)} findings; seed {given.seed}; logs: {folder}")
        return 1
    print(f"every call is in the ledger once, at its price; seed {given.seed}")
    if given.folder is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
