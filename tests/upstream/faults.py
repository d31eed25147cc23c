"""What the wrong server can do wrong, one thing at a time, by name.

Law: each names the row of the probe that must tell it. A fault is a table's row: what is not
refused, or how an answer is changed.
"""

import json
from collections.abc import Callable
from typing import Any

from upstream.reference import INVALID, RefusedError
from upstream.wrong_server import Asked, Fault, Reply

CHAT, TEXT, VECTORS = "chat.completions", "completions", "embeddings"
DEDICATED, SHARED, IONOS, FLEXAI = "mittwald-dedicated", "mittwald-shared", "ionos", "flexai"
Edit = Callable[[Asked, Reply], None]


def of_code(*codes: str) -> Callable[[RefusedError], bool]:
    """Refusals with these codes."""
    return lambda refused: refused.code in codes


def of_status(status: int) -> Callable[[RefusedError], bool]:
    """Refusals with this status."""
    return lambda refused: refused.status == status


def of_param(param: str, code: str | None = None) -> Callable[[RefusedError], bool]:
    """Refusals for this field."""
    return lambda refused: (refused.param, refused.code) == (param, code)


def errors(change: Callable[[dict[str, Any]], object], status: int = 400) -> Edit:
    """Changes the error of such a refusal."""

    def edit(asked: Asked, reply: Reply) -> None:
        if reply.status == status:
            change(reply.error)

    return edit


def bodies(change: Callable[[Reply], object], status: int = 400) -> Edit:
    """Changes the whole of an answer with this status."""

    def edit(asked: Asked, reply: Reply) -> None:
        if reply.status == status:
            change(reply)

    return edit


def good(endpoint: str, change: Callable[[dict[str, Any]], object]) -> Edit:
    """Changes a good answer that is no stream; `models` is an endpoint too."""

    def edit(asked: Asked, reply: Reply) -> None:
        if (
            reply.status == 200
            and reply.events is None
            and (asked.endpoint or "models") == endpoint
        ):
            change(reply.body)

    return edit


def streams(change: Callable[[list[Any]], object], endpoint: str = CHAT) -> Edit:
    """Changes the events of a stream."""

    def edit(asked: Asked, reply: Reply) -> None:
        if reply.events is not None and asked.endpoint == endpoint:
            change(reply.events)

    return edit


def refuses(name: str, value: Any, **fields: Any) -> Edit:
    """Refuses what must be accepted: a field of this value, or of any for ..."""

    def edit(asked: Asked, reply: Reply) -> None:
        if reply.status == 200 and name in asked.fields and value in (..., asked.fields[name]):
            error = {"message": "no", "type": INVALID, "param": name, "code": None, **fields}
            reply.status, reply.body, reply.events = 400, {"error": error}, None
            reply.kind = "application/json"

    return edit


def heads(change: Callable[[dict[str, str]], object]) -> Edit:
    """Changes the headers of every answer."""

    def edit(asked: Asked, reply: Reply) -> None:
        change(reply.headers)

    return edit


def on_path(path: str, status: int, body: Any) -> Edit:
    """Answers at this path in this way."""

    def edit(asked: Asked, reply: Reply) -> None:
        if asked.path == path:
            reply.status, reply.body = status, body

    return edit


def flat(reply: Reply) -> None:
    reply.body = {"object": "error", **reply.error}


def text(reply: Reply) -> None:
    reply.body = {"error": reply.error["message"]}


def html(reply: Reply) -> None:
    reply.body, reply.kind = "<html>no</html>", "text/html"


def fault(reply: Reply) -> None:
    if reply.error["code"] == "invalid_type":
        reply.status = 500


def uninvited(events: list[Any]) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    if not any(isinstance(one, dict) and one.get("usage") for one in events):
        events.insert(-1, {**events[0], "choices": [], "usage": usage})


def other_ids(events: list[Any]) -> None:
    events[1] = {**events[1], "id": "chatcmpl-other"}


def no_reason(events: list[Any]) -> None:
    for one in events[:-1]:
        for choice in one["choices"]:
            choice["finish_reason"] = None


def no_role(events: list[Any]) -> None:
    del events[0]["choices"][0]["delta"]["role"]


def usage_lost(events: list[Any]) -> None:
    events[:] = [one for one in events if isinstance(one, str) or one["choices"]]


def usage_early(events: list[Any]) -> None:
    if not events[-2]["choices"]:
        events[-3:-1] = [events[-2], events[-3]]


def two_calls(body: dict[str, Any]) -> None:
    message = body["choices"][0]["message"]
    message["tool_calls"] = message.get("tool_calls", []) * 2


