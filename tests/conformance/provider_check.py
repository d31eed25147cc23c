"""trustedrouter-provider-check: streams as they fail behind gateways. Tiers 1 to 5; the sixth is
about speed.

With nothing listening it says PASS, so the least number of passed checks is what counts.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine import Engine, write_tiny_model

from conformance.echo import echo
from conformance.environments import python
from conformance.suite import KEY, Address, Backend, Command, Suite, Verdicts, ask, verdicts


def judge(at: Address, folder: Path) -> Verdicts:
    program = python("judges").with_name("trustedrouter-provider-check")
    report = folder / "report.json"
    command: Command = [
        program,
        "--base-url",
        f"{at.base}/v1",
        "--api-key",
        KEY,
        "--model",
        at.model,
    ]
    ask([*command, "--tier", "5", "--max-sweep-models", "3", "--json", report], folder)
    checks = [one for one in json.loads(report.read_text())["checks"] if one["status"] != "skip"]
    return verdicts(
        {
            one["id"]: None if one["status"] == "pass" else json.dumps(one["measured"])
            for one in checks
        }
    )


@contextmanager
def engine() -> Iterator[Backend]:
    """A real llama.cpp, whose model says anything: what it sends is the point, not what it says."""
    with tempfile.TemporaryDirectory() as folder:
        model = write_tiny_model(Path(folder) / "tiny.gguf")
        with Engine(model) as running:
            yield Backend(Address(running.url, running.alias))


LEAST = 21  # of 22: one wants the address of a catalogue
SUITE = Suite("trustedrouter-provider-check 0.1.8", LEAST, echo, judge)

LEAST_ON_ENGINE = 16  # of 22: a random model answers no question and calls no tool
ON_ENGINE = Suite("provider-check-on-llama.cpp 0.1.8", LEAST_ON_ENGINE, engine, judge)
