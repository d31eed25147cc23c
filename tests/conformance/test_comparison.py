"""The comparison itself, without a judge: what is lost, what is excused, what is too little."""

from contextlib import nullcontext

import pytest
from served import DOORS

from conformance import exceptions
from conformance.__main__ import SUITES, Run
from conformance.echo import instance
from conformance.suite import Address, Backend, Suite, Verdicts

NOWHERE = Address("http://127.0.0.1:1", "m")
PASSED = Verdicts(frozenset({"a", "b"}), {})
LOST = Verdicts(frozenset({"a"}), {"b": "no answer"})


def suite(least: int = 1) -> Suite:
    return Suite("judge 1.0", least, lambda: nullcontext(Backend(NOWHERE)), lambda *_: PASSED)


def run(*excuses: exceptions.Excuse) -> Run:
    one = Run()
    one.excuses = list(excuses)
    return one


def test_what_passes_on_both_sides_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    one = run()
    one.compare("judge 1.0 edge", suite(), PASSED, PASSED, NOWHERE)
    assert one.well
    assert capsys.readouterr().out == "judge 1.0 edge: 2 direct, 2 through, 0 lost, 0 excepted\n"


def test_a_loss_is_shown_with_what_it_said(capsys: pytest.CaptureFixture[str]) -> None:
    one = run()
    one.compare("judge 1.0 app", suite(), PASSED, LOST, NOWHERE)
    assert not one.well
    assert "1 lost, 0 excepted\n  lost: b: no answer\n" in capsys.readouterr().out


def test_an_exception_covers_a_loss() -> None:
    one = run(exceptions.Excuse("judge", "b*", exceptions.ALWAYS, "on purpose"))
    one.compare("judge 1.0 edge", suite(), PASSED, LOST, NOWHERE)
    one.needless()
    assert one.well


def test_an_exception_that_covers_nothing_is_a_fault() -> None:
    one = run(exceptions.Excuse("judge", "b", exceptions.ALWAYS, "on purpose"))
    one.compare("judge 1.0 edge", suite(), PASSED, PASSED, NOWHERE)
    assert one.well
    one.needless()
    assert not one.well


def test_too_few_is_a_fault() -> None:
    one = run()
    one.compare("judge 1.0 edge", suite(least=3), PASSED, PASSED, NOWHERE)
    assert not one.well


def test_every_exception_has_a_suite_and_a_reason() -> None:
    known = {one.name.split()[0] for one in SUITES}
    assert len(known) == len(SUITES)
    for excuse in exceptions.read():
        assert excuse.suite in known, excuse
        assert excuse.reason, excuse


def test_both_doors_are_judged() -> None:
    assert DOORS == ("edge", "app")


def test_the_model_obeys_a_schema() -> None:
    person = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    }
    assert instance(person, "Ann, 37") == {"name": "Ann, 37", "age": 37}
