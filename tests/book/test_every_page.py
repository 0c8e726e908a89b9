"""Every page of the site, opened from disk in a browser, at the widths of phones and laptops.

In a file of its own, so that it runs beside `test_browser.py` and not after it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser
from test_browser import watched

pytestmark = pytest.mark.slow


def own_pages(site: Path) -> list[Path]:
    return sorted(page for page in site.rglob("*.html") if page.name != "404.html")


# A picture that keeps its place by its attributes, and is drawn in other proportions.
LETTERBOXED = """
[...document.querySelectorAll("article img[width]")].filter(image =>
  image.clientWidth && !image.closest("picture") && Math.abs(
    image.clientHeight / image.clientWidth
    - image.getAttribute("height") / image.getAttribute("width")
  ) > 0.02
).map(image => image.getAttribute("src"))
"""


def test_every_page_from_disk_is_whole_on_a_phone_and_asks_no_other_host(
    site: Path, browser: Browser
) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 780})
    own = site.as_uri()
    troubles = watched(page, own)
    seen = []
    for path in own_pages(site):
        page.goto(path.as_uri(), wait_until="load")
        # Sections that wait for the screen hide what is too wide.
        page.add_style_tag(content="section { content-visibility: visible !important }")
        page.evaluate("document.querySelectorAll('img').forEach(i => (i.loading = 'eager'))")
        page.wait_for_function("[...document.images].every(i => i.complete)")
        width = page.evaluate("document.documentElement.scrollWidth")
        name = path.relative_to(site).as_posix()
        if width > 360:
            seen.append(f"{name} is {width} pixels wide")
        empty = page.evaluate(
            "[...document.images].filter(i => !i.naturalWidth).map(i => i.getAttribute('src'))"
        )
        cut = [f"equation cut on the right: {tex}" for tex in page.evaluate(WIDE_EQUATIONS)]
        bands = [f"bands around {image}" for image in page.evaluate(LETTERBOXED)]
        marks = [f"a letter of a font that isn't sent: {link}" for link in page.evaluate(GLYPHS)]
        lists = [f"numbers for letters: {one}" for one in page.evaluate(NUMBERED)]
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        white = [f"white in the dark: {part}" for part in page.evaluate(WHITE)]
        faded = [f"a caption fades out: {text}" for text in page.evaluate(FADED_CAPTIONS)]
        over = [f"a cell's text stands over the next: {text}" for text in page.evaluate(FULL_CELLS)]
        found = (*troubles, *empty, *cut, *bands, *marks, *lists, *white, *faded, *over)
        seen += [f"{name}: {trouble}" for trouble in found]
        troubles.clear()
        for width in (1000, 1200):  # just wide enough for the sidebar, and for margin notes
            page.set_viewport_size({"width": width, "height": 780})
            wide = page.evaluate("document.documentElement.scrollWidth")
            seen += [f"{name} is {wide} pixels wide at {width}"] * (wide > width)
        page.set_viewport_size({"width": 360, "height": 780})
    page.close()
    assert seen == []


WIDE_EQUATIONS = """
[...document.querySelectorAll(".katex-display")].filter(equation => {
  const box = (equation.closest("div.math") || equation.parentElement).getBoundingClientRect();
  const parts = [...equation.querySelectorAll(".base")].map(part => part.getBoundingClientRect());
  return Math.max(...parts.map(part => part.right)) > box.right + 1;
}).map(equation => equation.querySelector("annotation").textContent)
"""

# The theme's icon font isn't sent: its letters are private ones.
GLYPHS = r"""
[...document.querySelectorAll("article a")].filter(link =>
  /[\ue000-\uf8ff]/.test(getComputedStyle(link, "::before").content
    + getComputedStyle(link, "::after").content)
).map(link => link.href)
"""

# The text below such a list calls its entries by their letters.
NUMBERED = """
[...document.querySelectorAll("article ol.loweralpha")].filter(list =>
  getComputedStyle(list).listStyleType !== "lower-alpha"
).map(list => list.textContent.trim().slice(0, 40))
"""

# Images have a white ground, which is turned around with them; buttons change slowly.
WHITE = r"""
[...document.querySelectorAll("article *:not(img, button)")].filter(part => {
  const [red, green, blue, alpha = 1] =
    getComputedStyle(part).backgroundColor.match(/[\d.]+/g).map(Number);
  return alpha > 0.5 && Math.min(red, green, blue) > 160 && part.clientHeight > 20;
}).map(part => part.outerHTML.slice(0, 80))
"""

# A table's caption under the fade that says that the table goes on.
FADED_CAPTIONS = """
[...document.querySelectorAll("article .text_html:has(caption)")].filter(box => {
  const [inner, outer] = [box.querySelector("caption"), box].map(b => b.getBoundingClientRect());
  return box.scrollWidth > box.clientWidth && inner.right > outer.right - 40;
}).map(box => box.querySelector("caption").textContent)
"""

FULL_CELLS = """
[...document.querySelectorAll("article .text_html :is(td, th)")].filter(cell =>
  cell.scrollWidth > cell.clientWidth + 1
).map(cell => cell.textContent.trim())
"""
