"""The figures of a bench in words and in a picture: table, gates, JSON document, SVG chart.

python -m loadtests.report loadtests/baselines/bench.json      draws the chart anew
"""

from __future__ import annotations

import html
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtests.bench.figures import DIRECT, Figures, Judged
from loadtests.bench.scenario import Scenario, read_all

Seen = dict[str, dict[str, Figures]]

#: column title, figure, decimals
REQUEST = (
    ("CPU us", "cpu_us", 1),
    ("x", "ratio", 2),
    ("req/s", "requests_per_s", 0),
    ("p50 ms", "p50_ms", 2),
    ("p99 ms", "p99_ms", 2),
    ("+p50 ms", "added_latency_p50_ms", 2),
)
STREAM = (
    ("CPU us", "cpu_us", 2),
    ("x", "ratio", 2),
    ("chunk/s", "chunks_per_s", 0),
    ("ttft50", "ttft_p50_ms", 2),
    ("+ttft50", "added_ttft_p50_ms", 2),
    ("gap99", "gap_p99_ms", 2),
    ("trans99", "transit_p99_ms_low", 2),
)
COMMON = (
    ("switch", "switches", 2),
    ("MiB", "peak_mib", 0),
    ("rig", "rig", 2),
    ("errors", "errors", 0),
    ("undone", "not_done", 0),
)
MEMORY = (("KiB/stream", "kib_per_stream", 1),)
REST = (("PSS MiB", "pss_mib", 1),)

CHART = "ABCPE"
COLOURS = {
    "nginx": "#9aa5b1",
    "haproxy": "#c3cad3",
    "levada": "#0b7285",
    "levada-app": "#66bfd0",
    "vllm-router": "#e8a33d",
}
WIDTH, LEFT, BAR, GAP = 760, 110, 15, 22
MOST = 6.0


def columns(scenario: Scenario) -> tuple[tuple[str, str, int], ...]:
    """What a scenario's table shows."""
    if scenario.unit == "none":
        return REST
    shown = STREAM if scenario.stream else REQUEST
    return (*shown, *COMMON, *(MEMORY if scenario.fresh else ()))


def table(scenario: Scenario, seen: dict[str, Figures]) -> str:
    """One scenario as lines of text."""
    shown = columns(scenario)
    head = f"{'target':<13}" + "".join(f"{title:>11}" for title, _, _ in shown)
    lines = [f"\n{scenario.letter}  {scenario.title}: {scenario.watches}", head]
    for name, own in seen.items():
        cells = (number(own.get(figure), places) for _, figure, places in shown)
        lines.append(f"{name:<13}" + "".join(f"{cell:>11}" for cell in cells))
    return "\n".join(lines)


def number(value: float | None, places: int) -> str:
    """A figure, or a dash where there is none."""
    return "-" if value is None else f"{value:,.{places}f}"


def verdicts(gates: Sequence[Judged]) -> str:
    """One line for each gate."""
    lines = [
        f"{'pass' if g.passed else 'FAIL'}  {g.letter} {g.gate.target:<11} {g.gate.figure:<18} "
        f"{number(g.seen, 2):>9}  at most {g.gate.at_most:g}"
        for g in gates
    ]
    return "\n".join(["\ngates", *lines] if lines else ["\nno gates"])


def document(
    machine: dict[str, Any], baseline: str, seen: Seen, gates: Sequence[Judged]
) -> dict[str, Any]:
    """What is kept of a run."""
    return {
        "machine": machine,
        "baseline": baseline,
        "figures": seen,
        "gates": [
            {
                "scenario": g.letter,
                "target": g.gate.target,
                "figure": g.gate.figure,
                "at_most": g.gate.at_most,
                "seen": g.seen,
                "passed": g.passed,
            }
            for g in gates
        ],
    }


def write(folder: Path, result: dict[str, Any], scenarios: dict[str, Scenario]) -> None:
    """Writes `bench.json` and `bench.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(rounded(result), indent=1) + "\n")
    (folder / "bench.svg").write_text(chart(result, scenarios))


def rounded(value: Any) -> Any:
    """Four significant places are more than a measurement of this kind knows."""
    if isinstance(value, float) and value and math.isfinite(value):
        return round(value, max(0, 4 - math.floor(math.log10(abs(value)))))
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return value


def chart(result: dict[str, Any], scenarios: dict[str, Scenario]) -> str:
    """CPU of each target as a ratio to the baseline, a group of bars for each scenario."""
    parts: list[str] = []
    y = 62
    for letter in CHART:
        rows = result["figures"].get(letter, {})
        rows = {name: own for name, own in rows.items() if name != DIRECT and "ratio" in own}
        if rows:
            parts.append(words(16, y + 12, scenarios[letter].title, "group"))
            y += GAP
            for name, own in rows.items():
                parts.append(bar(y, name, own))
                y += BAR + 4
            y += 10
    machine = result["machine"]
    note = ", ".join(
        (machine["cpu"], f"{machine['cores']} cores", f"Linux {machine['kernel']}", machine["date"])
    )
    one = position(1.0)
    line = f'<line x1="{one}" y1="54" x2="{one}" y2="{y - 8}" class="one"/>\n'
    parts.append(words(16, y + 12, note, "note"))
    unit = f"CPU time per request or streamed chunk; {result['baseline']} = 1, less is better"
    title = words(16, 26, "What a gateway costs", "title") + words(16, 46, unit, "note")
    return frame(y + 26, title + line + "".join(parts))


def bar(y: int, name: str, own: Figures) -> str:
    """One bar with its name before and its figures behind it."""
    end = position(own["ratio"])
    colour = COLOURS.get(name, "#b197fc")
    cut = "+" if own["ratio"] > MOST else ""
    label = f"{own['ratio']:.2f}{cut} · {own['cpu_us']:,.1f} µs"
    return (
        f'<rect x="{LEFT}" y="{y}" width="{end - LEFT}" height="{BAR}" rx="2" fill="{colour}"/>'
        + words(LEFT - 8, y + 12, name, "name")
        + words(end + 6, y + 12, label, "figure")
    )


def position(ratio: float) -> int:
    """Where a ratio ends."""
    return round(LEFT + (WIDTH - LEFT - 130) * min(ratio, MOST) / MOST)


def words(x: int, y: int, text: str, kind: str) -> str:
    """One piece of text."""
    return f'<text x="{x}" y="{y}" class="{kind}">{html.escape(text)}</text>\n'


def frame(height: int, inside: str) -> str:
    """The picture around its parts; readable on a light and on a dark page."""
    style = (
        "text{font:12px system-ui,sans-serif;fill:#22303c}.title{font-size:17px;font-weight:600}"
        ".group{font-weight:600}.note{fill:#66788a}.name{text-anchor:end}"
        ".one{stroke:#66788a;stroke-dasharray:3 3}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="CPU time of gateways as a ratio to nginx"><style>{style}</style>\n'
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#ffffff"/>\n{inside}</svg>\n'
    )


def main(paths: Sequence[str]) -> int:
    """Draws the chart of a kept run anew, beside it."""
    for path in map(Path, paths):
        path.with_suffix(".svg").write_text(chart(json.loads(path.read_text()), read_all()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
