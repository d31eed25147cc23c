"""From runs to figures, and from figures to gates. Pure.

A figure of CPU is the minimum of the rounds: noise only ever adds. Ratios are to the baseline of
the same run; "added" is the median, over the rounds, of the difference to the mock alone,
and has a meaning at a fixed rate only.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from loadtests.bench.scenario import Gate, Scenario

Run = dict[str, Any]
Runs = dict[str, list[Run]]
Figures = dict[str, float]

DIRECT = "direct"


@dataclass(frozen=True)
class Judged:
    """A gate and what was seen."""

    letter: str
    gate: Gate
    seen: float | None

    @property
    def passed(self) -> bool:
        """A figure that is missing has not passed."""
        return self.seen is not None and self.seen <= self.gate.at_most


def figures(scenario: Scenario, runs: Runs, baseline: str) -> dict[str, Figures]:
    """All figures of a scenario by target."""
    if scenario.unit == "none":
        return {name: {"pss_mib": _low(r["pss_mib"] for r in mine)} for name, mine in runs.items()}
    result = {name: _own(scenario, mine) for name, mine in runs.items()}
    for name, own in result.items():
        _compare(own, result.get(baseline, {}))
        if name != DIRECT and DIRECT in runs and "rate" in scenario.load:
            own |= _added(runs[name], runs[DIRECT])
    return result


def _own(scenario: Scenario, runs: list[Run]) -> Figures:
    own: Figures = {
        "requests_per_s": _middle(r["requests_per_s"] for r in runs),
        "p50_ms": _middle(r["latency_us"]["p50"] / 1e3 for r in runs),
        "p99_ms": _middle(r["latency_us"]["p99"] / 1e3 for r in runs),
        "rig": _middle(r["rig"] for r in runs),
        "errors": sum(r["errors"] for r in runs),
        "not_done": sum(r["started"] - r["ok"] for r in runs),
    }
    if "cpu_us" in runs[0]:
        own["cpu_us"] = _low(r["cpu_us"] for r in runs)
        own["cpu_us_median"] = _middle(r["cpu_us"] for r in runs)
        own["cpu_us_high"] = max(r["cpu_us"] for r in runs)
        own["switches"] = _middle(r["switches"] for r in runs)
        own["peak_mib"] = max(r["peak_kib"] for r in runs) / 1024
    if scenario.stream:
        own["chunks_per_s"] = _middle(r["chunks_per_s"] for r in runs)
        for name in ("ttft", "gap", "transit"):
            own[f"{name}_p50_ms"] = _middle(r[f"{name}_us"]["p50"] / 1e3 for r in runs)
            own[f"{name}_p99_ms"] = _middle(r[f"{name}_us"]["p99"] / 1e3 for r in runs)
        own["transit_p99_ms_low"] = _low(r["transit_us"]["p99"] / 1e3 for r in runs)
    if scenario.fresh and "cpu_us" in runs[0]:
        streams = int(scenario.load["connections"])
        own["kib_per_stream"] = _low((r["peak_kib"] - r["before_kib"]) / streams for r in runs)
    return own


def _compare(own: Figures, base: Figures) -> None:
    for name, figure in (("ratio", "cpu_us"), ("transit_ratio", "transit_p99_ms_low")):
        if base.get(figure) and figure in own:
            own[name] = own[figure] / base[figure]


def _added(runs: list[Run], direct: list[Run]) -> Figures:
    pairs = list(zip(runs, direct, strict=False))
    added: Figures = {}
    for figure, key in (("latency", "latency_us"), ("ttft", "ttft_us")):
        for q in ("p50", "p99"):
            differences = [(a[key][q] - b[key][q]) / 1e3 for a, b in pairs if b[key]["count"]]
            if differences:
                added[f"added_{figure}_{q}_ms"] = statistics.median(differences)
    return added


def judge(scenario: Scenario, seen: dict[str, Figures]) -> list[Judged]:
    """The gates of a scenario for those that took part; the strictest Levada has the same."""
    gates = [
        replace(gate, target=name)
        for gate in scenario.gates
        for name in (gate.target, f"{gate.target}-strict")
        if name in seen and (not gate.beside or gate.beside in seen)
    ]
    return [Judged(scenario.letter, gate, _figure(gate, seen)) for gate in gates]


def _figure(gate: Gate, seen: dict[str, Figures]) -> float | None:
    own = seen[gate.target]
    if not gate.beside:
        return own.get(gate.figure)
    return own["cpu_us"] / seen[gate.beside]["cpu_us"]


def _middle(values: Iterable[float]) -> float:
    return statistics.median(values)


def _low(values: Iterable[float]) -> float:
    return min(values)
