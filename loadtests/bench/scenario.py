"""Scenarios as data: reads `scenarios/*.toml`, writes the request, names the load's arguments."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "scenarios"
PATHS = {"chat": "/v1/chat/completions", "embeddings": "/v1/embeddings"}
FILL = "lorem ipsum dolor sit amet, "


@dataclass(frozen=True)
class Gate:
    """One figure of one target that must not be exceeded; `beside`: its CPU, to that target's."""

    target: str
    figure: str
    at_most: float
    beside: str = ""


@dataclass(frozen=True)
class Scenario:
    """One way to load a gateway, and what is promised for it."""

    letter: str
    title: str
    watches: str
    unit: str = "request"
    endpoint: str = "chat"
    marker: str = ""
    padding: int = 0
    stream: bool = False
    fresh: bool = False
    rounds: int | None = None
    load: dict[str, Any] = field(default_factory=dict)
    gates: tuple[Gate, ...] = ()

    def body(self, model: str) -> bytes:
        """The request that is sent over and over."""
        text = f"@@mock {self.marker}@@ " + (FILL * (self.padding // len(FILL) + 1))[: self.padding]
        request: dict[str, Any] = {"model": model}
        if self.endpoint == "embeddings":
            request |= {"input": text, "encoding_format": "float"}
        else:
            system = {"role": "system", "content": "You are a helpful assistant."}
            request["messages"] = [system, {"role": "user", "content": text}]
        if self.stream:
            request["stream"] = True
        return json.dumps(request).encode()

    def arguments(self, seconds: float | None = None) -> list[str]:
        """The command line of the load generator, but for address and body."""
        load = self.load if seconds is None else self.load | {"seconds": seconds}
        words = ["--path", PATHS[self.endpoint]]
        if self.stream:
            words.append("--stream")
        for name, value in load.items():
            words += [f"--{name}", str(value)]
        return words


def read(path: Path) -> Scenario:
    """One scenario from its file."""
    data = tomllib.loads(path.read_text())
    gates = tuple(Gate(**gate) for gate in data.pop("gate", []))
    return Scenario(**data, gates=gates)


def read_all(folder: Path = FOLDER) -> dict[str, Scenario]:
    """All scenarios by their letter."""
    scenarios = (read(path) for path in sorted(folder.glob("*.toml")))
    return {scenario.letter: scenario for scenario in scenarios}
