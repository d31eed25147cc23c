"""The table of calls that both doors must answer alike: what is sent, what the backend does, what
must come back.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from upstream import (
    DONE,
    bytewise,
    chat_answer,
    chat_chunk,
    chat_stream,
    chunked,
    close,
    embeddings_answer,
    error_answer,
    event,
    half_close,
    http,
    json_answer,
    pause,
    reset,
    send,
    stream_head,
    usage_chunk,
)
from upstream.steps import Step

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
EMBED = "/v1/embeddings"
WRONG_KEY = "sk-test_wrongkey" + "0" * 40


def chat(**extra: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **extra}


@dataclass(frozen=True)
class Case:
    """`key`: KEYS' name, "" for none, or its text. `body` bytes go as they are, a dict as JSON."""

    name: str
    status: int
    path: str = CHAT
    method: str = "POST"
    body: bytes | dict[str, Any] | None = field(default_factory=chat)
    headers: dict[str, str] = field(default_factory=dict)
    key: str = "whole"
    script: Callable[[], Sequence[Step]] | None = None
    holds: tuple[bytes, ...] = ()
    lacks: tuple[bytes, ...] = ()
    code: str | None = None
    param: str | None = None
    has: dict[str, str] = field(default_factory=dict)
    complete: bool = True
    cut_body: int = 0  # send this many bytes of the body less than announced

    @property
    def sent(self) -> bytes | None:
        return json.dumps(self.body).encode() if isinstance(self.body, dict) else self.body

    @property
    def is_refusal(self) -> bool:
        return self.status >= 400


def get(name: str, path: str, status: int = 200, **more: Any) -> Case:
    return Case(name, status, path, "GET", None, **more)


def streaming(*pieces: bytes, end: bool = True, **head: str) -> Callable[[], Sequence[Step]]:
    """A script: a stream's head, these chunks each in a write, and the last chunk or a close
    without it.
    """

    def steps() -> Sequence[Step]:
        sends = [send(chunked(piece, end=False)) for piece in pieces]
        return [send(stream_head(**head)), *sends, send(chunked()) if end else close()]

    return steps


def answering(*steps: Step) -> Callable[[], Sequence[Step]]:
    return lambda: steps


WORDS = ["One", " two", " three"]
STREAM = chat(stream=True)
WITH_USAGE = chat(stream=True, stream_options={"include_usage": True})
PARTIAL = [chat_chunk("One"), chat_chunk(" two")]
HTML = b"<html><body>secret-host:9000 exploded</body></html>"

