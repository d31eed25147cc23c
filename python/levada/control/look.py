"""The state of files, looked at without reading them: it differs when a file was written.

Law: looking never fails; a file that is not there is a state too.
"""

from pathlib import Path

Look = tuple[tuple[int, int, int] | None, ...]
"""For each file: its inode, the time of its last write in nanoseconds, its size in bytes."""


def look(*paths: Path) -> Look:
    """How these files are now."""
    return tuple(map(_state, paths))


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
