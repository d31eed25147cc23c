"""What no file of the repository may hold: addresses of other machines, paths of this one, and
work left for later; and the one place where the version stands.
"""

import ipaddress
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from tree import PACKAGE, ROOT, files, name, text

BINARY = {".png", ".gguf", ".gz"}
# Recorded answers and lock files hold what others wrote.
FOREIGN = ("tests/vectors/transcripts/", "tests/vectors/json.tsv", "tests/vectors/sse.tsv")
HOSTS = {"www.apache.org", "www.w3.org", "json-schema.org", "keepachangelog.com", "semver.org"}
# Where a provider documents an address, its profile repeats it.
PROVIDERS = {"tokens.flex.ai"}
EXAMPLES = (".example", ".test", ".invalid", ".local", "example.org", "example.com", "example.net")
LOCKED = {"Cargo.lock": {"github.com"}}
URL = re.compile(r"https?://(?:[^\s/@\"'<>]*@)?([A-Za-z0-9._-]+)")
HOME = re.compile(r"(?<![\w.$}~])/(?:home|Users|root|work)/")
INDEX = re.compile(r"(?:extra-)?(?:index)-url|trusted-(?:host)\b|find-(?:links)\b")
LATER = re.compile(r"\b(?:TO[D]O|FIX[M]E|XX[X])\b")
SECRET = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{20}")


def ours() -> list[Path]:
    return [
        path for path in files() if path.suffix not in BINARY and not name(path).startswith(FOREIGN)
    ]


def is_foreign(host: str, path: Path) -> bool:
    """Whether a URL leads away from this machine and is not only an example."""
    if "." not in host or host.endswith(EXAMPLES):
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host not in HOSTS | PROVIDERS | LOCKED.get(path.name, set())
    return address.is_global


def test_hosts_are_judged() -> None:
    for host, foreign in {
        "gpu-1": False,
        "10.0.0.7": False,
        "a.example": False,
        "pkgs.tld": True,
    }.items():
        assert is_foreign(host, ROOT / "any") is foreign
    assert is_foreign("github.com", ROOT / "any") and not is_foreign(
        "github.com", ROOT / "Cargo.lock"
    )


def test_no_address_of_another_machine() -> None:
    found = [
        f"{name(path)}: {host}"
        for path in ours()
        for host in URL.findall(path.read_text(errors="replace"))
        if is_foreign(host.rstrip("."), path)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("a path of one machine", HOME),
        ("a package index", INDEX),
        ("later", LATER),
        ("a key", SECRET),
    ],
)
def test_nothing_that_belongs_elsewhere(what: str, pattern: re.Pattern[str]) -> None:
    found = []
    for path in ours():
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            found += [f"{name(path)}:{number}: {what}"] if pattern.search(line) else []
    assert found == []


def test_patterns_find_what_they_are_for() -> None:
    assert HOME.search("in /" + "home/me") and not HOME.search("${HOME}/" + "work/x")
    assert INDEX.search("--index" + "-url") and LATER.search("TO" + "DO: more")


def test_the_version_stands_in_one_place() -> None:
    version = tomllib.loads(text(ROOT / "Cargo.toml"))["workspace"]["package"]["version"]
    project = tomllib.loads(text(ROOT / "pyproject.toml"))["project"]
    assert "version" not in project and "version" in project["dynamic"]
    assert metadata.version("levada") == version
    said = subprocess.run(
        [sys.executable, "-m", "levada", "version"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert said.stdout == f"levada {version}\n"
    assert not [p for p in PACKAGE.rglob("*.py") if "__version__" in text(p) or version in text(p)]
