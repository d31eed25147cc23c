"""schemathesis on Levada's own OpenAPI document: hundreds of right and wrong requests, none of
which may end in a fault of the server or in an answer that the document does not have.
"""

import json
from pathlib import Path
from typing import Any

from rawhttp import call

from conformance.echo import echo
from conformance.environments import python
from conformance.suite import KEY, Address, Command, NotYetError, Suite, Verdicts, ask, junit

DOCUMENT = "/openapi.json"
NO_FAULT = "not_a_server_error"
AS_DOCUMENTED = f"{NO_FAULT},response_schema_conformance,content_type_conformance"


def judge(at: Address, folder: Path) -> Verdicts:
    answer = call(at.base, "GET", DOCUMENT, {"authorization": f"Bearer {KEY}"})
    if answer.status == 404:
        raise NotYetError(f"GET {DOCUMENT} is 404")
    return attack(answer.json, AS_DOCUMENTED, at, folder)


def attack(document: dict[str, Any], checks: str, at: Address, folder: Path) -> Verdicts:
    """What becomes of the requests that are made from an OpenAPI document: a test per operation."""
    document.pop("servers", None)
    name_model(document, at.model)
    written = folder / "openapi.json"
    written.write_text(json.dumps(document))
    report = folder / "report.xml"
    command: Command = [python("judges").with_name("schemathesis"), "run", written]
    command += ["--url", at.base, "--header", f"Authorization: Bearer {KEY}"]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", "15", "--seed", "1"]
    command += ["--checks", checks, "--continue-on-failure", "--no-color"]
    ask([*command, "--report", "junit", "--report-junit-path", report], folder)
    return junit(report)


def name_model(part: Any, model: str) -> None:
    """Lets every member `model` be the one that is there: with any other, no request would come
    further than to the 404.
    """
    if isinstance(part, dict):
        members = part.get("properties")
        if isinstance(members, dict) and "model" in members:
            members["model"] = {"type": "string", "enum": [model]}
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            name_model(one, model)


LEAST = 5  # operations: chat, completions, embeddings, models, one model
SUITE = Suite("schemathesis 4.32.5", LEAST, echo, judge, own=True)
