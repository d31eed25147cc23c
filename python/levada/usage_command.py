"""`levada usage`: what the ledger says was used, call by call or summed up.

Law: it reads the store and changes nothing; a call is there within a second of its end.
"""

import csv
import json
import sys
import time
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from levada.terminal import ConfigFlag, DataFlag, JsonFlag, with_store

if TYPE_CHECKING:
    from levada.control.store import Store

MS = 1000
SUMMED = ("calls", "input_tokens", "output_tokens", "cached_tokens")


app = typer.Typer(rich_markup_mode=None)


class By(StrEnum):
    """What the use is told by."""

    CALL = "call"
    KEY = "key"
    MODEL = "model"
    DAY = "day"
    BACKEND = "backend"


@app.callback(invoke_without_command=True)
def usage(
    by: Annotated[By, typer.Option(help="One row for each.")] = By.KEY,
    since: Annotated[
        str | None,
        typer.Option(help="From then on: 30d, 12h (ago), or a date such as 2026-01-31 (UTC)."),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: JsonFlag = False,
    data: DataFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Tell what was used: calls and tokens, from the ledger."""
    since_ms = 0 if since is None else _since(since)
    found = with_store(data, config, lambda store: _read(store, by, since_ms))
    rows = [_told(row) for row in found]
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
    elif as_csv:
        _print_csv(rows)
    else:
        _print_table(by, rows)


async def _read(store: "Store", by: By, since_ms: int) -> list[dict[str, Any]]:
    from levada.control.ledger import Ledger

    ledger = Ledger(store)
    if by is By.CALL:
        return await ledger.calls(since_ms)
    return await ledger.sums(by.value, since_ms)


def _since(text: str) -> int:
    from levada.values import duration

    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * MS
    except ValueError:
        pass
    try:
        return int((time.time() - duration(text)) * MS)
    except ValueError as error:
        raise typer.BadParameter(f"'{text}' {error}", param_hint="--since") from None


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """With times and amounts that people and programs read."""
    from levada.prices import decimal

    told = dict(row)
    if told.get("amount") is not None:
        told["amount"] = decimal(told["amount"])
    if "amounts" in told:
        told["amounts"] = {of: decimal(amount) for of, amount in told["amounts"].items()}
    if "at" in told:
        at = datetime.fromtimestamp(told["at"] / MS, UTC)
        told["at"] = at.isoformat(timespec="milliseconds")
    if "day" in told:
        told["day"] = datetime.fromtimestamp(told["day"] / MS, UTC).date().isoformat()
    return told


def _print_csv(rows: list[dict[str, Any]]) -> None:
    if rows:
        writer = csv.DictWriter(sys.stdout, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({**row, "amounts": _money(row)} if "amounts" in row else row)


def _print_table(by: By, rows: list[dict[str, Any]]) -> None:
    columns: tuple[str, ...] = (by.value, *SUMMED)
    if by is By.CALL:
        columns = ("at", "key", "model", "input_tokens", "output_tokens", "source", "ended")
    told = [tuple(_cell(row[name]) for name in columns) for row in rows]
    # Without a price list there is nothing to say of money.
    if any(row.get("amounts") or row.get("unpriced") or row.get("price") for row in rows):
        columns = (*columns, "rating" if by is By.CALL else "unpriced", "amount")
        state = columns[-2]
        pairs = zip(told, rows, strict=True)
        told = [(*line, _cell(row[state]), _money(row)) for line, row in pairs]
    lines = [columns, *told]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    for line in lines:
        typer.echo("  ".join(map(str.ljust, line, widths)).rstrip())


def _money(row: dict[str, Any]) -> str:
    """The amount of a call, or the sums of several, each in its currency."""
    amounts = row.get("amounts")
    if amounts is None:
        amounts = {} if row["amount"] is None else {row["currency"]: row["amount"]}
    return " + ".join(f"{amount} {of}" for of, amount in sorted(amounts.items())) or "-"


def _cell(value: object) -> str:
    return "-" if value is None else str(value)
