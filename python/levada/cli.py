"""The command line: parses, calls one function, prints.

Exit 0: done; 1: it could not be done; 2: usage or configuration. What a command needs is imported
inside it, so that `levada --help` is quick and the serving parent stays small.
"""

import json
from enum import StrEnum
from http.client import HTTPConnection, HTTPException
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from levada import key_commands, ledger_commands, profile_commands, usage_command
from levada.terminal import ConfigFlag, DataFlag, fail, folder, loaded

if TYPE_CHECKING:
    from levada.config import Config

_RELOAD_SECONDS = 30.0


class Form(StrEnum):
    """How the rows of a probe are told."""

    table = "table"
    json = "json"
    junit = "junit"


app = typer.Typer(
    help="One OpenAI-compatible address in front of many inference servers.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="About levada.yaml.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(config_app, name="config")
app.add_typer(key_commands.app, name="key")
app.add_typer(ledger_commands.app, name="ledger")
app.add_typer(profile_commands.app, name="profile")
app.add_typer(usage_command.app, name="usage")
app.add_typer(ledger_commands.app, name="ledger")


def main() -> None:
    """The entry point of `levada` and of `python -m levada`."""
    app()


@app.command()
def serve(
    backend: Annotated[
        list[str] | None,
        typer.Option(help="URL of an inference server; repeatable. [env: LEVADA_BACKEND]"),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Public address (127.0.0.1). [env: LEVADA_HOST]")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Public port (8080); 0: any free one. [env: LEVADA_PORT]")
    ] = None,
    admin_port: Annotated[
        int | None, typer.Option(help="Admin port (8081). [env: LEVADA_ADMIN_PORT]")
    ] = None,
    door: Annotated[
        str | None, typer.Option(help="Who answers inference: edge or app. [env: LEVADA_DOOR]")
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="Whose contract is kept: a profile (openai). [env: LEVADA_PROFILE]"),
    ] = None,
    data: DataFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Serve the backends under one address. The first key is LEVADA_KEY, or made and printed."""
    from levada import loading

    flags = loading.Overrides(tuple(backend or ()), host, port, admin_port, door, profile, data)
    source = loading.Source(loading.locate(config), flags)
    settings, enclosed = loaded(source.read)
    key = loaded(loading.given_key)
    from levada.server import serve as run

    raise typer.Exit(run(settings, enclosed, key=key, source=source))


@app.command()
def check(file: Annotated[Path, typer.Argument(help="The configuration file.")]) -> None:
    """Print every problem of a configuration file, each with its line."""
    from levada import loading

    try:
        found = loading.check(file)
    except loading.ConfigProblems as problems:
        typer.echo(str(problems))
        raise typer.Exit(1) from None
    typer.echo(f"{file}: ok ({_count(len(found.backends), 'backend')}, {_models(found)})")


@config_app.command()
def schema() -> None:
    """Print the JSON Schema of levada.yaml."""
    from levada.published import schema as published

    typer.echo(json.dumps(published(), indent=2))


@app.command()
def reload(data: DataFlag = None, config: ConfigFlag = None) -> None:
    """Tell the running Levada to read its configuration again."""
    file = folder(data, config) / "admin.json"
    try:
        admin = json.loads(file.read_text())
        status, answer = _post(admin["url"], "/admin/reload", admin["token"])
    except (OSError, HTTPException, ValueError, TypeError, KeyError) as error:
        fail(f"no Levada answers by {file}: {error}")
    if status != 200:
        problems = answer.get("problems") or [f"the answer was {status}"]
        fail("\n".join(["the new configuration is refused; the old one stays", *problems]))
    typer.echo(f"reloaded: version {answer.get('version')}")


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the first answer.")] = False,
) -> None:
    """Serve a small real model on this machine and stream one answer from it."""
    from levada.demo import demo as run

    raise typer.Exit(run(once=once))


@app.command()
def probe(
    url: Annotated[str, typer.Argument(help="Where the server is, with or without /v1.")],
    profile: Annotated[
        str, typer.Option(help="Whose promises: a built-in profile, or a .yaml file.")
    ],
    key: Annotated[str, typer.Option(help="The key to ask with.")] = "",
    model: Annotated[
        str | None, typer.Option(help="The model to ask; else the first that answers.")
    ] = None,
    only: Annotated[str, typer.Option(help="Only promises whose id begins so.")] = "",
    form: Annotated[Form, typer.Option("--format", help="For people or for programs.")] = (
        Form.table
    ),
    timeout: Annotated[
        float, typer.Option(min=0.1, max=600, help="Seconds to wait for each answer.")
    ] = 30.0,
) -> None:
    """Ask any OpenAI-compatible server whether it keeps a profile's promises. 1: one is broken."""
    from levada import probe as probing
    from levada import profiles
    from levada.probe import report

    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        fail(f"'{url}' is not the URL of a server", 2)
    try:
        promised = profiles.load(profile)
        rows = probing.probe(probing.Client(url, key, timeout), promised, model, only)
    except profiles.ProfileError as error:
        fail(str(error), 2)
    except probing.SilenceError as error:
        fail(f"{url} gives no answer: {error}", 2)
    writers = {Form.table: report.table, Form.json: report.as_json, Form.junit: report.junit}
    typer.echo(writers[form](rows))
    raise typer.Exit(any(row.outcome == "broken" for row in rows))


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"levada {metadata.version('levada')}")


def _post(url: str, path: str, token: str) -> tuple[int, dict[str, Any]]:
    address = urlsplit(url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=_RELOAD_SECONDS)
    try:
        connection.request("POST", path, headers={"authorization": f"Bearer {token}"})
        response = connection.getresponse()
        return response.status, dict(json.loads(response.read()))
    finally:
        connection.close()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _models(config: "Config") -> str:
    if config.models is not None:
        return _count(len(config.models), "model")
    if any(backend.models is None for backend in config.backends):
        return "the models they serve"
    names = {name for backend in config.backends for name in backend.models or ()}
    return _count(len(names), "model")
