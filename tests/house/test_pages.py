"""The pages people read say what is there: commands, files, settings, metrics, errors, tests."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from tree import PACKAGE, ROOT, files, name, text

from levada.config import Config, Issuer, Model

PAGES = files(suffix=".md")
ARCHITECTURE = text(ROOT / "ARCHITECTURE.md")
OPERATIONS = text(ROOT / "docs" / "operations.md")
CONFIGURATION = text(ROOT / "docs" / "configuration.md")
MOST_LINES = 300
LINK = re.compile(r"\]\(([^)#\s]+)(?:#([^)\s]+))?\)")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_the_readme_names_the_two_commands() -> None:
    shown = "\n".join(blocks(text(ROOT / "README.md"), "sh"))
    for command in ("make run", "make test"):
        assert re.search(rf"^{command}\b", shown, re.MULTILINE), command


def test_verbs_that_are_named_exist() -> None:
    verbs = set(re.findall(r"^([a-z-]+):", text(ROOT / "Makefile"), re.MULTILINE))
    pages = [page for page in PAGES if not name(page).startswith("tests/vectors/transcripts")]
    named = {verb for page in pages for verb in re.findall(r"[`\n(]make ([a-z-]+)", text(page))}
    assert {"run", "test"} <= named
    assert named - verbs == set()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(text(page)):
        if "://" in target:
            continue
        place = (page.parent / target).resolve()
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), f"{target}#{anchor}"


def test_the_map_is_short_and_whole() -> None:
    assert len(ARCHITECTURE.splitlines()) < MOST_LINES
    named = set(re.findall(r"[\w/]+\.(?:rs|py|pyi)\b", ARCHITECTURE))
    rust = [path for path in files("rust", suffix=".rs") if "src" in path.parts]
    missing = [
        name(path)
        for path in [*rust, *files("python/levada", suffix=".py")]
        if path.name not in ("tests.rs", "__init__.py", "lib.rs")
        if path.parent.name != "versions"
        if not any(path.as_posix().endswith(f"/{one}") for one in named)
    ]
    assert missing == []


def test_the_map_names_nothing_that_is_gone() -> None:
    paths = [path.as_posix() for path in files()]
    # These words stand in tables of one folder, so the end of a path is enough.
    named = set(re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:rs|py|pyi|toml|tsv|md))`", ARCHITECTURE))
    assert {one for one in named if not any(path.endswith(f"/{one}") for path in paths)} == set()
    folders = re.findall(r"`((?:tests|rust|loadtests|docs)(?:/[a-z_]+)*)/?`", ARCHITECTURE)
    assert [one for one in folders if not (ROOT / one).is_dir()] == []
    tests = "\n".join(text(path) for path in files("tests", suffix=".py"))
    tested = re.findall(r"`(test_[a-z0-9_]+)`", ARCHITECTURE)
    assert tested
    assert [one for one in tested if f"def {one}(" not in tests] == []


def test_functions_on_the_walk_exist() -> None:
    walk = ARCHITECTURE.partition("## One request")[2]
    code = [text(path) for path in [*files("rust", suffix=".rs"), *PACKAGE.rglob("*.py")]]
    named = set(re.findall(r"`(?:\w+(?:::|\.))*(\w+)`", walk))
    assert len(named) > 30
    assert [one for one in named if not any(re.search(rf"\b{one}\b", page) for page in code)] == []


def plain(value: Any) -> Any:
    """A setting as the file would say it."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return [plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def test_the_whole_file_is_the_whole_file() -> None:
    shown = blocks(CONFIGURATION, "yaml")[0]
    written = YAML(typ="safe", pure=True).load(shown)
    given = Config.model_validate({"backends": written["backends"]})
    assert written == plain(given.model_dump())
    with_models = shown.replace("models: null  ", "models:").replace("#  - name", "  - name")
    with_models = re.sub(r"^#    ", "    ", with_models, flags=re.MULTILINE)
    again = YAML(typ="safe", pure=True).load(with_models)
    (model,) = Config.model_validate(again).models or ()
    (defaults,) = Config.model_validate({**again, "models": [{"name": "chat"}]}).models or ()
    assert set(again["models"][0]) == set(Model.model_fields)
    assert model == defaults.model_copy(update={"backends": ("gpu-1",)})
    with_issuer = re.sub(r"^  # ", "  ", shown.replace("jwt: []  ", "jwt:"), flags=re.MULTILINE)
    again = YAML(typ="safe", pure=True).load(with_issuer)
    (issuer,) = Config.model_validate(again).auth.jwt
    (entry,) = again["auth"]["jwt"]
    needed = {name: entry[name] for name in ("issuer", "audience", "jwks")}
    assert (set(entry), issuer) == (set(Issuer.model_fields), Issuer.model_validate(needed))


def test_every_flag_has_its_row() -> None:
    flags = set(re.findall(r"\[env: (LEVADA_\w+)\]", text(PACKAGE / "cli.py")))
    assert len(flags) > 4
    assert {flag for flag in flags if f"`{flag}`" not in CONFIGURATION} == set()


def test_every_metric_has_its_row() -> None:
    source = text(ROOT / "rust" / "net" / "src" / "metrics.rs")
    registered = re.findall(r'register(?:_with_unit)?\(\s*"(\w+)"', source)
    shown = set(re.findall(r"^\| `levada_(\w+?)(?:_total|_seconds)?` \|", OPERATIONS, re.MULTILINE))
    assert len(registered) > 10
    assert shown == set(registered)


def test_every_error_has_its_row() -> None:
    source = text(ROOT / "rust" / "core" / "src" / "refusal" / "kind.rs")
    rows = source.partition("fn row(self)")[2].partition("\n}\n")[0]
    errors = OPERATIONS.partition("## Errors")[2].partition("## Log")[0]
    for status, code in re.findall(r"\(\s*(\d{3}),\s*[^,]+,\s*(?:Some\(\"(\w+)\"\)|None)", rows):
        lines = [line for line in errors.splitlines() if re.match(r"\| [\d, ]*" + status, line)]
        assert any(not code or f"`{code}`" in line for line in lines), (status, code)


def test_decisions_are_numbered_and_say_what_they_cost() -> None:
    pages = sorted(page for page in PAGES if page.parent.name == "decisions")
    assert [page.name[:3] for page in pages] == [f"{n:03}" for n in range(1, len(pages) + 1)]
    for page in pages:
        titles = re.findall(r"^\*\*(\w+)\.\*\*", text(page), re.MULTILINE)
        assert titles == ["Context", "Choice", "Cost"], page.name


def test_examples_of_python_are_python() -> None:
    for page in PAGES:
        for block in blocks(text(page), "python"):
            ast.parse(block)


def test_the_changelog_has_a_place_for_what_comes() -> None:
    assert "\n## [Unreleased]\n" in text(ROOT / "CHANGELOG.md")
