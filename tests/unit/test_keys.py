"""Client keys: their form, and each thing that can happen to one."""

import hashlib
import hmac
import re
import string
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from levada.allowance import Allowance
from levada.config import Storage
from levada.control import keys
from levada.control.keys import KeyRefusedError
from levada.control.store import Store, StoreError


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def store(tmp_path: Path, clock: Clock, storage: Storage) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path, clock, storage)
    yield store
    await store.close()


def test_form() -> None:
    minted = keys.mint()
    assert re.fullmatch(r"sk-live_[0-9A-Za-z]{8}[0-9A-Za-z]{43}[0-9A-Za-z]{6}", minted.text)
    assert minted.id == "k_" + minted.text[8:16]
    assert keys.check(minted.text)
    assert minted.text not in repr(minted)
    assert keys.mint("ci2").text.startswith("sk-ci2_")


def test_the_checksum_is_a_crc32_in_base_62() -> None:
    text = keys.mint().text
    digits = string.digits + string.ascii_uppercase + string.ascii_lowercase
    number = 0
    for digit in text[-6:]:
        number = number * 62 + digits.index(digit)
    assert number == zlib.crc32(text[:-6].encode())


@given(st.integers(0, 64), st.sampled_from(string.ascii_letters + string.digits + "-_ "))
def test_one_wrong_character_is_seen(place: int, character: str) -> None:
    text = keys.mint().text
    changed = text[:place] + character + text[place + 1 :]
    assert keys.check(changed) is (changed == text)


@pytest.mark.parametrize("text", ["", "sk-live_", "sk-" + "a" * 62, "sk-LIVE_" + "a" * 57])
def test_what_is_no_key(text: str) -> None:
    assert not keys.check(text)


def test_no_two_are_alike() -> None:
    minted = [keys.mint() for _ in range(200)]
    assert len({one.text for one in minted}) == len({one.id for one in minted}) == 200


@pytest.mark.parametrize("env", ["", "Live", "a_b", "a" * 17])
def test_environments(env: str) -> None:
    with pytest.raises(ValueError, match="lower-case"):
        keys.mint(env)


def test_digest() -> None:
    expected = hmac.new(b"p" * 32, "kéy".encode(), hashlib.sha256).digest()
    assert keys.digest(b"p" * 32, "kéy") == expected


@pytest.mark.asyncio
async def test_create_stores_no_text(store: Store, tmp_path: Path, clock: Clock) -> None:
    key, text = await keys.create(store, "ci", models=("a",), expires=clock.now + 5)
    assert await store.keys() == [key]
    assert (key.name, key.models, key.expires) == ("ci", ("a",), clock.now + 5)
    assert (key.hash, key.last4) == (keys.digest(store.pepper, text), text[-4:])
    await store.close()
    for path in tmp_path.iterdir():
        raw = path.read_bytes()
        windows = (text[at : at + 12] for at in range(16, len(text) - 11))
        assert not any(window.encode() in raw for window in windows), path


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"name": ""}, "printable"),
        ({"name": "a\nb"}, "printable"),
        ({"name": "x" * 201}, "printable"),
        ({"name": "environment"}, "LEVADA_KEY"),
        ({"models": ()}, "no model"),
        ({"expires": 1_000_000.0}, "later than now"),
    ],
)
@pytest.mark.asyncio
async def test_create_refuses(store: Store, settings: dict[str, object], why: str) -> None:
    with pytest.raises(KeyRefusedError, match=why):
        await keys.create(store, **{"name": "n", **settings})  # type: ignore[arg-type]
    assert await store.keys() == []


@pytest.mark.asyncio
async def test_revoke(store: Store, clock: Clock) -> None:
    key, _ = await keys.create(store, "n")
    clock.now += 1
    assert (await keys.revoke(store, key.id)).revoked == clock.now
    clock.now += 1
    assert (await keys.revoke(store, key.id)).revoked == clock.now - 1
    assert [one.live(clock.now) for one in await store.keys()] == [False]
    with pytest.raises(KeyRefusedError, match="there is no key 'k_none'"):
        await keys.revoke(store, "k_none")


@pytest.mark.asyncio
async def test_change_of_whose_a_key_is(store: Store) -> None:
    key, _ = await keys.create(store, "n")
    allowed = Allowance(concurrency=2)
    told = keys.Change("t", "p", 60, True, allowed)
    first = replace(key, tenant="t", project="p", requests_per_minute=60, exhausted=True)
    first = replace(first, limits={"concurrency": 2})
    assert await keys.change(store, key.id, told) == first
    assert await keys.change(store, key.id, keys.Change()) == first
    nothing = keys.Change("", "", 0, False, Allowance())
    assert await keys.change(store, key.id, nothing) == key
    assert await store.keys() == [key]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("told", "why"),
    [
        (keys.Change(tenant="t" * 201), "at most 200 printable"),
        (keys.Change(project="a\nb"), "at most 200 printable"),
        (keys.Change(requests_per_minute=-1), "a number from 0"),
        (keys.Change(requests_per_minute=2**32), "a number from 0"),
    ],
)
async def test_change_refuses(store: Store, told: keys.Change, why: str) -> None:
    key, _ = await keys.create(store, "n")
    with pytest.raises(KeyRefusedError, match=why):
        await keys.change(store, key.id, told)
    assert await store.keys() == [key]


