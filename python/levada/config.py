"""What the operator may say, frozen: every setting with its default, its range and its unit.

The only file that knows a default. It reads nothing: `loading` brings the words,
this file judges them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from levada.allowance import Allowance
from levada.prices import Prices
from levada.section import Section
from levada.values import (
    Address,
    ClaimText,
    Count,
    FilePath,
    Host,
    HostPattern,
    KeySource,
    Label,
    ModelName,
    Network,
    Number,
    Origin,
    Pepper,
    ProfileName,
    RedisUrl,
    Seconds,
    Secret,
    StoreUrl,
    TokenizerName,
    Url,
    WebhookSecret,
    duration,
)

Where = tuple[str | int, ...]
"""The way to a value: ("backends", 0, "url")."""

_CREATED = 1_700_000_000


class Tls(Section):
    """The certificate of the public listener: two PEM files."""

    certificate: FilePath
    key: FilePath


class Listen(Section):
    """Where clients and where operators come in. Port 0 is any free one."""

    host: Host = "127.0.0.1"
    port: Count = Field(default=8080, ge=0, le=65535)
    admin_host: Host = "127.0.0.1"
    admin_port: Count = Field(default=8081, ge=0, le=65535)
    trusted_proxies: tuple[Network, ...] = ()
    tls: Tls | None = None


Counts = Literal["final", "continuous_usage_stats", "timings_per_token"]
Lack = Literal["responses", "n", "base64", "null", "guided", "max_tokens", "max_completion_tokens"]


class Backend(Section):
    """One inference server. Without `models` it is asked which ones it serves."""

    name: Label
    url: Url
    key: Secret | None = None
    models: tuple[ModelName, ...] | None = Field(default=None, min_length=1)
    verify: bool = True
    ca: FilePath | None = None
    engine: Literal["auto", "llama.cpp", "vllm", "sglang", "other"] = "auto"
    lacks: tuple[Lack, ...] | None = None
    counts: Counts | None = None

    @property
    def origin(self) -> str:
        """The URL without its path."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def prefix(self) -> str | None:
        """The path of the URL, which stands in place of /v1; None when there is none."""
        return urlsplit(self.url).path or None


Category = Literal[
    "text",
    "code",
    "reasoning",
    "multimodal",
    "embedding",
    "rerank",
    "moderation",
    "image",
    "audio",
    "video",
]


class Abilities(Section):
    """What a model can do; what is not said is left to the backend."""

    tools: bool | None = None
    vision: bool | None = None
    json_schema: bool | None = None
    dimensions: bool | None = None
    vocabulary: Count | None = Field(default=None, ge=1, le=2**32)


EndpointName = Literal[
    "chat.completions",
    "completions",
    "embeddings",
    "responses",
    "messages",
    "messages.count_tokens",
    "rerank",
    "score",
    "tokenize",
    "detokenize",
    "moderations",
    "images.generations",
    "images.edits",
    "audio.transcriptions",
    "audio.translations",
    "audio.speech",
]


class Model(Section):
    """One model as clients see it: without `backends` all that serve it, as `upstream` there."""

    name: ModelName
    backends: tuple[Label, ...] | None = Field(default=None, min_length=1)
    upstream: ModelName | None = None
    owned_by: ModelName = "levada"
    created: Count = Field(default=_CREATED, ge=0, le=2**53)
    category: Category | None = None
    abilities: Abilities = Abilities()
    default_for: tuple[EndpointName, ...] = ()
    tokenizer: TokenizerName | None = None
    max_tokens: Count | None = Field(default=None, ge=1, le=2**53)
    limits: Allowance = Allowance()


class Account(Section):
    """What all keys of a tenant or of a project may use together; `*`: each that is not named."""

    name: str = Field(min_length=1, max_length=200)
    limits: Allowance


class HostProfile(Section):
    """The profile that holds at one host name, or with a leading `*.` at all that end so."""

    name: HostPattern
    profile: ProfileName


class Cors(Section):
    """The origins whose pages may ask; `*` alone is any."""

    origins: tuple[Origin, ...] = ()


class Deadlines(Section):
    """Seconds: to connect, to the first byte, between bytes, for a whole call, for the drain."""

    connect: Seconds = Field(default=2.0, ge=0.001, le=60)
    first_byte: Seconds = Field(default=120.0, ge=0.01, le=86400)
    idle: Seconds = Field(default=60.0, ge=0.01, le=86400)
    total: Seconds = Field(default=3600.0, ge=0.01, le=604800)
    drain: Seconds = Field(default=600.0, ge=0, le=86400)


class Window(Section):
    """So many requests in so many seconds, and `burst` at once after a rest."""

    requests: Count = Field(ge=1, le=2**32 - 1)
    per_s: Seconds = Field(ge=0.001, le=366 * 86400)
    burst: Count | None = Field(default=None, ge=1, le=2**32 - 1)
    endpoints: tuple[EndpointName, ...] = ()


