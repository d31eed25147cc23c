"""YAML text → plain values and the line on which each stands, with every problem on the way.

Pure: text in, values out. A value is never part of a problem, for it may be a secret.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from levada.config import Where

_NODES = 20_000
_DEPTH = 32
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend: where it stands, what is wrong, and perhaps what was meant."""

    file: str
    line: int | None
    path: str
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        path = f"{self.path}: " if self.path else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{place}: {path}{self.message}{hint}"


class ConfigProblems(Exception):  # noqa: N818 - it is many at once
    """The configuration cannot be used; `problems` holds every reason."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


@dataclass(slots=True)
class Document:
    """What a text says: its values, the line of each, and what could not be read."""

    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[Where, int] = field(default_factory=dict)
    problems: list[tuple[Where, int, str]] = field(default_factory=list)


def spell(where: Where) -> str:
    """("backends", 0, "url") as people write it: backends[0].url."""
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def parse(text: str) -> Document:
    """Reads one YAML 1.2 document whose top is a mapping; an empty text is an empty mapping."""
    reader = _Reader()
    try:
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        reader.document.problems.append(((), line, error.problem or "is not YAML"))
    except YAMLError:
        message = "is not YAML: it holds a character that YAML does not allow"
        reader.document.problems.append(((), 1, message))
    except RecursionError:
        reader.document.problems.append(((), 1, "is nested too deeply"))
    else:
        reader.top(node)
    return reader.document


class _Reader:
    """Walks the node tree once. Aliases are followed, within bounds."""

    def __init__(self) -> None:
        self.document = Document()
        self.left = _NODES

    def top(self, node: Node | None) -> None:
        if node is None or node.tag == f"{_TAG}null":
            return
        if isinstance(node, MappingNode):
            self.document.values = self._mapping(node, ())
        else:
            self._problem((), node, "is not a mapping of settings")
        if self.left < 0:
            self._problem((), node, "is too large or too deep, or an alias holds itself")

    def _problem(self, where: Where, node: Node, message: str) -> None:
        self.document.problems.append((where, _line(node), message))

    def _value(self, node: Node, where: Where) -> Any:
        self.left -= 1
        if self.left < 0 or len(where) > _DEPTH:
            self.left = -1
            return None
        if isinstance(node, MappingNode):
            return self._mapping(node, where)
        if isinstance(node, SequenceNode):
            return self._sequence(node, where)
        return self._scalar(node, where)

    def _mapping(self, node: MappingNode, where: Where) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._problem(where, key, "a key is a word, not a list or a mapping")
                continue
            name = str(key.value)
            inner = (*where, name)
            if name in values:
                message = f"'{name}' is set twice, first on line {self.document.lines[inner]}"
                self._problem(inner, key, message)
                continue
            self.document.lines[inner] = _line(key)
            values[name] = self._value(value, inner)
        return values

    def _sequence(self, node: SequenceNode, where: Where) -> list[Any]:
        values = []
        for index, item in enumerate(node.value):
            self.document.lines[(*where, index)] = _line(item)
            values.append(self._value(item, (*where, index)))
        return values

    def _scalar(self, node: Node, where: Where) -> Any:
        text = str(node.value)
        match str(node.tag).removeprefix(_TAG):
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return _whole(text)
            case "float":
                return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
            case "str" | "timestamp":
                return text
        self._problem(where, node, "has a tag; levada.yaml knows none")
        return None


def _whole(text: str) -> int | str:
    digits = text.replace("_", "")
    try:
        return int(digits, 10 if digits.lstrip("+-").isdecimal() else 0)
    except ValueError:
        return text


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
