"""What a question for usage asks, read from its query as OpenAI's usage API has it.

Pure. Law: whatever is not understood is refused and named: a question that was misread would be
answered with a wrong bill.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

# How many buckets of each width a page has when nothing is said, and at most; and their seconds.
WIDTHS = {"1m": (60, 60, 1440), "1h": (3600, 24, 168), "1d": (86400, 7, 31)}
# The same for costs, which come by the day.
DAYS = {"1d": (86400, 7, 180)}
# Names that one list of a query may have.
NAMES_MAX = 100
# Everything a query may say, brackets of lists aside.
FIELDS_MAX = 500
LATEST = 2**43
SINGLE = ("start_time", "end_time", "bucket_width", "limit", "page")


class QueryError(ValueError):
    """A query that is not answered: the engine's word for why, and the parameter at fault."""

    def __init__(self, kind: str, param: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.param = param


@dataclass(frozen=True, slots=True)
class Question:
    """Buckets of `width` from `start` up to before `end`; seconds since 1970, UTC.

    `start` is where this page begins, within its first bucket; `skip` results of that were told.
    """

    start: int
    end: int
    width: int
    limit: int
    skip: int = 0
    group_by: tuple[str, ...] = ()
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def stop(self) -> int:
        """Where this page ends at the latest."""
        first = self.start - self.start % self.width
        return min(self.end, first + self.limit * self.width)


def read(
    text: bytes,
    now: int,
    groups: Collection[str],
    filters: Collection[str] = (),
    widths: Mapping[str, tuple[int, int, int]] = WIDTHS,
) -> Question:
    """The question that a query string asks; QueryError."""
    said = _said(text, {*SINGLE, "group_by", *filters})
    width, usual, most = _width(said, widths)
    if "start_time" not in said:
        message = "Missing required parameter: 'start_time'. It is a time in Unix seconds."
        raise QueryError("missing_parameter", "start_time", message)
    start = _number(said, "start_time", 0, LATEST)
    # Without an end the bucket of this moment is the last.
    latest = max(now, start)
    end = latest - latest % width + width
    if "end_time" in said:
        end = _number(said, "end_time", 0, LATEST)
    if end <= start:
        raise _invalid("end_time", f"'{end}' is not after 'start_time'")
    limit = _number(said, "limit", 1, most) if "limit" in said else usual
    grouped = [name for value in said.get("group_by", ()) for name in value.split(",")]
    for name in grouped:
        if name not in groups:
            raise _invalid("group_by", f"'{name[:64]}' is not one of {_words(groups)}")
    first, skip = _page(said, start, end, width)
    only = {name: tuple(said[name]) for name in filters if name in said}
    by = tuple(dict.fromkeys(grouped))
    return Question(first, end, width, limit, skip, by, only)


def cursor(start: int, skip: int) -> str:
    """What the next page is asked for with."""
    return f"page_{start}_{skip}"


def _said(text: bytes, known: Collection[str]) -> dict[str, list[str]]:
    """The values of each name; `name[]` is `name`, as OpenAI's clients write lists."""
    said: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(text.decode("ascii"), True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError:
        raise QueryError("invalid_value", "query", "The query cannot be read.") from None
    for name, value in pairs:
        bare = name if name in known else name.removesuffix("[]")
        if bare not in known:
            raise QueryError("unknown_parameter", bare[:64], f"Unknown parameter: '{bare[:64]}'.")
        said.setdefault(bare, []).append(value)
        if len(said[bare]) > (1 if bare in SINGLE else NAMES_MAX):
            raise _invalid(bare, "it is given too often")
    return said


def _width(
    said: Mapping[str, list[str]], widths: Mapping[str, tuple[int, int, int]]
) -> tuple[int, int, int]:
    (word,) = said.get("bucket_width", ["1d"])
    if word not in widths:
        raise _invalid("bucket_width", f"'{word[:64]}' is not one of {_words(widths)}")
    return widths[word]


def _number(said: Mapping[str, list[str]], name: str, least: int, most: int) -> int:
    (word,) = said[name]
    number = int(word) if word.isascii() and word.isdigit() and len(word) <= 16 else -1
    if not least <= number <= most:
        raise _invalid(name, f"'{word[:64]}' is not an integer from {least} to {most}")
    return number


def _page(said: Mapping[str, list[str]], start: int, end: int, width: int) -> tuple[int, int]:
    """Where the page begins, and how many results of its first bucket were told already."""
    if "page" not in said:
        return start, 0
    (word,) = said["page"]
    parts = word.split("_")
    numbers = [int(part) for part in parts[1:] if part.isascii() and part.isdigit()]
    if len(word) <= 64 and parts[0] == "page" and len(numbers) == len(parts) - 1 == 2:
        first, skip = numbers
        aligned = first % width == 0 or first == start
        if aligned and start <= first < end and skip < LATEST:
            return first, skip
    raise _invalid("page", "it is not the 'next_page' of an answer to this query")


def _invalid(name: str, why: str) -> QueryError:
    return QueryError("invalid_value", name, f"Invalid value for '{name}': {why}.")


def _words(names: Collection[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
