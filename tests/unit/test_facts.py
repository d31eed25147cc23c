"""What is told of a profile, and how it looks as Markdown and as HTML."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from levada import profiles
from levada.profiles import answers
from levada.profiles.compiled import compiled
from levada.profiles.facts import Facts, facts
from levada.profiles.html import html
from levada.profiles.page import markdown
from levada.profiles.reading import inner, kinds, ranges, smallest, span

BASE = "id: mine\nversion: '1'\nextends: openai\n"
# Elements that have no end.
SINGLE = {"link", "meta", "wbr"}


def told(name: str | Path) -> Facts:
    profile = profiles.load(name)
    return facts(compiled(profile), profile.version)


def mine(folder: Path, text: str) -> Facts:
    file = folder / "mine.yaml"
    file.write_text(BASE + text)
    return told(file)


class Structure(HTMLParser):
    """What a page is made of; each element must be closed by its own end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        self.open += [] if tag in SINGLE else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, attribute: str) -> list[str]:
        return [value for _, attributes in self.seen if (value := attributes.get(attribute))]


def test_a_page_in_markdown() -> None:
    page = markdown(told("mittwald-dedicated"))
    assert "| `POST /v1/embeddings` | no | Embeddings |" in page
    assert "| `user` | ignored | string |  |  |  |" in page
    assert "| `messages` | checked | array of objects | yes | at least 1 item |  |" in page
    assert "| `n` | checked | integer or null |  | 1 to 128 |  |" in page
    assert "* A stream that breaks ends with its connection" in page
    page = markdown(told("ionos"))
    assert "| `top_p` | checked | number or null |  | 0 to 1 | `-1` means off |" in page
    assert "| `response_format` | passed on | object |  |  |  |" in page
    page = markdown(told("flexai"))
    assert "| `n` | refused | integer or null |  |  | only `1` or `null` passes; else “" in page
    assert "ends with an event that tells the error" in page


@pytest.mark.parametrize("name", profiles.names())
def test_a_page_for_browsers_stands_alone(name: str) -> None:
    known = told(name)
    page = html(known)
    made = Structure(page)
    assert {tag for tag, _ in made.seen}.isdisjoint({"script", "img", "iframe", "base"})
    assert "url(" not in page and "@import" not in page
    icon, *anchors = made.all("href")
    assert icon == "data:,"
    assert anchors and {one.removeprefix("#") for one in anchors} <= set(made.all("id"))
    assert 'name="viewport"' in page and "prefers-color-scheme: dark" in page
    offered = [one for one in known.endpoints if one.parameters]
    assert page.count("<table>") == len(offered) + 3
    assert page.count("<article>") == len(known.examples) > 10
    for one in known.endpoints:
        assert (one.path in re.sub("<wbr>", "", page)) and one.note


def test_marks_have_words_beside_them() -> None:
    page = html(told("mittwald-shared"))
    for mark, word in {"✓": "checked", "⚠": "ignored", "✕": "refused"}.items():
        assert f'<span aria-hidden="true">{mark}</span> {word}</span>' in page
    assert html(told("ionos")).count("</span> passed on</span>") > 5


def test_a_page_knows_where_it_is_served() -> None:
    page = html(told("openai"), "https://a.example")
    assert "<code>https://a.example/v1</code>" in page
    assert 'href="/openapi.json"' in page
    assert 'href="/openapi.json"' not in html(told("openai"))


def test_nothing_of_a_file_becomes_markup(tmp_path: Path) -> None:
    known = mine(
        tmp_path,
        "endpoints: {chat.completions: {params: "
        "{n: {do: reject, message: '<script>`x`'}, '<b>': forward}}}\n",
    )
    page = html(known, 'http://x"><script>')
    assert "<script>" not in page and "<b>" not in page
    Structure(page)


def without(*names: str) -> str:
    return "".join(f"  {name}: absent\n" for name in names)


def test_a_profile_of_few_words(tmp_path: Path) -> None:
    others = [name for name in answers.names() if name != "embeddings"]
    known = mine(tmp_path, f"unknown_params: reject\nendpoints:\n{without(*others)}")
    assert known.streaming == ("Nothing is streamed.",)
    assert known.unknown == "refused"
    assert {one.path for one in known.examples} >= {"/v1/embeddings"}
    titles = [one.title for one in known.examples]
    assert "Unknown parameter" in titles and "Options of a stream without one" not in titles
    nothing = mine(tmp_path, f"endpoints:\n{without(*answers.names())}")
    assert nothing.examples == []
    Structure(html(nothing))


def test_examples_are_of_an_endpoint_that_speaks_json_and_openai(tmp_path: Path) -> None:
    others = {*answers.names()} - {"messages", "audio.translations", "tokenize"}
    known = mine(tmp_path, f"endpoints:\n{without(*others)}")
    assert known.examples[0].path == "/v1/tokenize"
    assert "No model" not in [one.title for one in known.examples]