def user_is_checked(asked: Asked, reply: Reply) -> None:
    if b'"user": 7' in asked.raw:
        reply.status = 422


def not_a_stream(asked: Asked, reply: Reply) -> None:
    if reply.events is not None:
        reply.kind = "application/json"


def shorter(asked: Asked, reply: Reply) -> None:
    if asked.has("dimensions", 8) and reply.status == 200:
        reply.body["data"][0]["embedding"] = [0.5] * 7


def floats_always(asked: Asked, reply: Reply) -> None:
    if asked.has("encoding_format", "base64") and reply.status == 200:
        reply.body["data"][0]["embedding"] = [0.5] * 8


def one_choice(body: dict[str, Any]) -> None:
    del body["choices"][1:]


def reset_as_duration(headers: dict[str, str]) -> None:
    headers["x-ratelimit-reset-requests"] = "120ms"


def as_nowhere(asked: Asked, reply: Reply) -> None:
    if asked.path == "/v1/rerank":
        message = f"Invalid URL ({asked.method} {asked.path})"
        error = {"message": message, "type": INVALID, "param": None, "code": None}
        reply.status, reply.body, reply.kind = 404, {"error": error}, "application/json"


def in_openais_words(asked: Asked, reply: Reply) -> None:
    if asked.path == "/v1/messages" and reply.status == 400:
        error = {"message": reply.error["message"], "type": INVALID, "param": None, "code": None}
        reply.body = {"error": error}


def silent_speech(asked: Asked, reply: Reply) -> None:
    if asked.path == "/v1/audio/speech" and reply.status == 200:
        reply.kind = "application/json"


def unnamed(events: list[Any]) -> None:
    events[1] = json.dumps(events[1])


def from_one(events: list[Any]) -> None:
    for at, one in enumerate(events, 1):
        one["sequence_number"] = at


def turns_away(code: str | None = "rate_limit_exceeded", **headers: str) -> Edit:
    """Always answers one request in this way: too many."""

    def edit(asked: Asked, reply: Reply) -> None:
        if b'"seed": "x"' in asked.raw:
            error = {"message": "later", "type": "requests", "param": None, "code": code}
            lines = {name.replace("_", "-"): value for name, value in headers.items()}
            reply.status, reply.body, reply.headers = 429, {"error": error}, reply.headers | lines

    return edit


def reset_as_a_time(headers: dict[str, str]) -> None:
    headers["x-ratelimit-reset-requests"] = "1790000000"


BEYOND = ("decimal_above_max_value", "integer_above_max_value")
SHORT = ("decimal_below_min_value", "integer_below_min_value")
LONG = ("array_above_max_length", "string_above_max_length", "object_above_max_properties")
EMPTY = ("empty_array", "empty_string")

