"""The Vercel AI SDK as a client: the same calls as everywhere, in another language."""

import json
from pathlib import Path

from conformance.echo import echo
from conformance.environments import node_modules
from conformance.suite import KEY, Address, Suite, Verdicts, ask, verdicts

CASES = Path(__file__).with_name("ai_sdk.mjs")


def judge(at: Address, folder: Path) -> Verdicts:
    # Node looks for packages beside the file that names them.
    cases = node_modules().parent / CASES.name
    cases.write_bytes(CASES.read_bytes())
    told = {"BASE_URL": f"{at.base}/v1", "API_KEY": KEY, "MODEL": at.model}
    done = ask(["node", cases], folder, told)
    return verdicts(dict(json.loads(line) for line in done.stdout.splitlines()))


LEAST = 7  # all cases of ai_sdk.mjs
SUITE = Suite("ai 6.0.326", LEAST, echo, judge)
