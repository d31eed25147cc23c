"""The way in, as promises: keys, paths, methods, content types, sizes, what is no request at all;
and what holds of every answer.

Law: nothing here needs a model's answer, so all of it is asked of any server.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import replace
from typing import Any

from levada.probe.client import Answer, Ask, get, post
from levada.probe.endpoints import ENDPOINTS, Target
from levada.probe.expect import INVALID, error, exactly, refused
from levada.probe.rows import BrokenError, Judge, Promise
from levada.profiles import Profile, answers

WRONG_KEY = "Bearer sk-levada-probe-not-a-key"
NOWHERE = "/v1/nowhere"
# The largest body that is read: OpenAI's, and that of the one provider that reads more.
LIMIT = 26_214_400
SHARED_LIMIT = 200 * 1024 * 1024
MIB = 1024 * 1024

Said = list[tuple[Ask, Answer]]


def promises(profile: Profile, made: dict[str, Any], targets: list[Target]) -> Iterator[Promise]:
    """All the rows of the way in; `made` is the compiled profile."""
    yield from _offered(targets)
    # What is not there is told once.
    targets = [one for one in targets if not one.missing]
    yield from _keys(profile, made, targets)
    yield from _paths(profile, targets)
    for target in targets:
        yield from _bodies(profile, target)
    for target in targets[:1]:
        yield from _sizes(profile, made, target)


def _keys(profile: Profile, made: dict[str, Any], targets: list[Target]) -> Iterator[Promise]:
    odd = made["errors"].get("unauthorized_body")
    asks = [get("/v1/models"), *(one.ask(one.body()) for one in targets)]
    dialects = ["openai", *(one.endpoint.dialect for one in targets)]
    for ask, dialect in zip(asks, dialects, strict=True):
        none, bad = _strangers(profile, dialect) if odd is None else [exactly(401, odd)] * 2
        place, said = f"key{ask.path}", f"{ask.method} {ask.path}"
        keyless, wrong = (replace(ask, authorization=one) for one in ("", WRONG_KEY))
        yield Promise(f"{place}/none", f"{said} without a key is a 401", (keyless,), none)
        yield Promise(f"{place}/wrong", f"{said} with a wrong key is a 401", (wrong,), bad)
    what = "a key without the word Bearer is a 401"
    none = _strangers(profile, "openai")[0] if odd is None else exactly(401, odd)
    yield Promise("key/scheme", what, (get("/v1/models", "Token x"),), none)


def _strangers(profile: Profile, dialect: str) -> list[Judge]:
    """What is said to a caller without a key, and to one with a wrong key."""
    kind = profile.errors.unauthorized_type or INVALID
    bad = refused(profile, None, "invalid_api_key", 401, kind=kind, dialect=dialect)
    return [bad if dialect == "anthropic" else _unauthorized(profile, kind), bad]


def _unauthorized(profile: Profile, kind: str) -> Judge:
    """The code of a missing key is null, or the one of a wrong key: it is documented as both."""

    def judge(*answers: Answer) -> None:
        found = error(profile, answers[-1], 401)
        if found["type"] != kind or found["param"] is not None:
            raise BrokenError(f"'type' and 'param' are {found['type']!r} and {found['param']!r}")
        if found["code"] not in (None, "invalid_api_key"):
            raise BrokenError(f"'code' is {found['code']!r}")
        url = profile.errors.doc_url
        if url and found["doc_url"] != url:
            raise BrokenError(f"'doc_url' is {found['doc_url']!r}, not {url!r}")

    return judge


def _paths(profile: Profile, targets: list[Target]) -> Iterator[Promise]:
    nowhere = refused(profile, None, None, 404, names=NOWHERE)
    for method, ask in (("GET", get(NOWHERE)), ("POST", post(NOWHERE, {}))):
        yield Promise(f"path/{method.lower()}", f"{method} of no path is a 404", (ask,), nowhere)
    for name in dict.fromkeys((*ENDPOINTS, *profile.endpoints)):
        if profile.endpoints.get(name, "absent") == "absent":
            path = answers.path(name)
            judge = refused(profile, None, None, 404, names=path)
            for ask in (post(path, {"model": "m"}), get(path)):
                place = f"{name}/absent/{ask.method.lower()}"
                yield Promise(place, f"{ask.method} {path} is a 404", (ask,), judge)
    for one in (target.endpoint for target in targets):
        judge = refused(profile, None, None, 405, dialect=one.dialect)
        yield Promise(f"method{one.path}", f"GET {one.path} is a 405", (get(one.path),), judge)
    judge = refused(profile, None, None, 405)
    ask = post("/v1/models", {})
    yield Promise("method/v1/models", "POST /v1/models is a 405", (ask,), judge)


def _offered(targets: list[Target]) -> Iterator[Promise]:
    for one in (target.endpoint for target in targets):
        asks = (post(NOWHERE, {}), post(one.path, {}))
        yield Promise(f"{one.name}/offered", f"{one.path} is there", asks, is_there)


def is_there(nowhere: Answer, answer: Answer) -> None:
    """An endpoint, told from a path that there is not."""
    if answer.status in (404, 405) and answer.status == nowhere.status:
        ours, theirs = (re.sub(rb"/v1/[a-z_/]+", b"", one.body) for one in (answer, nowhere))
        if ours == theirs:
            raise BrokenError(f"it is answered as a path that there is not: {answer.status}")


def _bodies(profile: Profile, target: Target) -> Iterator[Promise]:
    path, dialect = target.endpoint.path, target.endpoint.dialect
    bad = refused(profile, None, None, names="JSON", dialect=dialect)
    broken = [
        ("json", "what is no JSON is refused", Ask("POST", path, b'{"model": ')),
        ("list", "a list is no request", Ask("POST", path, b"[]")),
    ]
    if target.endpoint.takes_forms:
        bad = refused(profile, None, None, names="form")
        whole = target.ask(target.body())
        broken = [("form", "half a form is refused", replace(whole, body=whole.body[:-8]))]
    for place, what, ask in broken:
        yield Promise(f"{target.name}/{place}", what, (ask,), bad)
    kind = (("content-type", "text/plain"),)
    ask = replace(target.ask(target.body()), headers=kind)
    text = refused(profile, None, "unsupported_content_type", 415, dialect=dialect)
    yield Promise(f"{target.name}/content-type", "a body of another type is a 415", (ask,), text)
    errors = profile.errors
    status = errors.unknown_model_status or 404
    name = "levada-probe/no-such-model"
    message = (errors.unknown_model_message or "").replace("{model}", name) or None
    judge = refused(
        profile, None, "model_not_found", status, names=name, message=message, dialect=dialect
    )
    ask = target.ask(target.body(model=name))
    yield Promise(f"{target.name}/no-model", f"an unknown model is a {status}", (ask,), judge)


def _sizes(profile: Profile, made: dict[str, Any], target: Target) -> Iterator[Promise]:
    """Bodies of blanks: what is read of them is no JSON, so no engine hears of them."""
    path, most = target.endpoint.path, made.get("body_bytes") or LIMIT
    if "mittwald-shared" in (profile.id, profile.extends):
        most = max(most, SHARED_LIMIT)
    over = Promise("size/over", f"a body over {most:,} bytes is a 413")
    if most > LIMIT:
        yield replace(over, why=f"{most:,} bytes would have to be sent")
    else:
        large = refused(profile, None, None, 413, kind="server_error")
        yield replace(over, asks=(Ask("POST", path, b" " * (most + MIB)),), judge=large)
    under = min(most, LIMIT)
    read = refused(profile, None, None, names="JSON")
    what = f"a body of {under:,} bytes is read"
    yield Promise("size/under", what, (Ask("POST", path, b" " * under),), read)


def request_ids(said: Said) -> None:
    """Every answer has an id, and no two the same."""
    ids = [answer.header("x-request-id") for _, answer in said]
    lacking = [
        f"{ask.method} {ask.path}" for (ask, _), one in zip(said, ids, strict=True) if not one
    ]
    if lacking:
        raise BrokenError(f"{len(lacking)} answers have no x-request-id, such as to {lacking[0]}")
    if len(set(ids)) < len(ids):
        raise BrokenError("two answers have the same x-request-id")


def no_faults(said: Said, unanswered: Container[str] = ()) -> None:
    """What a client sends is never a fault of the server's. Paths that no model answers do not
    count: what is behind them may not know them.
    """
    faults = [
        (ask, answer)
        for ask, answer in said
        if answer.status >= 500 and answer.status != 503 and ask.path not in unanswered
    ]
    if faults:
        ask, answer = faults[0]
        raise BrokenError(
            f"{len(faults)} answers are faults, such as {answer.status} to {ask.method} {ask.path}"
        )