FAULTS: dict[str, Fault] = {
    # What must be refused, and is not.
    "types-are-not-checked": Fault(f"{CHAT}/temperature/type", skips=of_code("invalid_type")),
    "maximum-is-not-checked": Fault(f"{CHAT}/n/maximum", skips=of_code(*BEYOND)),
    "minimum-is-not-checked": Fault(f"{TEXT}/top_p/minimum", skips=of_code(*SHORT)),
    "lengths-are-not-checked": Fault(f"{CHAT}/stop/maxItems", skips=of_code(*LONG)),
    "empty-is-accepted": Fault(f"{CHAT}/messages/minItems", skips=of_code(*EMPTY)),
    "any-word-is-accepted": Fault(f"{CHAT}/reasoning_effort/enum", skips=of_code("invalid_value")),
    "any-role-is-accepted": Fault(
        f"{CHAT}/messages/[0].role:enum", skips=of_param("messages[0].role", "invalid_value")
    ),
    "nothing-is-required": Fault(
        f"{VECTORS}/input/required", skips=of_code("missing_required_parameter")
    ),
    "denied-fields-are-accepted": Fault(
        f"{CHAT}/chat_template/denied", skips=of_code("unknown_parameter")
    ),
    "denied-fields-are-accepted-inside": Fault(
        f"{CHAT}/zzz/denied",
        skips=lambda refused: refused.code == "unknown_parameter" and "." in str(refused.param),
    ),
    "no-stream-options-check": Fault(
        f"{CHAT}/check/stream_options", skips=of_param("stream_options")
    ),
    "no-top-logprobs-check": Fault(f"{CHAT}/check/top_logprobs", skips=of_param("top_logprobs")),
    "no-tool-choice-check": Fault(f"{CHAT}/check/tool_choice", skips=of_param("tool_choice")),
    "no-json-word-check": Fault(f"{CHAT}/check/json_word", skips=of_param("messages")),
    "no-reply-check": Fault(f"{CHAT}/check/tool_replies", skips=of_param("messages.[1].role")),
    "open-to-all": Fault("key/v1/models/none", skips=of_status(401)),
    "any-key-will-do": Fault("key/v1/embeddings/wrong", skips=of_code("invalid_api_key")),
    "no-body-is-too-large": Fault("size/over", skips=of_status(413)),
    "any-content-type": Fault(f"{CHAT}/content-type", skips=of_status(415)),
    "any-model": Fault(f"{VECTORS}/no-model", skips=of_code("model_not_found")),
    "two-choices-are-made": Fault(f"{CHAT}/n/rejected", FLEXAI, skips=of_param("n")),
    "nulls-are-accepted": Fault(
        "FX-5", FLEXAI, skips=lambda refused: refused.message.endswith("got null.")
    ),
    "remote-images-are-fetched": Fault(
        "MS-7", SHARED, skips=lambda refused: "image_url.url" in str(refused.param)
    ),
    "any-token-is-biased": Fault("MD-4", DEDICATED, skips=of_param("logit_bias")),
    # What must be accepted, and is refused.
    "top-p-of-zero-is-refused": Fault(f"{CHAT}/at-minimum", edit=refuses("top_p", 0)),
    "nulls-are-refused": Fault(f"{CHAT}/nulls", edit=refuses("seed", None)),
    "unknown-fields-are-refused": Fault(
        f"{CHAT}/zzz/unknown", edit=refuses("zzz", ..., code="unknown_parameter")
    ),
    "what-is-ignored-is-checked": Fault(f"{CHAT}/user/ignored", DEDICATED, edit=user_is_checked),
    "what-is-forwarded-is-unknown": Fault(
        f"{CHAT}/logprobs/forwarded",
        FLEXAI,
        edit=refuses("logprobs", True, code="unknown_parameter"),
    ),
    "top-p-is-never-off": Fault(f"{CHAT}/top_p/off", IONOS, edit=refuses("top_p", -1)),
    "thinking-is-refused": Fault("MS-6", SHARED, edit=refuses("chat_template_kwargs", ...)),
    # How it is refused.
    "wrong-types-are-faults": Fault(f"{CHAT}/n/type", edit=bodies(fault)),
    "no-param": Fault(f"{CHAT}/n/type", edit=errors(lambda error: error.update(param=None))),
    "no-param-key": Fault(f"{CHAT}/n/type", edit=errors(lambda error: error.pop("param"))),
    "code-is-a-number": Fault(f"{CHAT}/n/type", edit=errors(lambda error: error.update(code=400))),
    "codes-are-kept": Fault(
        f"{CHAT}/temperature/type",
        FLEXAI,
        edit=errors(lambda error: error["code"] or error.update(code="invalid_type")),
    ),
    "type-is-a-class-name": Fault(
        f"{CHAT}/n/type", edit=errors(lambda error: error.update(type="BadRequestError"))
    ),
    "errors-are-flat": Fault(f"{CHAT}/n/type", edit=bodies(flat)),
    "errors-are-texts": Fault("key/v1/models/none", edit=bodies(text, 401)),
    "errors-are-html": Fault("path/post", edit=bodies(html, 404)),
    "refused-in-other-words": Fault(
        f"{CHAT}/n/rejected", FLEXAI, edit=errors(lambda error: error.update(message="no"))
    ),
    "no-doc-url": Fault("FX-7", FLEXAI, edit=errors(lambda error: error.pop("doc_url"), 401)),
    "doc-url-everywhere": Fault(
        "FX-7", FLEXAI, edit=errors(lambda error: error.update(doc_url="https://x.example"))
    ),
    "unknown-model-in-other-words": Fault(
        f"{CHAT}/no-model",
        FLEXAI,
        edit=errors(lambda error: error.update(message="The model does not exist.")),
    ),
    "wrong-methods-are-404s": Fault(
        "method/v1/models", edit=bodies(lambda reply: setattr(reply, "status", 404), 405)
    ),
    "absent-endpoints-answer": Fault(
        f"{VECTORS}/absent/post", DEDICATED, edit=on_path("/v1/embeddings", 200, {})
    ),
    "files-are-listed": Fault("FX/v1/files", FLEXAI, edit=on_path("/v1/files", 200, {"data": []})),
    # Shapes of good answers.
    "the-list-is-bare": Fault("models/list", edit=good("models", lambda body: body.pop("object"))),
    "models-have-no-owner": Fault(
        "models/list", edit=good("models", lambda body: body["data"][0].pop("owned_by"))
    ),
    "no-category": Fault(
        "FX-10", FLEXAI, edit=good("models", lambda body: body["data"][0].pop("category"))
    ),
    "no-usage": Fault(f"{CHAT}/answer", edit=good(CHAT, lambda body: body.pop("usage"))),
    "usage-does-not-add-up": Fault(
        f"{TEXT}/answer", edit=good(TEXT, lambda body: body["usage"].update(total_tokens=1))
    ),
    "no-reason-to-finish": Fault(
        f"{CHAT}/answer", edit=good(CHAT, lambda body: body["choices"][0].pop("finish_reason"))
    ),
    "no-choices": Fault(f"{TEXT}/answer", edit=good(TEXT, lambda body: body["choices"].clear())),
    "vectors-out-of-order": Fault(
        f"{VECTORS}/many", edit=good(VECTORS, lambda body: body["data"].reverse())
    ),
    "one-vector-for-all": Fault(
        f"{VECTORS}/many", edit=good(VECTORS, lambda body: body.update(data=body["data"][:1]))
    ),
    "base64-is-ignored": Fault("FX-5", FLEXAI, edit=floats_always),
    "dimensions-are-missed": Fault("MS-9", SHARED, edit=shorter),
    "one-choice-only": Fault("MD-8", DEDICATED, edit=good(CHAT, one_choice)),
    "two-calls-at-once": Fault("MD-6", DEDICATED, edit=good(CHAT, two_calls)),
    "no-json-in-json-mode": Fault(
        "MD-7",
        DEDICATED,
        edit=good(CHAT, lambda body: body["choices"][0]["message"].update(content="Ann, 37")),
    ),
    "no-tool-is-called": Fault(
        "IO-7",
        IONOS,
        edit=good(CHAT, lambda body: body["choices"][0]["message"].pop("tool_calls", 0)),
    ),
    "no-fingerprint": Fault(
        "IO-10", IONOS, edit=good(CHAT, lambda body: body.pop("system_fingerprint"))
    ),
    "a-fingerprint": Fault(
        "FX-9", FLEXAI, edit=good(CHAT, lambda body: body.update(system_fingerprint=None))
    ),
    "no-cache-counters": Fault(
        "FX-8",
        FLEXAI,
        edit=good(CHAT, lambda body: body["usage"].pop("cache_read_input_tokens")),
    ),
    # Streams.
    "no-done": Fault(f"{CHAT}/stream", edit=streams(lambda events: events.pop())),
    "something-after-done": Fault(
        f"{CHAT}/stream", edit=streams(lambda events: events.append(events[0]))
    ),
    "no-role": Fault(f"{CHAT}/stream/role", edit=streams(no_role)),
    "no-reason-in-a-stream": Fault(f"{CHAT}/stream", edit=streams(no_reason)),
    "usage-uninvited": Fault(f"{CHAT}/stream", edit=streams(uninvited)),
    "usage-lost": Fault(f"{CHAT}/stream/usage", edit=streams(usage_lost)),
    "usage-too-early": Fault(f"{CHAT}/stream/usage", edit=streams(usage_early)),
    "usage-lost-in-completions": Fault(f"{TEXT}/stream/usage", edit=streams(usage_lost, TEXT)),
    "ids-change": Fault(f"{CHAT}/stream", edit=streams(other_ids)),
    "an-event-without-data": Fault(
        f"{CHAT}/stream", edit=streams(lambda events: events.insert(1, "event: ping\n\n"))
    ),
    "not-an-event-stream": Fault(f"{CHAT}/stream", edit=not_a_stream),
    # The endpoints beside the first.
    "an-endpoint-is-missing": Fault("rerank/offered", edit=as_nowhere),
    "a-ranking-needs-no-query": Fault(
        "rerank/query/required", skips=of_param("query", "missing_required_parameter")
    ),
    "tokens-may-be-texts": Fault(
        "detokenize/tokens/type", skips=of_param("tokens", "invalid_type")
    ),
    "speech-may-be-fast": Fault("audio.speech/speed/maximum", skips=of_code(*BEYOND)),
    "numbers-in-forms-are-not-read": Fault(
        "audio.transcriptions/temperature/type", skips=of_param("temperature", "invalid_type")
    ),
    "forms-may-lack-their-file": Fault(
        "images.edits/image/required", skips=of_code("missing_required_parameter")
    ),
    "half-a-form-is-read": Fault(
        "audio.translations/form", skips=lambda refused: "form" in refused.message
    ),
    "any-kind-of-form": Fault("audio.transcriptions/content-type", skips=of_status(415)),
    "any-model-moderates": Fault("moderations/no-model", skips=of_code("model_not_found")),
    "pictures-are-open-to-all": Fault("key/v1/images/generations/none", skips=of_status(401)),
    "messages-may-be-endless": Fault(
        "messages/max_tokens/required", skips=of_code("missing_required_parameter")
    ),
    "anthropics-clients-are-told-in-openais-words": Fault(
        "messages/messages/type", edit=in_openais_words
    ),
    "no-messages-are-counted": Fault(
        "messages.count_tokens/messages/minItems", skips=of_code("empty_array")
    ),
    "counts-are-texts": Fault(
        "messages.count_tokens/answer",
        edit=good("messages.count_tokens", lambda body: body.update(input_tokens="5")),
    ),
    "a-ranking-without-scores": Fault(
        "rerank/answer",
        edit=good("rerank", lambda body: body["results"][0].pop("relevance_score")),
    ),
    "a-score-is-a-text": Fault(
        "score/answer", edit=good("score", lambda body: body["data"][0].update(score="0.9"))
    ),
    "no-tokens": Fault("tokenize/answer", edit=good("tokenize", lambda body: body.pop("tokens"))),
    "no-text-of-tokens": Fault(
        "detokenize/answer", edit=good("detokenize", lambda body: body.pop("prompt"))
    ),
    "nothing-is-flagged": Fault(
        "moderations/answer",
        edit=good("moderations", lambda body: body["results"][0].pop("flagged")),
    ),
    "pictures-of-no-time": Fault(
        "images.generations/answer",
        edit=good("images.generations", lambda body: body.pop("created")),
    ),
    "nothing-was-heard": Fault(
        "audio.transcriptions/answer",
        edit=good("audio.transcriptions", lambda body: body.update(text=None)),
    ),
    "speech-is-json": Fault("audio.speech/answer", edit=silent_speech),
    "another-object-for-a-response": Fault(
        "responses/answer", edit=good("responses", lambda body: body.update(object="chat"))
    ),
    "a-response-does-not-end": Fault(
        "responses/stream", edit=streams(lambda events: events.pop(), "responses")
    ),
    "events-are-counted-from-one": Fault("responses/stream", edit=streams(from_one, "responses")),
    "a-message-does-not-end": Fault(
        "messages/stream", edit=streams(lambda events: events.pop(), "messages")
    ),
    "an-event-without-its-name": Fault("messages/stream", edit=streams(unnamed, "messages")),
    # Limits.
    "the-reset-is-a-time": Fault("rate/headers", edit=heads(reset_as_a_time)),
    "more-remain-than-there-are": Fault(
        "rate/headers",
        edit=heads(lambda headers: headers.update({"x-ratelimit-remaining-requests": "61"})),
    ),
    "limits-are-told": Fault(
        "rate/headers",
        IONOS,
        edit=heads(lambda headers: headers.update({"x-ratelimit-limit-requests": "5"})),
    ),
    "limits-are-not-told": Fault(
        "rate/headers",
        FLEXAI,
        edit=heads(lambda headers: headers.pop("x-ratelimit-limit-requests")),
    ),
    "a-limit-without-its-code": Fault("rate/exceeded", edit=turns_away(None, retry_after="1")),
    "a-limit-without-a-wait": Fault("IO-9", IONOS, edit=turns_away()),
    "a-limit-with-a-wait": Fault("MS-3", SHARED, edit=turns_away(retry_after="1")),
    "a-limit-where-there-is-none": Fault("MD-13", DEDICATED, edit=turns_away()),
    # Headers.
    "no-request-id": Fault(
        "answers/x-request-id", edit=heads(lambda headers: headers.pop("x-request-id"))
    ),
    "one-request-id": Fault(
        "answers/x-request-id",
        edit=heads(lambda headers: headers.update({"x-request-id": "req_1"})),
    ),
    "rate-headers": Fault(
        "MD-13",
        DEDICATED,
        edit=heads(lambda headers: headers.update({"x-ratelimit-limit-requests": "5"})),
    ),
    "reset-as-a-duration": Fault("FX-11", FLEXAI, edit=heads(reset_as_duration)),
    "open-to-browsers": Fault(
        "FX-12",
        FLEXAI,
        edit=heads(lambda headers: headers.update({"access-control-allow-origin": "*"})),
    ),
}
