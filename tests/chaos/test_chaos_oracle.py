"""The oracle finds each kind of difference between what happened and what the ledger says."""

from dataclasses import replace
from typing import Any

import pytest

from loadtests.chaos import money, oracle
from loadtests.chaos.evidence import Attempt, Call, Evidence, Step
from loadtests.chaos.script import Script

SCRIPT = Script("c0x1", prompt=9, tokens=3, cached=4)
MADE = {
    "kind": "chat",
    "model": "v",
    "stream": True,
    "include": True,
    "key": 0,
    "bad": "",
    "leaves": "",
    "slow": False,
    "own_id": True,
    "script": SCRIPT.text(),
}
SEEN: dict[str, Any] = {
    "state": "complete",
    "status": 200,
    "id": "c0x1",
    "code": "",
    "usage": {"prompt_tokens": 9, "completion_tokens": 3},
    "tokens": {"0": 3},
    "wrong": [],
}
ROW = {
    "id": "j-1",
    "request_id": "c0x1",
    "key": "k0",
    "model": "v",
    "endpoint": "chat.completions",
    "stream": 1,
    "status": 200,
    "ended": "done",
    "source": "engine_final",
    "input_tokens": 9,
    "output_tokens": 3,
    "cached_tokens": 4,
    "reasoning_tokens": 0,
}


def call(**seen: Any) -> Call:
    return Call("c0x1", 10.0, 11.0, dict(MADE), {**SEEN, **seen})


def attempt(end: str = "done", final: bool = True, told: bool = True) -> Attempt:
    """Three tokens, an event each, told as they come."""
    steps = [Step(10.1, at, (9, at, 4, 0) if told else None, False) for at in range(4)]
    steps += [Step(10.2, 3, (9, 3, 4, 0), True)] if final else []
    return Attempt("c0x1", "c0x1", "v1", 10.0, steps, 0, end, 10.3)


def evidence(one: Call, tried: list[Attempt], *rows: dict[str, Any], **more: Any) -> Evidence:
    found = {"c0x1": tried} if tried else {}
    said = [{**ROW, **row} for row in rows]
    rated = [dict(zip(("rating", "amount"), money.owed(row), strict=True)) | row for row in said]
    whole = Evidence([one], found, rated, [], keys=["k0", "k1"])
    return replace(whole, **more)


def test_money_is_rounded_once_and_what_has_no_price_is_told() -> None:
    # 5 of 9 at 0.25, 4 from the cache at 0.05, 3 at 1.10, in millionths.
    assert money.owed(ROW) == ("rated", 5)
    assert money.owed({**ROW, "input_tokens": 7}) == ("rated", 4)
    assert money.owed({**ROW, "model": "embed"}) == ("unpriced", None)
    assert money.owed({**ROW, "input_tokens": 0, "output_tokens": 0}) == ("nothing", None)


def kinds(given: Evidence) -> list[str]:
    return [finding.kind for finding in oracle.judge(given).findings]


def test_what_is_right_is_not_found() -> None:
    verdict = oracle.judge(evidence(call(), [attempt()], {}))
    assert verdict.findings == []
    assert verdict.states == {"complete": 1}
    assert verdict.figures["difference_of_exact_bills"] == 0


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([], "lost"),
        ([{}, {"id": "j-2"}], "doubled"),
        ([{"output_tokens": 4}], "tokens"),
        ([{"output_tokens": 2}], "tokens"),
        ([{"input_tokens": 0}], "tokens"),
        ([{"input_tokens": 13}], "tokens"),
        ([{"cached_tokens": 8}], "tokens"),
        ([{"reasoning_tokens": 1}], "tokens"),
        ([{"source": "estimated"}], "tokens"),
        ([{"amount": 4}], "money"),
        ([{"rating": "unpriced", "amount": None}], "money"),
        ([{"key": "k1"}], "names"),
        ([{"model": "l"}], "names"),
        ([{"endpoint": "completions"}], "names"),
        ([{"stream": 0}], "names"),
        ([{"ended": "cancelled"}], "ended"),
        ([{"status": 0}], "status"),
        ([{}, {"request_id": "req_x"}], "phantom"),
    ],
)
def test_a_whole_answer_has_one_row_that_says_what_it_cost(
    rows: list[dict[str, Any]], kind: str
) -> None:
    assert kind in kinds(evidence(call(), [attempt()], *rows))


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        ({"usage": {"prompt_tokens": 9, "completion_tokens": 2}}, "shown"),
        ({"usage": None}, "untold"),
        ({"tokens": {"0": 2}}, "torn"),
        ({"wrong": ["choice 0 got c7x7.1 for c0x1.1"]}, "crosstalk"),
        ({"state": "hung"}, "hung"),
        ({"state": "lost"}, "cut"),
    ],
)
def test_what_the_caller_saw_must_fit(seen: dict[str, Any], kind: str) -> None:
    assert kind in kinds(evidence(call(**seen), [attempt()], {}))