@pytest.mark.asyncio
async def test_rotate_with_an_overlap(store: Store, clock: Clock) -> None:
    old, _ = await keys.create(store, "n", models=("m",), expires=clock.now + 100)
    clock.now += 60
    new, text = await keys.rotate(store, old.id, overlap=10)
    assert keys.digest(store.pepper, text) == new.hash
    assert (new.name, new.models, new.expires) == ("n", ("m",), clock.now + 100)
    assert {key.id: key for key in await store.keys()} == {
        old.id: replace(old, expires=clock.now + 10, replaced_by=new.id),
        new.id: new,
    }


@pytest.mark.asyncio
async def test_rotate_at_once_and_for_ever(store: Store, clock: Clock) -> None:
    first, _ = await keys.create(store, "n")
    second, _ = await keys.rotate(store, first.id)
    third, _ = await keys.rotate(store, second.id, overlap=10)
    found = {key.id: key for key in await store.keys()}
    assert found[first.id] == replace(first, revoked=clock.now, replaced_by=second.id)
    assert found[second.id].expires == clock.now + 10
    assert found[third.id].expires is None


@pytest.mark.asyncio
async def test_an_overlap_does_not_lengthen_a_life(store: Store, clock: Clock) -> None:
    old, _ = await keys.create(store, "n", expires=clock.now + 5)
    await keys.rotate(store, old.id, overlap=100)
    found = {key.id: key for key in await store.keys()}
    assert found[old.id].expires == clock.now + 5


@pytest.mark.asyncio
async def test_rotate_refuses(store: Store) -> None:
    old, _ = await keys.create(store, "n")
    new, _ = await keys.rotate(store, old.id, overlap=10)
    with pytest.raises(KeyRefusedError, match=f"replaced by '{new.id}'"):
        await keys.rotate(store, old.id)
    await keys.revoke(store, new.id)
    with pytest.raises(KeyRefusedError, match="is revoked"):
        await keys.rotate(store, new.id)
    with pytest.raises(KeyRefusedError, match="there is no key"):
        await keys.rotate(store, "k_none")
    assert len(await store.keys()) == 2


@pytest.mark.asyncio
async def test_the_first_key_is_made_once(store: Store) -> None:
    text = await keys.ensure_first(store, None)
    assert text is not None
    assert keys.check(text)
    (key,) = await store.keys()
    assert key.hash == keys.digest(store.pepper, text)
    await keys.revoke(store, key.id)
    assert await keys.ensure_first(store, None) is None
    assert len(await store.keys()) == 1


@pytest.mark.asyncio
async def test_a_given_key_is_taken_in_and_followed(store: Store, clock: Clock) -> None:
    assert await keys.ensure_first(store, "open sesame") is None
    before = await store.changes_since(-1)
    assert await keys.ensure_first(store, "open sesame") is None
    (one,) = await store.keys()
    assert before[1] == [one]
    assert (one.name, one.last4, one.models) == ("environment", "", None)
    assert one.hash == keys.digest(store.pepper, "open sesame")
    clock.now += 1
    long = "a much longer given key"
    await keys.ensure_first(store, long)
    old, new = await store.keys()
    assert (old.revoked, new.revoked, new.last4) == (clock.now, None, " key")
    await keys.ensure_first(store, "open sesame")
    old, new = await store.keys()
    assert (old.revoked, new.revoked) == (None, clock.now)


@pytest.mark.asyncio
async def test_a_given_key_that_is_a_key_already(store: Store) -> None:
    key, text = await keys.create(store, "n")
    await keys.ensure_first(store, "other")
    await keys.ensure_first(store, text)
    found = {one.name: one for one in await store.keys()}
    assert found["n"] == key
    assert found["environment"].revoked is not None
    await keys.revoke(store, key.id)
    with pytest.raises(StoreError, match=f"LEVADA_KEY is the key '{key.id}', revoked"):
        await keys.ensure_first(store, text)


@pytest.mark.asyncio
async def test_a_given_key_is_not_rotated_here(store: Store) -> None:
    await keys.ensure_first(store, "given")
    (one,) = await store.keys()
    with pytest.raises(KeyRefusedError, match="LEVADA_KEY"):
        await keys.rotate(store, one.id)
