"""The data that Rust and Python tests share, as Python values. The only file that knows how it lies
on disk.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class JsonText:
    """A text and whether a strict reader accepts it, alone and as a member's value in an object."""

    accepted: bool
    name: str
    bytes: bytes

    @property
    def id(self) -> str:
        return f"{'accept' if self.accepted else 'refuse'}-{self.name}"

    @property
    def accepted_inside(self) -> bool:
        """An object around it is one level more: what is 64 deep alone is too deep there."""
        return self.accepted and not self.name.startswith("depth_64_")


@dataclass(frozen=True)
class SseCase:
    name: str
    given: bytes
    wanted: bytes


@dataclass(frozen=True)
class Transcript:
    """One recorded exchange: the request when it was kept, and every byte of the answer."""

    name: str
    answer: bytes
    request: bytes | None

    @cached_property
    def head(self) -> bytes:
        return self.answer.partition(b"\r\n\r\n")[0]

    @property
    def status(self) -> int:
        return int(self.answer[9:12])

    @property
    def path(self) -> str | None:
        return None if self.request is None else self.request.split(b"\n", 1)[0].split()[1].decode()

    @property
    def body(self) -> bytes | None:
        return None if self.request is None else self.request.partition(b"\n")[2]

    @property
    def is_stream(self) -> bool:
        return b"text/event-stream" in self.head.lower()


def json_texts() -> list[JsonText]:
    rows = (line.split("\t") for line in (HERE / "json.tsv").read_text("ascii").split("\n")[:-1])
    return [JsonText(row[0] == "accept", row[1], bytes.fromhex(row[2])) for row in rows]


def sse_cases() -> list[SseCase]:
    rows = (line.split("\t") for line in (HERE / "sse.tsv").read_text("ascii").split("\n")[:-1])
    return [SseCase(row[0], bytes.fromhex(row[1]), bytes.fromhex(row[2])) for row in rows]


def transcripts() -> list[Transcript]:
    found = []
    for path in sorted((HERE / "transcripts").glob("*/*.http")):
        request = path.with_suffix(".req")
        sent = request.read_bytes() if request.exists() else None
        found.append(Transcript(f"{path.parent.name}/{path.stem}", path.read_bytes(), sent))
    return found
