"""The probe itself: finds a model for each endpoint, asks what is promised, and keeps the rows.

Law: one promise after another, and none asked twice but after a wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from levada.probe import between, doors, fields, finding, numbered, rates, shapes
from levada.probe.client import Answer, Client, SilenceError, SpentError
from levada.probe.doors import Said
from levada.probe.endpoints import ENDPOINTS, Target
from levada.probe.expect import Refused
from levada.probe.patience import Patience, Sleep
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
    patience = Patience(client, sleep)
    found = finding.targets(patience, profile, model)
    asked = (one for one in promises(profile, found) if one.id.startswith(only))
    rows = [_row(patience, one) for one in asked]
    every = (one for one in overall(profile, found) if one[0].startswith(only))
    rows += [_overall(*one, client.said) for one in every]
    waits = patience.row()
    return rows + ([waits] if waits.id.startswith(only) else [])


def overall(
    profile: Profile, targets: list[Target]
) -> Iterator[tuple[str, str, Callable[[Said], None]]]:
    """Promises about all answers together: id, what, judge."""
    unanswered = {one.endpoint.path for one in targets if one.model is None}
    what = "every answer has an x-request-id of its own"
    yield "answers/x-request-id", what, doors.request_ids
    what = "nothing that a client sends is a fault"
    yield "answers/faults", what, lambda said: doors.no_faults(said, unanswered)
    yield from rates.overall(profile, compiled(profile))
    yield from numbered.overall(profile)


def promises(profile: Profile, targets: list[Target]) -> Iterator[Promise]:
    """All that the profile promises and that is asked one by one."""
    made = compiled(profile)
    yield from shapes.listing()
    yield from doors.promises(profile, made, targets)
    for target in targets:
        checks = made["endpoints"][target.name]["checks"]
        yield from finding.told(target, shapes.promises(target))
        for rows in (
            fields.promises(profile, made, target),
            between.promises(profile, checks, target),
        ):
            yield from finding.told(target, (one for one in rows if _is_told(target, one)))
    for name, rules in made["endpoints"].items():
        if rules and name not in ENDPOINTS:
            why = "the probe has no request for this endpoint"
            yield Promise(f"{name}/answer", f"{name} is answered", why=why)
    yield from rates.promises(made, targets)
    yield from numbered.promises(profile, made, {target.name: target for target in targets})


def _is_told(target: Target, promise: Promise) -> bool:
    """Beyond the first endpoints, what an engine makes of a field is its own affair."""
    return target.endpoint.is_first or isinstance(promise.judge, Refused)


def _row(patience: Patience, promise: Promise) -> Row:
    """Asks, and judges."""
    row = Row(promise.id, promise.what, Outcome.untestable, promise.why)
    answers: list[Answer] = []
    try:
        for ask in promise.asks:
            row = replace(row, request=shown_ask(ask), answer=None)
            answers.append(patience.ask(ask))
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