def test_usage_is_told_to_those_who_ask() -> None:
    one = call()
    one.made["include"] = False
    assert kinds(evidence(one, [attempt()], {})) == ["unasked"]


def test_a_broken_answer_must_not_be_told_complete() -> None:
    assert "faked" in kinds(evidence(call(), [attempt("B18")], {}))


def test_an_answer_comes_from_a_backend() -> None:
    assert kinds(evidence(call(), [], {})) == ["invented"]


def broken(row: dict[str, Any], **how: Any) -> list[str]:
    one = call(state="broken", usage=None)
    tried = attempt("B09", final=False, **how)
    return kinds(evidence(one, [tried], {"ended": "broken", "source": "engine_running", **row}))


def test_a_broken_answer_costs_what_was_told_last() -> None:
    assert broken({}) == []
    assert broken({"output_tokens": 2}) == ["tokens"]
    assert broken({"source": "estimated"}) == ["tokens"]
    assert broken({"input_tokens": 0, "cached_tokens": 0, "output_tokens": 0}) == ["tokens"]
    # Of a backend that told nothing each event counts.
    untold = {"source": "estimated", "input_tokens": 0, "cached_tokens": 0}
    assert broken(untold, told=False) == []
    assert broken({**untold, "output_tokens": 6}, told=False) == ["tokens"]
    assert broken({**untold, "output_tokens": 0}, told=False) == ["tokens"]


def left(row: dict[str, Any], tokens: int) -> list[str]:
    """A caller who left behind so many tokens of three."""
    one = call(state="left", usage=None, tokens={"0": tokens})
    told = {"ended": "cancelled", "source": "engine_running", **row}
    return kinds(evidence(one, [attempt("gone", final=False)], told))


def test_who_leaves_pays_between_delivered_and_generated() -> None:
    assert left({"output_tokens": 2}, 2) == []
    assert left({"output_tokens": 3}, 2) == []
    assert left({"output_tokens": 1}, 2) == ["tokens"]
    assert left({"output_tokens": 4}, 2) == ["tokens"]
    assert left({"output_tokens": 0}, 0) == []
    assert left({"output_tokens": 0, "input_tokens": 0, "cached_tokens": 0}, 0) == []
    assert left({"output_tokens": 0, "input_tokens": 1}, 0) == ["tokens"]


def lost(row: dict[str, Any], ended: float = 11.0, died: float = 11.0) -> list[str]:
    one = call(state="lost", usage=None, tokens={"0": 1})
    one.ended = ended
    told = {"ended": "interrupted", "source": "engine_running", "status": 0, **row}
    deaths = [(died - 0.1, died + 0.1, "kill-worker")]
    return kinds(evidence(one, [attempt("gone", final=False)], told, deaths=deaths))


def test_a_killed_worker_takes_no_token_with_it() -> None:
    assert lost({}) == []
    assert lost({"output_tokens": 1}) == []
    assert lost({"output_tokens": 0, "input_tokens": 0}) == ["tokens"]
    assert lost({"output_tokens": 4}) == ["tokens"]
    # What was told long before the death has arrived.
    assert lost({"output_tokens": 1}, ended=15.0, died=15.0) == ["tokens"]
    assert lost({}, died=5.0) == ["cut"]


