"""From runs to figures to gates: minimum, ratio, added time, and a gate that can fail."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest

from loadtests import report
from loadtests.bench import bench
from loadtests.bench.figures import figures, judge
from loadtests.bench.scenario import FOLDER, Gate, Scenario, read, read_all


def run(cpu: float | None = None, **more: Any) -> dict[str, Any]:
    spread = {"count": 10, "p50": 1000.0, "p99": 2000.0}
    result: dict[str, Any] = {
        "requests_per_s": 10.0,
        "chunks_per_s": 20.0,
        "started": 10,
        "ok": 10,
        "errors": 0,
        "rig": 0.5,
        "latency_us": spread,
        "ttft_us": spread,
        "gap_us": spread,
        "transit_us": spread,
    }
    if cpu is not None:
        result |= {"cpu_us": cpu, "switches": 1.0, "before_kib": 1000, "peak_kib": 5000}
    return result | more


def scenario(**more: Any) -> Scenario:
    return Scenario(letter="X", title="title", watches="what", **more)


def test_a_ratio_is_of_the_minima_to_the_baseline() -> None:
    runs = {"nginx": [run(12.0), run(10.0)], "levada": [run(14.0), run(99.0)]}
    seen = figures(scenario(), runs, "nginx")
    assert seen["levada"]["ratio"] == pytest.approx(1.4)
    assert seen["nginx"]["ratio"] == 1.0
    assert "ratio" not in figures(scenario(), {"levada": [run(14.0)]}, "nginx")["levada"]


def test_added_time_is_the_median_of_the_differences_to_the_mock_alone() -> None:
    def timed(p50: float) -> dict[str, Any]:
        return run(1.0, ttft_us={"count": 1, "p50": p50, "p99": p50})

    runs = {"direct": [timed(100), timed(900), timed(100)], "levada": [timed(400)] * 3}
    seen = figures(scenario(stream=True, load={"rate": 10}), runs, "nginx")
    assert seen["levada"]["added_ttft_p50_ms"] == pytest.approx(0.3)
    assert "added_ttft_p50_ms" not in seen["direct"]
    assert "added_ttft_p50_ms" not in figures(scenario(stream=True), runs, "nginx")["levada"]


def test_memory_is_counted_for_each_stream() -> None:
    many = scenario(stream=True, fresh=True, load={"connections": 100})
    seen = figures(many, {"levada": [run(1.0)], "direct": [run()]}, "nginx")
    assert seen["levada"]["kib_per_stream"] == 40.0
    assert "kib_per_stream" not in seen["direct"]


def test_a_gate_fails_above_its_figure_and_where_there_is_none() -> None:
    gates = tuple(Gate("levada", figure, 1.4) for figure in ("ratio", "missing"))
    gates += (Gate("absent", "ratio", 1.0),)
    judged = judge(scenario(gates=gates), {"levada": {"ratio": 1.4}})
    assert [j.passed for j in judged] == [True, False]
    assert not judge(scenario(gates=gates), {"levada": {"ratio": 1.401}})[0].passed
    assert "FAIL" in report.verdicts(judged) and "pass" in report.verdicts(judged)


def test_a_gate_beside_another_target_and_the_same_for_the_strictest() -> None:
    gates = (Gate("levada", "checked", 1.15, "levada-unchecked"), Gate("levada", "ratio", 1.4))
    seen = {
        "levada": {"cpu_us": 11.0, "ratio": 1.3},
        "levada-strict": {"cpu_us": 1.0, "ratio": 2.0},
    }
    assert [j.passed for j in judge(scenario(gates=gates), seen)] == [True, False]
    seen |= {"levada-unchecked": {"cpu_us": 10.0}}
    found = judge(scenario(gates=gates), seen)
    assert [(j.gate.target, j.gate.figure, j.seen) for j in found] == [
        ("levada", "checked", 1.1),
        ("levada-strict", "checked", 0.1),
        ("levada", "ratio", 1.3),
        ("levada-strict", "ratio", 2.0),
    ]


def test_every_scenario_file_can_be_read_and_run() -> None:
    scenarios = read_all()
    assert sorted(scenarios) == sorted(bench.ORDER)
    assert len(scenarios) == len(list(FOLDER.glob("*.toml")))
    for one in scenarios.values():
        body = json.loads(one.body("mock"))
        assert body["model"] == "mock"
        assert body.get("stream", False) is one.stream
        assert one.unit == "none" or f"@@mock {one.marker}@@" in json.dumps(body)
    assert 100_000 < len(scenarios["B"].body("mock")) < 110_000


def test_a_scenario_becomes_the_arguments_of_the_load() -> None:
    words = read(FOLDER / "p_paced.toml").arguments()
    assert words[:3] == ["--path", "/v1/chat/completions", "--stream"]
    assert words[words.index("--connections") + 1] == "64"
    warm = read(FOLDER / "a_small.toml").arguments(0.4)
    assert warm[warm.index("--seconds") + 1] == "0.4"


def test_the_chart_shows_each_target_once_for_each_scenario() -> None:
    runs = {"nginx": [run(10.0)], "levada": [run(14.0)], "direct": [run()], "a<b": [run(500.0)]}
    scenarios = read_all()
    seen = {letter: figures(scenarios[letter], runs, "nginx") for letter in "AP"}
    machine = {"cpu": "x & y", "cores": 2, "kernel": "6", "date": "2026-01-01"}
    result = report.document(machine, "nginx", seen, [])
    root = ElementTree.fromstring(report.chart(result, scenarios))
    texts = [element.text or "" for element in root.iter() if element.tag.endswith("text")]
    assert texts.count("levada") == texts.count("a<b") == 2
    assert "direct" not in texts
    assert any(text.startswith("1.40 ") for text in texts)
    assert any(text.startswith("50.00+ ") for text in texts)


def test_figures_are_kept_with_as_many_places_as_they_deserve() -> None:
    assert report.rounded({"a": [1.23456789, 123456.789, 0.000123456, 0.0]}) == {
        "a": [1.2346, 123457.0, 0.00012346, 0.0]
    }


def test_a_partial_run_does_not_overwrite_the_baseline() -> None:
    assert bench.arguments(["--targets", "nginx"]).output == bench.BASELINES
    assert bench.arguments(["--targets", "nginx", "--scenarios", "AP"]).output is None
    for wrong in (["--targets", "x"], ["--scenarios", "Z"], ["--rounds", "0"]):
        with pytest.raises(SystemExit):
            bench.arguments(wrong)
