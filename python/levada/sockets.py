"""The listening sockets: bound once, by the parent, and inherited by every worker.

Law: what a connection must inherit from its listener is set here.
"""

from __future__ import annotations

import socket
from pathlib import Path

BACKLOG = 4096
# What the kernel holds for a reader that stops reading.
SEND_BUFFER_BYTES = 64 * 1024


def bind(host: str, port: int, write_seconds: float) -> socket.socket:
    """A listening TCP socket whose connections inherit small buffers and a write deadline."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        # Without it the first event of a stream waits 40 ms for an acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        milliseconds = int(write_seconds * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.set_inheritable(True)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from None
    return listener


def bind_local(folder: Path) -> socket.socket:
    """The private socket between the doors, in a folder that only this user can enter."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path = folder / "app.sock"
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(BACKLOG)
    listener.set_inheritable(True)
    return listener


def address(listener: socket.socket, scheme: str = "http") -> str:
    """The URL of a listener; of one on every interface, the one that works on this machine."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
