"""The engine's boundary: what crosses between Python and Rust, and nothing else does.

Bytes, header pairs and numbers cross. A client's or a backend's fault is never an exception: it is
a Call whose status, headers and one body piece are the refusal. Times are seconds, sizes bytes.
"""

from collections.abc import Awaitable
from typing import final

Headers = list[tuple[bytes, bytes]]
"""Header lines in their order; names in lower case."""

class ConfigError(ValueError):
    """A document was refused; the one before stays in force."""

    problems: list[str]
    """Every problem, each with its path in the document."""

@final
class Caller:
    """What the head of a call says: who calls, for what."""

    @property
    def key_id(self) -> str:
        """The key's id; empty on a path that needs no key."""

    @property
    def body_limit(self) -> int:
        """The largest body that may be sent, in bytes."""

    @property
    def announced(self) -> int:
        """The content-length, in bytes; 0 where there is none."""

    def open(self, body: bytes) -> Call:
        """The call with its body: parsed and admitted, but not sent; or its refusal."""

    def answer(self, body: bytes) -> Call:
        """The call, answered by the app with 200 and this JSON."""

    def refuse(self, kind: str, param: str | None = None, message: str | None = None) -> Call:
        """What the door has noticed: "body_too_large", "body_timeout" or "bad_framing"; or the app
        of a question: "missing_parameter", "unknown_parameter", "invalid_value",
        "method_not_allowed" (other than GET and HEAD) or "unavailable".
        """

@final
class Call:
    """One client request, from its open to its record."""

    def start(self) -> Awaitable[tuple[int, Headers]]:
        """Status and headers, once the first byte from the backend is there, or of the refusal."""

    def next(self) -> Awaitable[bytes | None]:
        """All whole events that are ready (about 16 KiB at most), or None at the end.

        Raises ConnectionAbortedError when the answer broke off where nothing can be said in band:
        the client's connection must be cut.
        """

    @property
    def ended(self) -> bool:
        """Whether what next() gave last was the end: it need not be asked again."""

    def cancel(self) -> None:
        """End the call now: the backend's connection is dropped. Idempotent."""

@final
class Gateway:
    """The engine. One per worker, made in the process that serves: threads survive no fork."""

    def __new__(
        cls,
        snapshot: bytes,
        data_dir: str,
        threads: int = 0,
        power: bool = False,
        quota: int = 0,
        redis: str | None = None,
        replicas: int = 2,
    ) -> Gateway:
        """An engine with this snapshot and no keys; 0 threads means one per core.

        With `power`, an answer's last bytes wait until its record would survive a loss of power.
        `quota` is how many bytes the journal may take; 0 means 8 GiB.
        With `redis`, an address, limits are shared among so many `replicas`.

        Raises ConfigError with every problem of the snapshot; ValueError without the directory, or
        for an address that is none.
        """

    def swap(self, snapshot: bytes) -> int:
        """Put another snapshot in force for the calls to come; its version. Raises ConfigError."""

    def keys(self, changes: bytes) -> int:
        """Add, change and remove keys; how many there are afterwards. Raises ConfigError."""

    def shared(self) -> bool:
        """Whether limits are shared with other replicas now."""

    def unknown_kids(self) -> int:
        """How often a token has named a signing key that nobody knows; each counts every 30 s."""

    def authenticate(self, method: str, path: str, headers: Headers) -> Caller | Call:
        """Who calls, by the headers alone; `path` is raw, without query. A refusal is a Call."""

    def open(self, method: str, path: str, headers: Headers, body: bytes) -> Call:
        """Both in one: authenticated and opened, for a request whose body is at hand."""

    def profile(self, host: str | None) -> int:
        """The place among the snapshot's profiles of the one that holds for a Host header."""

    def records(self, limit: int) -> tuple[bytes, list[str]]:
        """The first `limit` ended calls that are not acknowledged, as JSON lines, oldest first; and
        what of the journal cannot be read. `journal` and `call`, or `of` and `call`, name a call.
        """

    def acknowledge(self, count: int) -> None:
        """The first `count` of the lines that `records` gave last are kept; they come no more."""

    def report(self, backend: str, health: bytes) -> None:
        """What a probe saw: a JSON object with a boolean `up`. Raises ConfigError if it is none."""

    def metrics(self) -> bytes:
        """All metrics as OpenMetrics text."""

    def count(self, name: str, value: float) -> None:
        """Set a figure of the control plane: config_version, config_reload_success, draining,
        webhook_waiting; or say how far webhook_delivered or webhook_failed has come.
        """

    def ready(self, ready: bool) -> None:
        """Say whether /readyz answers yes."""

    def fetch(
        self, method: str, url: str, headers: Headers, timeout: float, body: bytes = ...
    ) -> Awaitable[tuple[int, bytes]]:
        """Status and body (4 MiB at most) of a rare call. Raises OSError, TimeoutError."""

    def listen(self, edge: bytes) -> Awaitable[None]:
        """Done when the inherited listeners are accepting. Raises ConfigError."""

    def drain(self, grace: float) -> Awaitable[int]:
        """Stop accepting, let calls end for `grace` seconds, cut the rest; how many were cut."""

    def close(self) -> None:
        """End the engine's threads."""

@final
class Reframer:
    """Gathers pieces of an event stream."""

    def __new__(cls, limit: int = ...) -> Reframer:
        """One whose events may have up to `limit` bytes."""

    def push(self, piece: bytes) -> tuple[bytes, bool]:
        """The events that are whole now, and whether the next one is larger than the limit."""

    @property
    def pending(self) -> int:
        """Bytes of an event that has not ended."""

@final
class Validator:
    """One compiled profile, ready to judge bodies."""

    def __new__(cls, profile: bytes) -> Validator:
        """The profile in its compiled form. Raises ConfigError."""

    def check(
        self, endpoint: str, body: bytes, content_type: str
    ) -> tuple[int, str | None, str | None, str] | None:
        """Status, parameter, code and message of the refusal, if the body would be refused."""

def verify_journals(folder: str) -> tuple[int, list[str]]:
    """Reads the journals in a folder through: how many entries there are, and what is not as it was
    written. OSError when the folder cannot be read.
    """

def count_text(text: str, tokenizer: str) -> int:
    """How many tokens a text has; the tokenizer is an encoding's name or a file. ValueError."""

def count_messages(messages: bytes, tokenizer: str) -> int:
    """About how many tokens messages have, which are a JSON array as chat has it. ValueError."""
