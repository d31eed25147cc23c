"""YAML into values and lines: kinds of scalars, positions, and every fault of a text."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from levada.document import ConfigProblems, Problem, parse, spell


def test_values_and_lines() -> None:
    found = parse("a: 1\nb:\n  - x\n  - {c: no, d: [2.5, ~]}\n")
    assert found.values == {"a": 1, "b": ["x", {"c": "no", "d": [2.5, None]}]}
    assert found.lines[("a",)] == 1
    assert found.lines[("b",)] == 2
    assert found.lines[("b", 0)] == 3
    assert found.lines[("b", 1, "d")] == 4
    assert found.problems == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-7", -7),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", 1000),
        ("1e3", 1000.0),
        (".inf", float("inf")),
        ("true", True),
        ("False", False),
        ("~", None),
        ("yes", "yes"),
        ("'8'", "8"),
        ("2001-01-01", "2001-01-01"),
        ("|\n  two\n  lines", "two\nlines"),
        ("&x [1]", [1]),
    ],
)
def test_scalars(text: str, value: object) -> None:
    assert parse(f"a: {text}").values == {"a": value}


def test_a_number_beyond_python_stays_text() -> None:
    digits = "9" * 5000
    assert parse(f"a: {digits}").values == {"a": digits}


def test_aliases_are_followed() -> None:
    assert parse("a: &x {k: 1}\nb: *x").values == {"a": {"k": 1}, "b": {"k": 1}}


@pytest.mark.parametrize("text", ["", "\n# nothing\n", "---\n", "~"])
def test_an_empty_text_is_an_empty_mapping(text: str) -> None:
    assert parse(text).values == {}
    assert parse(text).problems == []


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: [1", 2, "expected ',' or ']'"),
        ("a:\n\tb: 1", 2, "cannot start any token"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        ("a: *x", 1, "undefined alias"),
        ("a: \x01", 1, "a character that YAML does not allow"),
        ("[" * 1000, 1, "nested too deeply"),
        ("- a\n- b", 1, "not a mapping of settings"),
        ("text", 1, "not a mapping of settings"),
        ("a: 1\n? [x]\n: 2", 2, "a key is a word"),
        ("a: 1\nb: !x 2", 2, "has a tag"),
        ("a: &x [*x]", 1, "an alias holds itself"),
        (
            "a: &a [" + "1," * 200 + "]\nb: &b [" + "*a," * 200 + "]\nc: [" + "*b," * 9 + "]",
            1,
            "too",
        ),
    ],
)
def test_faults(text: str, line: int, message: str) -> None:
    problems = parse(text).problems
    assert [(at, message in said) for _, at, said in problems] == [(line, True)]


def test_a_key_set_twice_keeps_its_first_value_and_shows_neither() -> None:
    found = parse("key: sk-one\nurl: u\nkey: sk-two\n")
    assert found.values == {"key": "sk-one", "url": "u"}
    assert found.problems == [(("key",), 3, "'key' is set twice, first on line 1")]


@given(st.text(max_size=200))
def test_any_text_is_read_or_explained(text: str) -> None:
    found = parse(text)
    assert isinstance(found.values, dict)
    assert all(line >= 1 and message for _, line, message in found.problems)


def test_problem_text() -> None:
    where = spell(("backends", 0, "url"))
    problem = Problem("levada.yaml", 7, where, "'ftp://x' is not http:// or https://")
    assert str(problem) == "levada.yaml:7: backends[0].url: 'ftp://x' is not http:// or https://"
    assert str(Problem("--port", None, "", "is odd", "try 1")) == "--port: is odd; try 1"


def test_problems_survive_the_way_between_processes() -> None:
    problems = ConfigProblems([Problem("f", 1, "a", "b"), Problem("f", 2, "c", "d")])
    copy = pickle.loads(pickle.dumps(problems))
    assert copy.problems == problems.problems
    assert str(copy) == "f:1: a: b\nf:2: c: d"