GOOD = [
    Case("chat", 200, holds=(b"chat.completion", b"Hello there.")),
    Case("chat_without_v1", 404, "/chat/completions"),
    Case("chat_with_query", 200, CHAT + "?api-version=1"),
    Case("chat_alias", 200, body=chat(model="alias"), holds=(b'"model":"alias"',)),
    Case("chat_unicode", 200, body=chat(user="Ünï 🌊 \x7f"), holds=(b"Hello",)),
    Case("chat_unknown_fields", 200, body=chat(zzz={"a": [1.0, 2]}, top_k=4)),
    Case("chat_nulls", 200, body=chat(stream=None, n=None, stop=None, max_tokens=None)),
    Case("chat_charset", 200, headers={"content-type": "application/json; charset=utf-8"}),
    Case("chat_organization", 200, headers={"openai-organization": "org-x"}),
    Case("chat_pretty", 200, body=json.dumps(chat(), indent=4).encode()),
    Case("chat_stream", 200, body=STREAM, holds=(DONE,), lacks=(b'"usage":{',)),
    Case("chat_stream_alias", 200, body=chat(model="alias", stream=True), holds=(b'"alias"', DONE)),
    Case("chat_stream_usage", 200, body=WITH_USAGE, holds=(b'"usage":{', DONE)),
    Case(
        "chat_stream_usage_false",
        200,
        body=chat(stream=True, stream_options={"include_usage": False}),
        holds=(DONE,),
        lacks=(b'"usage":{',),
    ),
    Case("chat_tools", 200, body=chat(tools=[{"type": "function", "function": {"name": "f"}}])),
    Case("completions", 200, TEXT, body={"model": "m", "prompt": "a"}, holds=(b"text_completion",)),
    Case("completions_without_v1", 404, "/completions", body={"model": "m", "prompt": "a"}),
    Case("completions_stream", 200, TEXT, body={"model": "m", "prompt": "a", "stream": True}),
    Case("embeddings", 200, EMBED, body={"model": "m", "input": "a"}, holds=(b"embedding",)),
    Case("embeddings_many", 200, EMBED, body={"model": "m", "input": ["a"] * 20}),
    Case("embeddings_without_v1", 404, "/embeddings", body={"model": "m", "input": "a"}),
    Case(
        "embeddings_large",
        200,
        EMBED,
        body={"model": "m", "input": "a"},
        script=answering(send(json_answer(embeddings_answer(100, "m", 1000)))),
    ),
    get("models", "/v1/models", holds=(b'"id":"m"', b'"id":"alias"')),
    get("models_without_v1", "/models", 404, holds=(b"Invalid URL (GET /models)",)),
    get("model", "/v1/models/m", holds=(b'"id":"m"',)),
    get("model_without_v1", "/models/m", 404),
    Case("restricted_key", 200, body=chat(model="alias"), key="restricted"),
    get("models_of_a_restricted_key", "/v1/models", key="restricted", lacks=(b'"id":"m"',)),
    get("livez", "/livez", key=""),
    get("readyz", "/readyz", key=""),
    get("health", "/health", key=""),
    get("ready", "/ready", key=""),
]

