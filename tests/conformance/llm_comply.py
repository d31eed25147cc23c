"""llm-comply: each answer and each chunk of a stream against OpenAI's JSON Schema.

It sees a required field that was dropped because it was null, which no SDK notices.
"""

import json
from pathlib import Path

from conformance.echo import echo
from conformance.environments import python
from conformance.suite import KEY, Address, Command, Suite, Verdicts, ask, verdicts


def judge(at: Address, folder: Path) -> Verdicts:
    program = python("judges").with_name("llm-comply")
    command: Command = [program, "--format", "openai-chat", "--json", "--model", at.model]
    done = ask([*command, "--base-url", f"{at.base}/v1", "--api-key", KEY], folder)
    results = [one for one in json.loads(done.stdout)["results"] if one["status"] != "skipped"]
    return verdicts(
        {
            one["id"]: None if one["status"] == "passed" else "; ".join(one.get("errors", []))
            for one in results
        }
    )


LEAST = 8  # of 9: the ninth wants a model that reasons
SUITE = Suite("llm-comply 0.5.0", LEAST, echo, judge)
