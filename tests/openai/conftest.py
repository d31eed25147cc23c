"""The openai SDK as a client: pointed at Levada in front of the scripted backend, and of the real
engine.
"""

from collections.abc import Iterator

import openai
import pytest
from engine import Engine
from served import DOORS, Levada, Start
from upstream import ScriptedBackend


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedBackend]:
    with ScriptedBackend(models=["m"]) as one:
        yield one


@pytest.fixture(scope="module", params=DOORS)
def running(
    levada_for_module: Start,
    scripted: ScriptedBackend,
    llamacpp: Engine,
    request: pytest.FixtureRequest,
) -> Levada:
    """One Levada with both backends: model `m` is scripted, `tiny` is real. Responses are made of
    chats at both.
    """
    chats = {"lacks": ["responses"]}
    config = {
        "backends": [
            {"name": "scripted", "url": scripted.url, "models": ["m"], **chats},
            {"name": "real", "url": llamacpp.url, "models": ["tiny"], **chats},
        ],
        "breaker": {"failures": 1000},
        "retry": {"ratio": 0, "per_second": 0},
    }
    return levada_for_module(door=request.param, config=config)


@pytest.fixture
def client(running: Levada, scripted: ScriptedBackend) -> Iterator[openai.OpenAI]:
    scripted.forget()
    with openai.OpenAI(
        base_url=f"{running.base}/v1", api_key=running.key, max_retries=0, timeout=20
    ) as one:
        yield one


@pytest.fixture
def client_options(running: Levada, scripted: ScriptedBackend) -> dict[str, object]:
    """For tests that make a client of their own."""
    scripted.forget()
    base_url = f"{running.base}/v1"
    return {"base_url": base_url, "api_key": running.key, "max_retries": 0, "timeout": 20}
