"""`levada ledger`: whether what stands in the journal and the ledger is what was written there.

Law: it reads and changes nothing, beside a server that runs or without one. Exit 0: all is well.
"""

import json

import typer

from levada.terminal import ConfigFlag, DataFlag, JsonFlag, fail, folder

app = typer.Typer(help="About the bill.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def ledger() -> None:
    """About the bill."""


@app.command()
def verify(as_json: JsonFlag = False, data: DataFlag = None, config: ConfigFlag = None) -> None:
    """Read every journal through: numbers, checksums, links; exit 1 if a bit is not as written."""
    from levada import journal

    place = folder(data, config) / "journal"
    try:
        entries, damages = journal.verify(place)
    except OSError as error:
        fail(f"{place}: {error.strerror or error}", code=1)
    if as_json:
        typer.echo(json.dumps({"entries": entries, "damages": damages}))
    else:
        for damage in damages:
            typer.echo(f"damaged: {damage}")
        typer.echo(f"{entries} entries that the ledger may still need, {len(damages)} damaged")
    if damages:
        raise typer.Exit(1)