def test_what_is_done_to_answers_is_told(tmp_path: Path) -> None:
    known = mine(
        tmp_path,
        "json_schema_fallback: reject\nmodels: {category: true, live_only: false}\n"
        "endpoints: {chat.completions: {default_max_tokens: 7, response: {reasoning: both}}}\n",
    )
    chat = next(one for one in known.endpoints if one.path == "/v1/chat/completions")
    assert [words.split(",")[0] for words in chat.answers] == [
        "what a model thinks is told as `reasoning_content` and as `reasoning`",
        "an answer has at most 7 tokens",
        "a JSON Schema asked of a model that keeps to none is refused",
    ]
    assert known.endpoints[0].note == "All models, each with its `category`"
    assert "`system_fingerprint` is always there" in markdown(told("ionos"))
    assert "<h3>Of answers</h3>" in html(told("flexai"))


def test_values_that_are_replaced_and_patterns_are_told() -> None:
    page = markdown(told("ionos"))
    assert "`1024*1024` is passed on as `1024x1024`; " in page
    page = markdown(told("mittwald-shared"))
    assert "| `messages[].content[].image_url.url`: matches `^data:` |" in page


def test_a_provider_may_be_odd(tmp_path: Path) -> None:
    body = "quirks: {unauthorized_body: 'No. <Go>'}\n"
    known = mine(tmp_path, f"strict_quirks: true\n{body}")
    assert known.examples[0].answer == "No. <Go>"
    assert "No. &lt;Go&gt;</pre>" in html(known)
    assert mine(tmp_path, body).examples[0].answer.startswith('{"error":{"message":"You didn')


def test_streams_of_typed_events_have_no_last_line() -> None:
    made = compiled(profiles.load("openai"))
    fields = {"model": {"type": "string"}, "stream": {"type": "boolean"}}
    schema = {"type": "object", "properties": fields, "required": ["model"]}
    rules = {"schema": schema, "unknown": "forward", "order": [], "checks": [], "actions": []}
    known = facts({**made, "endpoints": {"responses": rules}}, "1")
    assert known.streaming[0].endswith("events: `/v1/responses`.")
    assert not [one for one in known.streaming if "last line" in one or "include_usage" in one]


def test_a_field_that_is_refused_is_shown_with_a_value_of_its_kind(tmp_path: Path) -> None:
    refused = {"do": "reject", "message": "not {value}"}
    for field, shown in {
        "store": "true",
        "user": '"hello"',
        "tools": "[]",
        "zzz": '"hello"',
    }.items():
        known = mine(
            tmp_path, f"endpoints: {{chat.completions: {{params: {{{field}: {refused}}}}}}}\n"
        )
        (one,) = [one for one in known.examples if one.title == "Not supported by this provider"]
        assert json.loads(one.answer)["error"]["message"] == f"not {shown}"


def test_the_engines_endpoints_have_a_title_and_others_a_path() -> None:
    assert answers.answer("chat.completions").done
    assert answers.path("audio.speech") == "/v1/audio/speech"
    assert answers.answer("video.edits") == answers.Answer("video.edits")
    known = answers.schemas()
    for name in answers.names():
        assert {answers.answer(name).whole, answers.answer(name).events} <= set(known)


@pytest.mark.parametrize(
    ("value", "named", "allowed", "least"),
    [
        ({"type": "integer", "minimum": 3}, "integer", ["at least 3"], 3),
        ({"type": "number", "maximum": 2**63 - 1, "minimum": 0}, "number", ["at least 0"], 0),
        ({"type": "number", "maximum": 1}, "number", ["at most 1"], 1),
        ({"type": "array"}, "array", [], []),
        ({"type": "boolean"}, "boolean", [], True),
        ({"type": ["string", "null"]}, "string or null", [], "hello"),
        ({"const": "x"}, "string", ["`x`"], "x"),
        ({"enum": list("abcdefghijkl"), "type": "string"}, "string", ["one of 12 values"], "a"),
        ({}, "any", [], "hello"),
        ({"type": "object"}, "object", [], {}),
        (
            {"type": "object", "maxProperties": 1, "propertyNames": {"maxLength": 2}},
            "object",
            ["at most 1 member", "names: at most 2 characters"],
            {},
        ),
        (
            {
                "type": "array",
                "minItems": 1,
                "items": {"anyOf": [{"type": "object"}, {"type": "null"}]},
            },
            "array",
            ["at least 1 item"],
            [{}],
        ),
        ({"anyOf": [{"type": "string"}, {"enum": ["a"], "type": "string"}]}, "string", [], "hello"),
    ],
)
def test_a_value_is_read(value: dict[str, Any], named: str, allowed: list[str], least: Any) -> None:
    assert kinds({}, value) == named
    assert ranges({}, value) == allowed
    assert smallest({}, value) == least


def test_bounds_inside_a_value_have_their_path() -> None:
    tree = {"$ref": "#/$defs/node"}
    node = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 3},
            "kind": {"const": "x"},
            "below": {"type": "array", "items": tree},
        },
    }
    schema = {"$defs": {"node": node}}
    assert list(inner(schema, tree, "a")) == ["`a.name`: at most 3 characters"]
    assert span(1, 4, "item") == "1 to 4 items"
