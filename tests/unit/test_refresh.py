"""What the engine runs on: reloads, found models, changed keys."""

import asyncio
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fake_gateway import FakeGateway
from small_tokenizers import made as small
from small_tokenizers import write

from levada.config import Config, Enclosed
from levada.control import keys, refresh
from levada.control.refresh import Keys, RejectedError, Running
from levada.control.store import Key, Store, StoreError
from levada.loading import Source
from levada.snapshot import Served

ONE = "backends: [{name: one, url: 'http://127.0.0.1:9'}]\n"
TWO = "backends: [{name: one, url: 'http://127.0.0.1:9'}, {name: two, url: 'http://127.0.0.1:8'}]\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "levada.yaml"
    path.write_text(ONE)
    return path


def made(file: Path) -> tuple[FakeGateway, Running]:
    gateway, source = FakeGateway(), Source(file)
    config, enclosed = source.read({})
    running = Running(gateway, source, config, enclosed, b"p" * 32)  # type: ignore[arg-type]
    return gateway, running


def test_what_a_backend_serves_is_swapped_in_when_it_changes(file: Path) -> None:
    gateway, running = made(file)
    assert running.models() == []
    running.found("one", Served("/v1", ("a",)))
    running.found("one", Served("/v1", ("a",)))
    assert running.models() == ["a"]
    assert [document["version"] for document in gateway.documents[1:]] == [2]
    assert gateway.counts == {"config_version": 2}


def test_the_profile_in_force_is_the_one_that_was_taken_last(file: Path) -> None:
    _, running = made(file)
    first = running.profile(None)
    assert first.form["name"] == "openai" and first.version
    running.found("one", Served("/v1", ("a",)))
    assert running.profile(None) is first
    file.write_text(ONE + "profile: nobody\n")
    with pytest.raises(RejectedError):
        running.reload()
    assert running.profile("a") is first
    file.write_text(ONE + "profile: mittwald-shared\n")
    running.reload()
    last = running.profile(None)
    assert [last.form["name"], last.version] == ["mittwald-shared", "2025-07-24"]


def test_a_reload_keeps_what_unchanged_backends_have_answered(file: Path) -> None:
    gateway, running = made(file)
    running.found("one", Served("/v1", ("a",)))
    file.write_text(TWO)
    assert running.reload() == 3
    assert [backend["name"] for backend in gateway.documents[-1]["backends"]] == ["one", "two"]
    assert running.models() == ["a"]
    assert gateway.counts == {"config_version": 3, "config_reload_success": 1}
    file.write_text(ONE.replace(":9", ":7"))
    running.reload()
    assert running.models() == []


def test_a_bad_file_leaves_the_running_one_in_force(file: Path) -> None:
    gateway, running = made(file)
    before = running.config
    file.write_text("backends: [{name: one, url: ftp}]\nlimit: {}\n")
    with pytest.raises(RejectedError) as rejected:
        running.reload()
    assert len(rejected.value.problems) == 2
    assert all("levada.yaml:" in problem for problem in rejected.value.problems)
    assert (running.version, running.config) == (1, before)
    assert gateway.counts == {"config_reload_success": 0}


def test_prices_change_with_their_file_unless_it_is_bad(file: Path) -> None:
    list_ = file.parent / "prices.yaml"
    list_.write_text("currency: EUR\nversions: [{valid_from: 2026-01-01, models: {}}]\n")
    file.write_text(ONE + "prices: prices.yaml\n")
    _, running = made(file)
    first, seen = running.prices(), running._look()
    assert first is not None and first.versions[0].currency == "EUR"
    list_.write_text("currency: {}\n")
    assert running._look() != seen
    with pytest.raises(RejectedError, match=r"prices\.yaml:1: currency"):
        running.reload()
    assert running.prices() is first
    list_.write_text("currency: CHF\nversions: [{valid_from: 2026-01-01, models: {}}]\n")
    running.reload()
    last = running.prices()
    assert last is not None and last.versions[0].currency == "CHF"


def test_what_the_engine_refuses_is_not_taken_either(file: Path) -> None:
    gateway, running = made(file)
    gateway.refusal = ValueError("backends[0].url: no")
    with pytest.raises(RejectedError, match="no"):
        running.reload()
    assert (running.version, gateway.counts) == (1, {"config_reload_success": 0})


def test_a_change_of_the_listeners_waits_for_a_start(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, running = made(file)
    file.write_text(ONE + "listen: {port: 9000}\n")
    running.reload()
    assert "counts from the next start on" in capsys.readouterr().out


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_a_changed_file_is_read_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh, "LOOK_SECONDS", 0.02)
    gateway, running = made(file)
    task = asyncio.create_task(running.watch())
    await asyncio.sleep(0.1)
    assert running.version == 1
    file.write_text("nonsense: true\n")
    await until(lambda: gateway.counts.get("config_reload_success") == 0)
    draft = file.with_suffix(".new")
    draft.write_text(TWO)
    draft.replace(file)
    await until(lambda: running.version == 2)
    file.unlink()
    await until(lambda: gateway.counts["config_reload_success"] == 0)
    task.cancel()


