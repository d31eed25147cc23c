"""The pure core as people use it: no gateway, no loop, the gateway's own words."""

import json
from pathlib import Path
from typing import Any

import pytest

from levada import profiles
from levada.profiles import ProfileError, load, validate
from levada.sse import Reframer, TooLargeError

VECTORS = Path(__file__).parents[1] / "vectors"
ROWS: list[dict[str, Any]] = json.loads((VECTORS / "catalogue.json").read_text())
CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_the_catalogue_is_told_without_a_gateway(row: dict[str, Any]) -> None:
    (problem,) = validate("openai", row["endpoint"], row["body"].encode())
    wanted = (400, row["param"], row["code"], row["message"])
    assert (problem.status, problem.path, problem.code, problem.message) == wanted


def test_what_would_be_passed_on_has_no_problem() -> None:
    assert [validate(name, "chat.completions", CHAT) for name in profiles.names()] == [[]] * 5
    assert validate(load("openai"), "chat.completions", json.dumps(CHAT).encode()) == []


def test_what_is_not_there_is_said() -> None:
    (problem,) = validate("ionos", "responses", {"model": "m"})
    assert (problem.status, problem.message) == (404, "Invalid URL (POST /v1/responses)")
    with pytest.raises(ValueError, match="no endpoint is named 'nonsense'"):
        validate("ionos", "nonsense", {})
    with pytest.raises(ProfileError, match="no profile is named 'nonsense'"):
        validate("nonsense", "chat.completions", {})


def test_a_form_comes_with_its_type() -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--b--\r\n'
    kind = "multipart/form-data; boundary=b"
    (problem,) = validate("openai", "audio.transcriptions", body, kind)
    assert (problem.path, problem.code) == ("file", "missing_required_parameter")
    (problem,) = validate("openai", "audio.transcriptions", body)
    assert problem.message == "We could not parse the multipart form of your request."


@pytest.mark.parametrize("size", [1, 3, 100])
def test_events_are_whole_at_any_cut(size: int) -> None:
    stream = b"\xef\xbb\xbfdata: 1\r\n\r\n: ping\n\n\ndata: a\ndata: b\r\rdata: half"
    reframer = Reframer()
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    events = [event for piece in pieces for event in reframer.push(piece)]
    assert events == [b"data: 1\n\n", b": ping\n\n", b"data: a\ndata: b\n\n"]
    assert reframer.pending == len(b"data: half")


def test_an_event_too_large_ends_the_stream_after_what_came_before() -> None:
    reframer = Reframer(limit=12)
    assert reframer.push(b"data: 1\n\ndata: far too large\n\n") == [b"data: 1\n\n"]
    for _ in range(2):
        with pytest.raises(TooLargeError, match="an event has more than 12 bytes"):
            reframer.push(b"data: 2\n\n")
    with pytest.raises(TooLargeError):
        Reframer(limit=12).push(b"data: far too large")
