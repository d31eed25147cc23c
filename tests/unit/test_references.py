"""References in texts: what they become, and what is said when they lead nowhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from levada.references import UnresolvedError, expand

VARIABLES = {"A": "one", "EMPTY": "", "_b2": "two"}


def read(name: str) -> str:
    return f"<{name}>"


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("plain $A", "plain $A"),
        ("${A}", "one"),
        ("x${A}y${_b2}z", "xoneytwoz"),
        ("${EMPTY}", ""),
        ("${EMPTY:-else}", "else"),
        ("${NONE:-else}", "else"),
        ("${NONE:-}", ""),
        ("${A:-else}", "one"),
        ("${file:/run/key}", "</run/key>"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
    ],
)
def test_expanded(text: str, becomes: str) -> None:
    assert expand(text, VARIABLES, read) == becomes


@pytest.mark.parametrize("text", ["${}", "${1}", "${A", "${file:/x", "${A-b}", "${ A }"])
def test_malformed(text: str) -> None:
    with pytest.raises(UnresolvedError, match="names no variable"):
        expand(text, VARIABLES, read)


def test_unset() -> None:
    with pytest.raises(UnresolvedError, match="'NONE' is not set"):
        expand("${NONE}", VARIABLES, read)


@given(st.text())
def test_what_a_variable_holds_is_not_read_again(value: str) -> None:
    assert expand("${V}", {"V": value}, read) == value


@given(st.text())
def test_an_escaped_text_comes_out_as_it_was(text: str) -> None:
    assert expand(text.replace("$", "").replace("{", "$${"), {}, read) == text.replace(
        "$", ""
    ).replace("{", "${")
