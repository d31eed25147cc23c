"""An issuer of tokens: keys of every kind, what they sign, and a server that publishes them."""

import json
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

NAME = "https://id.test"


def encoded(value: bytes | dict[str, Any]) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value: int, size: int) -> str:
    return encoded(value.to_bytes(size, "big"))


class Signer:
    """A private key, its public JWK, and what it signs."""

    def __init__(self, algorithm: str, kid: str) -> None:
        self.algorithm, self.kid = algorithm, kid
        self.key: Any
        self.jwk: dict[str, Any]
        if algorithm == "RS256":
            self.key = rsa.generate_private_key(65537, 2048)
            n = self.key.public_key().public_numbers().n
            self.jwk = {"kty": "RSA", "n": number(n, 256), "e": "AQAB"}
        elif algorithm == "ES256":
            self.key = ec.generate_private_key(ec.SECP256R1())
            point = self.key.public_key().public_numbers()
            x, y = number(point.x, 32), number(point.y, 32)
            self.jwk = {"kty": "EC", "crv": "P-256", "x": x, "y": y}
        else:
            self.key = ed25519.Ed25519PrivateKey.generate()
            x = encoded(self.key.public_key().public_bytes_raw())
            self.jwk = {"kty": "OKP", "crv": "Ed25519", "x": x}
        self.jwk |= {"kid": kid, "use": "sig", "alg": algorithm}

    def sign(self, text: bytes) -> bytes:
        if self.algorithm == "RS256":
            made: bytes = self.key.sign(text, padding.PKCS1v15(), hashes.SHA256())
        elif self.algorithm == "ES256":
            r, s = decode_dss_signature(self.key.sign(text, ec.ECDSA(hashes.SHA256())))
            made = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        else:
            made = self.key.sign(text)
        return made

    def token(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token in order for a minute; a claim that is None is left out."""
        head = {"alg": self.algorithm, "typ": "JWT", "kid": self.kid, **(header or {})}
        usual = {"iss": NAME, "aud": "levada", "sub": "alice", "exp": time.time() + 60}
        said = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        text = f"{encoded(head)}.{encoded(said)}"
        return f"{text}.{encoded(self.sign(text.encode()))}"


class Issuer:
    """What is published, at `url`, and how often it was asked for."""

    def __init__(self, *signers: Signer) -> None:
        self.signers = list(signers)
        self.asked = 0
        self.url = ""

    def entry(self, **more: Any) -> dict[str, Any]:
        """The entry of `auth.jwt` for it."""
        return {"issuer": NAME, "audience": "levada", "jwks": self.url, **more}

    @contextmanager
    def serving(self) -> Iterator["Issuer"]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                body = json.dumps({"keys": [one.jwk for one in issuer.signers]}).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.url = f"http://127.0.0.1:{server.server_address[1]}/keys"
            thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            yield self
            server.shutdown()
            thread.join(5)
