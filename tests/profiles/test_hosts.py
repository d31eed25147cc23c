"""Four providers at four host names of one Levada, and the pages of which origins may ask there."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from provider_host import CHAT, Host, Hosts, error
from rawhttp import Answer
from served import Start, eventually
from upstream import ScriptedBackend

FLEX, IONOS, DEDICATED, SHARED = (
    "api.flex.example",
    "eu.ionos.example",
    "dedicated.mittwald.example",
    "shared.mittwald.example",
)
NAMES = {
    FLEX: "flexai",
    "*.ionos.example": "ionos",
    DEDICATED: "mittwald-dedicated",
    SHARED: "mittwald-shared",
}
PAGE = "https://app.example"
CONFIG: dict[str, Any] = {
    "hosts": [{"name": name, "profile": profile} for name, profile in NAMES.items()],
    "cors": {"origins": [PAGE, "http://localhost:3000"]},
}
EVERYWHERE = ("elsewhere.example", FLEX, IONOS, DEDICATED, SHARED)
MESSAGE = {"role": "user", "content": "hello"}
ASKED = {"model": "m", "messages": [MESSAGE]}


@pytest.fixture
def one(host: Hosts, door: str) -> Host:
    return host("openai", door, **CONFIG)


def test_an_unknown_model(one: Host) -> None:
    told = {at: one.ask(CHAT, {**ASKED, "model": "x"}, at=at)[0] for at in EVERYWHERE}
    assert {at: answer.status for at, answer in told.items()} == {
        "elsewhere.example": 404,
        FLEX: 400,
        IONOS: 404,
        DEDICATED: 404,
        SHARED: 404,
    }
    assert error(told[FLEX])["message"].startswith("Invalid 'model'. The model 'x' does not exist")
    assert error(told[IONOS])["message"].startswith("The model `x` does not exist")


def test_what_is_served(one: Host) -> None:
    body = {"model": "m", "input": "x"}
    served = {at: one.ask("/v1/embeddings", body, at=at)[0].status for at in EVERYWHERE}
    assert served == {**dict.fromkeys(EVERYWHERE, 200), DEDICATED: 404}
    answer, seen = one.ask("/v1/embeddings", body, at=DEDICATED)
    assert (error(answer)["message"], seen) == ("Invalid URL (POST /v1/embeddings)", [])


def test_the_list_of_models(one: Host) -> None:
    for at in EVERYWHERE:
        (entry,) = json.loads(one.ask("/v1/models", method="GET", at=at)[0].body)["data"]
        single = json.loads(one.ask("/v1/models/m", method="GET", at=at)[0].body)
        assert entry == single
        assert ("category" in entry) is (at == FLEX)


def test_a_name_has_no_case_and_no_port(one: Host) -> None:
    for at in ("API.Flex.Example", f"{FLEX}:8443", f"{FLEX}."):
        assert one.ask(CHAT, {**ASKED, "model": "x"}, at=at)[0].status == 400, at
    for at in ("ionos.example", "a.api.flex.example", "api.flex.example.evil"):
        answer, _ = one.ask(CHAT, {**ASKED, "n": 2, "model": "x"}, at=at)
        assert answer.status == 404, at


def test_fields_are_those_of_the_host(one: Host) -> None:
    body = {**ASKED, "user": "u", "top_p": -1}
    assert one.ask(CHAT, body, at=IONOS)[1] == [{**ASKED, "user": "u"}]
    assert one.ask(CHAT, {**ASKED, "user": "u"}, at=DEDICATED)[1] == [ASKED]
    assert one.ask(CHAT, body, at=FLEX)[0].status == 400


def test_a_401_is_in_the_words_of_the_host(one: Host) -> None:
    told = {at: error(one.ask(CHAT, ASKED, key="", at=at)[0]) for at in EVERYWHERE}
    assert {at for at, found in told.items() if found["type"] == "authentication_error"} == {FLEX}
    # What is wrong before anybody is asked for a key is told in the words of the host, too.
    answer, _ = one.ask(CHAT, b"{}", at=FLEX, content_encoding="gzip")
    assert (answer.status, error(answer)["code"]) == (415, "unsupported_content_encoding")
    answer, _ = one.ask(CHAT, ASKED, at=FLEX, expect="nothing")
    assert answer.status == 417


@pytest.mark.parametrize(
    ("at", "limit"), [("elsewhere.example", 20 << 20), (DEDICATED, 26214400), (SHARED, 209715200)]
)
def test_a_body_has_the_limit_of_the_host(one: Host, at: str, limit: int) -> None:
    answer, _ = one.ask(CHAT, None, at=at, content_length=str(limit + 1))
    assert answer.status == 413
    words = f"Maximum content size limit ({limit}) exceeded ({limit + 1} bytes read)"
    assert error(answer)["message"] == words


def test_the_operators_limit_holds_everywhere(host: Hosts, door: str) -> None:
    small = host("openai", door, **CONFIG, limits={"body_bytes": 2000})
    for at in EVERYWHERE:
        answer, _ = small.ask(CHAT, {**ASKED, "x": "y" * 2000}, at=at)
        assert answer.status == 413
        assert error(answer)["message"].startswith("Maximum content size limit (2000)")


def test_base_paths_are_those_of_the_host(one: Host) -> None:
    for path, method, body in (
        ("/chat/completions", "POST", ASKED),
        ("/models", "GET", None),
        ("/models/m", "GET", None),
    ):
        for at in EVERYWHERE:
            answer, _ = one.ask(path, body, method, at=at)
            assert answer.status == (200 if at == SHARED else 404), (path, at)
            if at != SHARED:
                assert error(answer)["message"] == f"Invalid URL ({method} {path})"


def test_any_base_path_will_do(host: Hosts, door: str) -> None:
    own = host("openai", door, "base_path: [/openai/v1]")
    assert own.ask("/openai/v1/chat/completions", ASKED)[0].status == 200
    assert own.ask("/openai/v1/models/m", None, "GET")[0].status == 200
    answer, _ = own.ask(CHAT, ASKED)
    assert error(answer)["message"] == f"Invalid URL (POST {CHAT})"
    assert own.ask("/livez", None, "GET", key="")[0].status == 200


def test_the_contract_is_that_of_the_host(one: Host) -> None:
    titles = {}
    for at in EVERYWHERE:
        answer, _ = one.ask("/openapi.json", None, "GET", at=at)
        titles[at] = json.loads(answer.body)["info"]["title"].partition(":")[0]
        page, _ = one.ask("/docs/compatibility", None, "GET", at=at)
        assert f"<h1>{titles[at]}</h1>".encode() in page.body
    assert titles == {
        "elsewhere.example": "openai",
        FLEX: "flexai",
        IONOS: "ionos",
        DEDICATED: "mittwald-dedicated",
        SHARED: "mittwald-shared",
    }


def flight(one: Host, origin: str, at: str = FLEX, path: str = CHAT, **more: str) -> Answer:
    more = {"access_control_request_method": "POST", **more}
    return one.ask(path, None, "OPTIONS", key="", at=at, origin=origin, **more)[0]


def allowed(answer: Answer) -> dict[str, str]:
    head = "access-control-"
    return {
        name.removeprefix(head): value for name, value in answer.headers if name.startswith(head)
    }


@pytest.mark.parametrize("at", EVERYWHERE)
def test_a_page_of_a_known_origin_may_ask(one: Host, at: str) -> None:
    answer = flight(one, PAGE, at, access_control_request_headers="authorization,x-stainless-os")
    assert (answer.status, answer.body) == (204, b"")
    assert allowed(answer) == {
        "allow-origin": PAGE,
        "allow-methods": "POST",
        "allow-headers": "authorization,x-stainless-os",
        "max-age": "600",
        "expose-headers": answer.header("access-control-expose-headers"),
    }
    assert answer.header("vary") == "Origin"
    assert answer.header("content-length") is None
    for body, key, status in ((ASKED, None, 200), ({}, None, 400), (ASKED, "", 401)):
        answer, _ = one.ask(CHAT, body, at=at, key=key, origin=PAGE)
        assert answer.status == status
        assert (answer.header("access-control-allow-origin"), answer.header("vary")) == (
            PAGE,
            "Origin",
        )
        shown = str(answer.header("access-control-expose-headers"))
        assert {"x-request-id", "retry-after", "openai-processing-ms"} <= set(shown.split(", "))


def test_a_page_of_another_origin_may_not(one: Host) -> None:
    for origin in ("https://app.example:8443", "http://app.example", "null"):
        answer = flight(one, origin)
        assert (answer.status, allowed(answer)) == (401, {})
        answer, _ = one.ask(CHAT, ASKED, origin=origin)
        assert (answer.status, allowed(answer)) == (200, {})
    assert flight(one, PAGE, path="/v1/nowhere").status == 401
    assert flight(one, PAGE, DEDICATED, "/v1/embeddings").status == 401


def test_any_page_may_where_the_operator_says_so(host: Hosts, door: str) -> None:
    free = host("openai", door, cors={"origins": ["*"]})
    answer = flight(free, "https://anybody.example")
    assert (answer.status, allowed(answer)["allow-origin"]) == (204, "*")
    answer, _ = free.chat()
    assert allowed(answer)["allow-origin"] == "*"


def test_nothing_is_said_where_no_origin_is_configured(host: Hosts, door: str) -> None:
    plain = host("openai", door)
    assert allowed(flight(plain, PAGE)) == {}
    answer, _ = plain.ask(CHAT, ASKED, origin=PAGE)
    assert (answer.status, allowed(answer), answer.header("vary")) == (200, {}, None)


@pytest.fixture
def backend() -> Iterator[ScriptedBackend]:
    with ScriptedBackend(models=["m"]) as started:
        yield started


def test_a_change_of_any_profile_counts(
    levada: Start, door: str, backend: ScriptedBackend, tmp_path: Any
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("id: mine\nversion: '1'\nextends: flexai\n")
    hosts = [{"name": "mine.example", "profile": str(mine)}]
    config = {"backends": [{"name": "one", "url": backend.url, "models": ["m"]}], "hosts": hosts}
    started = levada(door=door, config=config)
    one = Host(started, backend)

    def status() -> int:
        return int(one.ask("/v2/models", None, "GET", at="mine.example")[0].status)

    assert status() == 404
    mine.write_text("id: mine\nversion: '2'\nextends: flexai\nbase_path: [v2]\n")
    assert eventually(lambda: "mine.yaml:4: base_path[0]: 'v2' does not match" in started.logs)
    mine.write_text("id: mine\nversion: '2'\nextends: flexai\nbase_path: [/v2]\n")
    assert eventually(lambda: status() == 200)
    assert one.ask("/v1/models", None, "GET", at="other.example")[0].status == 200
