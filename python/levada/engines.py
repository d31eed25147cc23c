"""The inference servers that are known: how a list of models tells which it is, and what it lacks.

Law: pure; one row for each. What a list does not say stays unknown, and what the operator says
comes before all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from levada.config import Counts, Lack


@dataclass(frozen=True, slots=True)
class Engine:
    """One kind of server: what it calls the owner of its models, and a member that it alone has."""

    name: str
    owner: str
    member: str = ""
    lacks: tuple[Lack, ...] = ()
    counts: Counts = "final"


ENGINES = (
    # It takes `encoding_format: null` for a value, and refuses it.
    Engine("llama.cpp", "llamacpp", member="meta", lacks=("null",), counts="timings_per_token"),
    Engine("sglang", "sglang", counts="continuous_usage_stats"),
    # SGLang says `max_model_len` too, and its owner with it. vLLM passes over `guided_json`
    # and its siblings without a word.
    Engine(
        "vllm",
        "vllm",
        member="max_model_len",
        lacks=("guided",),
        counts="continuous_usage_stats",
    ),
)


@dataclass(frozen=True, slots=True)
class Learned:
    """What a backend says of one model."""

    vision: bool | None = None
    vocabulary: int | None = None


def lacks(name: str | None) -> tuple[Lack, ...]:
    """What the engine of this name lacks; nothing is known of others."""
    return next((engine.lacks for engine in ENGINES if engine.name == name), ())


def counts(name: str | None) -> Counts:
    """When the engine of this name tells counts; others are asked for the final ones."""
    return next((engine.counts for engine in ENGINES if engine.name == name), "final")


def recognised(entries: Sequence[Mapping[str, Any]]) -> str | None:
    """The engine whose models these are. A list of several servers' models is nobody's."""
    found = {_engine(entry) for entry in entries}
    return found.pop() if len(found) == 1 else None


def _engine(entry: Mapping[str, Any]) -> str | None:
    owner = entry.get("owned_by")
    named = [engine.name for engine in ENGINES if engine.owner == owner]
    marked = [engine.name for engine in ENGINES if engine.member in entry]
    return next(iter(named + marked), None)


def learned(entry: Mapping[str, Any], capabilities: object = None) -> Learned:
    """What an entry of the list says, and with it llama.cpp's second list."""
    return Learned(_vision(entry, capabilities), _vocabulary(entry))


def _vision(entry: Mapping[str, Any], capabilities: object) -> bool | None:
    architecture = entry.get("architecture")
    modalities = architecture.get("input_modalities") if isinstance(architecture, Mapping) else None
    if isinstance(modalities, list):
        return "image" in modalities
    # Builds that tell no modalities may leave out what they can do, too: only a yes counts.
    return True if isinstance(capabilities, list) and "multimodal" in capabilities else None


def _vocabulary(entry: Mapping[str, Any]) -> int | None:
    meta = entry.get("meta")
    size = meta.get("n_vocab") if isinstance(meta, Mapping) else None
    fits = isinstance(size, int) and not isinstance(size, bool) and 0 < size <= 2**32
    return size if fits else None
