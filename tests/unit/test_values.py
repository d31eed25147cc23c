"""The kinds of value: what each takes, what it becomes, and what it refuses."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, TypeAdapter, ValidationError

from levada.values import (
    Address,
    FilePath,
    Host,
    Label,
    ModelName,
    Network,
    Number,
    Pepper,
    RedisUrl,
    Seconds,
    Secret,
    StoreUrl,
    Url,
    WebhookSecret,
    duration,
)


def judged(kind: Any, value: object) -> object:
    adapter: TypeAdapter[object] = TypeAdapter(kind)
    return adapter.validate_python(value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2", 2.0),
        ("0.5", 0.5),
        ("2s", 2.0),
        ("500ms", 0.5),
        ("10m", 600.0),
        ("1h", 3600.0),
        ("30d", 2592000.0),
        (" 1.5 s ", 1.5),
    ],
)
def test_duration(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)
    assert judged(Seconds, text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1s", "1 week", "1e3", "1,5s", "nan", "5s5s", "٣s "])
def test_duration_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        duration(text)


@given(st.integers(0, 10**6), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_duration_units_agree_with_their_seconds(count: int, unit: str) -> None:
    one = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}[unit]
    assert duration(f"{count}{unit}") * 1000 == pytest.approx(count * one)


@pytest.mark.parametrize("kind", [Seconds, Number])
def test_true_is_not_a_number(kind: object) -> None:
    with pytest.raises(ValidationError, match="is not a number"):
        judged(kind, True)


@pytest.mark.parametrize(
    ("kind", "value", "becomes"),
    [
        (Label, "gpu-1.a_B", "gpu-1.a_B"),
        (Label, "a" * 64, "a" * 64),
        (ModelName, "org/Model:7b q4", "org/Model:7b q4"),
        (ModelName, "m" * 256, "m" * 256),
        (Host, "localhost", "localhost"),
        (Host, "192.0.2.1", "192.0.2.1"),
        (Host, "::1", "::1"),
        (Host, "[::1]", "::1"),
        (Network, "10.1.2.3/8", "10.0.0.0/8"),
        (Network, "192.0.2.7", "192.0.2.7/32"),
        (Network, "fd00::/8", "fd00::/8"),
        (Url, "http://h", "http://h"),
        (Url, "HTTPS://h:8443/", "https://h:8443"),
        (Url, "http://h:/", "http://h"),
        (Url, "http://h:080", "http://h:80"),
        (Url, "http://h/openai/v1/", "http://h/openai/v1"),
        (Url, "http://[::1]:80/v1", "http://[::1]:80/v1"),
    ],
)
def test_taken(kind: object, value: str, becomes: str) -> None:
    assert judged(kind, value) == becomes


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        (Label, "", "is not a name"),
        (Label, "a" * 65, "is not a name"),
        (Label, "-a", "is not a name"),
        (Label, "a b", "is not a name"),
        (Label, "a\n", "is not a name"),
        (ModelName, "", "is not a model name"),
        (ModelName, "m" * 257, "is not a model name"),
        (ModelName, "a\nb", "is not a model name"),
        (ModelName, " a", "is not a model name"),
        (Host, "", "is not a host name"),
        (Host, "a b", "is not a host name"),
        (Host, "h:80", "is not a host name"),
        (Host, "[::1", "is not a host name"),
        (Host, ":::", "is not a host name"),
        (Network, "10.0.0.0/40", "is not an address or a network"),
        (Network, "proxy", "is not an address or a network"),
        (Url, "ftp://x", "is not http"),
        (Url, "h:8000", "is not http"),
        (Url, "http://", "is not a URL"),
        (Url, "http://h:x", "is not a URL"),
        (Url, "http://h:0", "is not a URL"),
        (Url, "http://h:65536", "is not a URL"),
        (Url, "http://h h", "is not a URL"),
        (Url, "http://h/a b", "is not a URL"),
        (Url, "http://[::1", "is not a URL"),
        (Url, "http://[::1:2:3:4:5:6:7:8:9]", "is not a"),
        (Url, "http://h\u00f6st", "is not a URL"),
        (Url, "http://user:pass@h", "has a user"),
        (Url, "http://h?a=b", "has a query"),
        (Url, "http://h#a", "has a query"),
        (Secret, "", "is empty"),
        (StoreUrl, "mysql://h/db", "is not an address such as postgresql://"),
        (StoreUrl, "postgresql://u:a/b@h/db", "is not an address such as postgresql://"),
        (StoreUrl, "postgresql://u:a#b@h/db", "is not an address such as postgresql://"),
        (StoreUrl, "postgresql://h:0/db", "is not an address such as postgresql://"),
        (StoreUrl, "postgresql://h/d b", "is not an address such as postgresql://"),
        (RedisUrl, "rediss://h", "is not an address such as redis://"),
        (RedisUrl, "redis:///0", "is not an address such as redis://"),
        (RedisUrl, "redis://h:0", "is not an address such as redis://"),
        (RedisUrl, "redis://[h", "is not an address such as redis://"),
        (RedisUrl, "redis://u:a#b@h", "is not an address such as redis://"),
        (RedisUrl, "redis://h/name", "is not an address such as redis://"),
        (Pepper, "ab" * 31, "is not 64 hexadecimal digits"),
        (Pepper, "zz" * 32, "is not 64 hexadecimal digits"),
        (Secret, "a b", "is empty"),
        (Secret, "a\r\nx: y", "is empty"),
        (Secret, "\u00e9", "is empty"),
        (FilePath, "a\0b", "is not a path"),
    ],
)
def test_refused(kind: object, value: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        judged(kind, value)


def test_a_secret_is_not_shown() -> None:
    secret = judged(Secret, "sk-hidden")
    assert isinstance(secret, SecretStr)
    assert "hidden" not in repr(secret) + str(secret)
    assert secret.get_secret_value() == "sk-hidden"


def test_an_address_stands_as_it_is() -> None:
    for text in ("https://h/hooks/", "http://h:1?token=a%20b&c"):
        assert judged(Address, text) == text
    for text in ("ftp://h", "https://h?a b", "https://h?a#b", "h", "https://u@h"):
        with pytest.raises(ValidationError):
            judged(Address, text)


@pytest.mark.parametrize("prefix", ["whsec_", ""])
def test_a_webhook_secret_has_enough_bytes(prefix: str) -> None:
    for count, good in [(24, True), (64, True), (23, False), (65, False), (0, False)]:
        text = prefix + base64.b64encode(b"x" * count).decode()
        if good:
            secret = judged(WebhookSecret, text)
            assert isinstance(secret, SecretStr)
            assert secret.get_secret_value() == text
        else:
            with pytest.raises(ValidationError, match="24 to 64 bytes"):
                judged(WebhookSecret, text)
    with pytest.raises(ValidationError, match="whsec_"):
        judged(WebhookSecret, f"{prefix}not base64 at all but long enough")
