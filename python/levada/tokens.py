"""How many tokens a text or a conversation has, by the tokenizer of its model, without a gateway.

    count("How are you?", "tokenizer.json")
    count([{"role": "user", "content": "How are you?"}], "o200k_base")

It is the engine's own count, exact for a text. A model's chat template is not known: each message
counts its texts and 4 tokens, and the beginning of the answer 3. Images and sound count nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from levada import _native


def count(text: str | Sequence[Mapping[str, Any]], tokenizer: str | Path) -> int:
    """The tokens of a text, without special ones around it, or about those of messages as chat has
    them. `tokenizer` is a local `tokenizer.json`, or `o200k_base` or `cl100k_base`; each is loaded
    once.

    ValueError says why it cannot be counted. Other threads run meanwhile.
    """
    if isinstance(text, str):
        return _native.count_text(text, str(tokenizer))
    return _native.count_messages(json.dumps(list(text)).encode(), str(tokenizer))
