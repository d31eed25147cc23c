"""A real Chromium, driven over its own debugging pipe. The only file of the tests that starts it.

One process, one page at a time: `Chromium.open` gives a Page in a window of a given size.
"""

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 30.0
# A browser without a display, without anything of its own to say to a network.
SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def found() -> str | None:
    """The program, if it is installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def _high(descriptor: int) -> int:
    """The same descriptor above those that a new process is given by number."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10)
    os.close(descriptor)
    return moved


class Chromium:
    """One browser. It is told at its descriptor 3 and answers at 4, a zero byte after each."""

    def __init__(self, program: str, folder: Path) -> None:
        theirs, self.told = map(_high, os.pipe())
        self.said, other = map(_high, os.pipe())
        switches = [*SWITCHES, f"--user-data-dir={folder / 'profile'}", "about:blank"]
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{theirs} 4>&{other}', "bash", program, *switches],
            pass_fds=(theirs, other),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(other)
        self.numbers = itertools.count(1)
        self.left = b""
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.told)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        os.close(self.said)

    def open(self, url: str, width: int, height: int, *, dark: bool = False) -> "Page":
        """A page at `url`, once it is loaded; a phone's where it is narrow."""
        target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        session = self.tell("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, target, session)
        phone = width < 600
        scale = 2 if phone else 1
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone}
        page.tell("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.tell("Emulation.setEmulatedMedia", features=[scheme])
        page.tell("Page.enable")
        page.tell("Log.enable")
        self.events.clear()
        page.tell("Page.navigate", url=url)
        self.await_event("Page.loadEventFired", session)
        return page

    def tell(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """One command, and its result."""
        number = next(self.numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.told, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + SECONDS
        while True:
            answer = self.read(until)
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer)
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def await_event(self, name: str, session: str) -> None:
        until = time.monotonic() + SECONDS
        while not any((e["method"], e.get("sessionId")) == (name, session) for e in self.events):
            self.events.append(self.read(until))

    def read(self, until: float) -> dict[str, Any]:
        while b"\0" not in self.left:
            left = until - time.monotonic()
            ready, _, _ = select.select([self.said], [], [], max(left, 0))
            piece = os.read(self.said, 1 << 16) if ready else b""
            assert piece, f"the browser does not answer; it ended with {self.process.poll()}"
            self.left += piece
        first, _, self.left = self.left.partition(b"\0")
        message: dict[str, Any] = json.loads(first)
        return message


@dataclass
class Page:
    """One page in the browser."""

    browser: Chromium
    target: str
    session: str

    def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self.browser.tell(method, self.session, **parameters)

    def value(self, script: str) -> Any:
        """What an expression of JavaScript comes to, in the page."""
        said = self.tell("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def complaints(self) -> list[str]:
        """What the browser logged about the page: what it could not load, or refused to."""
        return [
            event["params"]["entry"]["text"]
            for event in self.browser.events
            if event["method"] == "Log.entryAdded" and event.get("sessionId") == self.session
        ]

    def keep(self, file: Path) -> bytes:
        """A picture of what the window shows, kept in `file`."""
        picture = base64.b64decode(self.tell("Page.captureScreenshot", format="png")["data"])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture)
        return picture

    def close(self) -> None:
        self.browser.tell("Target.closeTarget", targetId=self.target)
