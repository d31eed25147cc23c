"""The scripted backend itself: it sends what it was told, and sees what it was sent."""

import json
import time

import pytest
from rawhttp import Wire, call, request
from vectors import transcripts

from upstream import (
    ScriptedBackend,
    bytewise,
    chat_stream,
    chunked,
    close,
    error_answer,
    half_close,
    hang,
    http,
    pause,
    reset,
    send,
    send_forever,
    stop_reading,
    stream_head,
)
from upstream.transcripts import replay

CHAT = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
STREAM = CHAT[:-1] + b',"stream":true,"stream_options":{"include_usage":true}}'
PATH = "/v1/chat/completions"


def test_it_obeys_without_a_script(backend: ScriptedBackend) -> None:
    assert call(backend.url, "GET", "/v1/models").json["data"][0]["id"] == "m"
    assert call(backend.url, "POST", PATH, body=CHAT).json["object"] == "chat.completion"
    stream = call(backend.url, "POST", PATH, body=STREAM)
    assert stream.complete
    assert stream.events[-1] == b"data: [DONE]"
    assert b'"usage"' in stream.events[-2]
    embeddings = call(
        backend.url, "POST", "/v1/embeddings", body=b'{"model":"m","input":["a","b"]}'
    )
    assert len(embeddings.json["data"]) == 2
    text = call(backend.url, "POST", "/v1/completions", body=b'{"model":"m","prompt":"a"}')
    assert text.json["object"] == "text_completion"
    assert len(backend.calls) == 4


def test_it_keeps_exact_bytes(backend: ScriptedBackend) -> None:
    with Wire(backend.url) as wire:
        sent = request("POST", PATH, wire.host, {"X-Odd": " a  b "}, CHAT)
        wire.send(sent).read_answer()
        assert backend.last.head + backend.last.body == sent
        framed = b"%x\r\n%s\r\n0\r\n\r\n" % (len(CHAT), CHAT)
        chunked_request = request("POST", PATH, wire.host, {"transfer-encoding": "chunked"}, framed)
        wire.send(chunked_request).read_answer()
    assert (backend.last.body, backend.last.framed_body) == (CHAT, framed)
    assert backend.calls[0].peer is backend.calls[1].peer


def test_scripts_are_taken_in_turn_then_the_standing_one(backend: ScriptedBackend) -> None:
    backend.script(send(error_answer(429, retry_after="7"))).always(send(error_answer(500)))
    first = call(backend.url, "POST", PATH, body=CHAT)
    assert (first.status, first.header("retry-after")) == (429, "7")
    assert [call(backend.url, "POST", PATH, body=CHAT).status for _ in range(2)] == [500, 500]
    assert backend.forget().calls == []
    assert call(backend.url, "POST", PATH, body=CHAT).status == 200


def test_single_bytes_arrive_one_by_one(backend: ScriptedBackend) -> None:
    body = chunked(*chat_stream(["a"]))
    backend.script(send(stream_head()), bytewise(body, gap=0.0005))
    answer = call(backend.url, "POST", PATH, body=CHAT)
    assert answer.complete and answer.events[-1] == b"data: [DONE]"
    assert len(answer.pieces) > len(body) / 4


@pytest.mark.parametrize("step", [close(), half_close(), reset()])
def test_ends_before_an_answer(backend: ScriptedBackend, step) -> None:
    backend.script(step)
    with Wire(backend.url) as wire:
        wire.send(request("POST", PATH, wire.host, body=CHAT))
        assert wire.read_answer() is None


def test_accept_and_close(backend: ScriptedBackend) -> None:
    backend.on_connect = [close()]
    with Wire(backend.url) as wire:
        assert wire.read() == b""


def test_the_end_of_a_connection_is_seen_at_once(backend: ScriptedBackend) -> None:
    backend.always(send(stream_head()), hang())
    for leave in (Wire.close, Wire.reset):
        wire = Wire(backend.url).send(request("POST", PATH, "x", body=CHAT))
        wire.read_head()
        left = time.monotonic()
        leave(wire)
        peer = backend.last.peer
        assert backend.wait_for(lambda peer=peer: peer.ended is not None)
        assert peer.ended is not None and 0 <= peer.ended - left < 0.05
    assert backend.last.peer.was_reset


def test_endless_sending_feels_back_pressure_and_stops(backend: ScriptedBackend) -> None:
    backend.script(send(http(200, {"connection": "close"})), send_forever(b"x" * 65536, most=2000))
    wire = Wire(backend.url).send(request("POST", PATH, "x", body=CHAT))
    wire.read_head()
    time.sleep(0.3)
    assert backend.last.peer.writable.is_set() is False
    wire.close()
    assert backend.wait_for(lambda: backend.last.peer.ended is not None)


def test_a_backend_that_stops_reading(backend: ScriptedBackend) -> None:
    backend.on_connect = [stop_reading(), pause(30)]
    with Wire(backend.url, timeout=0.5) as wire, pytest.raises(TimeoutError):
        wire.send(request("POST", PATH, "x", body=b"x" * 30_000_000))


@pytest.mark.parametrize("piece", [0, 7])
def test_transcripts_replay(backend: ScriptedBackend, piece: int) -> None:
    for transcript in [one for one in transcripts() if one.is_stream][:8]:
        backend.script(*replay(transcript, piece))
        with Wire(backend.url) as wire:
            wire.send(request("POST", PATH, "x", body=CHAT))
            while wire.read():
                pass
        assert wire.left == transcript.answer, transcript.name


def test_a_stopped_backend_refuses(backend: ScriptedBackend) -> None:
    backend.stop()
    with pytest.raises(ConnectionRefusedError):
        Wire(backend.url)
    assert json.loads(CHAT)["model"] == "m"
