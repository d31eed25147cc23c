"""Counting tokens without a gateway: as Hugging Face's own library counts, file by file."""

import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_tokenizers import KINDS, SENTENCES, golden, long_text, made, write

from levada.tokens import count

TEXTS = st.text() | st.lists(st.sampled_from([*SENTENCES, " ", "\n", "a", "<unk>"])).map("".join)


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def file(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp(kind) / "tokenizer.json", made(kind))


@settings(max_examples=60)
@given(text=TEXTS)
def test_a_text_has_the_tokens_of_the_library_that_made_the_file(
    kind: str, file: Path, text: str
) -> None:
    assert count(text, file) == golden(kind, text)


def test_long_texts_too(kind: str, file: Path) -> None:
    text = long_text(1, 5000)
    assert count(text, str(file)) == golden(kind, text)


def test_messages_are_their_texts_and_a_little_for_each(kind: str, file: Path) -> None:
    parts = [{"type": "text", "text": SENTENCES[1]}, {"type": "image_url", "image_url": {}}]
    messages = [{"role": "system", "content": SENTENCES[0]}, {"role": "user", "content": parts}]
    texts = golden(kind, SENTENCES[0]) + golden(kind, SENTENCES[1])
    assert count(messages, file) == texts + 2 * 4 + 3
    assert count([], file) == 0


@pytest.mark.parametrize(
    ("text", "o200k", "cl100k"),
    [("", 0, 0), ("hello world", 2, 2), ("tiktoken is great!", 6, 6), ("お誕生日おめでとう", 8, 9)],
)
def test_encodings_are_built_in(text: str, o200k: int, cl100k: int) -> None:
    """The figures of OpenAI's cookbook and documentation."""
    assert (count(text, "o200k_base"), count(text, "cl100k_base")) == (o200k, cl100k)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "t.json", made("bytes"))
    assert count(SENTENCES[0], path) == golden("bytes", SENTENCES[0])
    write(path, made("lower"))
    assert count(SENTENCES[0], path) == golden("lower", SENTENCES[0])


def test_what_cannot_be_counted_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read '.*nothing\.json': No such file"):
        count("x", tmp_path / "nothing.json")
    (tmp_path / "broken.json").write_text('{"model": 1}')
    with pytest.raises(ValueError, match=r"is not a tokenizer\.json: "):
        count("x", tmp_path / "broken.json")
    with pytest.raises(ValueError):
        count("\ud800", "o200k_base")
    with pytest.raises(ValueError, match="'o200k_base' cannot count this text"):
        count([{"role": "user", "content": "\ud800"}], "o200k_base")


def test_others_run_while_it_counts() -> None:
    text, turns, over = long_text(2, 400_000), 0, threading.Event()
    count("", "o200k_base")
    thread = threading.Thread(target=lambda: (count(text, "o200k_base"), over.set()))
    thread.start()
    while not over.is_set():
        turns += 1
        time.sleep(0.001)
    thread.join()
    assert turns > 5
