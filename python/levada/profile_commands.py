"""`levada profile`: which contracts there are, and what each says.

The only file that prints a profile.
"""

import json
from enum import StrEnum
from typing import Annotated

import typer

from levada.terminal import fail

app = typer.Typer(
    help="What a provider promises on the wire.", no_args_is_help=True, rich_markup_mode=None
)


class Form(StrEnum):
    """How a profile is shown."""

    markdown = "markdown"
    html = "html"
    json = "json"


@app.command("list")
def profile_list() -> None:
    """The built-in profiles."""
    from levada import profiles

    for name in profiles.names():
        typer.echo(name)


@app.command("show")
def profile_show(
    name: Annotated[str, typer.Argument(help="A built-in profile, or a .yaml file.")],
    form: Annotated[Form, typer.Option("--format", help="For people or for programs.")] = (
        Form.markdown
    ),
) -> None:
    """Endpoints, parameters and what becomes of each."""
    from levada import profiles
    from levada.profiles.compiled import compiled
    from levada.profiles.facts import facts
    from levada.profiles.html import html
    from levada.profiles.page import markdown

    try:
        profile = profiles.load(name)
        made = compiled(profile)
    except profiles.ProfileError as error:
        fail(str(error))
    match form:
        case Form.json:
            typer.echo(json.dumps(made, indent=1))
        case Form.html:
            typer.echo(html(facts(made, profile.version)))
        case _:
            typer.echo(markdown(facts(made, profile.version)))
