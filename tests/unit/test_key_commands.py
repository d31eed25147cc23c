"""`levada key`: what each command prints and leaves in the store."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from levada.cli import app
from levada.control import keys


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def run(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["key", *arguments, "--data", str(data)])


def listed(data: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run(data, "list", "--json").stdout)
    return found


def created(data: Path, *arguments: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(run(data, "create", *arguments, "--json").stdout)
    return made


def test_create(data: Path) -> None:
    result = run(data, "create", "--name", "ci", "--models", "a, b", "--expires", "30d")
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    text = second.removeprefix("key: ")
    assert keys.check(text)
    (key,) = listed(data)
    assert first == f"id: {key['id']}"
    assert (key["name"], key["models"], key["state"]) == ("ci", ["a", "b"], "live")
    assert key["expires"] > key["created"]
    assert text not in json.dumps(key)


def test_list(data: Path) -> None:
    assert run(data, "list").stdout.split() == ["id", "name", "state", "last4", "models", "expires"]
    one = created(data, "--name", "one", "--models", "a,b")
    two = created(data)
    run(data, "revoke", two["id"])
    short = created(data, "--expires", "0.001s")
    lines = [line.split() for line in run(data, "list").stdout.splitlines()[1:]]
    assert lines[0] == [one["id"], "one", "live", one["key"][-4:], "a,b", "-"]
    assert lines[1] == [two["id"], "unnamed", "revoked", two["key"][-4:], "-", "-"]
    assert lines[2][:3] == [short["id"], "unnamed", "expired"]


def test_revoke(data: Path) -> None:
    made = created(data)
    result = run(data, "revoke", made["id"])
    assert (result.exit_code, result.stdout) == (0, f"revoked: {made['id']}\n")
    result = run(data, "revoke", "k_none")
    assert (result.exit_code, result.stderr) == (1, "levada: there is no key 'k_none'\n")


def test_change(data: Path) -> None:
    made = created(data)
    whose = ("--tenant", "t", "--project", "p", "--rpm", "60", "--exhausted")
    assert run(data, "change", made["id"], *whose).stdout == f"changed: {made['id']}\n"
    (key,) = listed(data)
    assert (key["tenant"], key["project"], key["requests_per_minute"]) == ("t", "p", 60)
    assert key["exhausted"] is True
    run(data, "change", made["id"], "--funded")
    assert listed(data) == [{**key, "exhausted": False}]


def test_limits(data: Path) -> None:
    made = created(data, "--project", "p", "--limits", '{"budget": {"money": "2.50"}}')
    assert (made["project"], made["limits"]) == ("p", {"budget": {"money": "2.50"}})
    run(data, "change", made["id"], "--limits", '{"concurrency": 3}')
    assert listed(data)[0]["limits"] == {"concurrency": 3}
    run(data, "change", made["id"], "--limits", "{}")
    assert listed(data)[0]["limits"] is None
    for text, words in (
        ('{"concurrency": 0}', "concurrency: Input should be greater"),
        ("{", "Invalid JSON"),
    ):
        result = run(data, "change", made["id"], "--limits", text)
        assert result.exit_code == 2 and words in " ".join(result.stderr.split()), result.stderr


def test_rotate(data: Path) -> None:
    old = created(data, "--name", "n")
    result = run(data, "rotate", old["id"], "--overlap", "1h")
    assert result.exit_code == 0
    assert keys.check(result.stdout.splitlines()[1].removeprefix("key: "))
    before, after = listed(data)
    assert (before["state"], before["replaced_by"]) == ("live", after["id"])
    made = json.loads(run(data, "rotate", after["id"], "--json").stdout)
    assert [key["state"] for key in listed(data)] == ["live", "revoked", "live"]
    assert made["name"] == "n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "--expires", "soon"),
        ("rotate", "k_1", "--overlap", "-1s"),
        ("create", "--nme", "x"),
    ],
)
def test_usage(data: Path, arguments: tuple[str, ...]) -> None:
    assert run(data, *arguments).exit_code == 2
    assert not data.exists()


def test_what_cannot_be_done(data: Path) -> None:
    assert run(data, "create", "--models", ",").exit_code == 1
    assert run(data, "create", "--expires", "0").exit_code == 1
    (data / "pepper").write_text("x")
    result = run(data, "list")
    assert (result.exit_code, "hexadecimal" in result.stderr) == (1, True)
    blocked = data / "pepper" / "below"
    assert run(blocked, "list").exit_code == 1


def test_the_folder_of_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "levada.yaml"
    file.write_text("data: state\nbackends:\n  - {name: a, url: 'http://h'}\n")
    arguments = ["key", "list", "--config", str(file)]
    environ = {"LEVADA_DATA": None, "LEVADA_CONFIG": None}
    assert CliRunner().invoke(app, arguments, env=environ).exit_code == 0
    assert (tmp_path / "state" / "levada.db").exists()
    file.write_text("data: null\nbackends:\n  - {name: a, url: 'http://h'}\n")
    result = CliRunner().invoke(app, arguments, env=environ)
    assert (result.exit_code, "temporary folder" in result.stderr) == (2, True)
    file.write_text("data: null\n")
    assert CliRunner().invoke(app, arguments, env=environ).exit_code == 2
