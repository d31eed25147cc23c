"""Config: defaults, ranges at their edges, what must agree, and what is never shown."""

import pytest
from pydantic import ValidationError

from levada.config import Backend, Config, contradictions

BACKENDS = [{"name": "a", "url": "http://h:8000"}]


def made(**settings: object) -> Config:
    return Config.model_validate({"backends": BACKENDS, **settings})


def test_defaults() -> None:
    config = made()
    assert (config.listen.host, config.listen.port) == ("127.0.0.1", 8080)
    assert (config.listen.admin_host, config.listen.admin_port) == ("127.0.0.1", 8081)
    assert (config.door, str(config.data), config.threads) == ("edge", "data", 0)
    assert config.models is None
    assert config.deadlines.model_dump() == {
        "connect": 2.0,
        "first_byte": 120.0,
        "idle": 60.0,
        "total": 3600.0,
        "drain": 600.0,
    }
    assert config.limits.model_dump() == {
        "header_bytes": 16 * 1024,
        "headers": 64,
        "body_bytes": None,
        "event_bytes": 1024 * 1024,
        "requests": None,
        "head_seconds": 10.0,
        "body_seconds": 120.0,
        "body_rate": 1024,
        "keep_alive_seconds": 75.0,
        "write_seconds": 30.0,
        "connections": 10_000,
        "connections_per_ip": 0,
        "redis": None,
        "replicas": 2,
    }


def test_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        made().listen.port = 1


@pytest.mark.parametrize(
    ("section", "name", "low", "high"),
    [
        ("listen", "port", 0, 65535),
        ("listen", "admin_port", 0, 65535),
        ("deadlines", "connect", 0.001, 60),
        ("deadlines", "first_byte", 0.01, 86400),
        ("deadlines", "idle", 0.01, 86400),
        ("deadlines", "total", 0.01, 604800),
        ("deadlines", "drain", 0, 86400),
        ("limits", "header_bytes", 1024, 1048576),
        ("limits", "headers", 8, 1000),
        ("limits", "body_bytes", 1024, 1073741824),
        ("limits", "event_bytes", 1024, 67108864),
        ("limits", "head_seconds", 0.1, 600),
        ("limits", "body_seconds", 0.1, 86400),
        ("limits", "body_rate", 0, 1073741824),
        ("limits", "keep_alive_seconds", 1, 86400),
        ("limits", "write_seconds", 0.1, 3600),
        ("limits", "connections", 1, 1000000),
        ("limits", "connections_per_ip", 0, 1000000),
        ("retry", "ratio", 0, 1),
        ("retry", "per_second", 0, 1000),
        ("breaker", "failures", 1, 1000),
        ("breaker", "open_seconds", 0.01, 3600),
        ("health", "interval", 0.05, 3600),
        ("health", "timeout", 0.05, 300),
    ],
)
def test_ranges(section: str, name: str, low: float, high: float) -> None:
    for edge in (low, high):
        assert getattr(getattr(made(**{section: {name: edge}}), section), name) == edge
    for beyond in (low - 1, high + 1):
        with pytest.raises(ValidationError, match="than or equal"):
            made(**{section: {name: beyond}})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_only_finite_numbers(value: float) -> None:
    with pytest.raises(ValidationError):
        made(deadlines={"connect": value})


def test_origin_and_prefix() -> None:
    plain = Backend(name="a", url="http://h:8000/")
    assert (plain.origin, plain.prefix) == ("http://h:8000", None)
    deep = Backend(name="a", url="https://h/openai/v1/")
    assert (deep.origin, deep.prefix) == ("https://h", "/openai/v1")


def test_a_secret_shows_nowhere() -> None:
    config = made(backends=[{"name": "a", "url": "http://h", "key": "sk-hidden"}])
    assert "hidden" not in repr(config) + str(config) + config.model_dump_json()
    with pytest.raises(ValidationError) as refused:
        made(backends=[{"name": "a", "url": "http://h", "key": "sk-hidden with space"}])
    assert "hidden" not in str(refused.value)


def test_contradictions_refuse_a_config_made_by_hand() -> None:
    with pytest.raises(ValidationError, match="backends: 'a' is the name of backends"):
        made(backends=BACKENDS * 2)


@pytest.mark.parametrize(
    ("tree", "found"),
    [
        ({"backends": BACKENDS}, []),
        (
            {"backends": [*BACKENDS, *BACKENDS]},
            [(("backends", 1, "name"), "'a' is the name of backends[0] too")],
        ),
        (
            {"models": [{"name": "m"}, {"name": "n"}, {"name": "m"}]},
            [(("models", 2, "name"), "'m' is the name of models[0] too")],
        ),
        (
            {"backends": BACKENDS, "models": [{"name": "m", "backends": ["a", "b", "a", 7]}]},
            [
                (("models", 0, "backends", 1), "'b' is not one of the backends"),
                (("models", 0, "backends", 2), "'a' is listed twice"),
            ],
        ),
        (
            {"deadlines": {"total": "1m", "idle": 61, "first_byte": 60}},
            [(("deadlines", "idle"), "61 s is longer than the total of 60 s")],
        ),
        ({"deadlines": {"total": "1m"}}, []),
        (
            {"limits": {"requests": [{"requests": 5, "per_s": 1, "burst": 4}]}},
            [(("limits", "requests", 0, "burst"), "4 is less than its 5 requests")],
        ),
        ({"limits": {"requests": [{"requests": 5, "per_s": 1, "burst": 5}]}}, []),
        ({"deadlines": {"total": "x", "idle": 61}}, []),
        (
            {"listen": {"port": "8081"}},
            [(("listen", "admin_port"), "8081 is the public port too")],
        ),
        ({"listen": {"port": 0, "admin_port": 0}}, []),
        ({"backends": "x", "models": [7, {"backends": 7}], "listen": [], "deadlines": 1}, []),
    ],
)
def test_contradictions(tree: dict[str, object], found: list[object]) -> None:
    assert list(contradictions(tree)) == found