def test_refusals_cost_nothing() -> None:
    one = call(state="refused", status=502, usage=None, tokens={})
    row = {"ended": "refused", "status": 502, "source": "none", "cached_tokens": 0}
    nought = {**row, "input_tokens": 0, "output_tokens": 0}
    tried = attempt("B11", final=False)
    assert kinds(evidence(one, [tried], nought)) == []
    assert kinds(evidence(one, [tried], {**row, "output_tokens": 0})) == ["tokens"]
    assert kinds(evidence(one, [tried])) == ["lost"]
    one.seen["status"] = 500
    assert kinds(evidence(one, [], {**nought, "status": 500})) == ["status"]
    assert "tokens" in kinds(evidence(one, [], {**row, "status": 500}))


def test_bad_input_reaches_nobody() -> None:
    one = call(state="refused", status=400, usage=None, tokens={})
    one.made["bad"] = "json"
    assert kinds(evidence(one, [])) == []
    assert kinds(evidence(one, [attempt()])) == ["admitted"]
    assert kinds(evidence(one, [], {})) == ["admitted"]
    one.seen["status"] = 500
    assert kinds(evidence(one, [])) == ["status"]
    assert kinds(evidence(one, [], strays=1)) == ["status", "stray"]


def test_choices_asked_for_one_by_one_add_up() -> None:
    one = call(tokens={"0": 3, "1": 3}, usage={"prompt_tokens": 9, "completion_tokens": 6})
    pair = [attempt(), attempt()]
    pair[0].id, pair[1].id = "c0x1-0", "c0x1-1"
    assert kinds(evidence(one, pair, {"output_tokens": 6})) == []
    assert kinds(evidence(one, pair, {"output_tokens": 6, "input_tokens": 18})) != []
    assert "tokens" in kinds(evidence(one, pair, {"output_tokens": 3}))


def test_the_last_of_several_attempts_is_paid() -> None:
    first = Attempt("c0x1", "c0x1", "v2", 9.0, [], 0, "B03", 9.1)
    assert kinds(evidence(call(), [first, attempt()], {})) == []


def test_a_call_without_an_id_may_leave_a_row_that_cost_nothing() -> None:
    one = call(state="left", id="", usage=None, tokens={})
    one.made["own_id"] = False
    row = {"request_id": "req_1", "output_tokens": 0, "input_tokens": 0, "ended": "cancelled"}
    assert kinds(evidence(one, [], row)) == []
    assert kinds(evidence(one, [], row, {**row, "id": "j-2"})) == ["phantom"]
    assert kinds(evidence(one, [], {**row, "output_tokens": 1})) == ["phantom"]


def test_all_is_quiet_at_the_end() -> None:
    gauges = {"levada_calls_in_flight": 0.0, 'levada_backend_in_flight{backend="v1"}': 1.0}
    assert kinds(evidence(call(), [attempt()], {}, gauges=gauges)) == ["gauge"]


def test_counters_say_what_the_ledger_says() -> None:
    one, tried = call(id="ccalmx1"), attempt()
    one.nonce = tried.nonce = "ccalmx1"
    given = evidence(one, [], {"request_id": "ccalmx1"})
    given.attempts = {"ccalmx1": [tried]}
    given.calm = {"done": 1, "prompt": 9, "completion": 3}
    assert kinds(given) == []
    given.calm = {"done": 2, "prompt": 9, "completion": 3}
    assert kinds(given) == ["counters"]
    given.calm, one.seen["state"] = {"done": 1, "prompt": 9, "completion": 3}, "broken"
    assert "calm" in kinds(given)


def test_a_backend_is_asked_for_what_somebody_asked() -> None:
    given = evidence(call(), [attempt()], {})
    stranger = attempt()
    stranger.nonce = stranger.id = "c9x9"
    given.attempts["c9x9"] = [stranger]
    assert kinds(given) == ["stranger"]