class Limits(Section):
    """What one client may send, how slowly and how often, over how many connections.

    `redis`: allowances hold for all replicas together, of which there are so many.
    """

    header_bytes: Count = Field(default=16384, ge=1024, le=1048576)
    headers: Count = Field(default=64, ge=8, le=1000)
    body_bytes: Count | None = Field(default=None, ge=1024, le=1073741824)
    event_bytes: Count = Field(default=1048576, ge=1024, le=67108864)
    requests: tuple[Window, ...] | None = None
    head_seconds: Seconds = Field(default=10.0, ge=0.1, le=600)
    body_seconds: Seconds = Field(default=120.0, ge=0.1, le=86400)
    body_rate: Count = Field(default=1024, ge=0, le=1073741824)
    keep_alive_seconds: Seconds = Field(default=75.0, ge=1, le=86400)
    write_seconds: Seconds = Field(default=30.0, ge=0.1, le=3600)
    connections: Count = Field(default=10000, ge=1, le=1000000)
    connections_per_ip: Count = Field(default=0, ge=0, le=1000000)
    redis: RedisUrl | None = None
    replicas: Count = Field(default=2, ge=1, le=1000)


class Journal(Section):
    """What a record outlives before the client has its last byte, and the disk that it may take."""

    durability: Literal["process", "power"] = "process"
    quota_bytes: Count = Field(default=8589934592, ge=67108864, le=1125899906842624)


class Billing(Section):
    """What is charged where a provider may choose."""

    charge_prompt_on_abort: bool = True


class Retry(Section):
    """The retry budget: a share of the calls, plus a few a second."""

    ratio: Number = Field(default=0.1, ge=0, le=1)
    per_second: Number = Field(default=3.0, ge=0, le=1000)


class Breaker(Section):
    """After so many failures in a row a backend is left alone for so many seconds."""

    failures: Count = Field(default=3, ge=1, le=1000)
    open_seconds: Seconds = Field(default=5.0, ge=0.01, le=3600)


class Storage(Section):
    """Where keys and ledger are kept; `url` null: SQLite in `data`; `pepper` null: a file there."""

    url: StoreUrl | None = None
    pepper: Pepper | None = None


class Health(Section):
    """How often a backend is probed and how long the answer may take, in seconds."""

    interval: Seconds = Field(default=5.0, ge=0.05, le=3600)
    timeout: Seconds = Field(default=2.0, ge=0.05, le=300)


class Log(Section):
    """What is logged, and whether for people or for machines."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


Algorithm = Literal["RS256", "ES256", "EdDSA"]


class Issuer(Section):
    """Whose tokens count as keys: `jwks` has its keys, a URL or a file."""

    issuer: str = Field(min_length=1, max_length=1024)
    audience: tuple[ClaimText, ...] = Field(min_length=1)
    jwks: KeySource
    algorithms: tuple[Algorithm, ...] = Field(default=("RS256", "ES256", "EdDSA"), min_length=1)
    subject: ClaimText = "sub"
    models_claim: ClaimText | None = None

    @field_validator("audience", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value


class Auth(Section):
    """What a bearer may be: a key of `levada key`, or a token that one of these has signed."""

    allow_opaque: bool = True
    jwt: tuple[Issuer, ...] = ()


class Webhook(Section):
    """Where every new row of the ledger is told, signed with this secret."""

    name: Label
    url: Address
    secret: WebhookSecret


class Config(Section):
    """The whole of levada.yaml. `data` null: a temporary folder; `threads` 0: one per core."""

    listen: Listen = Listen()
    door: Literal["edge", "app"] = "edge"
    profile: ProfileName = "openai"
    hosts: tuple[HostProfile, ...] = ()
    cors: Cors = Cors()
    prices: FilePath | None = None
    data: FilePath | None = Field(default=Path("data"), validate_default=True)
    store: Storage = Storage()
    threads: Count = Field(default=0, ge=0, le=1024)
    backends: tuple[Backend, ...] = Field(min_length=1)
    models: tuple[Model, ...] | None = Field(default=None, min_length=1)
    tenants: tuple[Account, ...] = ()
    projects: tuple[Account, ...] = ()
    auth: Auth = Auth()
    deadlines: Deadlines = Deadlines()
    limits: Limits = Limits()
    journal: Journal = Journal()
    billing: Billing = Billing()
    retry: Retry = Retry()
    breaker: Breaker = Breaker()
    health: Health = Health()
    webhooks: tuple[Webhook, ...] = ()
    log: Log = Log()

    @model_validator(mode="after")
    def _agree(self) -> Self:
        set_by_hand = self.model_dump(exclude_unset=True)
        found = [f"{where[0]}: {message}" for where, message in contradictions(set_by_hand)]
        if found:
            raise ValueError("; ".join(found))
        return self


@dataclass(frozen=True, slots=True)
class Made:
    """A profile made ready: the engine's form of it, its version, and the files it came from."""

    form: Mapping[str, Any] = field(repr=False)
    version: str = ""
    files: tuple[Path, ...] = ()
    any_origin: bool = True


