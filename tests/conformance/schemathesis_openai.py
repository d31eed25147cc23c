"""schemathesis on OpenAI's own document, cut to what every backend of Levada serves.

Only faults of the server count: the document does not know streams of /v1/completions, nor
embeddings in base64, so what it says of answers is no law.
"""

import json
from pathlib import Path

from conformance.echo import echo
from conformance.openai_python import document
from conformance.schemathesis import NO_FAULT, attack
from conformance.suite import Address, Suite, Verdicts

OPERATIONS = {
    "/v1/chat/completions": "post",
    "/v1/completions": "post",
    "/v1/embeddings": "post",
    "/v1/models": "get",
    "/v1/models/{model}": "get",
}


def judge(at: Address, folder: Path) -> Verdicts:
    openapi = json.loads(document().read_text())
    paths = openapi["paths"]
    openapi["paths"] = {path: {verb: paths[path][verb]} for path, verb in OPERATIONS.items()}
    return attack(openapi, NO_FAULT, at, folder)


LEAST = len(OPERATIONS)  # every operation
SUITE = Suite("schemathesis-openai 4.32.5", LEAST, echo, judge, own=True)
