"""The keys of issuers: when they are asked for, what counts of an answer, and for how long."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_gateway import FakeGateway

from levada import loading
from levada.config import Config, Enclosed
from levada.control import jwks as module
from levada.control.jwks import Jwks
from levada.control.refresh import Running
from levada.jwks import JWKS_BYTES, NotKeysError, public_keys
from levada.loading import Source

URL = "http://127.0.0.1:9/keys"
BACKENDS = [{"name": "one", "url": "http://127.0.0.1:9", "models": ["m"]}]


def entry(jwks: str = URL, **more: Any) -> dict[str, Any]:
    return {"issuer": "https://id", "audience": "levada", "jwks": jwks, **more}


def published(*kids: str) -> tuple[int, bytes]:
    return 200, json.dumps({"keys": [{"kty": "OKP", "kid": kid} for kid in kids]}).encode()


class Clock:
    """A time that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class House:
    """The keys of one issuer, over a fake gateway and a fake clock."""

    def __init__(self, *issuers: dict[str, Any]) -> None:
        self.gateway, self.clock = FakeGateway(), Clock()
        config = self.config(*(issuers or (entry(),)))
        self.running = Running(self.gateway, Source(), config, Enclosed(), b"p" * 32)  # type: ignore[arg-type]
        self.jwks = Jwks(self.gateway, self.running, self.clock)  # type: ignore[arg-type]

    @staticmethod
    def config(*issuers: dict[str, Any]) -> Config:
        return Config.model_validate({"backends": BACKENDS, "auth": {"jwt": list(issuers)}})

    async def turn(self, seconds: float = 0.0) -> None:
        self.clock.now += seconds
        await self.jwks.turn()

    @property
    def asked(self) -> int:
        return sum(entry[0] == "fetch" for entry in self.gateway.seen)

    @property
    def kids(self) -> list[str] | None:
        """The keys that the engine was handed last."""
        keys = self.gateway.documents[-1]["auth"]["jwt"][0]["keys"]
        return keys and [key["kid"] for key in keys["keys"]]


@pytest.mark.asyncio
async def test_a_set_is_handed_over_once_and_asked_for_again_in_four_minutes() -> None:
    house = House()
    house.gateway.answers[URL] = published("a")
    await house.turn()
    await house.turn(239)
    assert (house.asked, house.kids, len(house.gateway.documents)) == (1, ["a"], 2)
    await house.turn(1)
    assert (house.asked, len(house.gateway.documents)) == (2, 2)


@pytest.mark.asyncio
async def test_a_new_key_counts_within_five_seconds_of_being_asked_for() -> None:
    house = House()
    house.gateway.answers[URL] = published("a")
    await house.turn()
    house.gateway.answers[URL] = published("a", "b")
    await house.turn(60)
    assert house.kids == ["a"]
    house.gateway.missed += 1
    await house.turn(module.LOOK_SECONDS)
    assert house.kids == ["a", "b"]
    assert module.LOOK_SECONDS < 5


@pytest.mark.asyncio
async def test_a_key_that_is_taken_back_counts_for_less_than_five_minutes() -> None:
    house = House()
    house.gateway.answers[URL] = published("a", "b")
    await house.turn()
    house.gateway.answers[URL] = published("b")
    await house.turn(module.INTERVAL_SECONDS + module.LOOK_SECONDS)
    assert house.kids == ["b"]
    longest = module.INTERVAL_SECONDS + module.LOOK_SECONDS + module.TIMEOUT_SECONDS
    assert longest < 300


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", [published("a"), OSError("away")])
async def test_a_flood_of_unknown_keys_asks_at_most_seven_times_a_minute(answer: Any) -> None:
    house = House()
    house.gateway.answers[URL] = answer
    for _ in range(600):  # a minute, at ten looks a second and 170 new ids in each
        house.gateway.missed += 170
        await house.turn(0.1)
    assert 6 <= house.asked <= 7


@pytest.mark.asyncio
async def test_an_issuer_that_is_away_keeps_its_keys_for_a_day() -> None:
    house = House()
    house.gateway.answers[URL] = published("a")
    await house.turn()
    house.gateway.answers[URL] = OSError("away")
    await house.turn(module.KEPT_SECONDS - 1)
    assert house.kids == ["a"]
    await house.turn(1)
    assert house.kids is None
    house.gateway.answers[URL] = published("a")
    await house.turn(10)
    assert house.kids == ["a"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "answer",
    [
        (500, b'{"keys":[]}'),
        (200, b"<html>"),
        (200, b'{"keys":[]}' + b" " * JWKS_BYTES),
        TimeoutError("late"),
    ],
)
async def test_what_is_no_set_changes_nothing_and_is_asked_for_again_soon(answer: Any) -> None:
    house = House()
    house.gateway.answers[URL] = published("a")
    await house.turn()
    house.gateway.answers[URL] = answer
    await house.turn(240)
    assert (house.kids, house.asked) == (["a"], 2)
    await house.turn(9)
    assert house.asked == 2
    await house.turn(1)
    assert house.asked == 3


