"""A client that leaves: its backend's connection ends within 50 ms, wherever the call was."""

import time
from collections.abc import Iterator

import pytest
from rawhttp import Wire
from served import DOORS, Levada, Start
from upstream import (
    ScriptedBackend,
    chat_chunk,
    chunked,
    hang,
    http,
    send,
    send_forever,
    stream_head,
)

MESSAGES = [{"role": "user", "content": "x"}]
WHOLE = {"model": "m", "messages": MESSAGES}
STREAM = {**WHOLE, "stream": True}
EVENT = chunked(chat_chunk("x"), end=False)
TRIES = 100
ANSWER = http(
    200, {"content-type": "application/json", "content-length": "100000"}, b"{" + b" " * 70_000
)

SITUATIONS = {
    "before_the_head": (WHOLE, [hang()], False),
    "before_the_head_of_a_stream": (STREAM, [hang()], False),
    "after_the_head_of_the_backend": (STREAM, [send(stream_head()), hang()], False),
    "in_a_silent_stream": (STREAM, [send(stream_head() + EVENT), hang()], True),
    "in_a_busy_stream": (STREAM, [send(stream_head()), send_forever(EVENT, gap=0.002)], True),
    "in_a_whole_answer": (WHOLE, [send(ANSWER), hang()], True),
}


@pytest.fixture(scope="module")
def shared() -> Iterator[ScriptedBackend]:
    with ScriptedBackend() as one:
        yield one


@pytest.fixture(scope="module", params=DOORS)
def running(
    levada_for_module: Start, shared: ScriptedBackend, request: pytest.FixtureRequest
) -> Levada:
    return levada_for_module(shared.url, door=request.param)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("leave", [Wire.close, Wire.reset], ids=["fin", "rst"])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_backend_is_let_go(
    running: Levada, shared: ScriptedBackend, situation: str, leave
) -> None:
    body, steps, answers = SITUATIONS[situation]
    delays = []
    shared.forget().always(*steps)
    for _ in range(TRIES):
        arrived = len(shared.calls)
        wire = running.begin("/v1/chat/completions", body)
        if answers:
            assert wire.read_head() is not None
        assert shared.wait_for(lambda before=arrived: len(shared.calls) > before)
        time.sleep(0.005)
        left = time.monotonic()
        leave(wire)
        peer = shared.last.peer
        assert shared.wait_for(lambda peer=peer: peer.ended is not None), situation
        delays.append(peer.ended - left)
    delays.sort()
    assert delays[int(0.99 * TRIES) - 1] <= 0.050, delays[-5:]
    assert shared.forget().wait_for(lambda: True)
    assert running.chat(WHOLE).status == 200


def test_a_call_that_was_left_is_not_tried_elsewhere(levada: Start) -> None:
    with ScriptedBackend() as one, ScriptedBackend() as two:
        running = levada(one.url, two.url)
        for backend in (one, two):
            backend.always(hang())
        for _ in range(10):
            wire = running.begin("/v1/chat/completions", WHOLE)
            assert one.wait_for(lambda: one.open_calls() + two.open_calls() == 1)
            wire.close()
            assert one.wait_for(lambda: one.open_calls() + two.open_calls() == 0)
        assert len(one.calls) + len(two.calls) == 10
