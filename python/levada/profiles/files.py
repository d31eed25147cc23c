"""A profile's file: read, merged with the one it extends, checked, made into the engine's form.

Law: a file with a mistake is refused with the place of each mistake; what is built in cannot be
changed but only extended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from levada import document
from levada.config import Made, Where
from levada.document import Problem, spell
from levada.profiles.compiled import compiled
from levada.profiles.mistakes import judged
from levada.profiles.schema import Profile, ProfileError

Place = tuple[str, int]
"""A file and a line of it."""


@dataclass(slots=True)
class Words:
    """What a file and those it extends say, and where each word of it stands."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[Where, Place] = field(default_factory=dict)
    files: tuple[Path, ...] = ()


def names() -> list[str]:
    """The built-in profiles."""
    return sorted(path.stem for path in _here().glob("*.yaml"))


def load(name: str | Path) -> Profile:
    """A built-in profile by its name, or the one in a file. ProfileError, OSError."""
    return _checked(_words(name))


def make(name: str | Path) -> Made:
    """The same, in the engine's form, with the files that it was made of."""
    words = _words(name)
    profile = _checked(words)
    try:
        form = compiled(profile)
    except ProfileError as error:
        places = {spell(where): place for where, place in words.places.items()}
        problems = [(one, *places[one.path]) for one in error.problems]
        placed = (replace(one, file=file, line=line) for one, file, line in problems)
        raise ProfileError(*placed) from None
    return Made(form, profile.version, words.files, profile.cors.any_origin)


def _words(name: str | Path) -> Words:
    path = _here() / f"{name}.yaml" if str(name) in names() else Path(name)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        message = f"no profile is named '{name}'; built in are {', '.join(names())}"
        raise ProfileError(Problem(str(name), None, "", message))
    return _merged(path, ())


def _merged(path: Path, below: tuple[Path, ...]) -> Words:
    """The file's words over those of the profile that it extends."""
    found = document.parse(path.read_text(encoding="utf-8"))
    if found.problems:
        told = (Problem(str(path), line, spell(at), text) for at, line, text in found.problems)
        raise ProfileError(*told)
    places = {where: (str(path), line) for where, line in found.lines.items()}
    own = Words(found.values, places, (path,))
    base = own.values.get("extends")
    if base is None:
        return own
    parent = _here() / f"{base}.yaml"
    if not parent.is_file():
        parent = path.parent / str(base)
    problem = Problem(*places[("extends",)], "extends", f"no profile is named '{base}'")
    if parent in (*below, path):
        raise ProfileError(replace(problem, message="it extends itself"))
    if not parent.is_file():
        raise ProfileError(problem)
    above = _merged(parent, (*below, path))
    values = _over(above.values, own.values)
    return Words(values, above.places | own.places, (*own.files, *above.files))


def _over(base: Mapping[str, Any], words: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings are merged, key by key; anything else replaces what was there."""
    out = dict(base)
    for key, value in words.items():
        known = out.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            value = _over(known, value)
        out[key] = value
    return out


def _checked(words: Words) -> Profile:
    found = judged(words.values)
    if isinstance(found, Profile):
        return found
    top = (str(words.files[0]), 1)
    problems = []
    for where, message, hint in found:
        near = where
        while near and near not in words.places:
            near = near[:-1]
        problems.append(Problem(*words.places.get(near, top), spell(where), message, hint))
    raise ProfileError(*problems)


def _here() -> Path:
    return Path(__file__).parent
