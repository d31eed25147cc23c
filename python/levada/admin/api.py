"""The admin API: reload the configuration, see the state.

Law: JSON in the shape that the rest of the gateway speaks; what is not for this caller does not
exist for it, and is answered like any other unknown path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from levada.admin.auth import Guard
from levada.asgi import Handler, Receive, Scope, Send, send_json
from levada.control.refresh import RejectedError

if TYPE_CHECKING:
    from levada.control.discovery import Discovery
    from levada.control.refresh import Keys, Running


@dataclass(frozen=True, slots=True)
class Api:
    """The handlers of /admin/...; `otherwise` answers who did not come by the admin listener."""

    guard: Guard
    running: Running
    discovery: Discovery
    keys: Keys
    otherwise: Handler

    async def reload(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /admin/reload: the new version, or every problem of the configuration."""
        if not await self.admitted("POST", scope, receive, send):
            return
        try:
            version = self.running.reload()
        except RejectedError as rejected:
            await refuse(send, 422, "invalid_configuration", rejected.problems)
            return
        await self.discovery.first()
        await send_json(send, 200, {"version": version})

    async def status(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET /admin/status: version, backends, models, number of keys."""
        if not await self.admitted("GET", scope, receive, send):
            return
        seen = self.discovery.states()
        backends = []
        for backend in self.running.config.backends:
            health = seen.get(backend.name)
            up, detail = (health.up, health.detail) if health else (None, "not asked yet")
            state = {"name": backend.name, "url": backend.url, "up": up, "detail": detail}
            backends.append(state)
        value = {
            "version": self.running.version,
            "backends": backends,
            "models": self.running.models(),
            "keys": self.keys.count,
        }
        await send_json(send, 200, value)

    async def admitted(self, method: str, scope: Scope, receive: Receive, send: Send) -> bool:
        """Whether to go on; if not, the answer has been given."""
        headers = scope["headers"]
        if not self.guard.at_admin_door(headers):
            await self.otherwise(scope, receive, send)
        elif not self.guard.is_operator(headers):
            await refuse(send, 401, "invalid_admin_token", ["The admin token is absent or wrong."])
        elif scope["method"] != method:
            allow = ((b"allow", method.encode()),)
            await refuse(send, 405, "method_not_allowed", [f"Use {method}."], allow)
        else:
            return True
        return False


async def refuse(
    send: Send,
    status: int,
    code: str | None,
    problems: list[str],
    extra: tuple[tuple[bytes, bytes], ...] = (),
    param: str | None = None,
) -> None:
    """An error in the form of OpenAI's, with its sentences apart as well."""
    error = {
        "message": "\n".join(problems),
        "type": "invalid_request_error",
        "param": param,
        "code": code,
    }
    await send_json(send, status, {"error": error, "problems": problems}, extra)
