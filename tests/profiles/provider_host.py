"""A Levada under one profile, as the tests of the contract ask it."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rawhttp import Answer, Wire, request
from served import Levada
from upstream import ScriptedBackend
from upstream.steps import Step

CHAT = "/v1/chat/completions"


@dataclass
class Host:
    """A Levada under one profile, and the backend behind it; `script` is for the next call."""

    levada: Levada
    backend: ScriptedBackend
    script: tuple[Step, ...] = ()

    def ask(
        self,
        path: str,
        body: Any = None,
        method: str = "POST",
        key: str | None = None,
        at: str = "levada.test",
        **headers: str,
    ) -> tuple[Answer, list[Any]]:
        """The answer, and the bodies that the backend was sent for it."""
        self.backend.forget()
        if self.script:
            self.backend.script(*self.script)
            self.script = ()
        sent = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        lines = {name.replace("_", "-"): value for name, value in headers.items()}
        if sent:
            lines.setdefault("content-type", "application/json")
        token = self.levada.key if key is None else key
        if token:
            lines["authorization"] = f"Bearer {token}"
        with Wire(self.levada.base, timeout=10) as wire:
            # A body that is too large is refused before all of it has been sent.
            with suppress(BrokenPipeError):
                wire.send(request(method, path, at, lines, sent))
            answer = wire.read_answer()
        assert answer is not None
        bodies = [call.body for call in self.backend.calls]
        return answer, [json.loads(one) if one[:1] == b"{" else one for one in bodies]

    def chat(self, **fields: Any) -> tuple[Answer, list[dict[str, Any]]]:
        """A chat request of one message, with these fields besides."""
        message = {"role": "user", "content": "hello"}
        return self.ask(CHAT, {"model": "m", "messages": [message], **fields})


Hosts = Callable[..., Host]


def error(answer: Answer) -> dict[str, Any]:
    """The error that an answer is."""
    found: dict[str, Any] = json.loads(answer.body)["error"]
    return found