@pytest.mark.asyncio
async def test_a_change_before_the_first_look_counts(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "LOOK_SECONDS", 0.02)
    _, running = made(file)
    file.write_text(TWO)
    task = asyncio.create_task(running.watch())
    await until(lambda: running.version == 2)
    task.cancel()


@pytest.mark.asyncio
async def test_a_renewed_certificate_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "LOOK_SECONDS", 0.02)
    pem = tmp_path / "cert.pem"
    pem.write_text("-----BEGIN CERTIFICATE-----\nold\n")
    file = tmp_path / "levada.yaml"
    file.write_text(ONE + f"listen: {{tls: {{certificate: {pem}, key: {pem}}}}}\n")
    gateway, running = made(file)
    task = asyncio.create_task(running.watch())
    await asyncio.sleep(0.05)
    pem.write_text("-----BEGIN CERTIFICATE-----\nrenewed\n")
    await until(lambda: running.version == 2)
    assert "renewed" in gateway.documents[-1]["tls"]["certificate"]
    task.cancel()


@pytest.mark.asyncio
async def test_a_changed_tokenizer_is_read_again_and_a_broken_one_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "LOOK_SECONDS", 0.02)
    write(tmp_path / "t.json", small("bytes"))
    file = tmp_path / "levada.yaml"
    file.write_text(ONE + "models: [{name: m, tokenizer: t.json}, {name: n}]\n")
    gateway, running = made(file)
    task = asyncio.create_task(running.watch())
    await asyncio.sleep(0.05)
    write(tmp_path / "t.json", small("marks"))
    await until(lambda: running.version == 2)
    assert gateway.documents[-1]["models"][0]["tokenizer"] == str(tmp_path / "t.json")
    (tmp_path / "t.json").write_text("{")
    await until(lambda: gateway.counts.get("config_reload_success") == 0)
    assert running.version == 2
    task.cancel()


@pytest.mark.asyncio
async def test_keys_follow_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh, "KEYS_SECONDS", 0.02)
    gateway, store = FakeGateway(), await Store.open(tmp_path)
    held = Keys(gateway, store)  # type: ignore[arg-type]
    await held.first()
    assert gateway.seen.pop() == ("keys", {"replace": True, "set": [], "remove": []})
    task = asyncio.create_task(held.run())
    await asyncio.sleep(0.1)
    assert gateway.seen == []
    asked: list[int] = []
    ask = store.changes_since

    async def changes_since(revision: int) -> tuple[int, list[Key]]:
        asked.append(revision)
        return await ask(revision)

    monkeypatch.setattr(store, "changes_since", changes_since)
    await asyncio.sleep(0.2)
    asked.clear()
    await asyncio.sleep(0.2)
    assert asked == []
    key, _ = await keys.create(store, "one")
    await until(lambda: len(gateway.seen) == 1)
    await keys.revoke(store, key.id)
    await until(lambda: len(gateway.seen) == 2)
    (_, added), (_, removed) = gateway.seen
    assert [one["id"] for one in added["set"]] == [key.id] == removed["remove"]
    assert held.count == 1
    task.cancel()
    await store.close()


@pytest.mark.asyncio
async def test_known_keys_stay_while_the_store_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("KEYS_SECONDS", "AWAY_SECONDS"):
        monkeypatch.setattr(refresh, name, 0.01)
    gateway, store = FakeGateway(), await Store.open(tmp_path)
    held = Keys(gateway, store)  # type: ignore[arg-type]
    await held.first()
    ask, failures = store.changes_since, [StoreError("gone"), StoreError("gone")]

    async def changes_since(revision: int) -> tuple[int, list[Key]]:
        if failures:
            raise failures.pop()
        return await ask(revision)

    monkeypatch.setattr(store, "changes_since", changes_since)
    task = asyncio.create_task(held.run())
    await keys.create(store, "one")
    await until(lambda: len(gateway.seen) == 2)
    assert failures == []
    assert capsys.readouterr().out.count("the keys cannot be read; those known count") == 1
    task.cancel()
    await store.close()


def test_a_guest_without_a_file_has_nothing_to_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(os.environ, "LEVADA_CONFIG", raising=False)
    config = Config.model_validate({"backends": [{"name": "one", "url": "http://127.0.0.1:9"}]})
    gateway: Any = FakeGateway()
    assert Running(gateway, Source(), config, Enclosed(), b"")._look() == ()


@pytest.mark.asyncio
async def test_prices_count_from_their_moment_on(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "LOOK_SECONDS", 0.01)
    model = {"input": 1, "output": 2}
    soon = datetime.now(UTC) + timedelta(seconds=1)
    (tmp_path / "prices.yaml").write_text(
        json.dumps(
            {
                "currency": "EUR",
                "versions": [
                    {"valid_from": "2026-01-01", "models": {"m": model}},
                    {"valid_from": soon.isoformat(), "models": {"m": {**model, "output": 9}}},
                ],
            }
        )
    )
    file.write_text(ONE + f"models: [{{name: m}}]\nprices: {tmp_path / 'prices.yaml'}\n")
    gateway, running = made(file)
    watching = asyncio.create_task(running.watch())
    async with asyncio.timeout(10):
        while len(gateway.documents) < 3:
            await asyncio.sleep(0.01)
    watching.cancel()
    told = [document["models"][0]["price"]["output"] for document in gateway.documents[1:]]
    assert told == [2, 9]
