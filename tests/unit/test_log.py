"""One line per event, for people or as JSON."""

import json
import sys
from collections.abc import Iterator

import pytest
import structlog

from levada import log


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_json_is_one_object_per_line_also_with_a_trace(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    logger = structlog.get_logger()
    logger.debug("unsaid")
    try:
        raise ValueError("bad")
    except ValueError:
        logger.error("failed", task="ä", exc_info=True)
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    entry = json.loads(line)
    assert said.out == ""
    assert (entry["event"], entry["level"], entry["task"]) == ("failed", "error", "ä")
    assert "ValueError: bad" in entry["exception"]
    assert "T" in entry["timestamp"]


def test_text_is_plain_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("warning", "text")
    structlog.get_logger().info("unsaid")
    structlog.get_logger().warning("backend", name="gpu-1", up=False)
    line = capsys.readouterr().err
    assert "backend" in line
    assert "name=gpu-1" in line
    assert "\x1b" not in line
    assert "unsaid" not in line
    assert not sys.stderr.isatty()
