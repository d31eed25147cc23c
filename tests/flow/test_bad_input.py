"""Bad input over the socket: a clear 400 of ours, nothing at the backend, and what is good arrives
as it was sent.
"""

import re
from collections.abc import Iterator

import pytest
from rawhttp import Answer, Wire, call, request
from served import Levada, Start
from upstream import ScriptedBackend, chunked
from vectors import JsonText, json_texts

TEXTS = json_texts()
PATH = "/v1/chat/completions"
BEFORE = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"metadata_x":'
GOOD = BEFORE + b"1}"


@pytest.fixture(scope="module")
def shared() -> Iterator[ScriptedBackend]:
    with ScriptedBackend() as one:
        yield one


@pytest.fixture(scope="module")
def running(levada_for_module: Start, shared: ScriptedBackend) -> Levada:
    return levada_for_module(shared.url)


def refused(answer: Answer, status: int) -> bool:
    """Whether it is a refusal of ours in the one form."""
    shape = list(answer.error) == ["message", "type", "param", "code"]
    return shape and answer.status == status and answer.complete


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.id)
def test_alone_every_text_is_refused(
    running: Levada, shared: ScriptedBackend, text: JsonText
) -> None:
    shared.forget()
    assert refused(running.chat(text.bytes), 400)
    assert shared.calls == []


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.id)
def test_inside_a_good_request(running: Levada, shared: ScriptedBackend, text: JsonText) -> None:
    shared.forget()
    body = BEFORE + text.bytes + b"}"
    answer = running.chat(body)
    if text.accepted_inside:
        assert answer.status == 200, answer.body[:200]
        assert [one.body for one in shared.calls] == [body]
    else:
        assert refused(answer, 400)
        assert shared.calls == []


@pytest.mark.parametrize("levels", [63, 64, 65, 10_000])
def test_depth_is_counted_from_the_outermost_brace(running: Levada, levels: int) -> None:
    nested = b"[" * (levels - 1) + b"]" * (levels - 1)
    answer = running.chat(BEFORE + nested + b"}")
    assert answer.status == (200 if levels <= 64 else 400)


@pytest.mark.parametrize(
    ("member", "param"),
    [
        (b'"model":"m"', "model"),
        (b'"m\\u006fdel":"m"', "model"),
        (b'"messages":[{"role":"user","content":"x"}]', "messages"),
        (b'"stream":false,"stream":true', "stream"),
        (b'"stream":true,"stream":true', "stream"),
        (b'"n":1,"n":1', "n"),
        (b'"max_tokens":1,"max_tokens":2', "max_tokens"),
        (b'"stream":true,"stream_options":{},"stream_options":{}', "stream_options"),
        (
            b'"stream":true,"stream_options":{"include_usage":true,"include_usage":false}',
            "stream_options.include_usage",
        ),
    ],
)
def test_what_we_read_may_be_said_once(
    running: Levada, shared: ScriptedBackend, member: bytes, param: str
) -> None:
    shared.forget()
    answer = running.chat(GOOD[:-1] + b"," + member + b"}")
    assert refused(answer, 400)
    assert (answer.error["param"], answer.error["code"]) == (param, "duplicate_parameter")
    assert shared.calls == []


def test_what_we_do_not_read_may_be_said_twice(running: Levada, shared: ScriptedBackend) -> None:
    body = GOOD[:-1] + b',"zzz":1,"zzz":2}'
    assert running.chat(body).status == 200
    assert shared.last.body == body


def test_a_body_over_the_limit_is_refused_before_it_is_read(
    running: Levada, shared: ScriptedBackend
) -> None:
    shared.forget()
    size = 21 * 1024 * 1024
    announced = running.auth | {"content-type": "application/json", "content-length": str(size)}
    with Wire(running.base) as wire:
        wire.send(request("POST", PATH, wire.host, announced))
        answer = wire.read_answer()
    assert answer is not None and refused(answer, 413)
    whole = BEFORE + b'"' + b"x" * size + b'"}'
    assert refused(running.chat(whole), 413)
    framed = chunked(*(whole[at : at + 65536] for at in range(0, len(whole), 65536)))
    assert refused(running.chat(framed, headers={"transfer-encoding": "chunked"}), 413)
    assert shared.calls == []


def test_a_body_just_under_the_limit_passes(running: Levada, shared: ScriptedBackend) -> None:
    body = BEFORE + b'"' + b"x" * (20 * 1024 * 1024 - len(BEFORE) - 3) + b'"}'
    assert running.chat(body).status == 200
    assert shared.last.body == body


@pytest.mark.parametrize("lines", [{"x-long": "a" * 17 * 1024}, {f"x-{n}": "a" for n in range(70)}])
def test_too_much_head_is_431(
    running: Levada, shared: ScriptedBackend, lines: dict[str, str]
) -> None:
    shared.forget()
    answer = running.chat(GOOD, headers=lines)
    assert answer.status == 431
    assert shared.calls == []


def exchange(running: Levada, raw: bytes) -> Answer | None:
    with Wire(running.base) as wire:
        return wire.send_what_is_taken(raw).read_answer()


