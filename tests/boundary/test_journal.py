"""What the journal promises at the boundary: about full disks, lost power and flipped bits."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from test_boundary import HEADERS, PATH, STREAM, WHOLE, ask, in_a_loop, keys_document, snapshot
from typer.testing import CliRunner, Result
from upstream import ScriptedBackend

from levada import journal
from levada._native import Gateway
from levada.cli import app

SEGMENT = 16 * 1024 * 1024


def made(backend: ScriptedBackend, data: Path, **terms: Any) -> Gateway:
    one = Gateway(snapshot(backend.url), str(data), 2, **terms)
    one.keys(keys_document())
    return one


def taken(gateway: Gateway, count: int) -> list[dict[str, Any]]:
    """The next records, once there are so many; they are acknowledged."""
    until, lines = time.monotonic() + 10, b""
    while len(lines.splitlines()) < count and time.monotonic() < until:
        lines, damages = gateway.records(count)
        assert damages == []
        time.sleep(0.01)
    gateway.acknowledge(count)
    return [json.loads(line) for line in lines.splitlines()]


@pytest.mark.timeout(120)
def test_a_full_disk_refuses_new_calls_and_settles_those_under_way(
    backend: ScriptedBackend, tmp_path: Path
) -> None:
    gateway = made(backend, tmp_path, quota=3 * SEGMENT)

    async def fill() -> tuple[int, str]:
        """Calls come and go until one is refused; one is under way all the time."""
        held = gateway.open("POST", PATH, HEADERS, WHOLE)
        _, held_head = await held.start()
        done = 0
        while True:
            for _ in range(500):
                gateway.open("POST", PATH, HEADERS, WHOLE).cancel()
            done += 500
            await asyncio.sleep(0.01)
            call = gateway.open("POST", PATH, HEADERS, WHOLE)
            status, headers = await call.start()
            if status != 200:
                assert status == 503
                assert int(dict(headers)[b"retry-after"]) > 0
                held_id = next(value for name, value in held_head if name == b"x-request-id")
                held.cancel()
                return done, held_id.decode()
            call.cancel()
            assert done < 200_000

    opened, held = asyncio.run(fill())
    found: list[dict[str, Any]] = []
    quiet = 0
    while quiet < 10:
        some = taken(gateway, len(gateway.records(5_000)[0].splitlines()))
        found += some
        quiet = 0 if some else quiet + 1
        time.sleep(0 if some else 0.1)
    # Calls that were admitted, the one that was under way with them, and none twice.
    assert 500 < len(found) <= opened * 2
    assert len({one["call"] for one in found}) == len(found)
    assert held in {one["id"] for one in found}
    assert ask(gateway)[0] == 200
    gateway.close()


@pytest.mark.timeout(60)
def test_the_last_bytes_wait_for_the_disk_where_power_may_fail(
    backend: ScriptedBackend, tmp_path: Path
) -> None:
    gateway = made(backend, tmp_path, power=True)
    waits = []
    for body in [WHOLE, STREAM] * 20:
        began = time.monotonic()
        status, _ = ask(gateway, body)
        waits.append(time.monotonic() - began)
        assert status == 200
        # Nothing is hot any more: what a client has seen to its end is on the disk.
        lines, _ = gateway.records(100)
        assert len(lines.splitlines()) == len(waits)
    # The thread does not sleep its 50 ms where somebody waits.
    assert sorted(waits)[len(waits) // 2] < 0.045
    gateway.close()


@pytest.mark.timeout(60)
def test_every_flipped_bit_is_found(backend: ScriptedBackend, tmp_path: Path) -> None:
    gateway = made(backend, tmp_path)
    in_a_loop(lambda: [gateway.open("POST", PATH, HEADERS, WHOLE).cancel() for _ in range(50)])
    time.sleep(0.2)
    folder = tmp_path / "journal"
    assert journal.verify(folder) == (50, [])
    gateway.close()
    (segment,) = [one for one in folder.glob("*/*.log") if one.read_bytes()[:1] != b"\0"]
    whole = segment.read_bytes()
    written = len(whole.rstrip(b"\0"))
    for at in range(0, written, 997):
        segment.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        entries, damages = journal.verify(folder)
        assert damages and entries >= 48 * (at > 40), at
    told = verified(tmp_path)
    assert (told.exit_code, "damaged: " in told.stdout) == (1, True)
    for cut in (written - 1, SEGMENT // 2):
        segment.write_bytes(whole[:cut])
        assert journal.verify(folder)[1]
    segment.write_bytes(whole)
    assert journal.verify(folder) == (50, [])
    told = verified(tmp_path)
    assert told.exit_code == 0
    assert told.stdout == "50 entries that the ledger may still need, 0 damaged\n"
    assert json.loads(verified(tmp_path, "--json").stdout) == {"entries": 50, "damages": []}
    with pytest.raises(OSError, match="directory"):
        journal.verify(segment)
    segment.parent.rename(tmp_path / "away")
    folder.rmdir()
    folder.write_bytes(b"")
    told = verified(tmp_path)
    assert (told.exit_code, "Not a directory" in told.stderr) == (1, True)


def verified(data: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["ledger", "verify", "--data", str(data), *more])
