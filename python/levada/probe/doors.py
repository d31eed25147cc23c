"""The way in, as promises: keys, paths, methods, content types, sizes, what is no request at all;
and what holds of every answer.

Law: nothing here needs a model's answer, so all of it is asked of any server.
"""

from __future__ import annotations

from collections.abc import Iterator

from levada.probe.client import Answer, Ask, get, post
from levada.probe.endpoints import ENDPOINTS, Target
from levada.probe.expect import INVALID, error, refused
from levada.probe.rows import Broken, Judge, Promise
from levada.profiles import Profile

WRONG_KEY = "Bearer sk-levada-probe-not-a-key"
NOWHERE = "/v1/nowhere"
LIMIT = 26_214_400
# Paths of OpenAI's that no profile offers yet, for the rows of absent endpoints.
Said = list[tuple[Ask, Answer]]


def promises(profile: Profile, targets: list[Target]) -> Iterator[Promise]:
    """All the rows of the way in."""
    yield from _keys(profile, targets)
    yield from _paths(profile, targets)
    for target in targets:
        yield from _bodies(profile, target)
    yield from _sizes(profile, targets)


def _keys(profile: Profile, targets: list[Target]) -> Iterator[Promise]:
    kind = profile.errors.unauthorized_type or INVALID
    paths = [("GET", "/v1/models"), *(("POST", one.endpoint.path) for one in targets)]
    bodies = {one.endpoint.path: one.body() for one in targets}
    for method, path in paths:

        def asked(authorization: str, method: str = method, path: str = path) -> tuple[Ask, ...]:
            return (
                get(path, authorization) if method == "GET" else post(path, bodies[path], authorization),
            )

        place = f"key{path}"
        none = _unauthorized(profile, kind)
        yield Promise(f"{place}/none", f"{method} {path} without a key is a 401", asked(""), none)
        bad = refused(profile, None, "invalid_api_key", 401, kind=kind)
        what = f"{method} {path} with a wrong key is a 401"
        yield Promise(f"{place}/wrong", what, asked(WRONG_KEY), bad)
    what = "a key without the word Bearer is a 401"
    yield Promise("key/scheme", what, (get("/v1/models", "Token x"),), none)


def _unauthorized(profile: Profile, kind: str) -> Judge:
    """The code of a missing key is null, or the one of a wrong key: it is documented as both."""

    def judge(*answers: Answer) -> None:
        found = error(profile, answers[-1], 401)
        if found["type"] != kind or found["param"] is not None:
            raise Broken(f"'type' and 'param' are {found['type']!r} and {found['param']!r}")
        if found["code"] not in (None, "invalid_api_key"):
            raise Broken(f"'code' is {found['code']!r}")
        url = profile.errors.doc_url
        if url and found["doc_url"] != url:
            raise Broken(f"'doc_url' is {found['doc_url']!r}, not {url!r}")

    return judge


def _paths(profile: Profile, targets: list[Target]) -> Iterator[Promise]:
    nowhere = refused(profile, None, None, 404, names=NOWHERE)
    for method, ask in (("GET", get(NOWHERE)), ("POST", post(NOWHERE, {}))):
        yield Promise(f"path/{method.lower()}", f"{method} of no path is a 404", (ask,), nowhere)
    for name, one in ENDPOINTS.items():
        if profile.endpoints.get(name, "absent") == "absent":
            judge = refused(profile, None, None, 404, names=one.path)
            ask = post(one.path, {"model": "m", **one.body})
            yield Promise(f"{name}/absent", f"POST {one.path} is a 404", (ask,), judge)
    method = refused(profile, None, None, 405)
    for one in (target.endpoint for target in targets):
        yield Promise(f"method{one.path}", f"GET {one.path} is a 405", (get(one.path),), method)
    ask = post("/v1/models", {})
    yield Promise("method/v1/models", "POST /v1/models is a 405", (ask,), method)


def _bodies(profile: Profile, target: Target) -> Iterator[Promise]:
    path = target.endpoint.path
    bad = refused(profile, None, None, names="JSON")
    for place, what, body in (
        ("json", "what is no JSON is refused", b'{"model": '),
        ("list", "a list is no request", b"[]"),
    ):
        yield Promise(f"{target.name}/{place}", what, (Ask("POST", path, body),), bad)
    ask = post(path, target.body(), content_type="text/plain")
    text = refused(profile, None, "unsupported_content_type", 415)
    yield Promise(f"{target.name}/content-type", "a body that is not JSON is a 415", (ask,), text)
    errors = profile.errors
    status = errors.unknown_model_status or 404
    name = "levada-probe/no-such-model"
    message = (errors.unknown_model_message or "").replace("{model}", name) or None
    judge = refused(profile, None, "model_not_found", status, names=name, message=message)
    ask = post(path, target.body(model=name))
    yield Promise(f"{target.name}/no-model", f"an unknown model is a {status}", (ask,), judge)


def _sizes(profile: Profile, targets: list[Target]) -> Iterator[Promise]:
    """Bodies of blanks: what is read of them is no JSON, so no engine hears of them."""
    if not targets:
        return
    what = f"a body of {LIMIT:,} bytes is read"
    if _limit(profile) > LIMIT:
        why = f"{_limit(profile):,} bytes would have to be sent"
        yield Promise("size/over", "a body over the limit is a 413", why=why)
    else:
        judge = refused(profile, None, None, 413, kind="server_error")
        over = Ask("POST", targets[0].endpoint.path, b" " * 26 * 1024 * 1024)
        yield Promise("size/over", "a body of 26 MiB is a 413", (over,), judge)
    under = Ask("POST", targets[0].endpoint.path, b" " * LIMIT)
    yield Promise("size/under", what, (under,), refused(profile, None, None, names="JSON"))


def _limit(profile: Profile) -> int:
    return 200 * 1024 * 1024 if "mittwald-shared" in (profile.id, profile.extends) else LIMIT


def request_ids(said: Said) -> None:
    """Every answer has an id, and no two the same."""
    ids = [answer.header("x-request-id") for _, answer in said]
    lacking = [f"{ask.method} {ask.path}" for (ask, _), one in zip(said, ids, strict=True) if not one]
    if lacking:
        raise Broken(f"{len(lacking)} answers have no x-request-id, such as to {lacking[0]}")
    if len(set(ids)) < len(ids):
        raise Broken("two answers have the same x-request-id")


def no_faults(said: Said) -> None:
    """What a client sends is never a fault of the server's."""
    faults = [(ask, answer) for ask, answer in said if answer.status >= 500 and answer.status != 503]
    if faults:
        ask, answer = faults[0]
        raise Broken(f"{len(faults)} answers are faults, such as {answer.status} to {ask.method} {ask.path}")
