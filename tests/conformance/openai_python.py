"""openai-python's own tests on Steady, a mock that refuses what OpenAI's document does not allow.

They show that every documented parameter and every shape of answer of the SDK survives.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rawhttp import call
from upstream import free_port

from conformance.environments import CACHE, node_modules, openai_sources, python
from conformance.suite import Address, Backend, Command, Suite, Verdicts, ask, junit, started

TESTS = (
    "chat",
    "test_completions.py",
    "test_embeddings.py",
    "test_models.py",
    "test_responses.py",
    "responses",
    "audio",
    "test_images.py",
    "test_moderations.py",
)
# What the tests have built in; Levada serves no model that it has not heard of.
MODELS = (
    "ft:gpt-4o-mini:acemeco:suffix:abc123",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-4o-transcribe",
    "model",
    "string",
    "text-embedding-3-small",
    "whisper-1",
)
FORMATS = [
    f"--validator-{place}-{kind}-format=brackets"
    for place in ("query", "form")
    for kind in ("array", "object")
]
START_SECONDS = 20.0


@contextmanager
def steady() -> Iterator[Backend]:
    """Steady on OpenAI's document, which llm-comply brings along."""
    base = f"http://127.0.0.1:{(port := free_port())}"
    command: Command = [node_modules() / ".bin" / "steady", "--quiet", "--host", "127.0.0.1"]
    with started([*command, "--port", str(port), *FORMATS, document()]):
        wait_for(base)
        backend = {"name": "steady", "url": base, "models": MODELS}
        models: list[dict[str, Any]] = [{"name": name} for name in MODELS]
        # The SDK's tests name no model where OpenAI's document lets it be left out.
        models[0]["default_for"] = ["images.generations", "images.edits", "moderations"]
        yield Backend(Address(base, "gpt-4o"), {"backends": [backend], "models": models})


def document() -> Path:
    """OpenAI's document with the paths as they are called, /v1 included."""
    (source,) = (
        python("judges").parents[1].glob("lib/*/site-packages/llm_comply/specs/openai_chat.json")
    )
    openapi = json.loads(source.read_text())
    openapi["paths"] = {f"/v1{path}": item for path, item in openapi["paths"].items()}
    written = CACHE / "openai.json"
    written.write_text(json.dumps(openapi))
    return written


def wait_for(base: str) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            call(base, "GET", "/v1/models")
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def judge(at: Address, folder: Path) -> Verdicts:
    sources = openai_sources()
    report = folder / "report.xml"
    command: Command = [python("openai"), "-m", "pytest", "-q", "--rootdir", sources]
    # Theirs would spread the tests over all cores, and what failed needs no log here.
    command += ["-c", sources / "pyproject.toml", "-o", "addopts=", "-o", "cache_dir=none"]
    command += ["--tb=line", "--show-capture=no", f"--junitxml={report}"]
    command += [sources / "tests" / "api_resources" / name for name in TESTS]
    ask(command, folder, {"TEST_API_BASE_URL": f"{at.base}/v1"})
    return junit(report)


LEAST = 519  # of 622: Steady refuses or cannot answer the rest, which are newer than its document
SUITE = Suite("openai-python 1.109.1", LEAST, steady, judge)
