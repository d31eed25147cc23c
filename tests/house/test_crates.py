"""Rules of the Rust crates: their lints, what they may depend on, and what a file says first."""

import re
import tomllib
from pathlib import Path

import pytest
from tree import ROOT, files, name, text

WORKSPACE = tomllib.loads(text(ROOT / "Cargo.toml"))
LOCK = tomllib.loads(text(ROOT / "Cargo.lock"))["package"]
PURE_AND_NET = ("rust/core", "rust/net")
DENIED = {"unwrap_used", "expect_used", "panic", "indexing_slicing", "todo", "unimplemented"}
# What a file may ask to be spared outside its tests: a lint about casts, with its reason.
SPARED = re.compile(r"#!?\[(?:allow|expect)\(\s*clippy::(?!cast_)")
SOURCES = [path for path in files("rust", suffix=".rs") if "src" in path.parts]


def key(package: dict[str, str]) -> str:
    return f"{package['name']} {package['version']}"


def edges() -> dict[str, set[str]]:
    """Who depends on whom, tests and all platforms included: the lock file knows no difference."""
    versions: dict[str, list[str]] = {}
    for package in LOCK:
        versions.setdefault(package["name"], []).append(package["version"])
    found = {}
    for package in LOCK:
        wanted = (one.split() for one in package.get("dependencies", []))
        found[key(package)] = {f"{one[0]} {(one[1:] or versions[one[0]])[0]}" for one in wanted}
    return found


def below(crate: str) -> set[str]:
    """The names of all that a crate of ours stands on."""
    graph = edges()
    start = next(key(package) for package in LOCK if package["name"] == crate)
    seen: set[str] = set()
    due = {start}
    while due:
        seen |= due
        due = {needed for one in due for needed in graph[one]} - seen
    return {one.split()[0] for one in seen - {start}}


@pytest.mark.parametrize(
    ("crate", "needs", "banned"),
    [
        (
            "levada-core",
            "httparse",
            {"tokio", "hyper", "rustls", "pyo3", "mio", "socket2", "levada-net"},
        ),
        ("levada-net", "hyper", {"pyo3", "pyo3-ffi", "levada-py"}),
        ("levada-py", "pyo3", {"openssl", "openssl-sys", "native-tls", "aws-lc-sys", "aws-lc-rs"}),
    ],
)
def test_a_crate_stands_on_what_it_may(crate: str, needs: str, banned: set[str]) -> None:
    found = below(crate)
    assert needs in found
    assert found & banned == set()


def test_only_the_binding_names_pyo3() -> None:
    users = {one for one, needs in edges().items() if any(n.startswith("pyo3 ") for n in needs)}
    assert {one.split()[0] for one in users} == {"levada-py"}
    elsewhere = [path for path in SOURCES if not name(path).startswith("rust/py/")]
    assert [name(path) for path in elsewhere if "pyo3::" in text(path)] == []


def test_lints_hold_in_every_crate() -> None:
    lints = WORKSPACE["workspace"]["lints"]["clippy"]
    assert {lint for lint in DENIED if lints.get(lint) == "deny"} == DENIED
    assert lints["disallowed_methods"] == "deny"
    for member in WORKSPACE["workspace"]["members"]:
        crate = tomllib.loads(text(ROOT / member / "Cargo.toml"))
        assert crate["lints"] == {"workspace": True}, member
        assert crate["package"]["version"] == {"workspace": True}, member


@pytest.mark.parametrize("crate", PURE_AND_NET)
def test_the_safe_crates_are_safe(crate: str) -> None:
    assert "#![forbid(unsafe_code)]" in text(ROOT / crate / "src" / "lib.rs")


def test_no_file_is_spared_a_lint() -> None:
    found = []
    for path in SOURCES:
        for line in text(path).splitlines():
            if SPARED.search(line) and "cfg_attr(test" not in line:
                found.append(f"{name(path)}: {line.strip()}")
    assert found == []


def test_unsafe_gives_its_reason() -> None:
    found = []
    for path in SOURCES:
        lines = text(path).splitlines()
        for number, line in enumerate(lines):
            code = line.partition("//")[0]
            if re.search(r"\bunsafe (\{|impl|fn)", code):
                before = "\n".join(lines[max(0, number - 4) : number])
                found += [] if "// SAFETY:" in before else [f"{name(path)}:{number + 1}"]
    assert found == []


def test_no_queue_without_a_bound() -> None:
    banned = re.compile(r"unbounded_channel|UnboundedSender|FuturesUnordered")
    assert [name(path) for path in SOURCES if banned.search(text(path))] == []


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_file_says_what_it_is_and_its_law(path: Path) -> None:
    lines = text(path).splitlines()
    assert lines[0].startswith("//! ")
    said = [line for line in lines if line.startswith("//!")]
    if path.name != "tests.rs":
        assert any(line.startswith("//! Law: ") for line in said)
