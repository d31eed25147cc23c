"""Journals as they lie on the disk, read through by the engine's own reader.

entries, damages = verify(Path("data/journal"))
"""

from __future__ import annotations

from pathlib import Path

from levada import _native


def verify(folder: Path) -> tuple[int, list[str]]:
    """How many entries are as they were written, and a sentence for each place that is not.

    A server may write meanwhile. OSError when the folder cannot be read.
    """
    return _native.verify_journals(str(folder))
