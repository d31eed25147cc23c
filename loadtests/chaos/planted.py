"""`make chaos-planted`: the small run with each planted bug; the oracle must find every one.

    python -m loadtests.chaos.planted --native FILE [NAME ...]

A harness that finds nothing may be blind. Bugs of the engine are lines of its own that ask
`planted::is`, in a build with the feature `planted`; those of Python are put in from here, by
`loadtests.chaos.launch`, so that the product has no switches.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ENGINE = {
    "settle_dropped": "an eighth of the calls is never settled",
    "settle_twice": "an eighth is settled twice, under two numbers",
    "settled_on_drop": "a stream is settled after its last bytes, when its call is dropped",
    "opened_late": "a stream is not written down before it is dispatched",
    "slot_freed_early": "the slot of a call is free while it runs",
    "note_skipped": "the tokens of a stream are not noted in its slot",
    "note_behind": "they are noted now and then",
    "replay_skipped": "nobody takes over from a dead worker",
    "dead_hot_lost": "what a dead worker had not carried into its log is forgotten",
    "left_forgotten": "the open calls of a dead worker are freed without a record",
    "interrupted_free": "interrupted calls cost nothing",
    "cancel_unbilled": "a caller who leaves pays nothing",
    "broken_without_prompt": "a broken answer costs no prompt",
    "in_flight_leak": "a call that is left is not counted down",
    "metrics_twice": "streams are counted twice in the metrics",
    "key_lost": "streams are nobody's",
    "reasoning_dropped": "reasoning tokens are not recorded",
    "choices_largest": "of choices asked for one by one the largest is billed",
    "prompt_per_choice": "the prompt is billed for each of them",
    "choices_last": "of running choices the last that spoke is billed",
    "cached_twice": "cached tokens are counted into the prompt twice",
    "final_ignored": "an engine's last count is not believed",
    "events_first": "events are counted although the engine tells counts",
    "usage_unasked": "usage goes to callers who have not asked",
    "done_faked": "a stream that breaks off is told complete",
    "event_lost": "the sixth event of a stream is dropped",
}
PYTHON = {
    "acknowledged_first": "records are acknowledged before they are written, and some are not",
    "told_twice": "a record that is told again is another row",
    "row_dropped": "the last row of a batch is not written",
    "columns_swapped": "input and output change places",
    "float_tokens": "one token in a thousand is lost in a sum",
    "cached_at_full_price": "tokens from the cache cost as much as others",
    "unpriced_for_nothing": "what has no price costs nothing",
}
CALLS, KILLS, SEED = 900, 6, "7"
RUN_SECONDS = 300


def plant(name: str) -> None:
    """Puts a bug of Python's in."""
    from levada.control import ledger, rating
    from levada.control.collector import Collector
    from levada.control.ledger import Ledger

    amount, rate = rating.amount, rating.rate
    whole: Any = Ledger.take
    row: Any = Ledger._row

    async def hasty(self: Any) -> int:
        lines, _ = self._gateway.records(20)
        self._gateway.acknowledge(lines.count(b"\n"))
        await asyncio.sleep(0.2)
        return int(await self._ledger.take(lines))

    async def shorter(self: Any, lines: bytes) -> int:
        taken = lines.splitlines(keepends=True)
        await whole(self, b"".join(taken[:-1]))
        return len(taken)

    async def slow(self: Any, lines: bytes) -> int:
        count = int(await whole(self, lines))
        await asyncio.sleep(0.2)
        return count

    def another(self: Any, *given: Any) -> Any:
        plant.count += 1  # type: ignore[attr-defined]
        id, *rest = row(self, *given)
        return f"{id}-{plant.count}", *rest  # type: ignore[attr-defined]

    def swapped(self: Any, record: Any, *more: Any) -> Any:
        put, out = record["prompt_tokens"], record["completion_tokens"]
        return row(self, {**record, "prompt_tokens": out, "completion_tokens": put}, *more)

    def rounded(self: Any, record: Any, *more: Any) -> Any:
        less = int(record["prompt_tokens"] * 0.9995)
        return row(self, {**record, "prompt_tokens": less}, *more)

    def dear(price: Any, units: Any) -> Any:
        return amount(replace(price, cached=price.input), units)

    def generous(*given: Any) -> Any:
        state, *more = rate(*given)
        return ("rated", 0, more[1]) if state == "unpriced" else (state, *more)

    plant.count = 0  # type: ignore[attr-defined]
    bugs: dict[str, list[tuple[Any, str, Callable[..., Awaitable[Any] | Any]]]] = {
        "acknowledged_first": [(Collector, "_take", hasty)],
        "told_twice": [(Ledger, "_row", another), (Ledger, "take", slow)],
        "row_dropped": [(Ledger, "take", shorter)],
        "columns_swapped": [(Ledger, "_row", swapped)],
        "float_tokens": [(Ledger, "_row", rounded)],
        "cached_at_full_price": [(rating, "amount", dear)],
        "unpriced_for_nothing": [(ledger, "rate", generous)],
    }
    for owner, member, bug in bugs[name]:
        setattr(owner, member, bug)


def found(name: str, native: Path) -> list[str]:
    """What the small run finds with this bug; nothing where it is blind for it."""
    with tempfile.TemporaryDirectory(prefix="levada-planted-") as folder:
        told = Path(folder) / "report.json"
        line = [sys.executable, "-m", "loadtests.chaos", "--seed", SEED, "--calls", str(CALLS)]
        line += ["--kills", str(KILLS), "--folder", folder, "--report", str(told)]
        line += ["--native", str(native), "--planted", name]
        done = subprocess.run(
            line, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
        )
        if told.exists():
            return [f"{kind} {n}" for kind, n in json.loads(told.read_text())["findings"].items()]
        return [done.stderr.strip().splitlines()[0]] if done.returncode == 2 else []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--native", type=Path, required=True, help="the engine with the feature")
    parser.add_argument("names", nargs="*", default=[*ENGINE, *PYTHON])
    given = parser.parse_args()
    blind = []
    for name in ["", *given.names]:
        what = found(name, given.native.resolve())
        print(f"{name or 'no bug'}: {', '.join(what) or 'nothing'}", flush=True)
        if bool(what) != bool(name):
            blind.append(name or "no bug")
    print(f"{len(given.names)} planted bugs; wrong about: {', '.join(blind) or 'none'}")
    return 1 if blind else 0


if __name__ == "__main__":
    sys.exit(main())
