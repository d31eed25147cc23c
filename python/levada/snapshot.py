"""Config + what the backends serve + keys → the documents that the engine reads.

Pure: the same input gives the same bytes. The only file that knows the form of those documents.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from levada import engines
from levada.allowance import Allowance
from levada.config import Account, Backend, Config, Enclosed, Issuer, Model
from levada.engines import Learned
from levada.prices import Version

_PREFIX = "/v1"


@dataclass(frozen=True, slots=True)
class Served:
    """What a backend answered when asked: the path before `/chat/completions`, its models, what it
    is, and what it says of each model.
    """

    path: str
    models: tuple[str, ...]
    engine: str | None = None
    learned: Mapping[str, Learned] = field(default_factory=dict)

    @property
    def tells(self) -> bool:
        """Whether it says more than names."""
        return self.engine is not None or bool(self.learned)


class Credential(Protocol):
    """As much of a key as the engine needs: never its text, only the hash of it."""

    @property
    def id(self) -> str: ...
    @property
    def hash(self) -> bytes: ...
    @property
    def models(self) -> tuple[str, ...] | None: ...
    @property
    def expires(self) -> float | None: ...
    @property
    def revoked(self) -> float | None: ...
    @property
    def tenant(self) -> str | None: ...
    @property
    def project(self) -> str | None: ...
    @property
    def requests_per_minute(self) -> int | None: ...
    @property
    def exhausted(self) -> bool: ...
    @property
    def limits(self) -> Mapping[str, Any] | None: ...


def compile(
    config: Config,
    served: Mapping[str, Served],
    *,
    version: int,
    pepper: bytes,
    enclosed: Enclosed,
    jwks: Mapping[str, Any] | None = None,
    prices: Version | None = None,
) -> bytes:
    """The one document of the data plane; a silent backend counts with what the file says.

    `prices` are those in force, which budgets are counted with.
    """
    total = config.deadlines.total
    document = {
        "version": version,
        "auth": {
            "pepper": pepper.hex(),
            "allow_opaque": config.auth.allow_opaque,
            "jwt": [_issuer(one, {**enclosed.jwks, **(jwks or {})}) for one in config.auth.jwt],
        },
        "backends": [_backend(backend, served, enclosed) for backend in config.backends],
        "models": [
            _model(model, pool := _pool(config, model, served), served)
            | {"pool": pool, **_price(prices, model.name)}
            for model in config.models or _found(config, served)
        ],
        "deadlines": {
            "connect": min(config.deadlines.connect, total),
            "first_byte": min(config.deadlines.first_byte, total),
            "idle": min(config.deadlines.idle, total),
            "total": total,
        },
        "limits": {
            "body_bytes": config.limits.body_bytes,
            "event_bytes": config.limits.event_bytes,
        },
        "charge_prompt_on_abort": config.billing.charge_prompt_on_abort,
        "retry": config.retry.model_dump(),
        "breaker": config.breaker.model_dump(),
        "profiles": [made.form for made in enclosed.profiles],
        "hosts": dict(enclosed.hosts),
        "origins": list(config.cors.origins),
        "tenants": [_account(one) for one in config.tenants],
        "projects": [_account(one) for one in config.projects],
        "tls": enclosed.tls and {"certificate": enclosed.tls[0], "key": enclosed.tls[1]},
    }
    return _json(document)


def keys_document(keys: Iterable[Credential], *, replace: bool) -> bytes:
    """The keys that changed, or with `replace` all there are; a revoked one is removed."""
    changed = list(keys)
    live = [key for key in changed if key.revoked is None]
    gone = [] if replace else [key.id for key in changed if key.revoked is not None]
    lines = [
        {
            "id": key.id,
            "hash": key.hash.hex(),
            "models": None if key.models is None else list(key.models),
            "expires": key.expires,
            **_allowance(key),
        }
        for key in live
    ]
    return _json({"replace": replace, "set": lines, "remove": gone})


def _allowance(key: Credential) -> dict[str, Any]:
    """Whose it is and how often it may ask, as far as that is said: there may be a million keys."""
    said = {
        "tenant": key.tenant,
        "project": key.project,
        "requests_per_minute": key.requests_per_minute,
        "exhausted": key.exhausted,
        "limits": key.limits and Allowance.model_validate(key.limits).document(),
    }
    return {name: value for name, value in said.items() if value}


def _account(account: Account) -> dict[str, Any]:
    return {"name": account.name, "limits": account.limits.document()}


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _issuer(issuer: Issuer, jwks: Mapping[str, Any]) -> dict[str, Any]:
    """Whose tokens count; `keys` is null until they are known."""
    said = issuer.model_dump(mode="json", exclude={"jwks"})
    return {**said, "keys": jwks.get(issuer.jwks)}


def _model(
    model: Model, pool: list[dict[str, str]], served: Mapping[str, Served]
) -> dict[str, Any]:
    """What is known of a model; what is not said is left out."""
    abilities = {"category": model.category, **model.abilities.model_dump()}
    said = {name: value for name, value in abilities.items() if value is not None}
    known = _learned(model, pool, served) | said
    return {
        "name": model.name,
        "created": model.created,
        "owned_by": model.owned_by,
        **({"abilities": known} if known else {}),
        **({"default_for": list(model.default_for)} if model.default_for else {}),
        **({"max_tokens": model.max_tokens} if model.max_tokens else {}),
        **({"limits": limits} if (limits := model.limits.document()) else {}),
        **({"tokenizer": model.tokenizer} if model.tokenizer else {}),
    }


def _price(prices: Version | None, model: str) -> dict[str, Any]:
    """What a model's tokens cost at most: some of an answer may cost more, as thoughts do."""
    price = None if prices is None else prices.models.get(model)
    if price is None or price.input is None or price.output is None:
        return {}
    said = {
        "input": price.input,
        "cached": price.cached,
        "output": max(price.output, price.reasoning or 0),
    }
    return {"price": {name: value for name, value in said.items() if value is not None}}


