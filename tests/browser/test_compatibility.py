"""The compatibility page in a real browser: as wide as a phone and as a desk, light and dark.

What the windows show is kept in build/screenshots for people to look at.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import chromium
import pytest
from chromium import Chromium, Page
from served import Levada, Start
from upstream import ScriptedBackend

from levada import profiles
from levada.profiles.compiled import compiled
from levada.profiles.facts import facts
from levada.profiles.html import html

SHOTS = Path(__file__).parents[2] / "build" / "screenshots"
SIZES = {"phone": (390, 844), "desk": (1280, 900)}
NARROW = (360, 740)
# A table in a box that is wider inside than outside, and still ends at the edge of the window.
BOXES = """JSON.stringify([...document.querySelectorAll('.box')].map(box => ({
  rows: box.querySelectorAll('tbody tr').length,
  right: box.getBoundingClientRect().right, inside: box.scrollWidth, outside: box.clientWidth,
})))"""
# Ink on paper as the eye gets it (WCAG 2), of every text in the page: the weakest contrast.
WEAKEST = """(() => {
  const channels = color => color.match(/[\\d.]+/g).map(Number);
  const light = color => {
    const [r, g, b] = channels(color).map(c => c / 255)
      .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = node => {
    const back = getComputedStyle(node).backgroundColor;
    return channels(back)[3] === 0 && node.parentElement ? paper(node.parentElement) : back;
  };
  const said = node => [...node.childNodes].some(one => one.nodeType === 3 && one.data.trim());
  return Math.min(...[...document.body.querySelectorAll('*')].filter(said).map(node => {
    const [a, b] = [light(getComputedStyle(node).color), light(paper(node))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }));
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    program = chromium.found()
    if program is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with Chromium(program, tmp_path_factory.mktemp("chromium")) as one:
        yield one


@pytest.fixture(scope="module")
def served(levada_for_module: Start) -> Iterator[Levada]:
    with ScriptedBackend(models=["m"]) as backend:
        config = {"backends": [{"name": "one", "url": backend.url}], "profile": "flexai"}
        yield levada_for_module(config=config)


def fits(page: Page) -> None:
    """Nothing is wider than the window but what is inside a box."""
    width = page.value("document.documentElement.clientWidth")
    assert page.value("document.documentElement.scrollWidth") == width
    boxes = json.loads(page.value(BOXES))
    assert len(boxes) >= 5
    assert all(box["rows"] and box["right"] <= width for box in boxes)
    if width < 600:
        assert any(box["inside"] > box["outside"] for box in boxes)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_served_page_fits_its_window(
    browser: Chromium, served: Levada, size: str, dark: bool
) -> None:
    page = browser.open(f"{served.base}/docs/compatibility", *SIZES[size], dark=dark)
    assert page.value("document.querySelector('h1').textContent") == "flexai"
    fits(page)
    assert page.value(WEAKEST) >= 4.5
    scheme = "dark" if dark else "light"
    for place in ("top", "chat-completions", "errors"):
        page.value(f"document.getElementById({place!r})?.scrollIntoView()")
        assert page.keep(SHOTS / f"compatibility-{size}-{scheme}-{place}.png").startswith(
            b"\x89PNG"
        )
    assert page.complaints() == []
    page.close()


@pytest.mark.parametrize("name", profiles.names())
def test_every_profile_fits_the_smallest_phone(
    browser: Chromium, tmp_path: Path, name: str
) -> None:
    profile = profiles.load(name)
    file = tmp_path / "page.html"
    file.write_text(html(facts(compiled(profile), profile.version)))
    page = browser.open(file.as_uri(), *NARROW)
    fits(page)
    assert page.complaints() == []
    page.close()


def test_a_section_that_is_linked_to_is_not_hidden(browser: Chromium, served: Levada) -> None:
    page = browser.open(f"{served.base}/docs/compatibility#errors", *SIZES["phone"])
    below = "document.querySelector('nav').getBoundingClientRect().bottom"
    assert page.value("document.querySelector('#errors h2').getBoundingClientRect().top") >= (
        page.value(below)
    )
    page.close()
