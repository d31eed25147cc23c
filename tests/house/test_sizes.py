"""What is too long to be read at once: files, functions, lists of arguments; and names that say
nothing.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tree import files, functions, name, package, text

FILE_LINES = 500
FUNCTION_LINES = 80
ARGUMENTS = 8
# A table in one `match`: long, and read a row at a time.
TABLES = {"rust/core/src/refusal/kind.rs:row"}
CODE = (".py", ".pyi", ".rs", ".sh")
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"}


def code() -> list[Path]:
    return [path for path in files() if path.suffix in CODE]


def is_test(path: Path) -> bool:
    return "tests" in path.parts or path.name == "tests.rs"


def rust_functions(lines: list[str]) -> Iterator[tuple[str, int]]:
    """Each function's name and length. The formatter ends one at the indentation it began with."""
    for first, line in enumerate(lines):
        begun = re.match(r"( *)(?:pub(?:\([a-z ]+\))? )?(?:async |const |unsafe )*fn (\w+)", line)
        if begun is None:
            continue
        for last in range(first, len(lines)):
            ended = lines[last].rstrip()
            if ended == f"{begun[1]}}}" or (ended.endswith(("}", ";")) and last == first):
                yield begun[2], last - first + 1
                break


def test_rust_functions_are_measured() -> None:
    lines = [
        "fn a() {",
        "    if x {",
        "    }",
        "}",
        "pub async fn b() {}",
        "    fn c(&self) {",
        "    }",
    ]
    assert list(rust_functions(lines)) == [("a", 4), ("b", 1), ("c", 2)]


def test_files_are_short() -> None:
    lengths = {name(path): len(text(path).splitlines()) for path in code() if not is_test(path)}
    assert len(lengths) > 80
    assert {path: lines for path, lines in lengths.items() if lines > FILE_LINES} == {}


def test_python_functions_are_short() -> None:
    lengths = {
        f"{name(path)}:{function.name}": (function.end_lineno or 0) - function.lineno + 1
        for path in files(suffix=".py")
        for function in functions(ast.parse(text(path)))
    }
    assert len(lengths) > 300
    assert {where: lines for where, lines in lengths.items() if lines > FUNCTION_LINES} == {}


def test_rust_functions_are_short() -> None:
    lengths = {
        f"{name(path)}:{function}": lines
        for path in files(suffix=".rs")
        if not is_test(path)
        for function, lines in rust_functions(text(path).splitlines())
    }
    assert len(lengths) > 300
    assert {where for where, lines in lengths.items() if lines > FUNCTION_LINES} == TABLES


def test_functions_take_few_arguments() -> None:
    found = {}
    for path, tree in package().items():
        for function in functions(tree):
            given = function.args
            count = len([*given.posonlyargs, *given.args, *given.kwonlyargs])
            if count > ARGUMENTS:
                found[f"{path}:{function.name}"] = count
    assert found == {}


def test_clippy_counts_alike() -> None:
    for path in files(suffix="clippy.toml"):
        assert f"too-many-arguments-threshold = {ARGUMENTS}" in text(path), name(path)
        assert f"too-many-lines-threshold = {FUNCTION_LINES}" in text(path), name(path)


@pytest.mark.parametrize("path", code(), ids=name)
def test_a_name_says_what_is_inside(path: Path) -> None:
    parts = {*path.with_suffix("").parts}
    assert parts & EMPTY_NAMES == set()