def _learned(
    model: Model, pool: list[dict[str, str]], served: Mapping[str, Served]
) -> dict[str, Any]:
    """What all of its backends say alike: one that says nothing may know better."""
    silent = Served("", ())
    told = [
        served.get(member["backend"], silent).learned.get(member["upstream"], Learned())
        for member in pool
    ]
    visions, sizes = {one.vision for one in told}, {one.vocabulary for one in told}
    found: dict[str, Any] = {}
    # The operator's "multimodal" is a word about vision.
    if len(visions) == 1 and model.category != "multimodal":
        found["vision"] = visions.pop()
    if len(sizes) == 1:
        found["vocabulary"] = sizes.pop()
    return {name: value for name, value in found.items() if value is not None}


def _backend(backend: Backend, served: Mapping[str, Served], enclosed: Enclosed) -> dict[str, Any]:
    found = served.get(backend.name)
    asked = found if backend.models is None else None
    path = backend.prefix if backend.prefix is not None else asked.path if asked else _PREFIX
    seen = found.engine if found else None
    engine = seen if backend.engine == "auto" else backend.engine
    lacks = engines.lacks(engine) if backend.lacks is None else backend.lacks
    return {
        "name": backend.name,
        "url": backend.origin,
        "path": path,
        "key": backend.key and backend.key.get_secret_value(),
        "verify": backend.verify,
        "ca": enclosed.ca.get(backend.name),
        "lacks": list(lacks),
        "counts": backend.counts or engines.counts(engine),
    }


def _models(backend: Backend, served: Mapping[str, Served]) -> tuple[str, ...]:
    if backend.models is not None:
        return backend.models
    found = served.get(backend.name)
    return found.models if found else ()


def _found(config: Config, served: Mapping[str, Served]) -> list[Model]:
    """Without a `models` section: every model that any backend serves, in the order of names."""
    names = {name for backend in config.backends for name in _models(backend, served)}
    return [Model.model_construct(name=name) for name in sorted(names)]


def _pool(config: Config, model: Model, served: Mapping[str, Served]) -> list[dict[str, str]]:
    """The backends of a model: those the operator named, else those that serve it."""
    upstream = model.upstream or model.name
    named = model.backends
    if named is None:
        named = tuple(b.name for b in config.backends if upstream in _models(b, served))
    return [{"backend": name, "upstream": upstream} for name in named]
