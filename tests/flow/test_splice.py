"""What the backend gets is what the client sent, byte for byte, but for the spans that are edited
on purpose.
"""

import json
from collections.abc import Iterator

import pytest
from rawhttp import call
from served import Levada, Start
from upstream import ScriptedBackend
from vectors import transcripts

ODD = (
    '  {"temperature" :1.10, "seed":123456789012345678901234567890,"x":1e400,\n\t"messages":[ '
    '{"role":"user","content":"a\\u00e9\\/\\ud83d\\ude42 \u00e9 \U0001f642"} ],"zzz":{"b":[],'
    '"a":{}},"logit_bias":{"5":-0}, "model":  "m"  ,"user":""}  \r\n'
).encode()
ASK = b'"stream_options":{"include_usage":true}'


@pytest.fixture(scope="module")
def shared() -> Iterator[ScriptedBackend]:
    with ScriptedBackend() as one:
        yield one


@pytest.fixture(scope="module")
def running(levada_for_module: Start, shared: ScriptedBackend) -> Levada:
    models = [
        {"name": "m"},
        {"name": "alias", "upstream": "m"},
        {"name": "q", "upstream": 'a"b\\c'},
    ]
    backends = [
        {"name": "one", "url": shared.url, "models": ["m", 'a"b\\c'], "key": "backend-secret"}
    ]
    return levada_for_module(config={"models": models, "backends": backends})


def inserted(before: bytes, after: bytes) -> bytes:
    """The one piece that `after` has more than `before`."""
    same = 0
    while same < len(before) and before[same] == after[same]:
        same += 1
    tail = len(before) - same
    assert after[:same] + after[len(after) - tail :] == before
    return after[same : len(after) - tail]


def test_without_an_edit_nothing_changes(running: Levada, shared: ScriptedBackend) -> None:
    assert running.chat(ODD).status == 200
    assert shared.last.body == ODD


@pytest.mark.parametrize("written", [b'"alias"', b'"\\u0061lias"', b'"al\\u0069as"'])
def test_an_alias_is_replaced_where_it_stands(
    running: Levada, shared: ScriptedBackend, written: bytes
) -> None:
    assert running.chat(ODD.replace(b'"m"', written)).status == 200
    assert shared.last.body == ODD
    assert running.chat(ODD.replace(b'"m"', b'"q"')).status == 200
    assert shared.last.body == ODD.replace(b'"m"', b'"a\\"b\\\\c"')


def test_usage_is_asked_for_by_one_insertion(running: Levada, shared: ScriptedBackend) -> None:
    body = ODD.replace(b'"user":""', b'"user":"","stream" : true')
    assert running.chat(body).status == 200
    assert inserted(body, shared.last.body) == b"," + ASK


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (b"null", b'{"include_usage":true}'),
        (b"{}", b'{"include_usage":true}'),
        (b'{"x": 1}', b'{"include_usage":true,"x": 1}'),
        (b'{"include_usage" : false}', b'{"include_usage" : true}'),
        (b'{"include_usage":null, "x":[]}', b'{"include_usage":true, "x":[]}'),
        (b'{"include_usage": true }', b'{"include_usage": true }'),
        (b'{"a":{"include_usage":false},"include_usage":true}', None),
    ],
)
def test_stream_options_keep_what_else_they_say(
    running: Levada, shared: ScriptedBackend, options: bytes, wanted: bytes | None
) -> None:
    start = (
        b'{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}],"stream_options":'
    )
    assert running.chat(start + options + b"}").status == 200
    assert shared.last.body == start + (wanted or options) + b"}"


def test_every_recorded_request_arrives_unchanged(running: Levada, shared: ScriptedBackend) -> None:
    """The bodies of the transcripts, with our model's name; streams may gain the question for
    usage.
    """
    sent = 0
    for transcript in transcripts():
        if transcript.body is None or transcript.path is None:
            continue
        try:
            asked = json.loads(transcript.body)
        except ValueError:
            continue
        if not isinstance(asked, dict) or not isinstance(asked.get("model"), str):
            continue
        body = transcript.body.replace(json.dumps(asked["model"]).encode(), b'"m"', 1)
        before = len(shared.calls)
        answer = running.post(transcript.path, body)
        if answer.status != 200 or len(shared.calls) == before:
            assert transcript.name.split("/")[1].startswith("err_"), (transcript.name, answer.body)
            continue
        if asked.get("stream") and b"include_usage" not in body:
            usage = b'"include_usage":true'
            assert usage in inserted(body, shared.last.body)
        else:
            assert shared.last.body == body, transcript.name
        sent += 1
    assert sent >= 100


def test_headers_at_the_backend(running: Levada, shared: ScriptedBackend) -> None:
    """The backend's own key, no client's: and nothing that chose its way through us."""
    sent = {
        **running.auth,
        "content-type": "application/json",
        "x-forwarded-for": "1.2.3.4",
        "x-levada-door": "guess",
        "cookie": "a=b",
        "connection": "x-drop",
        "x-drop": "1",
        "proxy-authorization": "Basic x",
        "openai-organization": "org",
    }
    assert call(running.base, "POST", "/v1/chat/completions", sent, ODD).status == 200
    seen = shared.last
    assert seen.header("authorization") == "Bearer backend-secret"
    assert seen.header("host") == f"127.0.0.1:{shared.port}"
    assert seen.header("content-length") == str(len(ODD))
    assert seen.header("content-type") == "application/json"
    for name in ("x-levada-door", "cookie", "x-drop", "proxy-authorization", "x-forwarded-for"):
        assert seen.header(name) is None, name
    assert running.key not in seen.head.decode()
