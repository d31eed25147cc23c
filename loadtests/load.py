"""Locust against the demo, headless: a real model, Levada, and a few users.

    python -m loadtests.load [--users 4] [--seconds 20] [more options for locust]

Starts `levada demo`, takes address and key from what it prints, and ends it afterwards. The exit
status is locust's: 1 if a request failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from loadtests.bench.process import Process, StartError

LOCUSTFILE = Path(__file__).parent / "locustfile.py"
READY_SECONDS = 120.0
MARGIN_SECONDS = 60.0


def run(users: int, seconds: int, more: Sequence[str]) -> int:
    """Starts the demo and lets the users in; locust's exit status."""
    with tempfile.TemporaryDirectory(prefix="levada-load-") as folder:
        with Process([sys.executable, "-m", "levada", "demo"], None, Path(folder)) as demo:
            base = demo.until(lambda: demo.line("base URL:"), READY_SECONDS)
            key = demo.until(lambda: demo.line("key:"), READY_SECONDS)
            command = [sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE)]
            command += ["--host", base.removesuffix("/v1"), "--headless", "--only-summary"]
            command += ["--users", str(users), "--spawn-rate", str(users)]
            command += ["--run-time", f"{seconds}s", "--stop-timeout", "30", *more]
            return subprocess.run(
                command,
                env=dict(os.environ) | {"LEVADA_KEY": key},
                timeout=seconds + MARGIN_SECONDS,
                check=False,
            ).returncode


def main(words: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=4)
    parser.add_argument("--seconds", type=int, default=20)
    options, more = parser.parse_known_args(words)
    try:
        return run(options.users, options.seconds, more)
    except (StartError, subprocess.TimeoutExpired) as error:
        print(f"load: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
