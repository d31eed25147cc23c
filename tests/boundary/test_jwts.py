"""What the engine remembers of tokens (JWT), and what it counts: without any server."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from issuer import NAME, Signer
from test_boundary import HEADERS, PATH, WHOLE, in_a_loop, snapshot

from levada._native import Caller, Gateway

SIGNER = Signer("EdDSA", "one")


def document(version: int, *signers: Signer, **more: Any) -> bytes:
    entry = {
        "issuer": NAME,
        "audience": ["levada"],
        "algorithms": ["RS256", "ES256", "EdDSA"],
        "subject": "sub",
        "models_claim": None,
        "keys": {"keys": [one.jwk for one in signers]} if signers else None,
    }
    auth = {"pepper": "00" * 32, "allow_opaque": True, "jwt": [entry]}
    return snapshot("http://127.0.0.1:9", version, auth=auth, **more)


@pytest.fixture
def tokens(tmp_path: Path) -> Gateway:
    return Gateway(document(1, SIGNER), str(tmp_path), 1)


def caller(gateway: Gateway, token: str) -> str | None:
    """The id of who calls with a token; None when it is refused."""
    headers = [HEADERS[0], (b"authorization", f"Bearer {token}".encode())]
    found = in_a_loop(lambda: gateway.authenticate("POST", PATH, headers))
    return found.key_id if isinstance(found, Caller) else None


def test_who_calls_stands_in_the_record(tokens: Gateway) -> None:
    token = SIGNER.token(sub="alice\u00a0\u00e9 x\n")
    assert caller(tokens, token) == "jwt:alicex"
    headers = [*HEADERS[::2], (b"authorization", f"Bearer {token}".encode())]
    call = in_a_loop(lambda: tokens.open("POST", PATH, headers, WHOLE))
    del call
    # A record is handed out once it is on the disk.
    until = time.monotonic() + 5
    while not (lines := tokens.records(1)[0]) and time.monotonic() < until:
        time.sleep(0.01)
    record = json.loads(lines)
    assert "jwt:alicex" in record.values()
    assert token not in json.dumps(record)
    tokens.close()


def test_a_token_that_was_verified_still_ends(tokens: Gateway) -> None:
    token = SIGNER.token(exp=time.time() - 28.5)
    assert caller(tokens, token) == caller(tokens, token) == "jwt:alice"
    time.sleep(2)
    assert caller(tokens, token) is None
    tokens.close()


def test_what_was_verified_is_forgotten_with_its_key(tokens: Gateway) -> None:
    token = SIGNER.token()
    assert caller(tokens, token) == "jwt:alice"
    tokens.swap(document(2, SIGNER))
    assert caller(tokens, token) == "jwt:alice"
    tokens.swap(document(3, Signer("EdDSA", "two")))
    assert caller(tokens, token) is None
    tokens.swap(document(4))
    assert caller(tokens, token) is None
    tokens.swap(document(5, SIGNER))
    assert caller(tokens, token) == "jwt:alice"
    tokens.close()


def test_an_unknown_key_counts_once_until_the_keys_change(tokens: Gateway) -> None:
    assert tokens.unknown_kids() == 0
    for kid, count in [("a", 1), ("a", 1), ("b", 2), ("a", 2)]:
        assert caller(tokens, SIGNER.token(header={"kid": kid})) is None
        assert tokens.unknown_kids() == count
    for bad in [{"aud": "x"}, {"exp": 1}, {"iss": "x"}]:
        assert caller(tokens, SIGNER.token(header={"kid": "c"}, **bad)) is None
    assert tokens.unknown_kids() == 2
    tokens.swap(document(2, SIGNER))
    assert caller(tokens, SIGNER.token(header={"kid": "a"})) is None
    assert tokens.unknown_kids() == 2
    tokens.swap(document(3, Signer("EdDSA", "two")))
    assert caller(tokens, SIGNER.token(header={"kid": "a"})) is None
    assert tokens.unknown_kids() == 3
    tokens.close()


def test_a_flood_of_ids_is_held_in_bounds(tokens: Gateway) -> None:
    for at in range(3000):
        assert caller(tokens, SIGNER.token(header={"kid": f"k{at}"})) is None
    assert tokens.unknown_kids() == 3000
    assert caller(tokens, SIGNER.token()) == "jwt:alice"
    tokens.close()


def test_a_verified_token_costs_no_signature(tokens: Gateway) -> None:
    def seconds(texts: list[str]) -> float:
        lines = [[HEADERS[0], (b"authorization", f"Bearer {text}".encode())] for text in texts]
        begun = time.perf_counter()
        for headers in lines:
            assert isinstance(tokens.authenticate("POST", PATH, headers), Caller)
        return time.perf_counter() - begun

    signer = Signer("ES256", "slow")
    tokens.swap(document(2, signer))
    fresh = [signer.token(at=at) for at in range(300)]
    first = min(seconds(fresh[at : at + 100]) for at in (0, 100, 200))
    again = min(seconds(fresh[at : at + 100]) for at in (0, 100, 200))
    assert again < first
    tokens.close()