REFUSED = [
    Case("not_json", 400, body=b"hello"),
    Case("no_body", 400, body=b""),
    Case("half_json", 400, body=b'{"model":"m","messages":['),
    Case("two_documents", 400, body=json.dumps(chat()).encode() * 2),
    Case("list_body", 400, body=b"[]"),
    Case("string_body", 400, body=b'"m"'),
    Case("not_utf8", 400, body=b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}'),
    Case("too_deep", 400, body=b'{"model":"m","x":' + b"[" * 80 + b"]" * 80 + b"}"),
    Case("nan", 400, body=b'{"model":"m","messages":[{}],"temperature":NaN}'),
    Case("missing_model", 400, body={"messages": [{"role": "user", "content": "x"}]}),
    Case("null_model", 400, body=chat(model=None)),
    Case("empty_model", 400, body=chat(model="")),
    Case("number_model", 400, body=chat(model=4)),
    Case(
        "missing_messages",
        400,
        body={"model": "m"},
        code="missing_required_parameter",
        param="messages",
    ),
    Case("string_messages", 400, body=chat(messages="x"), code="invalid_type", param="messages"),
    Case("empty_messages", 400, body=chat(messages=[]), code="empty_array", param="messages"),
    Case(
        "bad_message",
        400,
        body=chat(messages=[{"role": "user", "content": "x"}, 3]),
        code="invalid_type",
        param="messages[1]",
    ),
    Case("bad_n", 400, body=chat(n="1"), code="invalid_type", param="n"),
    Case("small_n", 400, body=chat(n=0), code="integer_below_min_value", param="n"),
    Case("bad_stream", 400, body=chat(stream="yes"), code="invalid_type", param="stream"),
    Case("options_without_stream", 400, body=chat(stream_options={}), param="stream_options"),
    Case(
        "two_models",
        400,
        body=b'{"model":"m","model":"alias","messages":[{"role":"user","content":"x"}]}',
        param="model",
    ),
    Case(
        "missing_input",
        400,
        EMBED,
        body={"model": "m"},
        code="missing_required_parameter",
        param="input",
    ),
    Case("no_key", 401, key="", has={"www-authenticate": "Bearer"}),
    Case("wrong_key", 401, key=WRONG_KEY, code="invalid_api_key"),
    Case("basic_key", 401, key="", headers={"authorization": "Basic YTpi"}),
    Case("no_key_bad_body", 401, key="", body=b"hello"),
    get("models_no_key", "/v1/models", 401, key=""),
    get("model_unknown", "/v1/models/zebra", 404, code="model_not_found"),
    Case("revoked_key", 401, key="revoked", code="invalid_api_key"),
    Case("expired_key", 401, key="expired", code="invalid_api_key"),
    Case("forbidden_model", 403, key="restricted", code="model_not_found"),
    get("forbidden_model_card", "/v1/models/m", 403, key="restricted", code="model_not_found"),
    Case("unknown_model", 404, body=chat(model="zebra"), code="model_not_found"),
    Case("unknown_path", 404, "/v1/zebra", holds=(b"Invalid URL (POST /v1/zebra)",)),
    get("usage", "/v1/usage?start_time=0&end_time=5", 200, holds=(b'"object": "page"',)),
    get("usage_without_key", "/v1/usage?start_time=0", 401, key=""),
    get("usage_wrong_key", "/v1/usage?start_time=0", 401, key=WRONG_KEY, code="invalid_api_key"),
    get(
        "usage_of_no_time",
        "/v1/usage",
        400,
        code="missing_required_parameter",
        param="start_time",
    ),
    get("usage_bad_width", "/v1/usage?start_time=0&bucket_width=2d", 400, param="bucket_width"),
    get(
        "usage_unknown_parameter",
        "/v1/usage?start_time=0&x=1",
        400,
        code="unknown_parameter",
        param="x",
    ),
    get("usage_below", "/v1/usage/", 404),
    Case("usage_post", 405, "/v1/usage", has={"allow": "GET, HEAD"}),
    get("organization_usage", "/v1/organization/usage/completions?start_time=0", 404),
    get("unknown_path_get", "/zebra", 404, holds=(b"Invalid URL (GET /zebra)",)),
    get("admin_is_not_public", "/admin", 404),
    get("metrics_is_not_public", "/metrics", 404),
    get("root", "/", 404),
    get("chat_by_get", CHAT, 405),
    Case("chat_by_put", 405, method="PUT"),
    Case("models_by_post", 405, "/v1/models"),
    Case("models_by_delete", 405, "/v1/models/m", "DELETE", body=None),
    Case("slow_body", 408, cut_body=5),
    Case("large_body", 413, body=chat(user="x" * 70_000)),
    Case(
        "large_body_chunked",
        413,
        headers={"transfer-encoding": "chunked"},
        body=chunked(b'{"model":"' + b"x" * 70_000),
    ),
    Case("text_body", 415, headers={"content-type": "text/plain"}, code="unsupported_content_type"),
    Case(
        "form_body",
        415,
        headers={"content-type": "application/x-www-form-urlencoded"},
        body=b"model=m",
    ),
    Case("gzip_body", 415, headers={"content-encoding": "gzip"}),
    Case("model_without_backend", 503, body=chat(model="gone")),
]

