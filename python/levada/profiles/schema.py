"""What a profile may say, with what counts where it says nothing.

Pure: the only file that knows the words of a profile. It reads nothing; `files` brings them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from levada.document import Problem

Check = Literal[
    "stream_options", "top_logprobs", "tool_choice", "json_word", "tool_replies", "images"
]


BasePath = Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)*$")]
"""Empty, or a path that starts with a slash and does not end with one."""


class ProfileError(ValueError):
    """The profile cannot be used; `problems` say where and why."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


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


def _action(value: Any) -> Any:
    """Which form of an action a value is meant to be."""
    return value.get("do", "reject") if isinstance(value, Mapping) else "word"


def _rules(value: Any) -> str:
    """Which form of an endpoint a value is meant to be."""
    return "word" if isinstance(value, str) else "rules"


Action = Annotated[
    Annotated[Literal["validate", "forward", "ignore"], Tag("word")]
    | Annotated[Reject, Tag("reject")]
    | Annotated[Off, Tag("off")]
    | Annotated[Map, Tag("map")],
    Discriminator(_action),
]


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


class Row(Part):
    """What stands in place of a row of the table of errors; what is left out is the table's."""

    status: int | None = Field(default=None, ge=400, le=599)
    type: str | None = None
    code: str | None = None
    message: str | None = None
    """With `{seconds}` for how long to wait."""


class Rows(Part):
    """The rows of the table that a profile may word otherwise."""

    rate_limited: Row | None = None
    """The caller has used up what its limits allow for now."""
    no_credit: Row | None = None
    """The caller has used up what it has paid for."""


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
    rows: Rows = Rows()


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


class Window(Part):
    """So many requests in so many seconds, and `burst` at once after a rest."""

    requests: int = Field(ge=1, le=2**32 - 1)
    per_s: float = Field(ge=0.001, le=366 * 86400)
    burst: int | None = Field(default=None, ge=1, le=2**32 - 1)
    endpoints: list[str] = []


class Rate(Part):
    """How often callers may ask, unless the operator's `limits.requests` says otherwise."""

    unit: Literal["per_key", "per_project", "per_contract"] = "per_key"
    """Who shares the windows: a key, the keys of a project, the keys of a tenant."""
    windows: list[Window] = []
    headers: Literal["none", "openai", "flexai"] = "openai"
    """`x-ratelimit-*`: the reset as a span of time (openai) or as seconds since 1970 (flexai)."""


class Stream(Part):
    """How a streamed answer goes."""

    on_failure: Literal["error_event", "close"] = "error_event"


class Cors(Part):
    """Which pages may ask."""

    any_origin: bool = True
    """The operator may let in pages of any origin."""


Rules = Annotated[
    Annotated[Endpoint, Tag("rules")] | Annotated[Literal["absent"], Tag("word")],
    Discriminator(_rules),
]


class Profile(Part):
    """One contract, whole: nothing is left to the one it extends."""

    id: str
    version: str
    extends: str | None = None
    unknown_params: Literal["forward", "drop", "reject"] = "forward"
    null_policy: Literal["as_omitted", "sdk_types"] = "as_omitted"
    denylist: list[str] = []
    allow_inner: dict[str, list[str]] = {}
    base_path: list[BasePath] = Field(default=["/v1"], min_length=1)
    """What stands before the path of every endpoint: one of these."""
    strict_quirks: bool = False
    """Be as odd as the provider is."""
    json_schema_fallback: Literal["none", "json_object", "reject"] = "none"
    """What becomes of a JSON Schema on a model that is declared without."""
    models: Models = Models()
    limits: Limits = Limits()
    rate: Rate = Rate()
    stream: Stream = Stream()
    cors: Cors = Cors()
    errors: Errors = Errors()
    quirks: Quirks = Quirks()
    endpoints: dict[str, Rules]
