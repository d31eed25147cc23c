"""A profile as people read it in a terminal or a repository: Markdown.

Pure. Decides how it looks; what there is to tell is told by `facts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from levada.profiles.errors import pretty
from levada.profiles.facts import HEADERS, MEANINGS, Endpoint, Facts


def markdown(facts: Facts) -> str:
    """The compatibility page as Markdown."""
    return "\n".join([*_head(facts), *_endpoints(facts), *_rules(facts), *_errors(facts), ""])


def _head(facts: Facts) -> Iterator[str]:
    yield f"# {facts.name}"
    yield f"\nVersion {facts.version}. Authentication: `Authorization: Bearer KEY`.\n"
    rows = (
        (f"`{one.method} {one.path}`", "yes" if one.offered else "no", one.note)
        for one in facts.endpoints
    )
    yield from _table(("endpoint", "offered", "note"), rows)


def _endpoints(facts: Facts) -> Iterator[str]:
    yield ""
    yield from (f"* {fate}: {words}" for fate, words in MEANINGS.items())
    for endpoint in facts.endpoints:
        if endpoint.parameters:
            yield f"\n## {endpoint.method} {endpoint.path}\n"
            yield from _parameters(endpoint)
            yield from ("", *(f"* {words}" for words in (*endpoint.checks, *endpoint.answers)))


def _parameters(endpoint: Endpoint) -> Iterator[str]:
    titles = ("parameter", "handling", "type", "required", "range", "note")
    rows = (
        (f"`{one.name}`", one.fate, one.kinds, "yes" if one.required else "", one.range, one.note)
        for one in endpoint.parameters
    )
    return _table(titles, rows)


def _rules(facts: Facts) -> Iterator[str]:
    yield f"\nUnknown parameters are {facts.unknown}. An explicit null is {facts.null}."
    yield "Never accepted, at any depth: " + ", ".join(f"`{name}`" for name in facts.denied) + "."
    yield "\n## Streaming\n"
    yield from (f"* {words}" for words in facts.streaming)
    yield "\n## How often callers may ask\n"
    yield from (f"* {words}" for words in facts.rates)
    yield "\n## Response headers\n"
    yield from _table(("header", "what it says"), ((f"`{name}`", words) for name, words in HEADERS))


def _errors(facts: Facts) -> Iterator[str]:
    yield "\n## Errors\n"
    rows = ((str(status), f"`{kind}`", when) for status, kind, when in facts.statuses)
    yield from _table(("status", "type", "when"), rows)
    for one in facts.examples:
        yield f"\n{one.title}: {one.status}\n\n```\n{one.method} {one.path}\n{one.body}".rstrip()
        yield "```\n\n```json\n" + pretty(one.answer) + "\n```"


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(titles) + " |"
    yield "|" + "---|" * len(titles)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