@dataclass(frozen=True, slots=True)
class Enclosed:
    """What other files hold that a Config names: TLS, every `ca`, profiles, JWKs, the price list.

    The first of `profiles` is the usual one; `hosts` has the places of those that names have.
    """

    tls: tuple[str, str] | None = field(default=None, repr=False)
    ca: Mapping[str, str] = field(default_factory=dict, repr=False)
    profiles: tuple[Made, ...] = ()
    hosts: Mapping[str, int] = field(default_factory=dict)
    jwks: Mapping[str, Any] = field(default_factory=dict, repr=False)
    prices: Prices | None = field(default=None, repr=False)


def contradictions(tree: Mapping[str, Any]) -> Iterator[tuple[Where, str]]:
    """What no single value shows. Reads raw words too, so it passes over whatever is malformed."""
    yield from _repeated(tree, "backends")
    yield from _repeated(tree, "models")
    yield from _repeated(tree, "hosts")
    yield from _repeated(tree, "webhooks")
    yield from _repeated(tree, "tenants")
    yield from _repeated(tree, "projects")
    yield from _any_and_others(tree)
    yield from _strangers(tree)
    yield from _too_long(tree)
    yield from _too_few(tree)
    yield from _closed(tree)
    yield from _forgotten(tree)
    listen = _section(tree, "listen")
    port = str(listen.get("port", 8080))
    if port != "0" and port == str(listen.get("admin_port", 8081)):
        yield ("listen", "admin_port"), f"{port} is the public port too"


def _section(tree: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = tree.get(name)
    return value if isinstance(value, Mapping) else {}


def _entries(tree: Mapping[str, Any], name: str) -> list[tuple[int, Mapping[str, Any]]]:
    value = tree.get(name)
    items = value if isinstance(value, list | tuple) else ()
    return [(index, item) for index, item in enumerate(items) if isinstance(item, Mapping)]


def _repeated(tree: Mapping[str, Any], section: str) -> Iterator[tuple[Where, str]]:
    first: dict[str, int] = {}
    for index, item in _entries(tree, section):
        name = item.get("name")
        if not isinstance(name, str):
            continue
        known = first.setdefault(name.lower() if section == "hosts" else name, index)
        if known != index:
            yield (section, index, "name"), f"'{name}' is the name of {section}[{known}] too"


def _any_and_others(tree: Mapping[str, Any]) -> Iterator[tuple[Where, str]]:
    origins = _section(tree, "cors").get("origins")
    if isinstance(origins, list | tuple) and "*" in origins and len(origins) > 1:
        yield ("cors", "origins", origins.index("*")), "'*' is any origin: it stands alone"


def _strangers(tree: Mapping[str, Any]) -> Iterator[tuple[Where, str]]:
    known = {item.get("name") for _, item in _entries(tree, "backends")}
    for index, model in _entries(tree, "models"):
        named = model.get("backends")
        seen: set[str] = set()
        for place, name in enumerate(named if isinstance(named, list | tuple) else ()):
            if not isinstance(name, str):
                continue
            where = ("models", index, "backends", place)
            if name not in known:
                yield where, f"'{name}' is not one of the backends"
            if name in seen:
                yield where, f"'{name}' is listed twice"
            seen.add(name)


def _too_few(tree: Mapping[str, Any]) -> Iterator[tuple[Where, str]]:
    for index, window in _entries(_section(tree, "limits"), "requests"):
        requests, burst = (_lenient(window.get(name)) for name in ("requests", "burst"))
        if requests is not None and burst is not None and burst < requests:
            message = f"{burst:g} is less than its {requests:g} requests"
            yield ("limits", "requests", index, "burst"), message


def _closed(tree: Mapping[str, Any]) -> Iterator[tuple[Where, str]]:
    auth = _section(tree, "auth")
    if str(auth.get("allow_opaque")).lower() == "false" and not auth.get("jwt"):
        yield ("auth", "allow_opaque"), "without it and without 'jwt' nobody could call"
    first: dict[str, int] = {}
    for index, item in _entries(auth, "jwt"):
        name = item.get("issuer")
        if isinstance(name, str) and first.setdefault(name, index) != index:
            yield ("auth", "jwt", index, "issuer"), f"'{name}' is auth.jwt[{first[name]}] too"


def _forgotten(tree: Mapping[str, Any]) -> Iterator[tuple[Where, str]]:
    store = _section(tree, "store")
    if store.get("url") and not store.get("pepper") and tree.get("data", "") is None:
        yield ("store", "pepper"), "is missing: it would end with the temporary data folder"


def _too_long(tree: Mapping[str, Any]) -> Iterator[tuple[Where, str]]:
    given = _section(tree, "deadlines")
    total = _lenient(given.get("total"))
    for name in ("connect", "first_byte", "idle"):
        part = _lenient(given.get(name))
        if part is not None and total is not None and part > total:
            yield ("deadlines", name), f"{part:g} s is longer than the total of {total:g} s"


def _lenient(value: object) -> float | None:
    try:
        return duration(str(value))
    except ValueError:
        return None
