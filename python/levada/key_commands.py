"""`levada key`: makes, lists, ends and replaces client keys in the store, served or not.

The only file that prints a key's text, once, when it is made.
"""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from levada.terminal import ConfigFlag, DataFlag, JsonFlag, with_store

if TYPE_CHECKING:
    from levada.allowance import Allowance
    from levada.control.store import Key, Store

app = typer.Typer(
    help="Client keys; a change counts within a second.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

LimitsFlag = Annotated[
    str | None,
    typer.Option(
        "--limits",
        metavar="JSON",
        help="""How much it may use, such as '{"tokens_per_minute": 9000}'; '{}': no limits.""",
    ),
]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id, such as k_Ab12Cd34.")]


@app.command("create")
def key_create(
    name: Annotated[str, typer.Option(help="What the key is for.")] = "unnamed",
    models: Annotated[
        str | None, typer.Option(help="The models it may use, with commas (all).")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="How long it lives, such as 12h or 30d (for ever).")
    ] = None,
    project: Annotated[str | None, typer.Option(help="Its project.")] = None,
    limits: LimitsFlag = None,
    data: DataFlag = None,
    config: ConfigFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a key and print it, this once."""
    from levada.control import keys

    life = None if expires is None else _seconds("--expires", expires)
    allowed = None if models is None else tuple(filter(None, models.replace(",", " ").split()))

    said = keys.Change(project=project, limits=_limits(limits))

    async def work(store: "Store") -> "tuple[Key, str]":
        end = None if life is None else store.clock() + life
        return await keys.create(store, name, models=allowed, expires=end, change=said)

    _print_new(*with_store(data, config, work), as_json)


@app.command("list")
def key_list(data: DataFlag = None, config: ConfigFlag = None, as_json: JsonFlag = False) -> None:
    """List the keys; their texts are not stored."""

    async def work(store: "Store") -> list[dict[str, Any]]:
        return [_described(key, store.clock()) for key in await store.keys()]

    found = with_store(data, config, work)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    columns = ("id", "name", "state", "last4", "models", "expires")
    rows = [columns, *(tuple(_cell(key[column]) for column in columns) for key in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


@app.command("revoke")
def key_revoke(key: KeyId, data: DataFlag = None, config: ConfigFlag = None) -> None:
    """End a key now."""
    from levada.control import keys

    with_store(data, config, lambda store: keys.revoke(store, key))
    typer.echo(f"revoked: {key}")


@app.command("change")
def key_change(
    key: KeyId,
    tenant: Annotated[str | None, typer.Option(help="Whose it is; '': nobody's.")] = None,
    project: Annotated[str | None, typer.Option(help="Its project; '': none.")] = None,
    rpm: Annotated[
        int | None, typer.Option(help="Requests a minute; 0: as the profile says.")
    ] = None,
    exhausted: Annotated[
        bool | None,
        typer.Option("--exhausted/--funded", help="Whether what was paid for is used up."),
    ] = None,
    limits: LimitsFlag = None,
    data: DataFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Say whose a key is, how much it may use, or that its credit is used up."""
    from levada.control import keys

    change = keys.Change(tenant, project, rpm, exhausted, _limits(limits))
    with_store(data, config, lambda store: keys.change(store, key, change))
    typer.echo(f"changed: {key}")


@app.command("rotate")
def key_rotate(
    key: KeyId,
    overlap: Annotated[str, typer.Option(help="How long the old key still works.")] = "0s",
    data: DataFlag = None,
    config: ConfigFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Replace a key by a new one with the same rights, and print that."""
    from levada.control import keys

    seconds = _seconds("--overlap", overlap)
    made = with_store(data, config, lambda store: keys.rotate(store, key, seconds))
    _print_new(*made, as_json)


def _limits(text: str | None) -> "Allowance | None":
    from pydantic import ValidationError

    from levada.allowance import Allowance

    if text is None:
        return None
    try:
        return Allowance.model_validate_json(text)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        place = ".".join(map(str, wrong["loc"]))
        words = f"{place}: {wrong['msg']}".removeprefix(": ")
        raise typer.BadParameter(words, param_hint="--limits") from None


def _seconds(flag: str, text: str) -> float:
    from levada.values import duration

    try:
        return duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"'{text}' {error}", param_hint=flag) from None


def _described(key: "Key", now: float) -> dict[str, Any]:
    ended = "expired" if key.revoked is None else "revoked"
    return {
        "id": key.id,
        "name": key.name,
        "state": "live" if key.live(now) else ended,
        "last4": key.last4,
        "models": None if key.models is None else list(key.models),
        "created": _time(key.created),
        "expires": _time(key.expires),
        "revoked": _time(key.revoked),
        "replaced_by": key.replaced_by,
        "tenant": key.tenant,
        "project": key.project,
        "requests_per_minute": key.requests_per_minute,
        "exhausted": key.exhausted,
        "limits": key.limits,
    }


def _time(seconds: float | None) -> str | None:
    from datetime import UTC, datetime

    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _cell(value: str | list[str] | None) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else ",".join(value)


def _print_new(key: "Key", text: str, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**_described(key, key.created), "key": text}, indent=2))
        return
    typer.echo(f"id: {key.id}\nkey: {text}")
