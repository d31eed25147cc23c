"""What the commands share: their flags, the folder and the store they mean, and how one fails.

The only file that ends a command with 1 or 2 and a line on stderr.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from levada.control.store import Store

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


def with_store(
    data: Path | None, config: Path | None, work: "Callable[[Store], Awaitable[Made]]"
) -> Made:
    """What `work` makes of the store that flags, environment or configuration name."""
    from levada.control.keys import KeyRefusedError
    from levada.control.store import Store
    from levada.loading import Overrides, Source, storage

    place = folder(data, config)
    kept = loaded(lambda: storage(Source(config, Overrides(data=data))))

    async def run() -> Made:
        store = await Store.open(place, storage=kept)
        try:
            return await work(store)
        finally:
            await store.close()

    try:
        return asyncio.run(run())
    except (KeyRefusedError, OSError) as error:
        fail(str(error))
