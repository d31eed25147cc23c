"""What a unit costs, and since when: the versions of a price list.

Pure. Law: whole numbers and nothing else. A version is named by what it says, so that one that is
kept somewhere can never come to mean something else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256

MICRO = 1_000_000
"""Micro-units of one unit of a currency."""


@dataclass(frozen=True, slots=True)
class Price:
    """What one model's units cost, in micro-units of the currency; None: there is no price.

    Tokens and characters by the million; an image, a second of audio and a request each.
    """

    input: int | None = None
    cached: int | None = None
    output: int | None = None
    reasoning: int | None = None
    image: int | None = None
    audio_second: int | None = None
    character: int | None = None
    request: int = 0


@dataclass(frozen=True)
class Version:
    """The prices from one moment on, in milliseconds since 1970; by the models' public names."""

    currency: str
    valid_from: int
    models: Mapping[str, Price]

    @cached_property
    def text(self) -> str:
        """All that it says, always in the same words."""
        models = {name: asdict(price) for name, price in self.models.items()}
        document = {"currency": self.currency, "valid_from": self.valid_from, "models": models}
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @cached_property
    def id(self) -> str:
        """Its name, which follows from its text."""
        return sha256(self.text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Prices:
    """All versions of a list, the newest last."""

    versions: tuple[Version, ...]

    def at(self, at_ms: int) -> Version | None:
        """The version in force at this moment; None before the first."""
        for version in reversed(self.versions):
            if version.valid_from <= at_ms:
                return version
        return None


def read(text: str) -> Version:
    """The version whose text this is."""
    said = json.loads(text)
    models = {name: Price(**price) for name, price in said["models"].items()}
    return Version(said["currency"], said["valid_from"], models)


def decimal(micro: int) -> str:
    """An amount as people and programs read it: "0.000250"."""
    whole, part = divmod(micro, MICRO)
    return f"{whole}.{part:06}"
