"""The files of the project as the rules look at them: named, read, parsed. It judges nothing."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "levada"


def files(*folders: str, suffix: str = "") -> list[Path]:
    """What belongs to the repository, also what is not committed yet, below these folders."""
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others"]
    listed = subprocess.run(
        [*command, "--exclude-standard", "--", *folders],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=60,
    )
    names = sorted(set(filter(None, listed.stdout.decode().split("\0"))))
    return [ROOT / name for name in names if name.endswith(suffix) and (ROOT / name).is_file()]


def name(path: Path) -> str:
    """The path from the root of the repository."""
    return path.relative_to(ROOT).as_posix()


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def package() -> dict[str, ast.Module]:
    """The modules of the Python package by their path inside it."""
    found = {p.relative_to(PACKAGE).as_posix(): p for p in files("python/levada", suffix=".py")}
    return {inside: ast.parse(text(path)) for inside, path in found.items()}


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def imports(tree: ast.Module, *, at_run_time: bool = False) -> Iterator[str]:
    """The dotted names that a module imports; `at_run_time` leaves out what only types need."""
    for node in _run(tree) if at_run_time else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _run(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from _run(child)
