"""`levada ledger`: whether the ledger is in order.

Law: it reads the store and changes nothing; exit 1 says that something does not add up.
"""

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from levada.terminal import ConfigFlag, DataFlag, JsonFlag, fail, folder

if TYPE_CHECKING:
    from levada.control.audit import Findings

app = typer.Typer(
    help="The ledger: is all of it in order?",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def ledger() -> None:
    """The ledger: is all of it in order?"""


@app.command()
def check(data: DataFlag = None, config: ConfigFlag = None, as_json: JsonFlag = False) -> None:
    """Add up all accounts and rate all calls anew. 1: something differs."""
    from levada.control.audit import audit
    from levada.control.store import Store

    place = folder(data, config)

    async def run() -> "Findings":
        store = await Store.open(place)
        try:
            return await audit(store)
        finally:
            await store.close()

    try:
        found = asyncio.run(run())
    except OSError as error:
        fail(str(error))
    unpriced = +found.unpriced
    if as_json:
        told = {"ok": not found.problems, **asdict(found), "unpriced": dict(unpriced)}
        typer.echo(json.dumps(told))
    else:
        for problem in found.problems:
            typer.echo(problem)
        if found.left_out:
            typer.echo(f"and {found.left_out} more")
        for model, calls in sorted(unpriced.items()):
            typer.echo(f"without a price: {calls} calls of the model '{model}'")
        if not found.problems:
            typer.echo(f"in order: {found.calls} calls, {found.balances} balances")
    raise typer.Exit(bool(found.problems))
