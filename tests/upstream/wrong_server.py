"""A whole OpenAI-shaped server that keeps a profile's promises, and breaks one of them on request.

Law: without a fault it is right; a fault changes one thing. It is what the probe is tested with.
"""

import base64
import copy
import json
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Self

from levada.profiles import Profile, answers
from levada.profiles.compiled import compiled
from upstream import forms
from upstream.answers import chat_answer, completion_answer, embeddings_answer, models_answer
from upstream.reference import INVALID, Reader, RefusedError
from upstream.right_answers import media, right, typed

KEY = "sk-right"
MODEL = "m"
LIMIT = 26_214_400
PATHS = {answers.path(name): name for name in answers.names()}
FIRST = ("chat.completions", "completions", "embeddings")
TYPED = ("responses", "messages")
# What Anthropic's clients are told.
KINDS = {401: "authentication_error", 404: "not_found_error", 413: "request_too_large"}
CACHE = {"cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
CALL = {"name": "get_weather", "arguments": '{"location":"Funchal"}'}


@dataclass
class Asked:
    """A request: its body as JSON where it is some, `fields` once they have been checked."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def endpoint(self) -> str | None:
        return PATHS.get(self.path)

    def has(self, name: str, value: Any) -> bool:
        return name in self.fields and self.fields[name] == value


@dataclass
class Reply:
    """An answer before it is written: a body, or the events of a stream, each a value or a text."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)
    events: list[Any] | None = None
    kind: str = "application/json"

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.body["error"]
        return found

    @property
    def chunks(self) -> list[Any]:
        return self.events or []


@dataclass
class Fault:
    """One thing that is wrong. `row` is the id of a row of the probe that must be broken."""

    row: str
    profile: str = "openai"
    skips: Callable[[RefusedError], bool] = lambda refused: False
    edit: Callable[[Asked, Reply], None] = lambda asked, reply: None


class WrongServer:
    """On 127.0.0.1, from `with` to its end."""

    def __init__(self, profile: Profile, fault: Fault | None = None) -> None:
        self.profile, self.fault = profile, fault or Fault("")
        self.made = compiled(profile)
        self.ids = count(1)
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def any_method(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                raw = self.rfile.read(length)
                lines = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, lines, raw)
                reply = server.reply(asked)
                # What answers are made of is shared; a fault changes this one only.
                reply = copy.deepcopy(reply)
                server.fault.edit(asked, reply)
                write(self, reply)

            do_GET = do_POST = do_OPTIONS = any_method  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join(5)
        self.server.server_close()

    def reply(self, asked: Asked) -> Reply:
        """What a right server answers; what the fault skips is not refused."""
        if self.profile.id == "mittwald-shared" and not asked.path.startswith("/v1"):
            asked.path = f"/v1{asked.path}"
        try:
            reply = self.route(asked)
        except RefusedError as refused:
            reply = self.refuse(refused, asked)
        reply.headers["x-request-id"] = f"req_{next(self.ids)}"
        if (form := self.made["rate"]["headers"]) != "none":
            reset = "1m0s" if form == "openai" else int(time.time()) + 30
            limits = {"limit": 60, "remaining": 59, "reset": reset}
            for name, value in limits.items():
                reply.headers[f"x-ratelimit-{name}-requests"] = str(value)
        return reply

    def offers(self, endpoint: str | None) -> bool:
        return endpoint is not None and self.made["endpoints"].get(endpoint) is not None

    def route(self, asked: Asked) -> Reply:
        endpoint = asked.endpoint
        endpoint = endpoint if self.offers(endpoint) else None
        known = endpoint or asked.path == "/v1/models"
        self.unless(not known, f"Invalid URL ({asked.method} {asked.path})", status=404)
        method = "POST" if endpoint else "GET"
        self.unless(asked.method != method, f"Not allowed to {asked.method}.", status=405)
        kind = self.profile.errors.unauthorized_type or INVALID
        token = asked.headers.get("authorization", "")
        no_key = not token.startswith("Bearer ")
        self.unless(no_key, "You didn't provide an API key.", status=401, kind=kind)
        words = "Incorrect API key provided."
        bad = token != f"Bearer {KEY}"
        self.unless(bad, words, status=401, kind=kind, code="invalid_api_key")
        return self.infer(asked, endpoint) if endpoint else self.models()

    def infer(self, asked: Asked, endpoint: str) -> Reply:
        large = len(asked.raw) > LIMIT
        self.unless(large, "Maximum content size limit exceeded", status=413, kind="server_error")
        kind = asked.headers["content-type"]
        other = kind.partition(";")[0] != answers.answer(endpoint).form
        words = "Unsupported content type"
        self.unless(other, words, status=415, code="unsupported_content_type")
        try:
            body = self.body(kind, asked.raw, endpoint)
            asked.fields = body if isinstance(body, dict) else {}
            asked.fields = Reader(self.made, endpoint).read(body)
        except RefusedError as refused:
            if not self.fault.skips(refused):
                raise
            return Reply(200, chat_answer(model=MODEL))
        self.known_model(asked.fields.get("model") or MODEL)
        self.provider(asked)
        return answer(asked, endpoint, self.profile.id)

    def body(self, kind: str, raw: bytes, endpoint: str) -> Any:
        """The body as a value; what is no JSON is None."""
        if kind.startswith("multipart"):
            return forms.read(kind, raw, self.made["endpoints"][endpoint]["schema"]["properties"])
        try:
            return json.loads(raw)
        except ValueError:
            return None

    def known_model(self, model: str) -> None:
        errors = self.profile.errors
        words = errors.unknown_model_message or "The model `{model}` does not exist."
        status = errors.unknown_model_status or 404
        text = words.replace("{model}", model)
        self.unless(model != MODEL, text, status=status, code="model_not_found")

    def provider(self, asked: Asked) -> None:
        """What only one provider refuses."""
        if self.profile.id == "mittwald-dedicated":
            outside = "99999999" in (asked.fields.get("logit_bias") or {})
            self.unless(outside, "Invalid key in 'logit_bias'", param="logit_bias")
            too_long = (asked.fields.get("max_tokens") or 0) > 32_768
            words, code = "This model's maximum context length is", "context_length_exceeded"
            self.unless(too_long, words, param="messages", code=code)
        if self.profile.id == "mittwald-shared":
            remote = "https://images" in str(asked.fields.get("messages"))
            self.unless(remote, "Only data URLs", param="messages[0].content[1].image_url.url")

    def unless(self, wrong: bool, message: str, **more: Any) -> None:
        refused = RefusedError(message, **more)
        if wrong and not self.fault.skips(refused):
            raise refused

    def models(self) -> Reply:
        body = models_answer([MODEL])
        if self.profile.id == "flexai":
            body["data"][0]["category"] = "text"
        return Reply(200, body)

    def refuse(self, refused: RefusedError, asked: Asked) -> Reply:
        errors, endpoint = self.profile.errors, asked.endpoint
        if endpoint and self.offers(endpoint) and answers.answer(endpoint).dialect == "anthropic":
            told = {"type": KINDS.get(refused.status, INVALID), "message": refused.message}
            return Reply(refused.status, {"type": "error", "error": told})
        nulled = errors.code_null and refused.status == 400
        code = None if nulled and refused.code not in errors.code_keep else refused.code
        error = {
            "message": refused.message,
            "type": refused.kind,
            "param": refused.param,
            "code": code,
        }
        if refused.status == 401 and errors.doc_url:
            error["doc_url"] = errors.doc_url
        return Reply(refused.status, {"error": error})


def answer(asked: Asked, endpoint: str, provider: str) -> Reply:
    """A good answer."""
    fields = asked.fields
    if endpoint not in FIRST:
        if fields.get("stream") and endpoint in TYPED:
            return Reply(200, None, {}, [*typed(endpoint, MODEL)], "text/event-stream")
        return Reply(200, right(endpoint, MODEL), kind=media(endpoint))
    extra = {"system_fingerprint": None} if provider == "ionos" else {}
    if endpoint == "embeddings":
        inputs = fields["input"] if isinstance(fields["input"], list) else [fields["input"]]
        body = embeddings_answer(len(inputs), MODEL, fields.get("dimensions") or 8)
        for one in body["data"] if fields.get("encoding_format") == "base64" else ():
            packed = struct.pack(f"<{len(one['embedding'])}f", *one["embedding"])
            one["embedding"] = base64.b64encode(packed).decode()
        return Reply(200, body)
    body = chat(fields, extra) if endpoint == "chat.completions" else completion_answer(model=MODEL)
    if provider == "flexai":
        body["usage"] = {**body["usage"], **CACHE}
    if not fields.get("stream"):
        return Reply(200, body)
    events = streamed(body)
    if not (fields.get("stream_options") or {}).get("include_usage"):
        del events[-2]
    return Reply(200, None, {}, events, "text/event-stream")


def chat(fields: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    schema = (fields.get("response_format") or {}).get("type") == "json_schema"
    content = '{"name":"Ann","age":37}' if schema else "Hello."
    tools = fields.get("tools") and fields.get("tool_choice") != "none"
    call = {"id": "call_1", "type": "function", "function": CALL}
    body = chat_answer(content, MODEL, **({"tool_calls": [call]} if tools else {})) | extra
    one = body["choices"][0]
    body["choices"] = [{**one, "index": at} for at in range(fields.get("n") or 1)]
    return body


def streamed(body: dict[str, Any]) -> list[Any]:
    """The same as a stream, with usage: the last two events are it and [DONE]."""
    is_chat = body["object"] == "chat.completion"
    head = {key: value for key, value in body.items() if key != "usage"}
    head["object"] = "chat.completion.chunk" if is_chat else "text_completion"
    choice = body["choices"][0]
    if not is_chat:
        texts = [{**choice, "finish_reason": None}, {**choice, "text": ""}]
        events: list[Any] = [{**head, "choices": [one]} for one in texts]
    else:
        message = choice["message"]
        calls = [{**one, "index": at} for at, one in enumerate(message.get("tool_calls", ()))]
        deltas = [{"role": "assistant", "content": ""}, {"content": message["content"]}]
        deltas += [{"tool_calls": [one]} for one in calls] + [{}]
        events = [
            {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
            for delta in deltas
        ]
        events[-1]["choices"][0]["finish_reason"] = choice["finish_reason"]
    return [*events, {**head, "choices": [], "usage": body["usage"]}, "[DONE]"]


def event(one: Any) -> str:
    """The text of an event: one with a type is named for it."""
    if not isinstance(one, str):
        name = f"event: {one['type']}\n" if "type" in one else ""
        return f"{name}data: {json.dumps(one)}\n\n"
    return one if one.endswith("\n\n") else f"data: {one}\n\n"


def write(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
    """The bytes of an answer."""
    if reply.events is None:
        text = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
    else:
        text = "".join(map(event, reply.events))
    data = text.encode()
    handler.send_response(reply.status)
    lines = {
        "content-type": reply.kind,
        "content-length": str(len(data)),
        "connection": "close",
    } | reply.headers
    for name, value in lines.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(data)
