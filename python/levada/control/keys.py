"""Client keys: how one looks, and how it is made, given up and replaced.

sk-<env>_<8 id><43 base62: 256 random bits><6 base62: CRC32>. The text is shown once and never
stored: the store has HMAC-SHA256(pepper, text), and 256 bits need no slower hash.
"""

import hmac
import re
import secrets
import zlib
from dataclasses import dataclass, replace

from levada.allowance import Allowance
from levada.control.store import Key, Store, StoreError, Transaction

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ENV = re.compile(r"[a-z0-9]{1,16}")
_FORM = re.compile(r"(sk-[a-z0-9]{1,16}_[0-9A-Za-z]{51})([0-9A-Za-z]{6})")
_ID, _SECRET, _CHECK = 8, 43, 6
_GIVEN = "environment"
_LAST4_FROM = 20


class KeyRefusedError(ValueError):
    """What was asked of a key cannot be done; the text says why and never shows the key."""


@dataclass(frozen=True, slots=True)
class Minted:
    """A new key's id and its text, which exists nowhere else."""

    id: str
    text: str

    def __repr__(self) -> str:
        return f"Minted(id={self.id!r})"


def mint(env: str = "live") -> Minted:
    """A new key; ValueError unless `env` is 1 to 16 lower-case letters or digits."""
    if not _ENV.fullmatch(env):
        raise ValueError(f"'{env}' is not 1 to 16 lower-case letters or digits")
    name = "".join(secrets.choice(_DIGITS) for _ in range(_ID))
    body = f"sk-{env}_{name}{_base62(secrets.randbits(256), _SECRET)}"
    return Minted(f"k_{name}", body + _checksum(body))


def check(text: str) -> bool:
    """Whether a text is a key of ours without a typing error; it says nothing about the store."""
    match = _FORM.fullmatch(text)
    return match is not None and _checksum(match[1]) == match[2]


def digest(pepper: bytes, text: str) -> bytes:
    """HMAC-SHA256(pepper, text): all that is ever stored of a key."""
    return hmac.digest(pepper, text.encode(), "sha256")


async def create(
    store: Store,
    name: str,
    *,
    models: tuple[str, ...] | None = None,
    expires: float | None = None,
    change: "Change | None" = None,
) -> tuple[Key, str]:
    """A new key and its text. `expires` is a time in seconds since 1970; KeyRefusedError."""
    key, text = _new(store, name, models, expires)
    key = _changed(key, change or Change())
    async with store.write() as transaction:
        await transaction.put(key)
    return key, text


