"""A profile's file: read, merged with the one it extends, checked.

Law: a file with a mistake is refused with the place of the mistake; what is built in cannot be
changed but only extended.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from levada import document

Check = Literal[
    "stream_options", "top_logprobs", "tool_choice", "json_word", "tool_replies", "images"
]


class ProfileError(ValueError):
    """The profile cannot be used; the text says where and why."""


class Part(BaseModel):
    """Closed and frozen: a misspelt word is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Reject(Part):
    """Refused in these words, but for the JSON texts in `except`, which change nothing."""

    do: Literal["reject"]
    message: str
    passes: list[str] = Field(default=["null"], alias="except")


class Off(Part):
    """Taken out when it is `value`, which means "off"; else validated."""

    do: Literal["off"]
    value: float


class Map(Part):
    """Passed on as another value; both are JSON texts."""

    do: Literal["map"]
    values: dict[str, str]


Action = Literal["validate", "forward", "ignore"] | Reject | Off | Map


class Response(Part):
    """What is changed in answers."""

    system_fingerprint: Literal["keep", "remove", "ensure"] = "keep"
    cache_counters: bool = False
    """Usage has `cache_read_input_tokens` and `cache_creation_input_tokens`."""
    reasoning: Literal["keep", "both"] = "keep"
    """`both`: what the backend tells as `reasoning_content` or `reasoning` is told under both."""


class Endpoint(Part):
    """What holds for the body of one endpoint."""

    order: list[str] = []
    """The fields in the order in which their failures are reported; others come after."""
    optional: list[str] = []
    """Fields that the SDK requires and this profile does not."""
    types: dict[str, dict[str, Any]] = {}
    """JSON Schema in place of the SDK's, by field."""
    ranges: dict[str, dict[str, Any]] = {}
    """Bounds by path, such as `tools[].function.name`, in the words of JSON Schema."""
    params: dict[str, Action] = {}
    """What becomes of a field; `validate` where nothing is said."""
    checks: list[Check] = []
    """Checks between fields."""
    response: Response = Response()
    default_max_tokens: int | None = Field(default=None, ge=1)
    """How many tokens an answer has to which no limit was given; null: as many as fit."""
    strict_max_tokens: int | None = Field(default=None, ge=1)
    """The same under `strict_quirks`, unless the other is given."""


class Errors(Part):
    """How errors look beyond OpenAI's table."""

    code_null: bool = False
    code_keep: list[str] = []
    doc_url: str | None = None
    unauthorized_type: str | None = None
    no_retry_after: bool = False
    """A 429 does not say when to come again."""
    timeout_status: int | None = Field(default=None, ge=400, le=599)
    """The status of an answer that took too long, where it is not 504."""
    unknown_model_status: int | None = Field(default=None, ge=400, le=499)
    unknown_model_message: str | None = None


class Quirks(Part):
    """Forms that a provider has and SDKs cannot read well: used under `strict_quirks` alone."""

    unauthorized_body: str | None = None
    """The whole body of a 401."""
    flat_overflow: bool = False
    """A prompt that is too long is told without the envelope, with the status as the code."""


class Models(Part):
    """How models are listed."""

    category: bool = False
    """Each entry tells its category."""
    live_only: bool = True
    """Only models with a live backend."""


class Limits(Part):
    """What counts where the operator's `limits` say nothing."""

    body_bytes: int | None = Field(default=None, ge=1024, le=2**30)
    """The largest request body."""


class Stream(Part):
    """How a streamed answer goes."""

    on_failure: Literal["error_event", "close"] = "error_event"


class Profile(Part):
    """One contract, whole: nothing is left to the one it extends."""

    id: str
    version: str
    extends: str | None = None
    unknown_params: Literal["forward", "drop", "reject"] = "forward"
    null_policy: Literal["as_omitted", "sdk_types"] = "as_omitted"
    denylist: list[str] = []
    allow_inner: dict[str, list[str]] = {}
    strict_quirks: bool = False
    """Be as odd as the provider is."""
    json_schema_fallback: Literal["none", "json_object", "reject"] = "none"
    """What becomes of a JSON Schema on a model that is declared without."""
    models: Models = Models()
    limits: Limits = Limits()
    stream: Stream = Stream()
    errors: Errors = Errors()
    quirks: Quirks = Quirks()
    endpoints: dict[str, Endpoint | Literal["absent"]]


def names() -> list[str]:
    """The built-in profiles."""
    return sorted(path.stem for path in _here().glob("*.yaml"))


def load(name: str | Path) -> Profile:
    """A built-in profile by its name, or the one in a file. ProfileError, OSError."""
    path = _here() / f"{name}.yaml" if str(name) in names() else Path(name)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        raise ProfileError(f"no profile is named '{name}'; built in are {', '.join(names())}")
    try:
        return Profile.model_validate(_merged(path, ()))
    except ValidationError as error:
        lines = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ProfileError(f"{path}: {'; '.join(lines)}") from None


def _merged(path: Path, below: tuple[Path, ...]) -> dict[str, Any]:
    """The file's words over those of the profile that it extends."""
    if path in below:
        raise ProfileError(f"{path}: it extends itself")
    found = document.parse(path.read_text(encoding="utf-8"))
    for where, line, message in found.problems:
        raise ProfileError(f"{path}:{line}: {document.spell(where)} {message}")
    words: dict[str, Any] = found.values
    base = words.get("extends")
    if base is None:
        return words
    parent = _here() / f"{base}.yaml"
    if not parent.is_file():
        parent = path.parent / str(base)
    if not parent.is_file():
        raise ProfileError(f"{path}: extends: no profile is named '{base}'")
    return _over(_merged(parent, (*below, path)), words)


def _over(base: Mapping[str, Any], words: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings are merged, key by key; anything else replaces what was there."""
    out = dict(base)
    for key, value in words.items():
        known = out.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            value = _over(known, value)
        out[key] = value
    return out


def _here() -> Path:
    return Path(__file__).parent
