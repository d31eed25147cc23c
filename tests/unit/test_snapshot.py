"""The documents for the engine: their form, their order, the same bytes for the same input."""

import json
from dataclasses import replace
from typing import Any

from levada.config import Config, Enclosed, Made
from levada.control.store import Key
from levada.engines import Learned
from levada.prices import Price, Version
from levada.snapshot import Served, compile, keys_document

PEPPER = bytes(range(32))


def config(**settings: object) -> Config:
    backends = [
        {"name": "a", "url": "http://a:8000", "key": "sk-upstream"},
        {"name": "b", "url": "https://b/openai/v1/", "models": ["small", "large"], "ca": "ca.pem"},
        {"name": "c", "url": "http://c", "verify": False, "lacks": ["n", "null"]},
    ]
    return Config.model_validate({"backends": backends, **settings})


def document(
    settings: Config, served: dict[str, Served] | None = None, enclosed: Enclosed | None = None
) -> dict[str, Any]:
    raw = compile(settings, served or {}, version=3, pepper=PEPPER, enclosed=enclosed or Enclosed())
    value: dict[str, Any] = json.loads(raw)
    return value


def enclosed() -> Enclosed:
    made = (Made({"name": "p"}), Made({"name": "q"}))
    return Enclosed(("CERT", "KEY"), {"b": "CA"}, made, {"a.example": 1})


def test_the_whole_document() -> None:
    served = {"a": Served("", ("tiny", "small")), "b": Served("/x", ("ignored",))}
    found = document(config(cors={"origins": ["https://page.example"]}), served, enclosed())
    model = {"created": 1700000000, "owned_by": "levada"}
    a, b = "a", "b"
    assert found == {
        "version": 3,
        "auth": {"pepper": PEPPER.hex(), "allow_opaque": True, "jwt": []},
        "backends": [
            {"name": "a", "url": "http://a:8000", "path": "", "key": "sk-upstream"}
            | {"verify": True, "ca": None, "lacks": [], "counts": "final"},
            {"name": "b", "url": "https://b", "path": "/openai/v1", "key": None}
            | {"verify": True, "ca": "CA", "lacks": [], "counts": "final"},
            {"name": "c", "url": "http://c", "path": "/v1", "key": None}
            | {"verify": False, "ca": None, "lacks": ["n", "null"], "counts": "final"},
        ],
        "models": [
            {"name": "large", **model, "pool": [{"backend": b, "upstream": "large"}]},
            {
                "name": "small",
                **model,
                "pool": [
                    {"backend": a, "upstream": "small"},
                    {"backend": b, "upstream": "small"},
                ],
            },
            {"name": "tiny", **model, "pool": [{"backend": a, "upstream": "tiny"}]},
        ],
        "deadlines": {"connect": 2.0, "first_byte": 120.0, "idle": 60.0, "total": 3600.0},
        "limits": {"body_bytes": None, "event_bytes": 1048576},
        "charge_prompt_on_abort": True,
        "retry": {"ratio": 0.1, "per_second": 3.0},
        "breaker": {"failures": 3, "open_seconds": 5.0},
        "profiles": [{"name": "p"}, {"name": "q"}],
        "hosts": {"a.example": 1},
        "origins": ["https://page.example"],
        "tenants": [],
        "projects": [],
        "tls": {"certificate": "CERT", "key": "KEY"},
    }


def test_models_that_the_operator_names() -> None:
    settings = config(
        models=[
            {
                "name": "z",
                "backends": ["c", "a"],
                "upstream": "Z-7b",
                "owned_by": "us",
                "created": 7,
            },
            {"name": "chat", "upstream": "small"},
            {"name": "away"},
        ]
    )
    found = document(settings, {"a": Served("/v1", ("small",))})
    assert found["models"] == [
        {
            "name": "z",
            "created": 7,
            "owned_by": "us",
            "pool": [{"backend": "c", "upstream": "Z-7b"}, {"backend": "a", "upstream": "Z-7b"}],
        },
        {
            "name": "chat",
            "created": 1700000000,
            "owned_by": "levada",
            "pool": [{"backend": "a", "upstream": "small"}, {"backend": "b", "upstream": "small"}],
        },
        {"name": "away", "created": 1700000000, "owned_by": "levada", "pool": []},
    ]
    assert found["tls"] is None


def test_what_may_be_used() -> None:
    allowed = {"tokens_per_minute": 5}
    settings = config(
        tenants=[{"name": "t", "limits": allowed}],
        projects=[{"name": "*", "limits": {}}],
        models=[{"name": "m", "max_tokens": 9, "limits": allowed}],
    )
    found = document(settings)
    rules = {"windows": [{"count": "tokens", "most": 5, "per_ms": 60000}]}
    assert found["tenants"] == [{"name": "t", "limits": rules}]
    assert found["projects"] == [{"name": "*", "limits": None}]
    assert (found["models"][0]["max_tokens"], found["models"][0]["limits"]) == (9, rules)


