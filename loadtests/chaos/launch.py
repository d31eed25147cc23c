"""`python -m loadtests.chaos.launch [--native FILE] [--planted BUG] serve ...`: the gateway.

Law: the one file of the run that imports the gateway, and what it changes lies here: how long a
worker that keeps dying young is waited for; for `planted`, the engine and the bug in it.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

PAUSE_SECONDS = 0.2
NATIVE = "levada._native"


def load(path: str) -> ModuleType:
    """The engine in this file, in place of the installed one."""
    spec = importlib.util.spec_from_file_location(NATIVE, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[NATIVE] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def option(name: str) -> str:
    """The value of an option of ours, which is taken away."""
    if name not in sys.argv:
        return ""
    at = sys.argv.index(name)
    _, value = sys.argv[at], sys.argv[at + 1]
    del sys.argv[at : at + 2]
    return value


def main() -> None:
    native, planted = option("--native"), option("--planted")
    engine = load(native) if native else None

    from levada import cli, server
    from loadtests.chaos.planted import ENGINE, plant

    if engine is not None and planted in ENGINE:
        engine.plant(planted)
    elif planted:
        plant(planted)
    server.LONGEST_PAUSE_SECONDS = PAUSE_SECONDS
    cli.main()


if __name__ == "__main__":
    main()