@pytest.mark.asyncio
async def test_an_address_that_is_no_longer_named_is_forgotten() -> None:
    house = House()
    house.gateway.answers[URL] = published("a")
    await house.turn()
    house.running.config = House.config()
    await house.turn()
    assert house.running.jwks == {}
    assert house.gateway.documents[-1]["auth"]["jwt"] == []


@pytest.mark.asyncio
async def test_keys_that_the_engine_does_not_take_are_not_kept() -> None:
    house = House()
    house.gateway.refusal = ValueError("bad")
    with pytest.raises(ValueError, match="bad"):
        house.running.signed_with(URL, {"keys": []})
    assert house.running.jwks == {}


@pytest.mark.asyncio
async def test_a_slow_issuer_does_not_hold_up_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_ANSWERS_SECONDS", 0.02)
    house = House()

    async def never() -> None:
        await asyncio.Event().wait()

    house.gateway.answers[URL] = never
    await asyncio.wait_for(house.jwks.first(), 5)
    assert house.running.jwks == {}


@pytest.mark.asyncio
async def test_it_goes_on_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.001)
    house = House()
    house.gateway.answers[URL] = published("a")
    await house.jwks.first()
    task = asyncio.create_task(house.jwks.run())
    house.gateway.answers[URL] = published("b")
    house.clock.now += 300
    await until(lambda: house.kids == ["b"])
    task.cancel()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.001)


def test_only_the_public_part_of_a_key_goes_on() -> None:
    text = b'{"keys":[{"kty":"OKP","x":"A","d":"secret","x5c":["C"]},{"kty":"oct","k":"secret"}]}'
    assert public_keys(text) == {"keys": [{"kty": "OKP", "x": "A"}, {"kty": "oct"}]}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":[1]}',
        b'{"keys":[{"kid":"\\ud800"}]}',
        b'{"keys":[{"kid":NaN}]}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_is_no_set(text: bytes) -> None:
    with pytest.raises(NotKeysError):
        public_keys(text)


def test_a_file_of_keys_is_read_with_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(published("a")[1])
    file = tmp_path / "levada.yaml"
    issuers = [entry("keys.json"), {**entry(), "issuer": "https://other"}]
    file.write_text(json.dumps({"backends": BACKENDS, "auth": {"jwt": issuers}}))
    source = Source(file)
    config, enclosed = source.read({})
    assert config.auth.jwt[0].jwks == str(tmp_path / "keys.json")
    gateway = FakeGateway()
    running = Running(gateway, source, config, enclosed, b"p" * 32)  # type: ignore[arg-type]
    running.reload()
    entries = gateway.documents[-1]["auth"]["jwt"]
    keys = [{"kty": "OKP", "kid": "a"}]
    assert [one["keys"] for one in entries] == [{"keys": keys}, None]
    assert [one[1] for one in asyncio.run(asked(gateway, running))] == [URL]
    (tmp_path / "keys.json").write_text("[]")
    with pytest.raises(loading.ConfigProblems, match="is not a JWK set"):
        source.read({})


async def asked(gateway: FakeGateway, running: Running) -> list[Any]:
    await Jwks(gateway, running).turn()  # type: ignore[arg-type]
    return gateway.seen


def refused(tmp_path: Path, auth: Any) -> list[str]:
    file = tmp_path / "levada.yaml"
    file.write_text(json.dumps({"backends": BACKENDS, "auth": auth}))
    with pytest.raises(loading.ConfigProblems) as found:
        loading.check(file, {})
    return [f"{one.path}: {one.message}" for one in found.value.problems]


def test_mistakes_in_the_section_are_told(tmp_path: Path) -> None:
    nobody = "without it and without 'jwt' nobody could call"
    assert refused(tmp_path, {"allow_opaque": False}) == [f"auth.allow_opaque: {nobody}"]
    twice = refused(tmp_path, {"jwt": [entry(), entry()]})
    assert twice == ["auth.jwt[1].issuer: 'https://id' is auth.jwt[0] too"]
    missing = refused(tmp_path, {"jwt": [entry("none.json")]})
    assert missing[0].startswith("auth.jwt[0].jwks: cannot read")
    (problem,) = refused(tmp_path, {"jwt": [entry(algorithms=["HS256"])]})
    assert problem.startswith("auth.jwt[0].algorithms[0]: 'HS256' is not one of")
    for url in ["ftp://x/keys", "http://u:p@h/", "https://h/k?a b", "https://h/k?a#b"]:
        (problem,) = refused(tmp_path, {"jwt": [entry(url)]})
        assert problem.startswith("auth.jwt[0].jwks:")
    for auth in [7, {"jwt": 7}, {"jwt": [7]}, {"jwt": [{**entry(), "jwks": 7}]}]:
        assert refused(tmp_path, auth)


def test_an_address_may_have_a_query() -> None:
    url = "https://h/keys?policy=a"
    assert House.config(entry(url)).auth.jwt[0].jwks == url
