"""What the engine runs on now, and the ways to the next: a reload, a discovery, a changed key.

Law: the only file that swaps a snapshot or hands over keys. Whatever is bad stays outside: what
is in force stays in force, and the log and a metric say so.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from levada import loading, snapshot
from levada.control.look import Look, look
from levada.control.rhythm import beat
from levada.control.store import StoreError
from levada.jwks import KeySet
from levada.snapshot import Served

if TYPE_CHECKING:
    from levada._native import Gateway
    from levada.config import Config, Enclosed, Made
    from levada.control.store import Store
    from levada.prices import Prices, Version

log = structlog.get_logger(__name__)

# A file counts as changed when two looks in a row see the same new state, so a half-written one
# is left alone. Looking works where no notice comes: mapped volumes, network disks.
LOOK_SECONDS = 0.4
# A new or revoked key counts within a second.
KEYS_SECONDS = 0.4
# The same while the store cannot be read.
AWAY_SECONDS = 1.0


class RejectedError(Exception):
    """A configuration that is not taken; `problems` are sentences for the operator."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Running:
    """The configuration and the models in force, and the version that the engine knows them by."""

    def __init__(
        self,
        gateway: Gateway,
        source: loading.Source,
        config: Config,
        enclosed: Enclosed,
        pepper: bytes,
    ) -> None:
        self.config = config
        self.served: dict[str, Served] = {}
        self.jwks: dict[str, KeySet] = {}
        self.version = 1
        self._gateway = gateway
        self._source = source
        self._enclosed = enclosed
        self._pepper = pepper
        self._priced: Version | None = None
        # Taken here and not when the watch begins: what changes during the start counts too.
        self._taken = self._look()

    def found(self, backend: str, served: Served) -> None:
        """A backend has said what it serves."""
        if self.served.get(backend) != served:
            self._swap(self.config, {**self.served, backend: served}, self._enclosed)
            log.info("models", backend=backend, models=list(served.models))

    def signed_with(self, url: str, keys: KeySet | None) -> None:
        """An issuer has said which keys it signs with, or has not for too long."""
        if self.jwks.get(url) == keys:
            return
        before = self.jwks
        self.jwks = {known: one for known, one in before.items() if known != url}
        if keys is not None:
            self.jwks[url] = keys
        try:
            self._swap(self.config, self.served, self._enclosed)
        except ValueError:
            self.jwks = before
            raise
        log.info("keys of an issuer", url=url, keys=len(keys["keys"]) if keys else 0)

    def reload(self) -> int:
        """Load, compile, swap; the new version. RejectedError says why nothing changed."""
        try:
            config, enclosed = self._source.read()
            self._swap(config, self._still_known(config), enclosed)
        except (loading.ConfigProblems, ValueError) as error:
            problems = [str(one) for one in getattr(error, "problems", [error])]
            self._gateway.count("config_reload_success", 0)
            log.error("the configuration is not taken; the last one stays", problems=problems)
            raise RejectedError(problems) from None
        self._gateway.count("config_reload_success", 1)
        log.info("configuration taken", version=self.version)
        return self.version

    def profile(self, host: str | None) -> Made:
        """The contract that requests are checked with at this host, as the engine has it."""
        return self._enclosed.profiles[self._gateway.profile(host)]

    def prices(self) -> Prices | None:
        """The price list that calls are rated with, if there is one."""
        return self._enclosed.prices

    def models(self) -> list[str]:
        """The names that clients may ask for now."""
        document = self._document(self.version, self.config, self.served, self._enclosed)
        return [model["name"] for model in json.loads(document)["models"]]

    async def watch(self) -> None:
        """Reload when a file of the configuration changes, or a version of the prices begins."""
        last = self._taken
        while True:
            await beat(LOOK_SECONDS)
            self._reprice()
            now = self._look()
            if now == last and now != self._taken:
                self._taken = now
                try:
                    self.reload()
                except RejectedError:
                    continue  # said already; the next change may mend it
            last = now

    def _swap(self, config: Config, served: dict[str, Served], enclosed: Enclosed) -> None:
        self._gateway.swap(self._document(self.version + 1, config, served, enclosed))
        if config.listen != self.config.listen:
            log.warning("a change of 'listen' counts from the next start on")
        self.version += 1
        self.config, self.served, self._enclosed = config, served, enclosed
        self._priced = _in_force(enclosed)
        self._gateway.count("config_version", self.version)

    def _reprice(self) -> None:
        """The engine counts budgets with the prices of the moment."""
        prices = _in_force(self._enclosed)
        if prices != self._priced:
            self._swap(self.config, self.served, self._enclosed)
            log.info("prices in force", version=None if prices is None else prices.id)

    def _document(
        self, version: int, config: Config, served: dict[str, Served], enclosed: Enclosed
    ) -> bytes:
        return snapshot.compile(
            config,
            served,
            version=version,
            pepper=self._pepper,
            enclosed=enclosed,
            jwks=self.jwks,
            prices=_in_force(enclosed),
        )

    def _still_known(self, config: Config) -> dict[str, Served]:
        """What unchanged backends have answered; the others are asked anew."""
        unchanged = {backend.name for backend in config.backends if backend in self.config.backends}
        return {name: served for name, served in self.served.items() if name in unchanged}

    def _look(self) -> Look:
        """The state of every file that the configuration is made of."""
        tls = self.config.listen.tls
        paths = [
            loading.locate(self._source.path),
            self.config.prices,
            *((tls.certificate, tls.key) if tls else ()),
            *(backend.ca for backend in self.config.backends),
            *(file for made in self._enclosed.profiles for file in made.files),
            *(Path(one.jwks) for one in self.config.auth.jwt if "://" not in one.jwks),
            *(Path(one.tokenizer) for one in self.config.models or () if one.tokenizer),
        ]
        return look(*(path for path in paths if path is not None))


def _in_force(enclosed: Enclosed) -> Version | None:
    """The prices of this moment."""
    return None if enclosed.prices is None else enclosed.prices.at(int(time.time() * 1000))


class Keys:
    """The keys that the engine holds, kept up with the store by what changed."""

    def __init__(self, gateway: Gateway, store: Store) -> None:
        self.count = 0
        self._gateway = gateway
        self._store = store
        self._revision = -1

    async def first(self) -> None:
        """All keys there are, before the doors open."""
        await self._take(replace=True)

    async def run(self) -> None:
        """What changes from now on. While nothing does, the database is not asked."""
        taken: Look | None = None
        away = False
        while True:
            await beat(AWAY_SECONDS if away else KEYS_SECONDS)
            seen = self._store.look()
            if seen is not None and seen == taken:
                continue
            try:
                await self._take(replace=False)
            except StoreError as error:
                if not away:
                    log.error("the keys cannot be read; those known count", detail=str(error))
                away = True
            else:
                taken, away = seen, False

    async def _take(self, *, replace: bool) -> None:
        revision, changed = await self._store.changes_since(self._revision)
        if changed or replace:
            self.count = self._gateway.keys(snapshot.keys_document(changed, replace=replace))
        self._revision = revision
