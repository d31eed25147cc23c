"""A profile as people read it in a browser: one page that needs nothing but itself.

Pure. Decides how it looks; what there is to tell is told by `facts`. No script, no asset, nothing
of another host: it may be saved, mailed and opened anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

from levada.profiles.errors import Example, pretty
from levada.profiles.facts import HEADERS, MEANINGS, Endpoint, Facts, Fate, Parameter

# The mark of each fate; its word stands beside it, for colour and shape alone say too little.
MARKS = {Fate.CHECKED: "✓", Fate.PASSED: "✓", Fate.IGNORED: "⚠", Fate.REFUSED: "✕"}
SECTIONS = ("Endpoints", "Parameters", "Streaming", "Headers", "Errors")
CLASSES = {Fate.CHECKED: "yes", Fate.PASSED: "plain", Fate.IGNORED: "warn", Fate.REFUSED: "no"}


def html(facts: Facts, base: str | None = None) -> str:
    """The compatibility page; `base` is the address of the server that shows it."""
    body = [
        *_head(facts, base),
        *_overview(facts),
        *_endpoints(facts),
        *_rules(facts),
        *_errors(facts),
    ]
    title = escape(f"{facts.name}: OpenAI API compatibility")
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            # None: else a browser asks for one, and is asked for a key.
            '<link rel="icon" href="data:,">',
            f"<title>{title}</title>",
            f"<style>\n{style}</style></head>",
            *body,
            "</html>",
            "",
        ]
    )


def _head(facts: Facts, base: str | None) -> Iterator[str]:
    yield '<body><header class="top"><p class="over">OpenAI API compatibility</p>'
    yield f"<h1>{escape(facts.name)}</h1>"
    host = base or "https://YOUR-HOST"
    addresses = " or ".join(f"<code>{escape(host + path)}</code>" for path in facts.bases)
    yield '<dl class="card">'
    yield f"<div><dt>Version</dt><dd>{escape(facts.version)}</dd></div>"
    yield f"<div><dt>Base URL</dt><dd>{addresses}</dd></div>"
    yield "<div><dt>Authentication</dt><dd><code>Authorization: Bearer YOUR_KEY</code></dd></div>"
    if base is not None:
        yield '<div><dt>OpenAPI</dt><dd><a href="/openapi.json">/openapi.json</a></dd></div>'
    yield "</dl></header>"
    links = (f'<a href="#{one.lower()}">{one}</a>' for one in SECTIONS)
    yield from ('<nav aria-label="On this page">', *links, "</nav><main>")


def _overview(facts: Facts) -> Iterator[str]:
    yield '<section id="endpoints"><h2>Endpoints</h2>'
    yield from _table(
        ("Path", "Method", "Supported", "Note"),
        ((_linked(one), one.method, _offered(one), _prose(one.note)) for one in facts.endpoints),
        "Endpoints",
    )
    yield "</section>"


def _endpoints(facts: Facts) -> Iterator[str]:
    yield '<section id="parameters"><h2>Parameters</h2><dl class="legend">'
    for fate, words in MEANINGS.items():
        yield f"<dt>{_mark(fate)}</dt><dd>{escape(words)}</dd>"
    yield "</dl></section>"
    for endpoint in (one for one in facts.endpoints if one.parameters):
        yield f'<section id="{_anchor(endpoint)}"><h2>'
        yield f'<span class="method">{endpoint.method}</span> {_code(endpoint.path)}</h2>'
        yield f"<p>{_prose(endpoint.note)}.</p>"
        yield from _table(
            ("Parameter", "Handling", "Type", "Required", "Range", "Note"),
            map(_parameter, endpoint.parameters),
            f"Parameters of {endpoint.path}",
        )
        if endpoint.checks:
            yield "<h3>Checked between parameters</h3>"
            yield from _list(endpoint.checks)
        if endpoint.answers:
            yield "<h3>Of answers</h3>"
            yield from _list(endpoint.answers)
        yield "</section>"
    yield "<section><h2>Other parameters</h2>"
    yield f"<p>Unknown parameters are {_prose(facts.unknown)}. An explicit <code>null</code> is "
    yield f"{_prose(facts.null)}.</p>"
    yield f"<p>{_state('no', '✕', 'refused')} at any depth, for they reach into a model server "
    yield "instead of describing the request:</p>"
    yield '<p class="names">' + " ".join(map(_code, facts.denied))
    yield "</p></section>"


def _rules(facts: Facts) -> Iterator[str]:
    yield '<section id="streaming"><h2>Streaming</h2>'
    yield from _list(facts.streaming)
    yield '</section><section id="rates"><h2>How often callers may ask</h2>'
    yield from _list(facts.rates)
    yield '</section><section id="headers"><h2>Response headers</h2>'
    rows = ((_code(name), _prose(words)) for name, words in HEADERS)
    yield from _table(("Header", "What it says"), rows, "Response headers")
    yield "</section>"


def _errors(facts: Facts) -> Iterator[str]:
    yield '<section id="errors"><h2>Errors</h2>'
    yield "<p>Every error is one JSON object: <code>message</code>, <code>type</code>, "
    yield "<code>param</code> and <code>code</code>, of which the last two may be null.</p>"
    rows = (
        (f"<strong>{status}</strong>", _code(kind), escape(when))
        for status, kind, when in facts.statuses
    )
    yield from _table(("Status", "Type", "When"), rows, "Statuses of errors")
    yield '<h3>Examples</h3><div class="examples">'
    for one in facts.examples:
        yield from _example(one)
    yield "</div></section></main></body>"


def _example(one: Example) -> Iterator[str]:
    lines = [f"{one.method} {one.path}"]
    lines += [f"authorization: Bearer {one.key}"] if one.key else []
    lines += [f"content-type: {one.media}", "", one.body] if one.body else []
    answer = [f"HTTP {one.status}", *one.headers, "", pretty(one.answer)]
    yield f'<article><h4><span class="state no">{one.status}</span> {escape(one.title)}</h4>'
    yield f"<pre>{_lines(lines)}</pre>"
    yield f'<pre class="answer">{_lines(answer)}</pre></article>'


def _lines(lines: list[str]) -> str:
    return escape("\n".join(lines), quote=False)


def _parameter(one: Parameter) -> tuple[str, ...]:
    required = "<strong>yes</strong>" if one.required else '<span class="faint">no</span>'
    return (
        _code(one.name),
        _mark(one.fate),
        escape(one.kinds),
        required,
        _prose(one.range),
        _prose(one.note),
    )


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]], label: str) -> Iterator[str]:
    """A table in a box of its own, which scrolls where the page is narrow, also by keyboard."""
    yield f'<div class="box" role="region" tabindex="0" aria-label="{escape(label)}">'
    yield "<table><thead><tr>" + "".join(f'<th scope="col">{title}</th>' for title in titles)
    yield "</tr></thead><tbody>"
    for first, *rest in rows:
        cells = "".join(f"<td>{cell}</td>" for cell in rest)
        yield f'<tr><th scope="row">{first}</th>{cells}</tr>'
    yield "</tbody></table></div>"


def _list(lines: Iterable[str]) -> list[str]:
    return ["<ul>", *(f"<li>{_prose(one)}</li>" for one in lines), "</ul>"]


def _prose(text: str) -> str:
    """Text in which names stand between backticks."""
    plain = re.split("`([^`]*)`", text)
    return "".join(_code(part) if at % 2 else escape(part) for at, part in enumerate(plain))


def _code(text: str) -> str:
    """A name or value, which a narrow page may break where its words meet."""
    broken = re.sub("([/_.])", r"\1<wbr>", escape(text))
    return f"<code>{broken}</code>"


def _mark(fate: Fate) -> str:
    return _state(CLASSES[fate], MARKS[fate], fate)


def _offered(one: Endpoint) -> str:
    return _state("yes", "✓", "yes") if one.offered else _state("no", "✕", "no")


def _state(kind: str, mark: str, word: str) -> str:
    return f'<span class="state {kind}"><span aria-hidden="true">{mark}</span> {word}</span>'


def _linked(one: Endpoint) -> str:
    path = _code(one.path)
    return f'<a href="#{_anchor(one)}">{path}</a>' if one.parameters else path


def _anchor(one: Endpoint) -> str:
    return one.name.replace(".", "-")