async def revoke(store: Store, id: str) -> Key:
    """Ends a key now and for good. KeyRefusedError if there is none."""
    async with store.write() as transaction:
        key = await _one(transaction, id)
        if key.revoked is None:
            key = replace(key, revoked=store.clock())
            await transaction.put(key)
    return key


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a key; None leaves it. Empty texts and 0 take away what was there."""

    tenant: str | None = None
    project: str | None = None
    requests_per_minute: int | None = None
    exhausted: bool | None = None
    limits: Allowance | None = None


async def change(store: Store, id: str, change: Change) -> Key:
    """Says whose a key is, how much it may use, whether it is used up. KeyRefusedError."""
    async with store.write() as transaction:
        key = _changed(await _one(transaction, id), change)
        await transaction.put(key)
    return key


def _changed(old: Key, change: Change) -> Key:
    for what in (change.tenant, change.project):
        if what is not None and (len(what) > 200 or not what.isprintable()):
            raise KeyRefusedError("tenants and projects are at most 200 printable characters")
    if change.requests_per_minute is not None and not 0 <= change.requests_per_minute < 2**32:
        raise KeyRefusedError("requests a minute are a number from 0 (no limit of its own)")
    return replace(
        old,
        tenant=old.tenant if change.tenant is None else change.tenant or None,
        project=old.project if change.project is None else change.project or None,
        requests_per_minute=(
            old.requests_per_minute
            if change.requests_per_minute is None
            else change.requests_per_minute or None
        ),
        exhausted=old.exhausted if change.exhausted is None else change.exhausted,
        limits=old.limits if change.limits is None else change.limits.written() or None,
    )


async def rotate(store: Store, id: str, overlap: float = 0.0) -> tuple[Key, str]:
    """A successor with the same name, rights and length of life.

    The old key lives on for `overlap` seconds. KeyRefusedError unless it is live and the newest.
    """
    async with store.write() as transaction:
        now = store.clock()
        old = await _one(transaction, id)
        if not old.live(now):
            raise KeyRefusedError(f"the key '{id}' is revoked or has expired")
        if old.replaced_by is not None:
            raise KeyRefusedError(f"the key '{id}' has been replaced by '{old.replaced_by}'")
        expires = None if old.expires is None else now + (old.expires - old.created)
        made, text = _new(store, old.name, old.models, expires)
        key = replace(
            made,
            tenant=old.tenant,
            project=old.project,
            requests_per_minute=old.requests_per_minute,
            exhausted=old.exhausted,
            limits=old.limits,
        )
        await transaction.put(key)
        until = now + overlap if old.expires is None else min(now + overlap, old.expires)
        old = replace(old, replaced_by=key.id)
        ended = replace(old, expires=until) if overlap > 0 else replace(old, revoked=now)
        await transaction.put(ended)
    return key, text


async def ensure_first(store: Store, given: str | None) -> str | None:
    """Sees to it that there is a key: the one given, else a new one if there was never any.

    Returns the text of a key made here, to be shown once. StoreError if the given one is a
    key that was ended.
    """
    if given is not None:
        await _adopt(store, given)
        return None
    key, text = _new(store, "first", None, None)
    async with store.write() as transaction:
        if not await transaction.empty():
            return None
        await transaction.put(key)
    return text


async def _adopt(store: Store, given: str) -> None:
    """The given text is the one live key of its name; one that is a key already stays that."""
    now, hash_ = store.clock(), digest(store.pepper, given)
    async with store.write() as transaction:
        found = await transaction.find(hash=hash_.hex())
        if found and found[0].name != _GIVEN and not found[0].live(now):
            raise StoreError(f"LEVADA_KEY is the key '{found[0].id}', revoked or expired")
        for key in await transaction.find(name=_GIVEN):
            if key.hash != hash_ and key.revoked is None:
                await transaction.put(replace(key, revoked=now))
        if not found:
            last4 = given[-4:] if len(given) >= _LAST4_FROM else ""
            await transaction.put(Key(mint().id, _GIVEN, hash_, last4, now))
        elif not found[0].live(now):
            await transaction.put(replace(found[0], expires=None, revoked=None))


async def _one(transaction: Transaction, id: str) -> Key:
    found = await transaction.find(id=id)
    if not found:
        raise KeyRefusedError(f"there is no key '{id}'")
    return found[0]


def _new(
    store: Store,
    name: str,
    models: tuple[str, ...] | None,
    expires: float | None,
) -> tuple[Key, str]:
    if not 1 <= len(name) <= 200 or not name.isprintable():
        raise KeyRefusedError("a key's name is 1 to 200 printable characters")
    if name == _GIVEN:
        raise KeyRefusedError(f"the name '{_GIVEN}' is that of the key in LEVADA_KEY")
    if models == ():
        raise KeyRefusedError("a key that may use no model is of no use")
    minted, now = mint(), store.clock()
    if expires is not None and expires <= now:
        raise KeyRefusedError("a key must expire later than now")
    hash_ = digest(store.pepper, minted.text)
    key = Key(minted.id, name, hash_, minted.text[-4:], now, models, expires)
    return key, minted.text


def _base62(number: int, width: int) -> str:
    digits = ""
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits = _DIGITS[digit] + digits
    return digits


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK)
