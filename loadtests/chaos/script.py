"""What one call asks of the scripted backend, told in the text of its prompt.

Law: whoever reads a script knows every byte that a backend will send: how many tokens it has, how
they are packed and paced, which fault comes where, what is told of usage.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

MARK = "@@chaos "

# Faults by when they come; the numbers are those of the fault matrix.
BEFORE = ("B03", "B04", "B05", "B11", "B12", "B13", "B20", "B22", "B27", "B28")
AMID = ("B06-fin", "B06-rst", "B08", "B09", "B10", "B16", "B18", "B27-amid")
WHOLE = ("B03", "B04", "B11", "B12", "B13", "B14", "B20", "B22", "B27", "B28")
HARMLESS = ("B07", "B17", "B21", "B23")
# Those that take the gateway a deadline to notice are rarer.
WAITS = ("B04", "B05", "B10")


@dataclass(frozen=True, slots=True)
class Script:
    """One answer. `at` is the chunk that the fault comes before; `only` the backend that has it."""

    nonce: str
    prompt: int
    tokens: int
    packed: int = 1
    pace_us: int = 0
    n: int = 1
    cached: int = 0
    reasoning: int = 0
    told: bool = True
    fault: str = ""
    at: int = 0
    only: str = ""

    def text(self) -> str:
        """As it stands in a prompt, with nothing that JSON would escape; the usual is left out."""
        usual = Script("", 0, 0)
        given = {k: v for k, v in asdict(self).items() if v != getattr(usual, k)}
        return MARK + " ".join(f"{name}={value}" for name, value in given.items()) + " @@"

    @classmethod
    def find(cls, body: str) -> Script | None:
        """The script in the text of a request."""
        _, mark, rest = body.partition(MARK)
        if not mark:
            return None
        words = dict(word.split("=", 1) for word in rest.partition(" @@")[0].split())
        kinds = {one.name: one.type for one in fields(cls)}
        read: dict[str, Callable[[str], Any]] = {"int": int, "str": str, "bool": "True".__eq__}
        given = {name: read[str(kinds[name])](word) for name, word in words.items()}
        return cls(**{"prompt": 0, "tokens": 0, **given})


def draw(chance: random.Random, nonce: str, stream: bool, backends: list[str]) -> Script:
    """A script with everything that may go on in it; faults in a fifth."""
    tokens = chance.choice((1, 2, 3, 5, 8, 13, 21, 34))
    packed = chance.choice((1, 1, 1, 2, 3))
    n = chance.choice((1, 1, 1, 1, 1, 1, 1, 2, 3))
    prompt = chance.randint(1, 4000)
    more: dict[str, Any] = {
        "packed": packed,
        "pace_us": chance.choice((0, 0, 500, 2000, 5000, 20000)) if stream else 0,
        "n": n,
        "cached": chance.choice((0, 0, chance.randint(0, prompt))),
        "reasoning": chance.choice((0, 0, chance.randint(0, tokens))),
        "told": chance.random() > 0.03,
    }
    if chance.random() < 0.2:
        fault = chance.choice(HARMLESS + BEFORE + AMID * 2 if stream else WHOLE)
        if fault in WAITS and chance.random() < 0.8:
            fault = "B06-fin" if stream else "B03"
        more |= {"fault": fault, "at": chance.randint(1, -(-tokens // packed) * n)}
        if chance.random() < 0.4:
            more["only"] = chance.choice(backends)
    return Script(nonce, prompt, tokens, **more)
