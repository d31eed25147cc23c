"""The `llm` command as a client: what people type in a terminal."""

from pathlib import Path

from conformance.echo import echo
from conformance.environments import python
from conformance.suite import KEY, Address, Command, Suite, Verdicts, ask, verdicts

TOOL = "def grows_on_field(number: int) -> str:\n    return f'maize grows on field {number}'\n"
PROMPT = "The water runs down to field 7."
CASES = {
    "stream": ([], PROMPT),
    "whole": (["--no-stream"], PROMPT),
    "schema": (["--schema", "crop, field int"], f'{{"crop":"{PROMPT}","field":7}}'),
    "tool": (["--functions", TOOL], "maize grows on field 7"),
    "whole-tool": (["--no-stream", "--functions", TOOL], "maize grows on field 7"),
}
"""What is typed besides the prompt, and what must be read then."""


def judge(at: Address, folder: Path) -> Verdicts:
    (folder / "extra-openai-models.yaml").write_text(
        f"- model_id: judged\n  model_name: {at.model}\n  api_base: {at.base}/v1\n"
        "  api_key_name: judged\n  supports_schema: true\n  supports_tools: true\n"
    )
    program = python("judges").with_name("llm")
    said: dict[str, str | None] = {}
    for name, (flags, wanted) in CASES.items():
        command: Command = [program, "--model", "judged", "--key", KEY, *flags, PROMPT]
        done = ask(command, folder, {"LLM_USER_PATH": str(folder)})
        right = done.returncode == 0 and wanted in done.stdout
        said[name] = None if right else f"{done.stdout}{done.stderr}".strip()
    return verdicts(said)


LEAST = len(CASES)  # every case
SUITE = Suite("llm 0.36", LEAST, echo, judge)
