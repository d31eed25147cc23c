"""The published contract: what is served, to whom, and that it is the one in force."""

import json
from typing import Any

import pytest

from levada import profiles
from levada.contract import Contract

HOST = [(b"host", b"levada.test:8080")]


class InForce:
    """As much of Running as is asked."""

    def __init__(self, name: str) -> None:
        self.take(name)

    def take(self, name: str) -> None:
        self.now = {None: profiles.make(name), "flex.test": profiles.make("flexai")}

    def profile(self, host: str | None) -> Any:
        return self.now.get(host, self.now[None])


async def otherwise(scope: Any, receive: Any, send: Any) -> None:
    await send({"status": 404, "headers": []})
    await send({"body": b"nowhere"})


class Site:
    def __init__(self, name: str = "openai") -> None:
        self.running = InForce(name)
        self.contract = Contract(self.running, otherwise)  # type: ignore[arg-type]

    async def get(
        self, what: str, method: str = "GET", headers: Any = HOST, scheme: str = "http"
    ) -> tuple[int, dict[bytes, bytes], str]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"method": method, "headers": headers, "scheme": scheme}
        await getattr(self.contract, what)(scope, None, send)
        return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"].decode()


@pytest.mark.asyncio
async def test_a_page_and_a_document() -> None:
    site = Site()
    status, headers, page = await site.get("page")
    assert (status, headers[b"content-type"]) == (200, b"text/html; charset=utf-8")
    assert b"default-src 'none'" in headers[b"content-security-policy"]
    assert headers[b"cache-control"] == b"no-store"
    assert "<h1>openai</h1>" in page
    assert "http://levada.test:8080/v1" in page.replace("<wbr>", "")
    status, headers, text = await site.get("document")
    assert (status, headers[b"content-type"]) == (200, b"application/json")
    assert json.loads(text)["openapi"] == "3.1.0"
    # Like every other answer: no page of another origin may read it.
    assert b"access-control-allow-origin" not in headers
    assert (await site.get("page", "HEAD"))[0] == 200


@pytest.mark.asyncio
async def test_it_is_the_profile_in_force() -> None:
    site = Site()
    before = (await site.get("document"))[2]
    assert (await site.get("document"))[2] is not before and "openai: " in before
    site.running.take("flexai")
    assert "flexai: " in (await site.get("document"))[2]
    assert "<h1>flexai</h1>" in (await site.get("page"))[2]


@pytest.mark.parametrize(
    ("headers", "scheme", "shown"),
    [
        ([*HOST, (b"x-forwarded-proto", b"https")], "http", "https://levada.test:8080/v1"),
        ([(b"host", b"a"), (b"x-forwarded-proto", b"javascript")], "http", "https://YOUR-HOST/v1"),
        ([], "http", "https://YOUR-HOST/v1"),
        ([(b"host", b"a<b>")], "https", "https://a&lt;b&gt;/v1"),
    ],
)
@pytest.mark.asyncio
async def test_the_address_is_the_one_that_was_asked(headers: Any, scheme: str, shown: str) -> None:
    _, _, page = await Site().get("page", headers=headers, scheme=scheme)
    assert f"<dd><code>{shown}</code></dd>" in page.replace("<wbr>", "")


@pytest.mark.parametrize("what", ["page", "document"])
@pytest.mark.asyncio
async def test_whoever_does_not_read_finds_nothing(what: str) -> None:
    assert (await Site().get(what, "POST"))[::2] == (404, "nowhere")


@pytest.mark.asyncio
async def test_each_host_shows_its_own() -> None:
    site = Site("ionos")
    flex = [(b"host", b"flex.test")]
    for _ in range(2):
        assert "<h1>ionos</h1>" in (await site.get("page"))[2]
        assert "<h1>flexai</h1>" in (await site.get("page", headers=flex))[2]
    status, _, text = await site.get("document", headers=flex)
    assert (status, json.loads(text)["info"]["title"][:7]) == (200, "flexai:")
