"""Price lists: what a file may say, which version is in force, and what it is named by."""

import os
from pathlib import Path

import pytest

from levada import prices
from levada.document import ConfigProblems
from levada.loading import Source
from levada.price_file import read
from levada.prices import Price, decimal

FILE = """
currency: EUR
versions:
  - valid_from: 2026-02-01T01:00:00+01:00
    models:
      chat: {input: '0.30', output: 1200000}
  - valid_from: 2026-01-01
    models:
      chat: {input: '0.25', cached: '0.05', output: '1.0', reasoning: '2.000001'}
      whisper: {audio_second: '0.0001', image: 40000, character: '15.0', request: '0.000001'}
"""
NEW_YEAR = 1_767_225_600_000
DAY = 86_400_000


def test_a_file_has_versions_in_the_order_of_their_times() -> None:
    found = read("p.yaml", FILE)
    first, second = found.versions
    assert (first.currency, first.valid_from) == ("EUR", NEW_YEAR)
    assert first.models["chat"] == Price(250_000, 50_000, 1_000_000, 2_000_001)
    whisper = Price(image=40_000, audio_second=100, character=15_000_000, request=1)
    assert first.models["whisper"] == whisper
    # What is cached costs what input costs, and reasoning what output costs.
    assert second.models == {"chat": Price(300_000, 300_000, 1_200_000, 1_200_000)}
    assert second.valid_from == NEW_YEAR + 31 * DAY
    assert found.at(NEW_YEAR - 1) is None
    assert found.at(NEW_YEAR) is found.at(second.valid_from - 1) is first
    assert found.at(second.valid_from) is second


def test_a_version_is_named_by_what_it_says() -> None:
    one, other = read("p.yaml", FILE).versions
    (again,) = (version for version in read("q.yaml", FILE).versions if version.id == one.id)
    assert prices.read(again.text) == one
    assert prices.read(again.text).id == one.id
    assert len({one.id, other.id}) == 2
    changed = read("p.yaml", FILE.replace("'0.25'", "'0.26'"))
    assert one.id not in {version.id for version in changed.versions}


def test_an_amount_is_read_as_a_decimal() -> None:
    assert [decimal(micro) for micro in (0, 250, 1_000_000, 12_345_678_901)] == [
        "0.000000",
        "0.000250",
        "1.000000",
        "12345.678901",
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("input: '0.25'", "input: 0.25", "input: 0.25 is not exact: write a price in quotes"),
        ("input: '0.25'", "input: true", "input: true is not exact"),
        ("input: '0.25'", "input: '25'", "input: '25' could mean two things: write '25.0'"),
        ("input: '0.25'", "input: '0.2500001'", "has more than six places"),
        ("input: '0.25'", "input: '-0.25'", "is not a price such as '0.25'"),
        ("input: '0.25'", "input: '٣.0'", "is not a price such as '0.25'"),
        ("input: '0.25'", "input: -1", "input: -1 is not between 0 and"),
        ("input: '0.25'", "input: '1000000001.0'", "is not between 0 and"),
        ("input: '0.25'", "inptu: '0.25'", "unknown key 'inptu'; did you mean 'input'?"),
        ("input: '0.25', ", "", "has a price for 'cached' and none for 'input'"),
        ("'1.0', reasoning", "null, reasoning", "has a price for 'reasoning' and none"),
    ],
)
def test_a_mistake_is_told_with_its_line(old: str, new: str, said: str) -> None:
    with pytest.raises(ConfigProblems) as caught:
        read("p.yaml", FILE.replace(old, new))
    (problem,) = map(str, caught.value.problems)
    assert problem.startswith("p.yaml:9: versions[1].models.chat")
    assert said in problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ["p.yaml:1: currency: is missing", "p.yaml:1: versions: is missing"]),
        ("currency: eur\nversions: []", ["p.yaml:1: currency: 'eur' is not a currency such as EUR",
                                         "p.yaml:2: versions: the list is empty"]),
        ("curency: EUR", ["p.yaml:1: curency: unknown key 'curency'; did you mean 'currency'?"]),
        ("currency: [", ["p.yaml:1: expected"]),
        (FILE.replace("2026-01-01", "soon"), ["p.yaml:7: versions[1].valid_from: 'soon' is not a"]),
        (FILE.replace("2026-01-01", "2026-02-01"),
         ["p.yaml:7: versions[1].valid_from: is the moment of versions[0] too"]),
        (FILE.replace("'0.30', output: 1200000", "[]"), ["p.yaml:6: ", "chat.input: a list"]),
        (FILE.replace("{input: '0.30', output: 1200000}", "{}"), ["chat: a mapping holds no"]),
        (FILE.replace("valid_from: 2026-01-01", "valid_frm: 2026-01-01"),
         ["valid_frm: unknown key 'valid_frm'; did you mean 'valid_from'?"]),
        (FILE.replace("whisper:", "' ':"), ["p.yaml:10: versions[1].models. : ' ' is not a model"]),
    ],
)  # fmt: skip
def test_other_mistakes(text: str, said: list[str]) -> None:
    with pytest.raises(ConfigProblems) as caught:
        read("p.yaml", text)
    found = [str(problem) for problem in caught.value.problems]
    assert all(any(one in problem for problem in found) for one in said), found


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "levada.yaml"
    path.write_text("backends: [{name: a, url: http://127.0.0.1:1}]\nprices: prices.yaml\n")
    return path


def test_a_configuration_names_the_file(config: Path) -> None:
    (config.parent / "prices.yaml").write_text(FILE)
    said, enclosed = Source(config).read({})
    assert said.prices == config.parent / "prices.yaml"
    assert enclosed.prices == read("p.yaml", FILE)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "levada.yaml:2: prices: cannot read"),
        (lambda path: path.write_text("currency: EUR\n"), "prices.yaml:1: versions: is missing"),
        (os.mkdir, "levada.yaml:2: prices: cannot read"),
    ],
)
def test_a_bad_file_is_told_with_the_configuration(config: Path, make: object, said: str) -> None:
    make(config.parent / "prices.yaml")  # type: ignore[operator]
    with pytest.raises(ConfigProblems) as caught:
        Source(config).read({})
    assert said in str(caught.value)


def test_what_is_no_path_is_no_path(config: Path) -> None:
    config.write_text(config.read_text().replace("prices.yaml", "[a]"))
    with pytest.raises(ConfigProblems, match="prices: a list is not a path"):
        Source(config).read({})
