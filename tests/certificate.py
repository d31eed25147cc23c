"""A self-signed certificate for 127.0.0.1, made on the spot: P-256 and DER by hand, for tests."""

import base64
import hashlib
import secrets
from pathlib import Path

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
Point = tuple[int, int] | None


def add(one: Point, other: Point) -> Point:
    """The sum of two points of the curve; None is its zero."""
    if one is None or other is None:
        return one or other
    if one[0] == other[0]:
        if (one[1] + other[1]) % P == 0:
            return None
        slope = 3 * (one[0] ** 2 - 1) * pow(2 * one[1], -1, P)
    else:
        slope = (other[1] - one[1]) * pow(other[0] - one[0], -1, P)
    x = (slope * slope - one[0] - other[0]) % P
    return x, (slope * (one[0] - x) - one[1]) % P


def times(factor: int, point: Point) -> Point:
    total: Point = None
    while factor:
        if factor & 1:
            total = add(total, point)
        point, factor = add(point, point), factor >> 1
    return total


def der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + body


def number(value: int) -> bytes:
    return der(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def sequence(*parts: bytes) -> bytes:
    return der(0x30, *parts)


EC_KEY = der(6, bytes.fromhex("2a8648ce3d0201"))
CURVE = der(6, bytes.fromhex("2a8648ce3d030107"))
SIGNED_WITH = sequence(der(6, bytes.fromhex("2a8648ce3d040302")))
COMMON_NAME = der(6, bytes.fromhex("550403"))
OTHER_NAMES = der(6, bytes.fromhex("551d11"))


def pem(kind: str, data: bytes) -> str:
    text = base64.encodebytes(data).decode()
    return f"-----BEGIN {kind}-----\n{text}-----END {kind}-----\n"


def signature(secret: int, message: bytes) -> bytes:
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    once = secrets.randbelow(N - 1) + 1
    point = times(once, G)
    assert point is not None
    r = point[0] % N
    return sequence(number(r), number(pow(once, -1, N) * (digest + r * secret) % N))


def certificate(name: str) -> tuple[str, str]:
    """The PEM texts of a certificate with this common name, good for 127.0.0.1, and of its key."""
    secret = secrets.randbelow(N - 1) + 1
    public = times(secret, G)
    assert public is not None
    point = b"\x04" + public[0].to_bytes(32, "big") + public[1].to_bytes(32, "big")
    subject = sequence(der(0x31, sequence(COMMON_NAME, der(0x0C, name.encode()))))
    years = sequence(der(0x17, b"240101000000Z"), der(0x17, b"490101000000Z"))
    address = der(4, sequence(der(0x87, bytes([127, 0, 0, 1]))))
    body = sequence(
        der(0xA0, number(2)),
        number(secrets.randbits(64) | 1),
        SIGNED_WITH,
        subject,
        years,
        subject,
        sequence(sequence(EC_KEY, CURVE), der(3, b"\0" + point)),
        der(0xA3, sequence(sequence(OTHER_NAMES, address))),
    )
    whole = sequence(body, SIGNED_WITH, der(3, b"\0" + signature(secret, body)))
    inner = sequence(
        number(1), der(4, secret.to_bytes(32, "big")), der(0xA1, der(3, b"\0" + point))
    )
    key = sequence(number(0), sequence(EC_KEY, CURVE), der(4, inner))
    return pem("CERTIFICATE", whole), pem("PRIVATE KEY", key)


def write_certificate(folder: Path, name: str) -> None:
    """certificate.pem and key.pem in `folder`."""
    texts = certificate(name)
    for file, text in zip(("certificate.pem", "key.pem"), texts, strict=True):
        (folder / file).write_text(text)
