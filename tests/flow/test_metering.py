"""A client that asks for no counts gets the same bytes whether its engine is asked for them or not.

Each recorded stream of an engine that was asked for nothing is told again as that engine tells it
when the gateway asks: vLLM with usage in every chunk and its fingerprint in the usage chunk,
llama.cpp with timings in every chunk and the last in the usage chunk. Of several choices at vLLM
only the last end has the fingerprint afterwards: the others would have to wait for it.
"""

import re
from collections.abc import Iterator

import pytest
from served import Levada, Start
from test_stream import STREAM, STREAMS, dated
from upstream import ScriptedBackend, chunked, send, stream_head
from vectors import Transcript

from levada.sse import Reframer

DONE = b"data: [DONE]\n\n"
MOVED = re.compile(rb',"(?:timings":\{[^{}]*\}|system_fingerprint":"[^"]*")(?=[,}])')


def asked_for_nothing(one: Transcript) -> bool:
    if not one.name.startswith(("vllm", "llamacpp")) or one.body is None:
        return False
    return b"include_usage" not in one.body and b"[DONE]" in one.answer


QUIET = [one for one in STREAMS if asked_for_nothing(one)]


def events(one: Transcript) -> list[bytes]:
    body = one.answer.partition(b"\r\n\r\n")[2]
    plain, at = b"", 0
    while size := int(body[at:].split(b"\r\n", 1)[0] or b"0", 16):
        at = body.index(b"\r\n", at) + 2
        plain += body[at : at + size]
        at += size + 2
    return Reframer().push(plain)


def with_member(event: bytes, member: bytes) -> bytes:
    close = event.rindex(b"}")
    return event[:close] + member + event[close:]


def metered(told: list[bytes], llama: bool, often: bool) -> list[bytes]:
    """The same stream as the engine tells it that is asked for the usage chunk, and for counts."""
    out, count, moved = [], 0, b""
    for event in told[:-1]:
        if b"}" not in event:
            out.append(event)
            continue
        ends = b'"finish_reason":"' in event
        count += not ends
        usage = b',"usage":{"prompt_tokens":9,"completion_tokens":%d}' % count
        timings = b',"timings":{"cache_n":4,"prompt_n":5,"predicted_n":%d}' % count
        if ends and b'"usage":' not in event:
            kept = [one for one in MOVED.findall(event) if (b'"timings"' in one) == llama]
            moved = b"".join(kept)
            for one in kept:
                event = event.replace(one, b"")
        quiet = not often or (ends and llama)
        out.append(event if quiet else with_member(event, timings if llama else usage))
    first = next(one for one in told if b"}" in one)
    last = re.sub(rb'"choices":\[.*\](?=[,}])', b'"choices":[]', first, count=1)
    last = MOVED.sub(b"", last) if not llama else last
    return [*out, with_member(last, usage + moved), told[-1]]


def unasked(told: list[bytes], llama: bool) -> bytes:
    """What the client is to get."""
    ends = [at for at, event in enumerate(told) if b'"finish_reason":"' in event]
    for at in () if llama else ends[:-1]:
        told[at] = MOVED.sub(b"", told[at])
    # llama.cpp tells usage with the end of a completion, asked or not; the contract says when.
    body = re.sub(rb',"usage":\{(?:[^{}]|\{[^{}]*\})*\}', b"", b"".join(dated(told)))
    return re.sub(rb'"model":"[^"]*"', b'"model":"m"', body)


@pytest.fixture(scope="module")
def engine() -> Iterator[ScriptedBackend]:
    with ScriptedBackend() as one:
        yield one


@pytest.fixture(scope="module")
def running(levada_for_module: Start, engine: ScriptedBackend) -> Levada:
    def backend(counts: str) -> dict[str, object]:
        return {"name": counts, "url": engine.url, "models": [counts], "counts": counts}

    words = ("final", "continuous_usage_stats", "timings_per_token")
    return levada_for_module(
        config={"backends": [backend(word) for word in words], "breaker": {"failures": 1000}}
    )


@pytest.mark.parametrize("recording", QUIET, ids=lambda one: one.name)
def test_the_bytes_are_the_same(
    running: Levada, engine: ScriptedBackend, recording: Transcript
) -> None:
    told = events(recording)
    assert told[-1] == DONE
    llama = recording.name.startswith("llamacpp")
    path = recording.path or ""
    content = {"prompt": "x"} if "chat" not in path else {}
    for often in (False, True):
        counts = ("timings_per_token" if llama else "continuous_usage_stats") if often else "final"
        told_again = metered(told, llama, often)
        engine.forget().script(send(stream_head() + chunked(*told_again)))
        answer = running.post(path, {**STREAM, **content, "model": counts})
        assert answer.complete
        got = re.sub(rb'"model":"[^"]*"', b'"model":"m"', answer.body)
        assert got == unasked(told, llama), often
        sent = engine.last.body
        assert (b"continuous_usage_stats" in sent, b"timings_per_token" in sent) == (
            often and not llama,
            often and llama,
        )


def test_there_are_recordings_of_both_engines() -> None:
    names = {one.name.split("-")[0] for one in QUIET}
    assert names == {"vllm", "llamacpp"}
    assert len(QUIET) >= 8