def raw_chat(running: Levada, *lines: str, body: bytes = GOOD, version: str = "HTTP/1.1") -> bytes:
    head = [f"POST {PATH} {version}", f"authorization: Bearer {running.key}", *lines]
    return "\r\n".join([*head, "content-type: application/json"]).encode() + b"\r\n\r\n" + body


LENGTH = f"content-length: {len(GOOD)}"
CHUNKED = "transfer-encoding: chunked"
BROKEN_HEADS = {
    "no_host": ([LENGTH], GOOD),
    "two_hosts": (["host: a", "host: b", LENGTH], GOOD),
    "two_equal_hosts": (["host: a", "host: a", LENGTH], GOOD),
    "empty_length": (["host: a", "content-length: "], GOOD),
    "negative_length": (["host: a", "content-length: -1"], GOOD),
    "plus_length": (["host: a", f"content-length: +{len(GOOD)}"], GOOD),
    "hex_length": (["host: a", "content-length: 0x10"], GOOD),
    "two_lengths": (["host: a", LENGTH, f"content-length: {len(GOOD) - 1}"], GOOD),
    "huge_length": (["host: a", "content-length: 99999999999999999999999"], GOOD),
    "length_and_chunked": (["host: a", LENGTH, CHUNKED], chunked(GOOD)),
    "chunked_and_length": (["host: a", CHUNKED, LENGTH], chunked(GOOD)),
    "chunked_twice": (["host: a", CHUNKED, CHUNKED], chunked(GOOD)),
    "chunked_not_last": (["host: a", "transfer-encoding: chunked, gzip"], chunked(GOOD)),
    "gzip_coding": (["host: a", "transfer-encoding: gzip"], GOOD),
    "space_before_colon": (["host : a", LENGTH], GOOD),
    "space_in_name": (["host: a", "x y: 1", LENGTH], GOOD),
    "folded_line": (["host: a", "x-a: 1\r\n 2", LENGTH], GOOD),
    "nul_in_value": (["host: a", "x-a: 1\x002", LENGTH], GOOD),
    "cr_in_value": (["host: a", "x-a: 1\r2", LENGTH], GOOD),
    "no_colon": (["host: a", "nonsense", LENGTH], GOOD),
    "bad_chunk_size": (["host: a", CHUNKED], b"zz\r\n" + GOOD),
    "negative_chunk": (["host: a", CHUNKED], b"-1\r\n" + GOOD),
    "chunk_too_short": (["host: a", CHUNKED], b"3\r\n" + GOOD + b"\r\n0\r\n\r\n"),
    "huge_chunk": (["host: a", CHUNKED], b"fffffffffffffffff\r\n" + GOOD),
}


@pytest.mark.parametrize("name", BROKEN_HEADS)
def test_broken_http_is_refused(running: Levada, shared: ScriptedBackend, name: str) -> None:
    shared.forget()
    lines, body = BROKEN_HEADS[name]
    answer = exchange(running, raw_chat(running, *lines, body=body))
    assert answer is not None and answer.status in (400, 413, 501), answer and answer.status
    assert answer.body == b"" or refused(answer, answer.status)
    assert shared.calls == []


@pytest.mark.parametrize("name", ["no_host", "two_hosts", "two_equal_hosts", "length_and_chunked"])
def test_what_hyper_lets_through_gets_our_own_400(running: Levada, name: str) -> None:
    lines, body = BROKEN_HEADS[name]
    answer = exchange(running, raw_chat(running, *lines, body=body))
    assert answer is not None and refused(answer, 400)


@pytest.mark.parametrize(
    "raw", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"\x00" * 300]
)
def test_what_is_not_http_is_closed_without_harm(running: Levada, raw: bytes) -> None:
    with Wire(running.base) as wire:
        answer = wire.send_what_is_taken(raw + b"\r\n\r\n").read_answer()
        assert answer is None or answer.status == 400
    assert running.is_ready()


def test_two_requests_in_one_write_are_both_answered_in_order(running: Levada) -> None:
    with Wire(running.base) as wire:
        one = request("GET", "/v1/models", wire.host, running.auth)
        two = request("GET", "/v1/models/m", wire.host, running.auth)
        wire.send(one + two)
        first, second = wire.read_answer(), wire.read_answer()
    assert first is not None and second is not None
    assert (first.json["object"], second.json["object"]) == ("list", "model")


def test_nothing_of_a_bad_body_or_key_is_logged(running: Levada) -> None:
    hidden = "tell-nobody-1234567890"
    running.chat(f'{{"model":"m","messages":"{hidden}"}}'.encode())
    running.chat(f'{{"model":"{hidden}","messages":[{{}}]}}'.encode())
    running.chat(GOOD.replace(b"hi", hidden.encode()))
    call(running.base, "POST", PATH, {"authorization": f"Bearer sk-{hidden}"}, GOOD)
    assert hidden not in running.logs
    assert running.key not in re.sub(r"(?m)^key: .*$", "", running.logs)