def test_what_a_backend_is_and_says_counts_where_the_operator_says_nothing() -> None:
    both = Learned(vision=False, vocabulary=9)
    said = {"small": both, "Z": both, "tiny": Learned(vocabulary=5), "large": both}
    served = {
        "a": Served("/x", ("small", "tiny", "large"), "llama.cpp", said),
        "b": Served("/x", ("other",), "llama.cpp", {"small": Learned(True, 9)}),
        "c": Served("/v1", (), "llama.cpp"),
    }
    found = document(config(), served)
    assert [backend["lacks"] for backend in found["backends"]] == [
        ["null"],
        ["null"],
        ["n", "null"],
    ]
    assert [backend["path"] for backend in found["backends"]] == ["/x", "/openai/v1", "/v1"]
    abilities = {model["name"]: model.get("abilities") for model in found["models"]}
    # They disagree about what the small one sees, and only one says anything of the large one.
    assert abilities == {"large": None, "small": {"vocabulary": 9}, "tiny": {"vocabulary": 5}}
    named = {
        "one": {"category": "multimodal"},
        "two": {"abilities": {"vocabulary": 3}},
        "three": {"abilities": {"vision": True, "tools": False}},
    }
    models = [{"name": n, "upstream": "Z", "backends": ["a"], **x} for n, x in named.items()]
    found = document(config(models=models), served)
    assert [model["abilities"] for model in found["models"]] == [
        {"category": "multimodal", "vocabulary": 9},
        {"vision": False, "vocabulary": 3},
        {"vision": True, "tools": False, "vocabulary": 9},
    ]


def test_an_engine_that_the_operator_names_is_that_one() -> None:
    backends = [
        {"name": "a", "url": "http://a", "engine": "other"},
        {"name": "b", "url": "http://b", "engine": "llama.cpp"},
        {"name": "c", "url": "http://c", "engine": "llama.cpp", "lacks": []},
    ]
    served = {"a": Served("/v1", (), "llama.cpp")}
    found = document(Config.model_validate({"backends": backends}), served)
    assert [backend["lacks"] for backend in found["backends"]] == [[], ["null"], []]


def test_no_deadline_is_longer_than_the_total() -> None:
    found = document(config(deadlines={"total": 1}))
    assert found["deadlines"] == {"connect": 1.0, "first_byte": 1.0, "idle": 1.0, "total": 1.0}


def test_the_order_of_answers_does_not_matter() -> None:
    one = {"a": Served("/v1", ("x", "y")), "c": Served("/v1", ("z",))}
    other = {"c": Served("/v1", ("z",)), "a": Served("/v1", ("y", "x"))}
    texts = {
        compile(config(), served, version=1, pepper=PEPPER, enclosed=Enclosed())
        for served in (one, other)
    }
    assert len(texts) == 1


def test_keys() -> None:
    live = Key("k_1", "n", b"\x01" * 32, "abcd", 1.0, ("m", "ü"), 9.5)
    live = replace(live, tenant="t", project="p", requests_per_minute=7, exhausted=True)
    live = replace(live, limits={"concurrency": 2})
    free = Key("k_2", "n", b"\x02" * 32, "abcd", 1.0)
    ended = Key("k_3", "n", b"\x03" * 32, "abcd", 1.0, revoked=2.0)
    lines = [
        {"id": "k_1", "hash": "01" * 32, "models": ["m", "ü"], "expires": 9.5}
        | {"tenant": "t", "project": "p", "requests_per_minute": 7, "exhausted": True}
        | {"limits": {"concurrency": 2}},
        {"id": "k_2", "hash": "02" * 32, "models": None, "expires": None},
    ]
    changes = json.loads(keys_document([live, free, ended], replace=False))
    assert changes == {"replace": False, "set": lines, "remove": ["k_3"]}
    whole = json.loads(keys_document(iter([live, free, ended]), replace=True))
    assert whole == {"replace": True, "set": lines, "remove": []}


def test_models_have_the_prices_that_budgets_are_counted_with() -> None:
    prices = {
        "a": Price(input=3, output=5, reasoning=7),
        "b": Price(input=3, cached=1, output=5),
        "c": Price(image=9),
    }
    settings = config(models=[{"name": name} for name in ("a", "b", "c", "d")])
    raw = compile(
        settings,
        {},
        version=3,
        pepper=PEPPER,
        enclosed=Enclosed(),
        prices=Version("EUR", 0, prices),
    )
    assert {one["name"]: one.get("price") for one in json.loads(raw)["models"]} == {
        "a": {"input": 3, "output": 7},
        "b": {"input": 3, "cached": 1, "output": 5},
        "c": None,
        "d": None,
    }
