"""The edge's two listeners and its other protocols: what is for operators stays off the public
port.
"""

import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificate import write_certificate
from rawhttp import Wire, call, request
from served import DOORS, Levada, Start
from upstream import ScriptedBackend

CHAT = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def shared() -> Iterator[ScriptedBackend]:
    with ScriptedBackend() as one:
        yield one


@pytest.fixture(scope="module", params=DOORS)
def running(
    levada_for_module: Start, shared: ScriptedBackend, request: pytest.FixtureRequest
) -> Levada:
    return levada_for_module(shared.url, door=request.param)


def test_metrics_are_for_the_admin_listener(running: Levada) -> None:
    assert running.chat(CHAT).status == 200
    answer = call(running.admin, "GET", "/metrics")
    assert answer.status == 200
    assert answer.body.endswith(b"# EOF\n")
    assert b"levada_" in answer.body
    assert running.get("/metrics").status == 404


@pytest.mark.parametrize("path", ["/admin", "/admin/status", "/admin/reload", "/admin/../admin"])
def test_admin_paths_do_not_exist_on_the_public_port(running: Levada, path: str) -> None:
    for headers in ({}, {"x-levada-door": "x"}, {"X-Levada-Door": running.key}):
        assert running.get(path, **headers).status == 404


def test_the_admin_api_wants_its_token(running: Levada) -> None:
    for headers in ({}, running.auth, {"x-levada-door": "guess"}):
        assert call(running.admin, "GET", "/admin/status", headers).status == 401


def test_two_requests_on_one_connection(running: Levada) -> None:
    with Wire(running.base) as wire:
        for _ in range(5):
            wire.send(request("POST", "/v1/chat/completions", "a", running.auth | JSON, CHAT))
            answer = wire.read_answer()
            assert answer is not None and answer.status == 200
            wire.send(request("GET", "/zebra", "a", running.auth))
            answer = wire.read_answer()
            assert answer is not None and answer.status == 404


def test_http_1_0_is_answered_and_closed(running: Levada) -> None:
    with Wire(running.base) as wire:
        wire.send(b"GET /livez HTTP/1.0\r\nhost: a\r\n\r\n")
        answer = wire.read_answer()
        assert answer is not None and answer.status == 200
        assert wire.read() == b""


def test_expect_100_continue(running: Levada) -> None:
    headers = running.auth | JSON | {"expect": "100-continue", "content-length": str(len(CHAT))}
    with Wire(running.base) as wire:
        wire.send(request("POST", "/v1/chat/completions", "a", headers))
        interim = wire.read_head()
        assert interim is not None and interim.status == 100
        answer = wire.send(CHAT).read_answer()
        assert answer is not None and answer.status == 200


# --- HTTP/2, by hand: enough for one request ---

SETTINGS, HEADERS, DATA = 4, 1, 0
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def field(name: str, value: str) -> bytes:
    """One header, literally, without tables and without Huffman's code."""
    out = b"\0"
    for text in (name.encode(), value.encode()):
        size = len(text)
        out += bytes([size]) if size < 127 else bytes([127, size - 127])
        out += text
    return out


def read_exactly(wire: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = wire.recv(size - len(data))
        assert piece, "the connection ended"
        data += piece
    return data


def over_http_2(wire: socket.socket, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    """The first byte of the answer's header block (0x88 is `:status: 200`), and the body."""
    block = b"".join(field(name, value) for name, value in headers.items())
    flags = END_HEADERS | (0 if body else END_STREAM)
    wire.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, b""))
    wire.sendall(frame(HEADERS, flags, 1, block))
    if body:
        wire.sendall(frame(DATA, END_STREAM, 1, body))
    first, data, over = 0, b"", False
    while not over:
        head = read_exactly(wire, 9)
        payload = read_exactly(wire, int.from_bytes(head[:3], "big"))
        kind, flags = head[3], head[4]
        if kind == SETTINGS and not flags & ACK:
            wire.sendall(frame(SETTINGS, ACK, 0, b""))
        if kind == HEADERS:
            first = next(byte for byte in payload if byte & 0xE0 != 0x20)
        data += payload if kind == DATA else b""
        over = kind in (HEADERS, DATA) and bool(flags & END_STREAM)
    return first, data


def pseudo(method: str, path: str, scheme: str = "http") -> dict[str, str]:
    return {":method": method, ":scheme": scheme, ":path": path, ":authority": "levada.test"}


@pytest.mark.parametrize("stream", [False, True])
def test_http_2_without_tls(levada: Start, backend: ScriptedBackend, stream: bool) -> None:
    running = levada(backend.url)
    host, port = running.base.removeprefix("http://").split(":")
    body = CHAT[:-1] + b',"stream":true}' if stream else CHAT
    headers = pseudo("POST", "/v1/chat/completions") | running.auth | JSON
    with socket.create_connection((host, int(port)), 10) as wire:
        status, answer = over_http_2(wire, headers, body)
    assert status == 0x88
    assert answer.endswith(b"data: [DONE]\n\n" if stream else b"}")


def test_http_2_reaches_the_app_too(levada: Start, backend: ScriptedBackend) -> None:
    running = levada(backend.url)
    host, port = running.base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as wire:
        _, answer = over_http_2(wire, pseudo("GET", "/zebra") | running.auth, b"")
    assert b"Invalid URL (GET /zebra)" in answer


def shown_certificate(address: str) -> bytes:
    host, port = address.removeprefix("https://").split(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((host, int(port)), 5) as plain,
        context.wrap_socket(plain) as wire,
    ):
        wire.sendall(b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert wire.recv(12) == b"HTTP/1.1 200"
        shown = wire.getpeercert(binary_form=True)
    assert shown is not None
    return shown


@pytest.mark.timeout(60)
def test_tls_and_a_renewed_certificate(
    levada: Start, backend: ScriptedBackend, tmp_path: Path
) -> None:
    write_certificate(tmp_path, "one")
    files = {
        "certificate": str(tmp_path / "certificate.pem"),
        "key": str(tmp_path / "key.pem"),
    }
    config = {"listen": {"port": 0, "admin_port": 0, "tls": files}}
    running = levada(backend.url, config=config)
    assert running.base.startswith("https://")
    first = shown_certificate(running.base)
    trusting = ssl.create_default_context(cafile=files["certificate"])
    host, port = running.base.removeprefix("https://").split(":")
    with socket.create_connection((host, int(port)), 5) as plain:
        trusting.wrap_socket(plain, server_hostname="127.0.0.1").close()
    write_certificate(tmp_path, "two")
    running.command("reload")
    until = time.monotonic() + 5
    while shown_certificate(running.base) == first:
        assert time.monotonic() < until, running.logs
        time.sleep(0.1)


@pytest.mark.timeout(60)
def test_a_backend_over_tls_is_verified(levada: Start, tmp_path: Path) -> None:
    """With the right authority it answers; without it, nothing is sent to it."""
    write_certificate(tmp_path, "backend")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    with ScriptedBackend(tls=context) as backend:
        url = backend.url
        trusted = {
            "name": "one",
            "url": url,
            "models": ["m"],
            "ca": str(tmp_path / "certificate.pem"),
        }
        assert levada(config={"backends": [trusted]}).chat(CHAT).status == 200
        assert len(backend.calls) == 1
        stranger = {"name": "one", "url": url, "models": ["m"]}
        assert levada(config={"backends": [stranger]}).chat(CHAT).status in (502, 503)
        assert len(backend.calls) == 1
        careless = {**stranger, "verify": False}
        assert levada(config={"backends": [careless]}).chat(CHAT).status == 200
