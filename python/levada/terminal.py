"""What the commands share: their flags, the data folder they mean, and how a command fails.

The only file that ends a command with 1 or 2 and a line on stderr.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer

Made = TypeVar("Made")

ConfigFlag = Annotated[
    Path | None, typer.Option("--config", help="The file levada.yaml. [env: LEVADA_CONFIG]")
]
DataFlag = Annotated[
    Path | None, typer.Option("--data", help="Folder of the store. [env: LEVADA_DATA]")
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def fail(message: str, code: int = 1) -> NoReturn:
    """Ends the command with a line on stderr."""
    typer.echo(f"levada: {message}", err=True)
    raise typer.Exit(code)


def loaded(load: Callable[[], Made]) -> Made:
    """What `load` gives; its problems, each on a line, end the command."""
    from levada.document import ConfigProblems

    try:
        return load()
    except ConfigProblems as problems:
        typer.echo(str(problems), err=True)
        raise typer.Exit(2) from None


def folder(data: Path | None, config: Path | None) -> Path:
    """The folder that the flags, the environment or the configuration name."""
    from levada.loading import Overrides, Source, data_folder

    source = Source(config, Overrides(data=data))
    folder = loaded(lambda: data_folder(source))
    if folder is None:
        fail("this configuration keeps its data in a temporary folder; give --data", 2)
    return folder
