"""Which of the offered endpoints are there, and which model answers each.

Law: what is found out here is found by asking; the name of a server or of a model says nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from levada.probe.client import Answer, SilenceError, SpentError, get, post
from levada.probe.doors import NOWHERE, is_there
from levada.probe.endpoints import ENDPOINTS, NOBODY, Endpoint, Target
from levada.probe.expect import Refused
from levada.probe.patience import Patience
from levada.probe.rows import BrokenError, Judge, Promise, UntestableError
from levada.profiles import Profile

# How many of the listed models are tried at an endpoint.
MOST_MODELS = 8
# How much of a refusal is told as a reason.
SHOWN = 120


def targets(patience: Patience, profile: Profile, model: str | None) -> list[Target]:
    """The endpoints that the profile offers and the probe knows. SilenceError when the server does
    not answer at all.
    """
    listed = patience.ask(get("/v1/models"))
    names = [model] if model else _names(listed)
    return [
        _target(patience, endpoint, names)
        for name, endpoint in ENDPOINTS.items()
        if profile.endpoints.get(name, "absent") != "absent"
    ]


def _names(answer: Answer) -> list[str]:
    """The listed models; what is wrong with the list is a row of its own."""
    try:
        return [str(one["id"]) for one in json.loads(answer.body)["data"]]
    except (ValueError, TypeError, KeyError):
        return []


def _target(patience: Patience, endpoint: Endpoint, models: list[str]) -> Target:
    """The endpoint with the first model that answers it."""
    found = Target(endpoint.name, endpoint, None, "the server lists no model")
    # A server that lists none may answer all the same.
    for model in models[:MOST_MODELS] or [NOBODY]:
        target = Target(endpoint.name, endpoint, model)
        try:
            answer = patience.ask(target.ask(target.body()))
        except (SilenceError, SpentError) as error:
            found = replace(found, why=str(error))
            continue
        if answer.status == 200:
            return target
        found = replace(found, instead=answer)
        if models:
            words = f"no model answers {endpoint.path}; '{model}' gave {answer.status}"
            found = replace(found, why=words + _reason(answer))
        if answer.status in (404, 405) and _missing(patience, endpoint):
            why = f"nothing is at {endpoint.path}"
            return replace(found, why=why, missing=True)
    return found


def _missing(patience: Patience, endpoint: Endpoint) -> bool:
    """Whether the path is answered as no path is."""
    try:
        is_there(patience.ask(post(NOWHERE, {})), patience.ask(post(endpoint.path, {})))
    except BrokenError:
        return True
    except (SilenceError, SpentError):
        pass
    return False


def _reason(answer: Answer) -> str:
    """The message of a refusal, if there is one."""
    try:
        message = json.loads(answer.body)["error"]["message"]
    except (ValueError, TypeError, KeyError):
        return ""
    return f": {' '.join(str(message).split())[:SHOWN]}"


def told(target: Target, rows: Iterator[Promise]) -> Iterator[Promise]:
    """The promises of an endpoint as far as they can be told: where no model answers, what it
    refuses; beyond the first endpoints, that and the shape of its answers.
    """
    for one in rows:
        if target.model is not None:
            yield one
        elif isinstance(one.judge, Refused) and not target.missing:
            yield replace(one, judge=_excused(target, one.judge))
        else:
            yield replace(one, asks=(), why=target.why)


def _excused(target: Target, refused: Refused) -> Judge:
    """Where no model answers, an endpoint may say the same to whatever it is asked."""

    def judge(*answers: Answer) -> None:
        try:
            refused(*answers)
        except BrokenError:
            if target.instead is not None and _alike(target.instead, answers[-1]):
                raise UntestableError(target.why) from None
            raise

    return judge


def _alike(one: Answer, other: Answer) -> bool:
    return one.status == other.status and (one.status != 400 or one.body == other.body)
