"""Profiles as data: read, merged, compiled; and the field tables of the pinned SDK."""

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from levada import profiles
from levada.cli import app
from levada.profiles import generate
from levada.profiles.compiled import compiled, table_file

runner = CliRunner()
VECTORS = Path(__file__).parents[1] / "vectors" / "profiles.json"
BASE = "id: mine\nversion: '1'\nextends: openai\n"


def mine(folder: Path, text: str) -> Path:
    file = folder / "mine.yaml"
    file.write_text(BASE + text)
    return file


def test_the_built_in_ones_compile_to_what_the_engine_is_tested_with() -> None:
    made = {name: compiled(profiles.load(name)) for name in profiles.names()}
    assert set(made) == {"openai", "mittwald-dedicated", "mittwald-shared", "ionos", "flexai"}
    assert json.loads(VECTORS.read_text()) == made, "regenerate tests/vectors/profiles.json"


def test_what_a_file_does_not_say_is_said_by_the_one_it_extends(tmp_path: Path) -> None:
    file = mine(tmp_path, "endpoints: {chat.completions: {params: {user: ignore, n: validate}}}\n")
    base, one = profiles.load("openai"), profiles.load(file)
    assert one.endpoints["embeddings"] == base.endpoints["embeddings"]
    chat = compiled(one)["endpoints"]["chat.completions"]
    assert chat["actions"] == [{"field": "user", "do": "ignore"}]
    assert chat["order"][:3] == ["model", "messages", "functions"]
    (tmp_path / "next.yaml").write_text("id: next\nversion: '1'\nextends: mine.yaml\n")
    assert profiles.load(tmp_path / "next.yaml").endpoints == one.endpoints


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "endpoints: {chat.completions: {params: {user: ignroe}}}",
            "params.user: 'ignroe' is not one of 'validate', 'forward' or 'ignore'; did you mean "
            "'ignore'?",
        ),
        (
            "endpoints: {chat.completions: {params: {n: {do: rejct, message: no}}}}",
            "params.n.do: 'rejct' is not one of reject, off, map; did you mean 'reject'?",
        ),
        (
            "endpoints: {chat.completions: {params: {n: {do: reject, mesage: no}}}}",
            "params.n.mesage: unknown key 'mesage'; did you mean 'message'?",
        ),
        (
            "endpoints: {chat.completions: {params: {n: {do: reject}}}}",
            "endpoints.chat.completions.params.n.message: is missing",
        ),
        (
            "endpoints: {chat.completions: {params: {n: {message: no, except: [1]}}}}",
            "endpoints.chat.completions.params.n.do: is missing",
        ),
        (
            "endpoints: {chat.completions: {checks: [tool_choise]}}",
            "endpoints.chat.completions.checks[0]: 'tool_choise' is not one of 'stream_options', ",
        ),
        (
            "endpoints: {chat.completions: {parms: {}}}",
            "unknown key 'parms'; did you mean 'params'?",
        ),
        (
            "endpoints: {embeddings: absnt}",
            "embeddings: 'absnt' is not one of 'absent'; did you mean",
        ),
        ("unknown_param: drop", "unknown_param: unknown key 'unknown_param'; did you mean"),
        ("denylist: {a: 1}", "denylist: a mapping is not a list"),
        ("base_path: []", "base_path: the list is empty"),
        ("base_path: [v1]", "base_path[0]: 'v1' does not match"),
        ("extends: nobody", "no profile is named 'nobody'"),
        ("extends: mine.yaml", "extends itself"),
        ("errors: [", "mine.yaml"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "mine.yaml"
    head = BASE if "extends" not in text else "id: mine\nversion: '1'\n"
    file.write_text(head + text + "\n")
    with pytest.raises(profiles.ProfileError) as caught:
        profiles.load(file)
    said = str(caught.value.problems[0])
    line = {"extends": 3, "errors:": 5}.get(text[:7], 4)
    assert words in said and said.startswith(f"{file}:{line}: "), said
    assert "literal" not in str(caught.value)


def test_a_mistake_in_what_is_extended_stands_in_its_own_file(tmp_path: Path) -> None:
    base = mine(tmp_path, "null_policy: as_omited\n")
    (tmp_path / "next.yaml").write_text("id: next\nversion: '1'\nextends: mine.yaml\n")
    with pytest.raises(profiles.ProfileError, match=f"^{base}:4: null_policy: 'as_omited' is not"):
        profiles.load(tmp_path / "next.yaml")
    (tmp_path / "none.yaml").write_text("")
    with pytest.raises(profiles.ProfileError, match=r"none\.yaml:1: id: is missing"):
        profiles.load(tmp_path / "none.yaml")


def test_what_is_no_profile(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(profiles.ProfileError, match=r"list.yaml:1: "):
        profiles.load(tmp_path / "list.yaml")
    for name in ("openay", tmp_path / "none.yaml"):
        with pytest.raises(profiles.ProfileError, match="built in are flexai, ionos"):
            profiles.load(name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("endpoints: {videos: {}}", "endpoints.videos: no such endpoint"),
        ("endpoints: {embeddings: {ranges: {colour: {minimum: 1}}}}", "colour: there is no such"),
        ("endpoints: {embeddings: {ranges: {input: {least: 1}}}}", "'least' is no bound"),
        ("endpoints: {embeddings: {params: {model: ignore}}}", "model: is read by the engine"),
        (
            "rate: {windows: [{requests: 5, per_s: 1, burst: 4}]}",
            r"windows\[0\].burst: is less than its 5 requests",
        ),
        (
            "rate: {windows: [{requests: 5, per_s: 1, endpoints: [chats]}]}",
            r"windows\[0\].endpoints: no endpoint is 'chats'",
        ),
    ],
)
def test_what_does_not_fit_the_endpoints(tmp_path: Path, text: str, words: str) -> None:
    file = mine(tmp_path, text + "\n")
    with pytest.raises(profiles.ProfileError, match=words):
        compiled(profiles.load(file))
    with pytest.raises(profiles.ProfileError, match=f"^{file}:4: .*{words}"):
        profiles.make(file)


def test_fx_1_the_tables_are_those_of_the_pinned_sdk() -> None:
    assert importlib.metadata.version("openai") == generate.PIN
    stored = json.loads(table_file().read_text())
    assert stored == json.loads(json.dumps(generate.tables())), "regenerate, and audit what changed"
    chat = set(stored["endpoints"]["chat.completions"]["properties"])
    assert len(chat - {"stream"}) == 33


def test_the_tables_are_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "fields.json"
    before = table_file().read_text()
    monkeypatch.setattr(generate, "table_file", lambda: target)
    generate.main()
    assert target.read_text() == before
    assert "read what changed" in capsys.readouterr().out


def test_another_sdk_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "PIN", "0.0.0")
    with pytest.raises(SystemExit, match="change both on purpose"):
        generate.tables()


def test_objects_that_nothing_tells_apart_are_a_mistake() -> None:
    one: dict[str, Any] = {"properties": {"a": {"type": "string"}}}
    with pytest.raises(SystemExit, match="nothing tells these apart"):
        generate.apart([one, one], {})


def test_a_profile_is_shown() -> None:
    assert runner.invoke(app, ["profile", "list"]).output.split() == profiles.names()
    assert runner.invoke(app, ["profile", "show", "ionos"]).output.startswith("# ionos\n")
    said = runner.invoke(app, ["profile", "show", "flexai", "--format", "json"]).output
    assert json.loads(said) == compiled(profiles.load("flexai"))
    said = runner.invoke(app, ["profile", "show", "flexai", "--format", "html"]).output
    assert said.startswith("<!doctype html>")
    wrong = runner.invoke(app, ["profile", "show", "nobody"])
    assert wrong.exit_code == 1
