"""Two replicas, each with a data folder of its own, and one Redis: the limits hold for both
together, and for each by itself while Redis is gone.

A call passes somewhere between its first byte and its answer: those that lie in a stretch of time
whole have passed in it, whatever the machine does meanwhile.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from rawhttp import Answer
from served import Levada, Start, eventually
from upstream import ScriptedBackend

from loadtests.servers.redis import PASSWORD, Server

BODY = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "x" * 29}]}
ESTIMATE = -(-len(json.dumps(BODY)) // 4)


@dataclass(frozen=True)
class Seen:
    """One call: at which replica, when, by the same clock, and how it ended."""

    at: int
    sent: float
    answered: float
    answer: Answer

    @property
    def passed(self) -> bool:
        return self.answer.status == 200

    @property
    def tokens(self) -> int:
        return int(json.loads(self.answer.body)["usage"]["total_tokens"])


@dataclass(frozen=True)
class Replicas:
    """Both, and the calls to them."""

    both: tuple[Levada, Levada]

    def call(self, at: int) -> Seen:
        sent = time.monotonic()
        answer = self.both[at].chat(BODY)
        return Seen(at, sent, time.monotonic(), answer)

    def together(self, count: int) -> list[Seen]:
        """So many calls, of 32 callers at each."""
        with ThreadPoolExecutor(64) as pool:
            return list(pool.map(self.call, [at % 2 for at in range(count)]))

    def for_seconds(self, seconds: float) -> list[Seen]:
        """What 32 callers at each ask who are not deterred by a refusal."""
        end = time.monotonic() + seconds

        def ask(at: int) -> list[Seen]:
            seen = []
            while time.monotonic() < end:
                seen.append(self.call(at % 2))
                time.sleep(0 if seen[-1].passed else 0.05)
            return seen

        with ThreadPoolExecutor(64) as pool:
            return [one for several in pool.map(ask, range(64)) for one in several]

    def shared(self) -> bool:
        return all(one.total("levada_limits_shared") == 1 for one in self.both)

    def alone(self) -> bool:
        return all(one.total("levada_limits_shared") == 0 for one in self.both)


def replicas(
    levada: Start, backend: ScriptedBackend, redis: Server, limits: dict[str, Any]
) -> Replicas:
    """One at each door; all their callers are of one project."""
    config = {
        "limits": {"redis": redis.url, "replicas": 2},
        "projects": [{"name": "p", "limits": limits}],
        "breaker": {"failures": 999},
    }
    one, two = (levada(backend.url, door=door, config=config) for door in ("edge", "app"))
    for running in (one, two):
        _, running.key = running.create_key("--project", "p")

        def is_known(running: Levada = running) -> bool:
            return running.get("/v1/models").status == 200

        assert eventually(is_known)
    made = Replicas((one, two))
    assert eventually(made.shared, 10)
    return made


def most_in(seen: list[Seen], seconds: float) -> int:
    """The most calls that have passed in any stretch of so many seconds, as can be proved."""
    passed = [one for one in seen if one.passed]
    return max(
        sum(one.sent >= first.sent and one.answered <= first.sent + seconds for one in passed)
        for first in passed
    )


@pytest.mark.timeout(90)
def test_a_window_holds_for_both_together(
    levada: Start, backend: ScriptedBackend, redis: Server
) -> None:
    limits = {"windows": [{"count": "requests", "most": 60, "per_s": 3}]}
    both = replicas(levada, backend, redis, limits)
    seen = both.for_seconds(12)
    assert most_in(seen, 3) <= 60
    # Four windows and the first; a part of each is lost on the way between the two.
    assert sum(one.passed for one in seen) >= 150
    refused = next(one.answer for one in seen if not one.passed)
    assert refused.status == 429 and int(refused.header("retry-after") or "") >= 1


@pytest.mark.timeout(90)
def test_tokens_hold_for_both_and_what_is_not_used_comes_back(
    levada: Start, backend: ScriptedBackend, redis: Server
) -> None:
    limits = {"windows": [{"count": "tokens", "most": 2000, "per_s": 60}]}
    both = replicas(levada, backend, redis, limits)
    seen = both.together(200)
    spent = sum(one.tokens for one in seen if one.passed)
    assert spent <= 2000

    # What was reserved at one replica and not used passes at the other.
    def last(at: int) -> bool:
        nonlocal spent
        one = both.call(at)
        spent += one.tokens if one.passed else 0
        return spent > 2000 - 3 * (ESTIMATE + 10)

    assert eventually(lambda: last(0) or last(1), 15)
    assert spent <= 2000


@pytest.mark.timeout(90)
def test_one_that_is_asked_alone_has_all_of_it(
    levada: Start, backend: ScriptedBackend, redis: Server
) -> None:
    both = replicas(levada, backend, redis, {"requests_per_minute": 50, "concurrency": 40})
    passed = [both.call(0).passed for _ in range(55)]
    assert passed == [True] * 50 + [False] * 5
    assert not both.call(1).passed
    time.sleep(1)  # the other has told what it used
    refused = both.call(1)
    assert not refused.passed
    assert "Limit 50, Used 50, Requested 1" in refused.answer.body.decode()
    assert refused.answer.header("x-ratelimit-remaining-requests") == "0"


@pytest.mark.timeout(90)
def test_a_budget_is_never_overspent(
    levada: Start, backend: ScriptedBackend, redis: Server
) -> None:
    both = replicas(levada, backend, redis, {"budget": {"tokens": 3000, "per": "ever"}})
    spent = sum(one.tokens for one in both.for_seconds(2) if one.passed)
    assert 0 < spent <= 3000
    # Redis dies and forgets nothing; without it what a replica holds is all that there is.
    redis.kill()
    assert eventually(both.alone)
    spent += sum(one.tokens for one in both.together(64) if one.passed)
    assert spent <= 3000
    redis.start()
    assert eventually(both.shared)

    def is_gone() -> bool:
        nonlocal spent
        more = [one for one in both.together(16) if one.passed]
        spent += sum(one.tokens for one in more)
        return spent > 3000 - 2 * (ESTIMATE + 10)

    assert eventually(is_gone, 40)
    assert spent <= 3000


@pytest.mark.timeout(90)
@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_without_redis_each_comes_to_its_part(
    levada: Start, backend: ScriptedBackend, redis: Server, how: str
) -> None:
    limits = {"windows": [{"count": "requests", "most": 60, "per_s": 3}]}
    both = replicas(levada, backend, redis, limits)
    seen = both.for_seconds(2)
    getattr(redis, how)()
    lost = [both.call(at % 2) for at in range(20)]
    # 25 ms for the one that noticed; the rest is a slow machine's.
    assert max(one.answered - one.sent for one in lost) < 0.5
    # A second until they know, a window and some more until what the other had is used up.
    seen += lost + both.for_seconds(11)
    assert eventually(both.alone)
    assert most_in(seen, 3) <= 60
    end = max(one.sent for one in seen)
    for at in (0, 1):
        last = [one for one in seen if one.at == at and one.sent > end - 3.5]
        assert 20 <= most_in(last, 3) <= 30
    if how == "kill":
        redis.start()
    else:
        redis.thaw()
    assert eventually(both.shared)
    seen += both.for_seconds(2)
    assert most_in(seen, 3) <= 60
    for running in both.both:
        assert PASSWORD not in running.logs


@pytest.mark.timeout(90)
def test_without_redis_nobody_takes_what_the_other_has_used(
    levada: Start, backend: ScriptedBackend, redis: Server
) -> None:
    both = replicas(levada, backend, redis, {"requests_per_minute": 200})
    assert all(both.call(0).passed for _ in range(200))
    redis.kill()
    assert eventually(both.alone)
    time.sleep(1.1)
    # The second has heard nothing of it, and has the hundredth that is for those who are alone.
    assert sum(one.passed for one in both.together(64)) <= 2
    assert both.call(1).answer.header("retry-after")


@pytest.mark.timeout(90)
def test_a_replica_that_is_gone_leaves_its_place(
    levada: Start, backend: ScriptedBackend, redis: Server
) -> None:
    limits = {"windows": [{"count": "requests", "most": 40, "per_s": 2}]}
    both = replicas(levada, backend, redis, limits)
    assert all(both.call(0).passed for _ in range(30))
    both.both[0].stop()
    time.sleep(5)
    # It may be alive and cut off: its part is not given away. All else is.
    assert sum(both.call(1).passed for _ in range(30)) == 20
