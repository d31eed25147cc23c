"""Rules of the Python package that no linter knows: what only one file may do, and what none
may.
"""

import ast
from collections.abc import Iterator

import pytest
from tree import imports, package

MODULES = package()

# What is imported, and by whom alone.
DOORS = {
    "granian": {"server.py"},
    "typer": {
        "cli.py",
        "key_commands.py",
        "ledger_commands.py",
        "profile_commands.py",
        "terminal.py",
        "usage_command.py",
    },
    "ruamel": {"document.py"},
    "pydantic": {
        "allowance.py",
        "key_commands.py",
        "section.py",
        "config.py",
        "values.py",
        "loading.py",
        "price_file.py",
        "wording.py",
        "profiles/mistakes.py",
        "profiles/schema.py",
        "profiles/generate.py",
    },
    "alembic": {
        "control/migrations/__init__.py",
        "control/migrations/versions/v0001_keys.py",
        "control/migrations/versions/v0002_limits.py",
        "control/migrations/versions/v0003_calls.py",
        "control/migrations/versions/v0005_outbox.py",
        "control/migrations/versions/v0006_allowances.py",
        "control/migrations/versions/v0007_peppers.py",
    },
    "asyncpg": {"control/postgres.py"},
    "sqlalchemy": {
        "control/accounts.py",
        "control/audit.py",
        "control/buckets.py",
        "control/ledger.py",
        "control/outbox.py",
        "control/postgres.py",
        "control/sqlite.py",
        "control/store.py",
        "control/schema.py",
        "control/migrations/__init__.py",
        "control/migrations/versions/v0001_keys.py",
        "control/migrations/versions/v0002_limits.py",
        "control/migrations/versions/v0003_calls.py",
        "control/migrations/versions/v0005_outbox.py",
        "control/migrations/versions/v0006_allowances.py",
        "control/migrations/versions/v0007_peppers.py",
    },
}
# A module that is made of the engine's own functions gets its place here, one file each.
NATIVE = {"app.py", "journal.py", "profiles/validate.py", "sse.py", "tokens.py"}
# The settings; and the demo, which hands the environment down to the processes that it starts.
ENVIRONMENT = {"loading.py", "demo.py"}
MADE_AT_IMPORT = {"re.compile", "structlog.get_logger", "typer.Typer", "TypeVar"}
TOLD_AT_IMPORT = {"app.add_typer"}
MUTABLE = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
CHANGES = set(
    "add append clear discard extend insert pop popitem remove setdefault sort update".split()
)
QUEUES = {"Queue", "LifoQueue", "PriorityQueue", "SimpleQueue"}


def users(wanted: str, *, at_run_time: bool = False) -> set[str]:
    return {
        path
        for path, tree in MODULES.items()
        for found in imports(tree, at_run_time=at_run_time)
        if found == wanted or found.startswith(f"{wanted}.")
    }


def nodes(kind: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    for path, tree in MODULES.items():
        yield from ((path, node) for node in ast.walk(tree) if isinstance(node, kind))


@pytest.mark.parametrize("package_name", DOORS)
def test_a_package_has_its_door(package_name: str) -> None:
    assert users(package_name) == DOORS[package_name]


def test_the_engine_is_made_in_one_place() -> None:
    assert users("levada._native", at_run_time=True) == NATIVE
    assert users("levada._native") > NATIVE  # as a type it is named elsewhere too


def test_the_environment_is_read_in_one_place() -> None:
    names = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    readers = {
        path
        for path, node in nodes(ast.Attribute)
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value) == "os"
        and node.attr in names
    }
    assert readers == ENVIRONMENT
    imported = {f"os.{name}" for name in names}
    assert not [path for path, tree in MODULES.items() if imported & set(imports(tree))]


def test_every_exception_is_caught_once() -> None:
    found = []
    for path, node in nodes(ast.ExceptHandler):
        assert isinstance(node, ast.ExceptHandler)
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        names = {ast.unparse(kind) if kind else "everything" for kind in kinds}
        if names & {"everything", "Exception", "BaseException"}:
            found.append(path)
    assert found == ["app.py"]


def test_importing_does_nothing() -> None:
    found = []
    for path, tree in MODULES.items():
        for node in tree.body:
            if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant):
                call = node.value
                told = isinstance(call, ast.Call) and ast.unparse(call.func) in TOLD_AT_IMPORT
                found += [] if told else [f"{path}:{node.lineno}"]
            elif isinstance(node, ast.If):
                harmless = ("TYPE_CHECKING", "__name__ == '__main__'")
                found += [] if ast.unparse(node.test) in harmless else [f"{path}:{node.lineno}"]
            elif isinstance(node, ast.For | ast.While | ast.With | ast.Try):
                found.append(f"{path}:{node.lineno}")
    assert found == []


def test_what_stands_in_a_module_is_a_constant() -> None:
    found = []
    for path, tree in MODULES.items():
        for node in tree.body:
            if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
                continue
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(node.value, ast.Call):
                made = ast.unparse(node.value.func)
                found += [] if made in MADE_AT_IMPORT else [f"{path}:{node.lineno}: {made}(...)"]
            elif isinstance(node.value, MUTABLE) and not ast.unparse(target).isupper():
                found.append(f"{path}:{node.lineno}: not named as a constant")
    assert found == []
    assert list(nodes(ast.Global)) == []


def test_constants_are_never_changed() -> None:
    found = []
    for path, tree in MODULES.items():
        for node in ast.walk(tree):
            changed: ast.expr | None = None
            if isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(
                node.ctx, ast.Load
            ):
                changed = node.value
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                changed = node.func.value if node.func.attr in CHANGES else None
            if isinstance(changed, ast.Name) and changed.id.isupper():
                found.append(f"{path}:{changed.lineno}: {changed.id}")
    assert found == []


def test_every_queue_has_a_size() -> None:
    found = []
    for path, node in nodes(ast.Call):
        assert isinstance(node, ast.Call)
        made = ast.unparse(node.func).rpartition(".")[2]
        sized = bool(node.args) or any(word.arg == "maxsize" for word in node.keywords)
        if made in QUEUES and (made == "SimpleQueue" or not sized):
            found.append(f"{path}:{node.lineno}")
    assert found == []


@pytest.mark.parametrize("path", MODULES)
def test_a_file_says_what_it_is(path: str) -> None:
    said = ast.get_docstring(MODULES[path]) or ""
    assert said, "no docstring"
    assert said[0] != " "
    if not path.endswith(("__init__.py", "__main__.py")) and "/versions/" not in path:
        assert "\n\n" in said, "it says what it is, but not its law"
