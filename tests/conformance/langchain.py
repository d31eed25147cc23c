"""LangChain's standard tests for what calls itself a chat model or embeddings: a broad look."""

from pathlib import Path

from conformance.echo import echo
from conformance.environments import python
from conformance.suite import KEY, Address, Command, Suite, Verdicts, ask, junit

CASES = Path(__file__).with_name("langchain_cases.py")


def judge(at: Address, folder: Path) -> Verdicts:
    cases = folder / CASES.name  # away from this folder's own conftest
    cases.write_bytes(CASES.read_bytes())
    report = folder / "report.xml"
    command: Command = [python("judges"), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["--rootdir", folder, "-c", "/dev/null", f"--junitxml={report}", "--tb=line"]
    # Without these some asynchronous tests fail wherever they run.
    command += ["--asyncio-mode=auto", "-o", "asyncio_default_test_loop_scope=session"]
    command += ["-o", "asyncio_default_fixture_loop_scope=session"]
    # This one downloads a picture.
    command += ["--deselect", f"{CASES.name}::TestChat::test_image_inputs", cases]
    ask(command, folder, {"BASE_URL": f"{at.base}/v1", "API_KEY": KEY, "MODEL": at.model})
    return junit(report)


LEAST = 44  # of 54: the rest is skipped for what no text model does
SUITE = Suite("langchain-tests 1.1.9", LEAST, echo, judge)