FAULTS = [
    Case("backend_resets", 502, script=answering(reset())),
    Case("backend_closes", 502, script=answering(close())),
    Case("backend_half_closes", 502, script=answering(half_close())),
    Case("backend_talks_nonsense", 502, script=answering(send(b"SSH-2.0-x\r\n\r\n"), close())),
    Case("backend_never_answers", 504, script=answering(pause(8), close())),
    Case(
        "backend_html_500",
        502,
        script=answering(send(http(500, {"content-type": "text/html"}, HTML))),
        lacks=(b"html", b"secret"),
    ),
    Case(
        "backend_json_500",
        502,
        script=answering(send(error_answer(500, "secret trace"))),
        lacks=(b"secret",),
    ),
    Case(
        "backend_html_404",
        404,
        script=answering(send(http(404, {"content-type": "text/html"}, HTML))),
        lacks=(b"html", b"secret"),
    ),
    Case(
        "backend_json_400",
        400,
        script=answering(send(error_answer(400, "odd tool"))),
        holds=(b"odd",),
    ),
    Case(
        "backend_flat_400",
        400,
        script=answering(send(json_answer({"object": "error", "message": "flat words"}, 400))),
    ),
    Case(
        "backend_detail_422",
        400,
        script=answering(send(json_answer({"detail": [{"msg": "bad", "loc": ["body"]}]}, 422))),
    ),
    Case(
        "backend_429",
        429,
        script=answering(send(error_answer(429, "slow down", retry_after="7"))),
        has={"retry-after": "7"},
    ),
    Case(
        "backend_cut_short",
        502,
        script=answering(send(json_answer(chat_answer())[:-20]), close()),
        lacks=(b"Hello",),
    ),
    Case(
        "backend_chunked_answer",
        200,
        script=answering(
            send(http(200, {"content-type": "application/json", "transfer-encoding": "chunked"})),
            bytewise(chunked(json.dumps(chat_answer()).encode()), size=9),
        ),
        holds=(b"Hello there.",),
    ),
    Case(
        "stream_bytewise",
        200,
        body=STREAM,
        script=answering(send(stream_head()), bytewise(chunked(*chat_stream(WORDS)))),
        holds=(b" three", DONE),
    ),
    Case(
        "stream_in_one_write",
        200,
        body=STREAM,
        script=answering(send(stream_head() + chunked(b"".join(chat_stream(WORDS))))),
        holds=(b" three", DONE),
    ),
    Case(
        "stream_crlf_bom_comments",
        200,
        body=STREAM,
        script=streaming(
            b"\xef\xbb\xbf: hello\r\n\r\n",
            *(one.replace(b"\n", b"\r\n") for one in chat_stream(WORDS)),
        ),
        holds=(b": hello\n\n", DONE),
        lacks=(b"\r", b"\xef\xbb\xbf"),
    ),
    Case(
        "stream_broken",
        200,
        body=STREAM,
        script=streaming(*PARTIAL, end=False),
        holds=(b"One", b'{"error":{'),
        lacks=(b"[DONE]",),
    ),
    Case(
        "stream_broken_in_an_event",
        200,
        body=STREAM,
        script=streaming(*PARTIAL, b'data: {"choices"', end=False),
        holds=(b"One", b'{"error":{'),
        lacks=(b"[DONE]", b'data: {"choices"\n'),
    ),
    Case(
        "stream_reset",
        200,
        body=STREAM,
        script=lambda: [
            send(stream_head()),
            send(chunked(PARTIAL[0], end=False)),
            pause(0.2),
            reset(),
        ],
        holds=(b"One", b'{"error":{'),
        lacks=(b"[DONE]",),
    ),
    Case(
        "stream_idle",
        200,
        body=STREAM,
        script=lambda: [send(stream_head()), send(chunked(PARTIAL[0], end=False)), pause(8)],
        holds=(b"One", b'{"error":{'),
        lacks=(b"[DONE]",),
    ),
    Case(
        "stream_error_event",
        200,
        body=STREAM,
        script=streaming(
            *PARTIAL,
            event({"error": {"message": "core dumped", "type": "X", "param": None, "code": 500}}),
            DONE,
        ),
        holds=(b"One", b'"error":{'),
        lacks=(b"[DONE]",),
    ),
    Case(
        "stream_ended_without_finish",
        200,
        body=STREAM,
        script=streaming(*PARTIAL),
        holds=(b"One", b'{"error":{'),
        lacks=(b"[DONE]",),
    ),
    Case(
        "stream_finished_without_done",
        200,
        body=STREAM,
        script=streaming(*chat_stream(WORDS)[:-1]),
        holds=(b'"finish_reason":"stop"',),
    ),
    Case(
        "stream_usage_unasked",
        200,
        body=STREAM,
        script=streaming(chat_chunk("a"), chat_chunk(None, finish="stop"), usage_chunk(), DONE),
        holds=(DONE,),
        lacks=(b'"usage":{',),
    ),
    Case(
        "stream_refused_with_400",
        400,
        body=STREAM,
        script=answering(send(error_answer(400, "context too long"))),
        holds=(b"context too long",),
    ),
    Case(
        "stream_empty",
        502,
        body=STREAM,
        script=streaming(),
    ),
]

CASES = GOOD + REFUSED + FAULTS
