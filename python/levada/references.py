"""`${VAR}`, `${VAR:-default}`, `${file:PATH}` → what they stand for; `$${` is the text `${`.

Pure: the caller brings the variables and the way to read a file. References are replaced in values
after YAML has been read, so what they stand for can never add a setting.
"""

import re
from collections.abc import Callable, Mapping

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


class UnresolvedError(Exception):
    """A reference or a file that leads nowhere; the text says why and never what was found."""


def expand(text: str, variables: Mapping[str, str], read: Callable[[str], str]) -> str:
    """The text, its references replaced; an empty variable takes its default. UnresolvedError."""

    def replace(match: re.Match[str]) -> str:
        inside, closed = match[1], match[2]
        if inside is None:
            return "${"
        if closed and inside.startswith("file:"):
            return read(inside.removeprefix("file:"))
        variable = _VARIABLE.fullmatch(inside)
        if not closed or variable is None:
            raise UnresolvedError("has a '${' that names no variable; '$${' stands for the text")
        return _lookup(variables, variable[1], variable[2])

    return _REFERENCE.sub(replace, text)


def _lookup(variables: Mapping[str, str], name: str, default: str | None) -> str:
    found = variables.get(name)
    if default is not None:
        return found or default
    if found is None:
        raise UnresolvedError(f"the environment variable '{name}' is not set")
    return found
