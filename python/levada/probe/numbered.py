"""The numbered promises of the contract that no data of a profile says, by their ids.

Law: every id of a built-in profile has its row; one that cannot be told over the wire says why. A
profile that extends a built-in one promises the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from levada.probe import judges, rates
from levada.probe.client import Answer, Ask, get, post
from levada.probe.doors import Said
from levada.probe.endpoints import TOOL, Target
from levada.probe.expect import accepted, error, exactly, passed_on, refused
from levada.probe.rows import BrokenError, Judge, Promise, UntestableError
from levada.profiles import Profile

CHAT, TEXT, VECTORS = "chat.completions", "completions", "embeddings"
PICTURES = "images.generations"
# {"alg":"HS256","typ":"JWT"} and {"exp":1}, signed by nobody.
EXPIRED = "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjF9.bm9ib2R5"
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
SCHEMA = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "person", "strict": True, "schema": PERSON},
    },
    "messages": [{"role": "user", "content": "Ann is 37 years old. Her name and age as JSON."}],
    "max_tokens": 64,
}
FORCED = {
    "tools": [TOOL],
    "messages": [{"role": "user", "content": "What is the weather in Funchal and in Porto?"}],
    "max_tokens": 128,
    "temperature": 0,
}
NAMED = {"type": "function", "function": {"name": "get_weather"}}
# More than any context; the stops end it at once where an engine takes it for a limit only.
ENDLESS = {"max_tokens": 1_000_000_000, "stop": ["e", "a", "o", "i"]}
PICTURE = {"type": "image_url", "image_url": {"url": "https://images.example/cat.png"}}
SEEN = {"role": "user", "content": [{"type": "text", "text": "What is it?"}, PICTURE]}
STRICT = "it holds under strict_quirks only"


class _Writer:
    """Writes the rows of one profile."""

    def __init__(self, profile: Profile, made: dict[str, Any], targets: dict[str, Target]) -> None:
        self.profile, self.made, self.targets = profile, made, targets

    def on(
        self, endpoint: str, id: str, what: str, judge: Judge, *bodies: dict[str, Any]
    ) -> Promise:
        """A request to this endpoint for each body, if a model answers it."""
        target = self.targets.get(endpoint)
        if target is None or target.model is None:
            return Promise(id, what, why=target.why if target else f"{endpoint} is not offered")
        asks = (target.ask(target.body(**fields)) for fields in bodies or ({},))
        return Promise(id, what, tuple(asks), judge)

    def no(self, param: str, code: str | None = None) -> Judge:
        """Refused for this field."""
        return refused(self.profile, param, code)

    def absent(self, id: str, *paths: str) -> Iterator[Promise]:
        """Nothing is there."""
        judge = refused(self.profile, None, None, 404)
        for path in paths:
            yield Promise(f"{id}{path}", f"POST {path} is a 404", (post(path, {}),), judge)


def promises(
    profile: Profile, made: dict[str, Any], targets: dict[str, Target]
) -> Iterator[Promise]:
    """The rows of a profile; `made` is its compiled form."""
    for name in dict.fromkeys((profile.id, profile.extends)):
        if name in BY_PROFILE:
            yield from BY_PROFILE[name](_Writer(profile, made, targets))


def _dedicated(one: _Writer) -> Iterator[Promise]:
    first = Promise("MD-1", "a 401 as the provider writes it", why=STRICT)
    if odd := one.made["errors"].get("unauthorized_body"):
        first = replace(first, asks=(get("/v1/models", ""),), judge=exactly(401, odd))
    yield first
    yield from one.absent("MD-2", "/v1/embeddings", "/v1/assistants", "/v1/threads", "/v1/batches")
    yield from one.absent("MD-2", "/v1/fine_tuning/jobs", "/v1/files", "/v1/moderations")
    yield from one.absent("MD-2", "/v1/audio/speech", "/v1/images/generations")
    options = {"stream_options": {"include_usage": True}}
    what = "stream_options without stream is refused"
    yield one.on(CHAT, "MD-3", what, one.no("stream_options"), options)
    bias = {"logit_bias": {"99999999": 1}}
    what = "a token outside the vocabulary is refused"
    yield one.on(CHAT, "MD-4", what, _refused_about("logit_bias", one.profile), bias)
    yield one.on(CHAT, "MD-5", "user changes nothing", accepted, {"user": 5})
    single = {**FORCED, "parallel_tool_calls": False, "tool_choice": "auto"}
    what = "parallel_tool_calls of false gives at most one tool call"
    yield one.on(CHAT, "MD-6", what, judges.one_call, single)
    yield one.on(CHAT, "MD-6", f"{what}, streamed", judges.one_call, {**single, "stream": True})
    yield one.on(CHAT, "MD-7", "json_schema output fits the schema", judges.person, SCHEMA)
    yield one.on(CHAT, "MD-8", "n of 3 gives the indexes 0 to 2", judges.indexes(3), {"n": 3})
    ask = get("/v1/models")
    yield Promise("MD-9", "an empty list of models is legal", (ask,), judges.no_models)
    what = "more than the context is told in the profile's words"
    flat = bool(one.made["errors"].get("flat_overflow"))
    yield one.on(CHAT, "MD-10", what, judges.overflow(one.profile, flat=flat), ENDLESS)
    yield Promise("MD-11", "a stream that breaks ends without [DONE]", why="no engine can be ended")
    over = Ask("POST", "/v1/chat/completions", b" " * 26 * 1024 * 1024)
    large = refused(one.profile, None, None, 413, kind="server_error")
    yield Promise("MD-12", "26 MiB are a 413", (over,), large)


def _shared(one: _Writer) -> Iterator[Promise]:
    for root in ("/v1", ""):
        plain = one.on(CHAT, "MS-1", f"chat answers under '{root}/'", accepted)
        asks = (replace(ask, path=root + ask.path.removeprefix("/v1")) for ask in plain.asks)
        yield replace(plain, asks=tuple(asks))
    key = _status_only(401)
    yield Promise("MS-2", "no models without a key", (get("/v1/models", ""),), key)
    yield one.on(CHAT, "MS-4", "top_k is accepted", accepted, {"top_k": 10})
    what = "a response_format of JSON has no effect and is no error"
    yield one.on(CHAT, "MS-5", what, accepted, {"response_format": {"type": "json_object"}})
    thinking = {"enable_thinking": False}
    yield one.on(CHAT, "MS-6", "enable_thinking at the top is accepted", accepted, thinking)
    inside = {"chat_template_kwargs": thinking}
    what = "enable_thinking in chat_template_kwargs is accepted"
    yield one.on(CHAT, "MS-6", what, accepted, inside)
    what = "an image by https is refused"
    yield one.on(CHAT, "MS-7", what, _status_only(400, one.profile), {"messages": [SEEN]})
    yield Promise("MS-8", "more than 1,800 s are a 408", why="it would take 1,800 s")
    judge = judges.dimensions(8, one.profile)
    yield one.on(VECTORS, "MS-9", "dimensions are obeyed or refused", judge, {"dimensions": 8})
    yield from one.absent("MS-10", "/v1/images/generations")


def _ionos(one: _Writer) -> Iterator[Promise]:
    yield one.on(CHAT, "IO-1", "top_p of -1 is accepted", accepted, {"top_p": -1})
    above = one.no("top_p", "decimal_above_max_value")
    yield one.on(CHAT, "IO-1", "top_p of 1.5 is refused", above, {"top_p": 1.5})
    short = Promise("IO-2", "16 tokens without a limit", why=STRICT)
    if most := (one.made["endpoints"].get(CHAT) or {}).get("default_max_tokens"):
        short = one.on(CHAT, short.id, short.what, judges.at_most(most), {"max_tokens": None})
    yield short
    many = one.no("stop", "array_above_max_length")
    yield one.on(CHAT, "IO-3", "five stops are refused", many, {"stop": list("abcde")})
    listed = one.no("prompt", "invalid_type")
    yield one.on(TEXT, "IO-4", "a prompt is one text", listed, {"prompt": ["x"]})
    for size in ("1024*1024", "1024x1024"):
        yield one.on(PICTURES, "IO-5", f"a size of {size} is accepted", accepted, {"size": size})
    base64 = {"encoding_format": "base64"}
    what = "an embedding in base64 is accepted"
    yield one.on(VECTORS, "IO-6", what, judges.readable, base64)
    for name, choice in (("required", "required"), ("named", NAMED)):
        forced = {**FORCED, "tool_choice": choice}
        yield one.on(CHAT, "IO-7", f"a {name} tool is called", judges.called, forced)
    old = (get("/v1/models", EXPIRED),)
    yield Promise("IO-8", "an expired JWT is a 401", old, _status_only(401))
    there = judges.fingerprint(there=True)
    yield one.on(CHAT, "IO-10", "a chat has system_fingerprint", there)
    away = judges.fingerprint(there=False)
    yield one.on(TEXT, "IO-10", "a completion has no system_fingerprint", away)
    yield Promise("IO-11", "the 11th request of a second is a 429", why=rates.UNUSED)
    yield from one.absent("IO", "/v1/responses", "/v1/audio/speech", "/v1/files", "/v1/batches")


def _flexai(one: _Writer) -> Iterator[Promise]:
    yield Promise("FX-1", "the fields of the pinned SDK", why="it is about a package")
    yield one.on(CHAT, "FX-2", "n of 2 is refused", one.no("n"), {"n": 2})
    for n in (1, None):
        yield one.on(CHAT, "FX-2", f"n of {n} is accepted", accepted, {"n": n})
    yield one.on(CHAT, "FX-3", "an unknown field is passed on", accepted, {"zzz": 1})
    yield one.on(CHAT, "FX-4", "logprobs are passed on", passed_on, {"logprobs": True})
    null = one.no("encoding_format", "invalid_type")
    what = "an encoding_format of null is refused"
    yield one.on(VECTORS, "FX-5", what, null, {"encoding_format": None})
    base64 = {"encoding_format": "base64"}
    what = "base64 holds the same numbers"
    yield one.on(VECTORS, "FX-5", what, judges.same_vector, {}, base64)
    what = "a wrong type is refused by its path"
    wrong = one.no("messages[0]", "invalid_type")
    yield one.on(CHAT, "FX-6", what, wrong, {"messages": ["x"]})
    yield Promise("FX-7", "a 401 has doc_url", (get("/v1/models", ""),), _with_url(one.profile))
    yield one.on(CHAT, "FX-7", "a 400 has no doc_url", one.no("n"), {"n": 2})
    for name, fields in (("a chat", {}), ("a stream", {"stream": True})):
        usage = {**fields, **({"stream_options": {"include_usage": True}} if fields else {})}
        yield one.on(CHAT, "FX-8", f"{name} counts the cache", judges.counters, usage)
        away = judges.fingerprint(there=False)
        yield one.on(CHAT, "FX-9", f"{name} has no system_fingerprint", away, fields)
    ask = (get("/v1/models"),)
    yield Promise("FX-10", "each model has its category", ask, judges.categories)
    told = rates.told("flexai", time.time())
    yield one.on(CHAT, "FX-11", "a good answer has x-ratelimit headers", told)
    lines = (("origin", "https://page.example"), ("access-control-request-method", "POST"))
    flight = Ask("OPTIONS", "/v1/chat/completions", b"", "", lines)
    what = "a page of any origin is let in nowhere"
    yield Promise("FX-12", what, (flight,), judges.closed_to_browsers)
    plain = one.on(CHAT, "FX-13", "an organization changes nothing", accepted)
    lines = (("openai-organization", "org-x"), ("openai-project", "p"))
    yield replace(plain, asks=tuple(replace(ask, headers=lines) for ask in plain.asks))
    schema = judges.enforced_or_named(one.profile)
    yield one.on(CHAT, "FX-14", "json_schema is answered, or refused by name", schema, SCHEMA)
    yield Promise(
        "FX-15", "without credit there is a 402", why="a key without credit would be needed"
    )
    yield from one.absent("FX", "/v1/fine-tuning", "/v1/assistants", "/v1/threads", "/v1/runs")
    yield from one.absent("FX", "/v1/batches", "/v1/files", "/v1/responses")
    nothing = refused(one.profile, None, None, 404)
    yield Promise("FX/v1/files/x", "GET /v1/files/x is a 404", (get("/v1/files/x"),), nothing)


BY_PROFILE: dict[str | None, Callable[[_Writer], Iterator[Promise]]] = {
    "mittwald-dedicated": _dedicated,
    "mittwald-shared": _shared,
    "ionos": _ionos,
    "flexai": _flexai,
}


def overall(profile: Profile) -> Iterator[tuple[str, str, Callable[[Said], None]]]:
    """Promises about all answers together: id, what, judge."""
    names = (profile.id, profile.extends)
    if "mittwald-dedicated" in names:
        yield "MD-13", "no x-ratelimit headers, never a 429", _no_limits
    if "mittwald-shared" in names:
        yield "MS-3", "a 429 has no Retry-After", lambda said: _late(said, told=False)
    if "ionos" in names:
        yield "IO-9", "a 429 has a Retry-After", lambda said: _late(said, told=True)
    if "flexai" in names:
        yield "FX-11", "a 429 has a Retry-After", lambda said: _late(said, told=True)


def _no_limits(said: Said) -> None:
    for ask, answer in said:
        if answer.status == 429:
            raise BrokenError(f"{ask.method} {ask.path} was a 429")
        for name, _ in answer.headers:
            if name.startswith("x-ratelimit"):
                raise BrokenError(f"{ask.method} {ask.path} was answered with {name}")


def _late(said: Said, *, told: bool) -> None:
    late = [answer for _, answer in said if answer.status == 429]
    if not late:
        raise UntestableError("no answer was a 429")
    for answer in late:
        if (answer.header("retry-after") is not None) != told:
            raise BrokenError(f"a 429 has {'no' if told else 'a'} Retry-After")
        if not told and answer.header("retry-after-ms") is not None:
            raise BrokenError("a 429 has a retry-after-ms")


def _status_only(status: int, profile: Profile | None = None) -> Judge:
    def judge(answer: Answer) -> None:
        if profile is not None:
            error(profile, answer, status)
        elif answer.status != status:
            raise BrokenError(f"the status is {answer.status}, not {status}")

    return judge


def _refused_about(word: str, profile: Profile) -> Judge:
    def judge(answer: Answer) -> None:
        found = error(profile, answer, 400)
        if word not in f"{found['param']} {found['message']}":
            raise BrokenError(f"the refusal does not name '{word}'")

    return judge


def _with_url(profile: Profile) -> Judge:
    def judge(answer: Answer) -> None:
        if error(profile, answer, 401).get("doc_url") != profile.errors.doc_url:
            raise BrokenError("'doc_url' is another")

    return judge
