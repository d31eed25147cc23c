"""Tokens in place of keys, through both doors: what is let in, who it is, and what is refused."""

import hmac
import json
import time
from collections.abc import Iterator

import pytest
from issuer import Issuer, Signer, encoded
from provider_host import CHAT, Host, Hosts
from rawhttp import Answer, call
from served import DOORS, Start, eventually
from upstream import ScriptedBackend

ALGORITHMS = ("RS256", "ES256", "EdDSA")
SIGNERS = {name: Signer(name, name.lower()) for name in ALGORITHMS}
UNKNOWN = "Incorrect API key provided: ****."


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer(*SIGNERS.values()).serving() as one:
        yield one


@pytest.fixture
def one(host: Hosts, door: str, issuer: Issuer) -> Host:
    return host("openai", door, auth={"jwt": [issuer.entry(models_claim="models")]})


def asked(one: Host, token: str) -> Answer:
    return one.ask("/v1/models", method="GET", key=token)[0]


def refused(one: Host, token: str) -> None:
    """The token gets the answer that an unknown key gets, byte for byte."""
    answer, unknown = asked(one, token), asked(one, "some-key-that-nobody-has")
    assert (answer.status, answer.body) == (401, unknown.body)
    assert json.loads(answer.body)["error"]["message"] == UNKNOWN


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_signed_token_is_a_key(one: Host, algorithm: str) -> None:
    token = SIGNERS[algorithm].token(models=["m"], sub="alice@example.org")
    message = {"role": "user", "content": "hello"}
    for _ in range(2):  # verified, then remembered
        answer, seen = one.ask(CHAT, {"model": "m", "messages": [message]}, key=token)
        assert (answer.status, len(seen)) == (200, 1)
    other = SIGNERS[algorithm].token(models=["n"])
    assert one.ask(CHAT, {"model": "m", "messages": [message]}, key=other)[0].status == 403
    assert asked(one, one.levada.key).status == 200


def test_what_is_not_in_order_is_an_unknown_key(one: Host) -> None:
    signer, now = SIGNERS["EdDSA"], time.time()
    assert asked(one, signer.token()).status == 200
    refused(one, signer.token(iss="https://evil.test"))
    refused(one, signer.token(aud="somebody-else"))
    refused(one, signer.token(aud=None))
    refused(one, signer.token(exp=None))
    refused(one, signer.token(exp=now - 31))
    refused(one, signer.token(nbf=now + 60))
    refused(one, signer.token(sub=None))
    refused(one, signer.token(header={"typ": "logout+jwt"}))
    refused(one, signer.token(header={"kid": "rs256"}))
    refused(one, signer.token(header={"kid": "nobody"}))
    refused(one, signer.token(header={"alg": "ES256"}))
    refused(one, signer.token(header={"jwk": signer.jwk}))
    refused(one, signer.token(header={"jku": "http://127.0.0.1:9/keys"}))
    refused(one, signer.token(header={"x5u": "http://127.0.0.1:9/cert"}))
    refused(one, signer.token(header={"crit": ["exp"], "exp": 1}))
    refused(one, signer.token(more="x" * 8192))
    refused(one, Signer("EdDSA", "eddsa").token())
    assert asked(one, signer.token(more="x" * 4000)).status == 200


def test_no_algorithm_and_a_public_key_as_a_secret(one: Host) -> None:
    rsa = SIGNERS["RS256"]
    claims = rsa.token().split(".")[1]
    refused(one, f"{encoded({'alg': 'none'})}.{claims}.")
    refused(one, f"{encoded({'alg': 'none', 'kid': 'rs256'})}.{claims}.{rsa.token().split('.')[2]}")
    text = f"{encoded({'alg': 'HS256', 'kid': 'rs256'})}.{claims}"
    for secret in (rsa.jwk["n"], json.dumps(rsa.jwk)):
        tag = hmac.digest(secret.encode(), text.encode(), "sha256")
        refused(one, f"{text}.{encoded(tag)}")


def test_a_name_twice_is_refused(one: Host) -> None:
    signer = SIGNERS["ES256"]
    head = f'{{"alg":"ES256","kid":"{signer.kid}"}}'
    claims = f'{{"iss":"https://id.test","aud":"levada","sub":"a","exp":{time.time() + 60:.0f}}}'
    bad_head, bad_claims = head[:-1] + ',"alg":"ES256"}', claims[:-1] + ',"sub":"root"}'
    for first, second, status in [
        (head, claims, 200),
        (bad_head, claims, 401),
        (head, bad_claims, 401),
    ]:
        text = f"{encoded(first.encode())}.{encoded(second.encode())}"
        token = f"{text}.{encoded(signer.sign(text.encode()))}"
        assert asked(one, token).status == status


@pytest.mark.parametrize("door", DOORS)
def test_tokens_alone_and_of_one_algorithm(levada: Start, door: str, issuer: Issuer) -> None:
    with ScriptedBackend(models=["m"]) as backend:
        auth = {"allow_opaque": False, "jwt": [issuer.entry(algorithms=["ES256"])]}
        running = levada(backend.url, door=door, config={"auth": auth}, key="opaque")
        status = {
            name: call(
                running.base, "GET", "/v1/models", {"authorization": f"Bearer {token}"}
            ).status
            for name, token in [
                ("ES256", SIGNERS["ES256"].token()),
                ("RS256", SIGNERS["RS256"].token()),
                ("opaque", running.key),
            ]
        }
        assert status == {"ES256": 200, "RS256": 401, "opaque": 401}


@pytest.mark.parametrize("door", DOORS)
def test_a_new_key_counts_soon_and_a_flood_asks_seldom(levada: Start, door: str) -> None:
    old, new = Signer("EdDSA", "old"), Signer("EdDSA", "new")
    backend = ScriptedBackend(models=["m"])
    with backend, Issuer(old).serving() as issuer:
        running = levada(backend.url, door=door, config={"auth": {"jwt": [issuer.entry()]}})

        def status(token: str) -> int:
            headers = {"authorization": f"Bearer {token}"}
            return call(running.base, "GET", "/v1/models", headers).status

        assert status(old.token()) == 200
        time.sleep(10)  # the least time between two questions
        issuer.signers = [new]
        token = new.token()
        begun = time.monotonic()
        assert status(token) == 401
        assert eventually(lambda: status(token) == 200, 5)
        assert time.monotonic() - begun < 5
        assert status(old.token()) == 401
        before = issuer.asked
        for at in range(300):
            assert status(new.token(header={"kid": f"k{at}"})) == 401
        time.sleep(2)
        assert issuer.asked - before <= 1
        record = running.logs
        assert token not in record
