"""What a probe says: rows as a table, as JSON, as JUnit's XML; and the command that says it."""

import json
from collections.abc import Iterator
from xml.etree.ElementTree import fromstring

import pytest
from typer.testing import CliRunner, Result
from upstream import free_port
from upstream.wrong_server import KEY, Fault, WrongServer

from levada import profiles
from levada.cli import app
from levada.probe import report
from levada.probe.client import Answer, Ask
from levada.probe.rows import SHOWN, Outcome, Row, shown_answer, shown_ask

ASKED = shown_ask(Ask("POST", "/v1/x", b'{"a":\n  1}', "Bearer secret"))
ANSWERED = shown_answer(Answer(200, (), b"\x00\xff" + b"x" * 1000))
ROWS = [
    Row("a", "first", Outcome.held),
    Row("bbbb", "second", Outcome.untestable, "no model"),
    Row("c", "third", Outcome.broken, "it is a \x01", ASKED, ANSWERED),
    Row("d", "fourth", Outcome.broken, "of all answers"),
]


def test_a_row_shows_the_beginning_of_bodies_and_no_key() -> None:
    assert len(ANSWERED["body"]) == SHOWN
    assert "secret" not in str(ASKED)


def test_the_table_begins_with_what_is_broken() -> None:
    lines = report.table(ROWS).split("\n")
    assert lines[0] == "broken        c     third: it is a \x01"
    assert lines[1] == '    request: POST /v1/x {"a": 1}'
    assert lines[2].startswith("    answer: 200 \x00�xxx")
    assert lines[3:] == [
        "broken        d     fourth: of all answers",
        "not testable  bbbb  second: no model",
        "held          a     first",
        "",
        "1 held, 2 broken, 1 not testable",
    ]
    assert report.table([]) == "\n0 held, 0 broken, 0 not testable"


def test_json_has_all_of_every_row() -> None:
    first, _, third, _ = json.loads(report.as_json(ROWS))
    assert (first["outcome"], first["request"]) == ("held", None)
    assert third == {
        "id": "c",
        "what": "third",
        "outcome": "broken",
        "why": "it is a \x01",
        "request": ASKED,
        "answer": ANSWERED,
    }


def test_junit_counts_and_can_be_read() -> None:
    suite = fromstring(report.junit(ROWS))
    assert {name: suite.get(name) for name in ("tests", "failures", "skipped", "errors")} == {
        "tests": "4",
        "failures": "2",
        "skipped": "1",
        "errors": "0",
    }
    held, skipped, broken, _ = suite
    assert (held.get("name"), len(held)) == ("a: first", 0)
    assert skipped[0].get("message") == "no model"
    assert broken[0].get("message") == "it is a �"
    assert "request: POST /v1/x" in (broken[0].text or "")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with WrongServer(profiles.load("openai")) as server:
        yield server.url


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["probe", *arguments])


def test_the_command_ends_with_0_when_all_holds(url: str) -> None:
    done = run(url, "--profile", "openai", "--key", KEY)
    assert (done.exit_code, done.stderr) == (0, "")
    assert ", 0 broken, " in done.stdout.rstrip().rpartition("\n")[2]


def test_the_command_ends_with_1_when_something_is_broken() -> None:
    fault = Fault("", edit=lambda asked, reply: reply.headers.clear())
    with WrongServer(profiles.load("openai"), fault) as server:
        done = run(f"{server.url}/v1", "--profile", "openai", "--key", KEY, "--format", "json")
    assert done.exit_code == 1
    assert [row["id"] for row in json.loads(done.stdout) if row["outcome"] == "broken"] == [
        "answers/x-request-id"
    ]


def test_a_refused_key_is_no_broken_promise(url: str) -> None:
    done = run(url, "--profile", "openai", "--key", "sk-other", "--format", "junit")
    suite = fromstring(done.stdout.encode())
    assert int(suite.get("skipped") or 0) > 150
    broken = {case.get("name", "") for case in suite if case.find("failure") is not None}
    assert "models/list: the list of models has OpenAI's shape" in broken


@pytest.mark.parametrize(
    ("url", "profile", "words"),
    [
        ("ftp://h", "openai", "'ftp://h' is not the URL of a server"),
        ("http://", "openai", "is not the URL of a server"),
        ("http://127.0.0.1:1", "nobody", "no profile is named 'nobody'"),
    ],
)
def test_usage(url: str, profile: str, words: str) -> None:
    done = run(url, "--profile", profile)
    assert done.exit_code == 2
    assert words in done.stderr


def test_a_server_that_is_not_there_is_2() -> None:
    done = run(f"http://127.0.0.1:{free_port()}", "--profile", "openai")
    assert done.exit_code == 2
    assert "gives no answer: ConnectionRefusedError" in done.stderr
