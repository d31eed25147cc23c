"""The probe itself: finds a model for each endpoint, asks what is promised, and keeps the rows.

Law: one promise after another, each asked at most twice; a server that asks for patience gets it
once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from levada.probe import between, doors, fields, numbered, shapes
from levada.probe.client import Answer, Ask, Client, SilenceError, SpentError, get, post
from levada.probe.doors import Said
from levada.probe.endpoints import ENDPOINTS, Endpoint, Target
from levada.probe.rows import (
    BrokenError,
    Outcome,
    Promise,
    Row,
    UntestableError,
    shown_answer,
    shown_ask,
)
from levada.profiles import Profile
from levada.profiles.compiled import compiled

# How many of the listed models are tried at an endpoint.
MOST_MODELS = 8
# The longest wait that a server may ask for.
MOST_PATIENCE = 30.0

Sleep = Callable[[float], None]


def probe(
    client: Client,
    profile: Profile,
    model: str | None = None,
    only: str = "",
    sleep: Sleep = time.sleep,
) -> list[Row]:
    """The rows of every promise whose id begins with `only`. SilenceError when the server does not
    answer at all.
    """
    listed = client.ask(get("/v1/models"))
    names = [model] if model else _names(listed)
    found = [
        _target(client, name, endpoint, names, sleep)
        for name, endpoint in ENDPOINTS.items()
        if profile.endpoints.get(name, "absent") != "absent"
    ]
    asked = (one for one in promises(profile, found) if one.id.startswith(only))
    rows = [_row(client, one, sleep) for one in asked]
    every = [one for one in (*EVERY_ANSWER, *numbered.overall(profile)) if one[0].startswith(only)]
    return rows + [_overall(*one, client.said) for one in every]


EVERY_ANSWER: list[tuple[str, str, Callable[[Said], None]]] = [
    ("answers/x-request-id", "every answer has an x-request-id of its own", doors.request_ids),
    ("answers/faults", "nothing that a client sends is a fault", doors.no_faults),
]


def promises(profile: Profile, targets: list[Target]) -> Iterator[Promise]:
    """All that the profile promises and that is asked one by one."""
    made = compiled(profile)
    yield from shapes.listing()
    yield from doors.promises(profile, made, targets)
    for target in targets:
        checks = made["endpoints"][target.name]["checks"]
        for rows in (
            shapes.promises(target),
            fields.promises(profile, made, target),
            between.promises(profile, checks, target),
        ):
            yield from (_if_answered(target, one) for one in rows)
    for name, rules in made["endpoints"].items():
        if rules and name not in ENDPOINTS:
            why = "the probe has no request for this endpoint"
            yield Promise(f"{name}/answer", f"{name} is answered", why=why)
    yield from numbered.promises(profile, made, {target.name: target for target in targets})


def _if_answered(target: Target, promise: Promise) -> Promise:
    return replace(promise, asks=(), why=target.why) if target.model is None else promise


def _names(answer: Answer) -> list[str]:
    """The listed models; what is wrong with the list is a row of its own."""
    try:
        return [str(one["id"]) for one in json.loads(answer.body)["data"]]
    except (ValueError, TypeError, KeyError):
        return []


def _target(
    client: Client, name: str, endpoint: Endpoint, models: list[str], sleep: Sleep
) -> Target:
    """The endpoint with the first model that answers it."""
    why = "the server lists no model"
    for model in models[:MOST_MODELS]:
        target = Target(name, endpoint, model)
        try:
            answer = _patient(client, post(endpoint.path, target.body()), sleep)
        except (SilenceError, SpentError) as error:
            why = str(error)
            continue
        if answer.status == 200:
            return target
        why = f"no model answers {endpoint.path}; '{model}' gave {answer.status}"
    return Target(name, endpoint, None, why)


def _patient(client: Client, ask: Ask, sleep: Sleep) -> Answer:
    """The answer; the second one when the first asks for patience."""
    answer = client.ask(ask)
    if answer.status not in (429, 503):
        return answer
    try:
        wait = float(answer.header("retry-after") or 1)
    except ValueError:
        wait = MOST_PATIENCE
    sleep(max(0.0, min(wait, MOST_PATIENCE)))
    return client.ask(ask)


def _row(client: Client, promise: Promise, sleep: Sleep) -> Row:
    """Asks, and judges."""
    row = Row(promise.id, promise.what, Outcome.untestable, promise.why)
    answers: list[Answer] = []
    try:
        for ask in promise.asks:
            row = replace(row, request=shown_ask(ask), answer=None)
            answers.append(_patient(client, ask, sleep))
            row = replace(row, answer=shown_answer(answers[-1]))
            if answers[-1].status in (429, 503):
                raise UntestableError(f"the server is busy: {answers[-1].status}")
        if promise.judge is None or not answers:
            return row
        promise.judge(*answers)
    except (BrokenError, SilenceError) as error:
        return replace(row, outcome=Outcome.broken, why=str(error))
    except (UntestableError, SpentError) as error:
        return replace(row, why=str(error))
    return replace(row, outcome=Outcome.held)


def _overall(id: str, what: str, judge: Callable[[Said], None], said: Said) -> Row:
    """A promise about all answers."""
    try:
        judge(said)
    except BrokenError as error:
        return Row(id, what, Outcome.broken, str(error))
    except UntestableError as error:
        return Row(id, what, Outcome.untestable, str(error))
    return Row(id, what, Outcome.held)
