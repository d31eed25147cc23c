"""The vectors themselves: complete, printed from their tables, and in agreement with a second
reader.
"""

import json
import re
from pathlib import Path

import pytest

from vectors import json_texts, sse_cases, transcripts
from vectors.make_json import DEPTH
from vectors.make_json import lines as json_lines
from vectors.make_sse import lines as sse_lines

HERE = Path(__file__).parent
TEXTS = json_texts()
CASES = sse_cases()


def depth(value: object) -> int:
    """Levels of nesting of a parsed value, counted without recursion."""
    deepest, level = 0, [value]
    while level := [item for item in level if isinstance(item, (dict, list))]:
        deepest += 1
        level = [x for item in level for x in (item.values() if isinstance(item, dict) else item)]
    return deepest


def refuse_constant(name: str) -> object:
    raise ValueError(name)


def readable(text: bytes) -> bool:
    """What a strict reader made of Python's own parts says about a text."""
    try:
        value = json.loads(text.decode(), parse_constant=refuse_constant, parse_int=str)
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate has no UTF-8
    except (ValueError, RecursionError):
        return False
    return depth(value) <= DEPTH


def test_files_are_the_print_out_of_their_tables() -> None:
    assert (HERE / "json.tsv").read_text().splitlines() == json_lines()
    assert (HERE / "sse.tsv").read_text().splitlines() == sse_lines()


def test_the_corpus_is_large_enough_and_every_name_is_used_once() -> None:
    names = [(text.accepted, text.name) for text in TEXTS]
    assert len(names) == len(set(names))
    assert len({text.bytes for text in TEXTS}) >= 0.98 * len(TEXTS)
    assert sum(text.accepted for text in TEXTS) >= 120
    assert sum(not text.accepted for text in TEXTS) >= 250


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.id)
def test_a_second_reader_agrees_alone_and_inside_a_request(text) -> None:
    assert readable(text.bytes) is text.accepted
    inside = b'{"model":"m","x":' + text.bytes + b"}"
    assert readable(inside) is text.accepted_inside


def reframed(given: bytes) -> bytes:
    """The rules of sse.tsv said a second time, by regular expressions over the whole input."""
    given = given.removeprefix(b"\xef\xbb\xbf")
    lines = re.split(rb"\r\n|\r|\n", given)[:-1]
    out, event = b"", b""
    for line in lines:
        event += line + b"\n" if line else b""
        if not line and event:
            out, event = out + event + b"\n", b""
    return out


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_sse_outputs_follow_from_the_rules(case) -> None:
    assert reframed(case.given) == case.wanted


def test_transcripts_are_whole_answers_and_carry_no_recorders_mark() -> None:
    recordings = transcripts()
    assert len(recordings) >= 200
    for recording in recordings:
        assert re.match(rb"HTTP/1\.[01] \d{3}", recording.answer), recording.name
        assert b"<<<connection end" not in recording.answer, recording.name
    assert sum(path.stat().st_size for path in (HERE / "transcripts").rglob("*")) < 2_500_000
