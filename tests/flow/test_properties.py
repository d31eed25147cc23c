"""Requests nobody would write by hand: what is valid arrives byte for byte but for our edits."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import Levada, Start
from upstream import ScriptedBackend

ASK = b'"stream_options":{"include_usage":true}'
NUMBERS = ("0", "-0", "1.0", "1E+2", "-0.0e-7", "1e999", "123456789012345678901234567890")
SPACES = st.text(" \t\r\n", max_size=3)


@pytest.fixture(scope="module")
def shared() -> Iterator[ScriptedBackend]:
    with ScriptedBackend() as one:
        yield one


@pytest.fixture(scope="module")
def running(levada_for_module: Start, shared: ScriptedBackend) -> Levada:
    models = [{"name": "m"}, {"name": "alias", "upstream": "m"}]
    backends = [{"name": "one", "url": shared.url, "models": ["m"]}]
    return levada_for_module(config={"models": models, "backends": backends})


@st.composite
def written(draw: st.DrawFn, text: str) -> str:
    """A JSON string for `text`, each character plain or escaped as the draw has it."""
    out = ""
    for character in text:
        plain = json.dumps(character, ensure_ascii=False)[1:-1]
        out += draw(st.sampled_from([plain, json.dumps(character)[1:-1]]))
    return f'"{out}"'


STRINGS = st.text(st.characters(codec="utf-8"), max_size=8).flatmap(written)
SCALARS = st.one_of(st.sampled_from(("true", "false", "null", *NUMBERS)), STRINGS)


def joined(pieces: list[tuple[str, str]], ends: str) -> str:
    return ends[0] + ",".join(space + piece + space for space, piece in pieces) + ends[1]


def containers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    lists = st.lists(st.tuples(SPACES, inner), max_size=3)
    pairs = st.tuples(STRINGS, SPACES, inner).map(lambda one: f"{one[0]}{one[1]}:{one[1]}{one[2]}")
    objects = st.lists(st.tuples(SPACES, pairs), max_size=3)
    return lists.map(lambda found: joined(found, "[]")) | objects.map(
        lambda found: joined(found, "{}")
    )


VALUES = st.recursive(SCALARS, containers, max_leaves=8)
OTHERS = st.lists(st.tuples(st.text("abcxyz_é", min_size=8, max_size=9), VALUES), max_size=4)


@st.composite
def requests(draw: st.DrawFn, model: str, stream: bool) -> tuple[bytes, bytes]:
    """A body, and what the backend should see of it when `model` stands for `m`."""
    members = [f"{json.dumps(name, ensure_ascii=False)}:{value}" for name, value in draw(OTHERS)]
    place = draw(written(model))
    members += [
        f'"model"{draw(SPACES)}:\x00',
        f'"messages":[{{"role":"user","content":{draw(STRINGS)}}}]',
    ]
    if stream:
        members.append('"stream":true')
    order = draw(st.permutations(members))
    spaced = [f"{draw(SPACES)}{member}{draw(SPACES)}" for member in order]
    around = draw(SPACES)
    body = around + "{" + ",".join(spaced) + "}" + around
    expected = body.replace("\x00", '"m"' if model != "m" else place)
    if stream:
        end = expected.rindex("}")
        expected = f"{expected[:end]},{ASK.decode()}{expected[end:]}"
    return body.replace("\x00", place).encode(), expected.encode()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["m", "alias"])
def test_only_the_edited_spans_differ(
    running: Levada, shared: ScriptedBackend, model: str, stream: bool
) -> None:
    @settings(
        max_examples=120,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(requests(model, stream))
    def check(one: tuple[bytes, bytes]) -> None:
        body, expected = one
        shared.forget()
        answer = running.chat(body)
        assert answer.status == 200, (body, answer.body)
        assert shared.last.body == expected

    check()
