"""What a run keeps its bills and limits in: PostgreSQL, Redis, a small disk, where they are.

Law: a machine without one of them has a run with less to go wrong in it, and the report says so.
"""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
from pathlib import Path
from typing import Any, Self

from loadtests.servers import postgres, redis

# What goes wrong with each, for each kill of a worker.
TURNS = {
    "postgresql": {"stop-postgresql": 0.1, "freeze-postgresql": 0.1},
    "redis": {"kill-redis": 0.1, "freeze-redis": 0.1},
    "disk": {"fill-disk": 0.1},
}
# Room for the journals of workers that die one after another, before the ledger has taken them.
DISK_BYTES = 768 * 1024 * 1024
DISK_BYTES_EACH_KILL = 8 * 1024 * 1024
PIECE = bytes(1024 * 1024)


class Disk:
    """A file system in memory that is soon full. Who is not root has none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ballast = folder / "ballast"

    @classmethod
    def mounted(cls, folder: Path, kills: int) -> Self | None:
        folder.mkdir(parents=True, exist_ok=True)
        options = f"size={DISK_BYTES + kills * DISK_BYTES_EACH_KILL},mode=0700"
        line = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            done = subprocess.run(line, capture_output=True, check=False)
        except OSError:
            return None
        return cls(folder) if done.returncode == 0 else None

    def fill(self) -> None:
        """Until not one byte more finds room."""
        with self.ballast.open("wb", buffering=0) as file:
            try:
                while file.write(PIECE):
                    pass
            except OSError:
                return

    def free(self) -> None:
        self.ballast.unlink(missing_ok=True)

    def end(self) -> None:
        """Its files are gone; whoever still has one open keeps it."""
        subprocess.run(["umount", "--lazy", str(self.folder)], capture_output=True, check=False)


class Stores:
    """All that there are."""

    def __init__(self, folder: Path, kills: int) -> None:
        self.data = folder / "data"
        self.disk = Disk.mounted(self.data, kills)
        programs, program = postgres.found(), redis.found()
        self.postgresql = postgres.Server(programs) if programs else None
        self.redis = redis.Server(program) if program else None
        self.database = self.postgresql.database() if self.postgresql else ""

    def names(self) -> list[str]:
        there = {"postgresql": self.postgresql, "redis": self.redis, "disk": self.disk}
        return [name for name, one in there.items() if one is not None]

    def turns(self) -> dict[str, float]:
        return {what: ratio for name in self.names() for what, ratio in TURNS[name].items()}

    def config(self) -> dict[str, Any]:
        """Where the gateway is to find them."""
        told: dict[str, Any] = {}
        if self.database:
            told["store"] = {"url": self.database}
        if self.redis:
            told["limits"] = {"redis": self.redis.url, "replicas": 1}
        return told

    def rows(self) -> list[dict[str, Any]]:
        """The ledger's calls, as they stand in the database."""
        if self.database:
            return asyncio.run(_rows(self.database))
        with sqlite3.connect(f"file:{self.data / 'levada.db'}?mode=ro", uri=True) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute("SELECT * FROM calls")]

    def end(self) -> None:
        for server in (self.postgresql, self.redis):
            if server is not None:
                server.__exit__()
        if self.disk is not None:
            self.disk.end()


async def _rows(url: str) -> list[dict[str, Any]]:
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        return [dict(row) for row in await connection.fetch("SELECT * FROM calls")]
    finally:
        await connection.close()
