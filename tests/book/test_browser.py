"""The site in a browser: explorers moved by mouse and keyboard, and what every page must do."""

from __future__ import annotations

import contextlib
import html
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import nbformat
import pytest
from playwright.sync_api import Browser, Error, Page, expect

from lrlib.notebook import explorers

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

PAGES = ("index.md", "book/playground.md")
# The page of each explorer.
HOME = {
    name: path.relative_to(ROOT).with_suffix("").as_posix()
    for path in (*map(ROOT.joinpath, PAGES), *sorted(ROOT.glob("chapters/*/index.md")))
    for name in re.findall(r"\{explorer\} (\S+)", path.read_text(encoding="utf-8"))
}
# Those that show a setting at once; the others train first, and have tests of their own.
AT_ONCE = [name for name in HOME if name not in ("first-look", "playground")]


def watched(page: Page, own: str) -> list[str]:
    """What goes wrong on the page from now on; requests to other hosts fail and are noted."""
    troubles: list[str] = []

    def decide(route: Any) -> None:
        if route.request.url.startswith((own, "data:", "blob:")):
            route.continue_()
        else:
            troubles.append(f"asks for {route.request.url}")
            route.abort()

    page.route("**/*", decide)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on(
        "requestfailed",
        lambda request: (
            troubles.append(f"failed: {request.url}")
            if request.failure != "net::ERR_ABORTED"  # the page was left before it came
            else None
        ),
    )
    page.on(
        "console",
        lambda message: (
            troubles.append(message.text) if message.type in ("error", "warning") else None
        ),
    )
    return troubles


def test_a_wrong_address_shows_the_sites_own_page(address: str, browser: Browser) -> None:
    page = browser.new_page()
    answer = page.goto(address + "chapters/no-such-page.html")
    assert answer is not None
    assert answer.status == 404
    assert page.inner_text("article h1") == "This address leads nowhere"
    page.close()


@pytest.mark.parametrize(
    "name",
    [*HOME.values(), "chapters/04-built-in-schedulers/field-guide"],
)
def test_a_page_weighs_at_most_400_kilobytes(address: str, browser: Browser, name: str) -> None:
    context = browser.new_context()  # an empty cache
    page = context.new_page()
    client = context.new_cdp_session(page)
    client.send("Network.enable")
    sizes: list[float] = []
    client.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(f"{address}{name}.html")
    page.evaluate("document.querySelectorAll('img').forEach(i => (i.loading = 'eager'))")
    page.wait_for_load_state("networkidle")
    assert len(sizes) >= 3
    assert sum(sizes) <= 400_000, f"{sum(sizes) / 1000:.0f} KB"
    context.close()


# --- Explorers ----------------------------------------------------------------------------------


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    fresh = context.new_page()
    fresh.set_default_timeout(10_000)
    fresh.troubles = watched(fresh, address)  # type: ignore[attr-defined]
    yield fresh
    assert fresh.troubles == []  # type: ignore[attr-defined]
    context.close()


def control(page: Page, explorer: str, name: str) -> Any:
    return page.locator(f"#explorer-{explorer}-{name}")


def drag(page: Page, slider: Any, share: float) -> None:
    """Moves a slider's thumb with the mouse to a share of its length."""
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    value = slider.evaluate("s => (s.value - s.min) / (s.max - s.min)")
    middle = box["y"] + box["height"] / 2
    # The thumb's middle moves between half a thumb from either end.
    place = lambda part: box["x"] + 8 + part * (box["width"] - 16)
    page.mouse.move(place(value), middle)
    page.mouse.down()
    page.mouse.move(place((value + share) / 2), middle)
    page.mouse.move(place(share), middle)
    page.mouse.up()


def values(page: Page, explorer: str) -> dict[str, str]:
    """Each control's value, by the control's name."""
    read = "all => all.map(i => [i.id, i.type === 'checkbox' ? String(i.checked) : i.value])"
    inputs = page.locator(f"#explorer-{explorer} :is(input, select)").evaluate_all(read)
    return {name.removeprefix(f"explorer-{explorer}-"): value for name, value in inputs}


def picture(page: Page, explorer: str) -> str:
    return page.locator(f"#explorer-{explorer} .lr-charts").inner_html()


def open_at(page: Page, address: str, explorer: str, query: str = "") -> None:
    page.goto(f"{address}{HOME[explorer]}.html{query}")
    page.locator(f"#explorer-{explorer}").scroll_into_view_if_needed()
    page.locator(f"#explorer-{explorer}.lr-live svg").first.wait_for()


def test_every_explorer_has_a_page() -> None:
    assert HOME.keys() == explorers.NAMES.keys()


@pytest.mark.parametrize("explorer", AT_ONCE)
def test_mouse_and_keys_reach_a_setting_and_its_link_shows_the_same(
    page: Page, address: str, explorer: str
) -> None:
    open_at(page, address, explorer)
    start, by_mouse = picture(page, explorer), True
    for name, before in values(page, explorer).items():
        box = control(page, explorer, name)
        if not box.count():
            continue  # what was chosen before has other controls
        kind = box.get_attribute("type")
        if kind == "range":
            key = "ArrowRight" if before == box.get_attribute("min") else "ArrowLeft"
            drag(page, box, 0.3) if by_mouse else box.press(key)
            by_mouse = not by_mouse
        elif kind == "checkbox":
            box.press("Space")
        else:
            box.select_option(index=box.evaluate("select => +(select.selectedIndex === 0)"))
        assert values(page, explorer)[name] != before, name
    shown = picture(page, explorer), values(page, explorer)
    assert shown[0] != start
    code = page.locator(f"#explorer-{explorer} .lr-code")
    if code.count():
        code.locator("button").click()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == code.locator("code").inner_text()
    page.locator(f"#explorer-{explorer} .lr-details > button").click()
    link = page.evaluate("navigator.clipboard.readText()")
    page.goto("about:blank")
    page.goto(link)
    page.locator(f"#explorer-{explorer} svg").first.wait_for()
    assert (picture(page, explorer), values(page, explorer)) == shown
    host = page.locator(f"#explorer-{explorer}")
    assert host.evaluate("host => host.getBoundingClientRect().top") < 200


@pytest.mark.parametrize("explorer", AT_ONCE)
def test_a_slider_reaches_its_end_and_a_link_to_the_end_shows_it_there(
    page: Page, address: str, explorer: str
) -> None:
    open_at(page, address, explorer)
    for slider in page.locator(f"#explorer-{explorer} input[type=range]").all():
        for key in ("Home", "End"):
            slider.press(key)
        assert slider.evaluate("s => s.max - s.value < 1e-6"), slider.get_attribute("id")


def test_a_link_on_the_same_page_sets_what_it_names_and_nothing_else(
    page: Page, address: str
) -> None:
    open_at(page, address, "noisy-valley", "#explorer-noisy-valley?rate=2.1&step=20")
    page.evaluate("location.hash = '#explorer-noisy-valley?schedule=inverse'")
    expect(control(page, "noisy-valley", "schedule")).to_have_value("inverse")
    now = values(page, "noisy-valley")
    assert (now["step"], control(page, "noisy-valley", "rate").get_attribute("aria-valuetext")) == (
        "0",
        "0.5",
    )
    top = "document.getElementById('explorer-noisy-valley').getBoundingClientRect().top"
    page.evaluate("window.scrollTo(0, 0)")
    page.evaluate("location.hash = '#explorer-noisy-valley?rate=1'")
    assert -1 <= page.evaluate(top) < 200


@pytest.mark.parametrize("explorer", AT_ONCE)
def test_presets_change_the_picture_and_reset_brings_the_first_one_back(
    page: Page, address: str, explorer: str
) -> None:
    open_at(page, address, explorer)
    first = picture(page, explorer), values(page, explorer)
    buttons = page.locator(f"#explorer-{explorer} .lr-presets button").all()
    *presets, reset, undo = buttons
    assert len(presets) == 3
    for button in presets:
        button.click()
        changed = picture(page, explorer), values(page, explorer)
        assert changed[0] != first[0], button.inner_text()
        reset.click()
        assert (picture(page, explorer), values(page, explorer)) == first
        undo.click()
        assert (picture(page, explorer), values(page, explorer)) == changed
        reset.click()
        assert (picture(page, explorer), values(page, explorer)) == first


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("explorer", HOME)
def test_an_explorer_that_wakes_moves_little_of_what_is_below_it(
    browser: Browser, address: str, explorer: str, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    # Before it wakes: as if it were never about to be seen.
    page.add_init_script("window.IntersectionObserver = class { observe() {} disconnect() {} }")
    page.goto(f"{address}{HOME[explorer]}.html")
    height = f"document.getElementById('explorer-{explorer}').offsetHeight"
    page.evaluate("document.querySelectorAll('img').forEach(i => (i.loading = 'eager'))")
    before = page.evaluate(height)
    page.evaluate(f"location.hash = '#explorer-{explorer}'")
    page.locator(f"#explorer-{explorer}.lr-live svg").first.wait_for()
    assert page.evaluate(height) - before == pytest.approx(0, abs=60)
    page.close()


def test_a_finger_draws_the_plateaus_metric(browser: Browser, address: str) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    open_at(page, address, "plateau")
    strip = page.locator("#explorer-plateau .lr-touch").nth(30)
    strip.scroll_into_view_if_needed()
    box = strip.bounding_box()
    assert box["height"] >= 44
    page.mouse.move(box["x"] + 3, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 3 + 3 * box["width"], box["y"] - 40)
    page.mouse.up()
    moved = page.locator("[data-handle='33']").get_attribute("aria-valuenow")
    assert float(moved) > 0.4
    context.close()


def test_play_runs_the_valley_from_its_start(page: Page, address: str) -> None:
    open_at(page, address, "noisy-valley")
    assert values(page, "noisy-valley")["step"] == "0"
    page.get_by_role("button", name="Play").click()
    page.wait_for_timeout(500)
    page.get_by_role("button", name="Stop").click()
    step = values(page, "noisy-valley")["step"]
    assert float(step) > 2
    title = page.locator("#explorer-noisy-valley .lr-chart-title").first
    assert title.inner_text().startswith(f"The ball after {step} steps"), "the figure follows"


def test_a_point_of_the_plateau_is_dragged_and_moved_by_keys(page: Page, address: str) -> None:
    open_at(page, address, "plateau")
    handle = page.locator("[data-handle='35']")
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    page.mouse.move(box["x"] + 6, box["y"] + 6)
    page.mouse.down()
    page.mouse.move(box["x"] + 6, box["y"] - 20)
    page.mouse.move(box["x"] + 6, box["y"] - 60)
    page.mouse.up()
    moved = page.locator("#explorer-plateau tbody tr").nth(35).inner_text().split("\t")
    assert float(moved[1]) == float(handle.get_attribute("aria-valuenow")) > 0.4
    handle.focus()
    page.keyboard.press("ArrowLeft")
    before = page.locator("[data-handle='34']").get_attribute("aria-valuenow")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    now = page.locator(":focus")
    assert now.get_attribute("data-handle") == "34", "the focus stays on the point that moves"
    moved_by = float(now.get_attribute("aria-valuenow")) - float(before)
    assert moved_by == pytest.approx(-0.04, abs=0.002)


EVIL = ("<img src=x onerror=alert(1)>", "'\"><script>alert(1)</script>", "__proto__", "NaN", "-1e9")


@pytest.mark.parametrize("explorer", HOME)
def test_a_hostile_address_changes_nothing_but_values(
    page: Page, address: str, explorer: str
) -> None:
    open_at(page, address, explorer)
    known = [*values(page, explorer), "moved", "__proto__", "constructor"]
    page.on("dialog", lambda dialog: page.troubles.append(dialog.message))  # type: ignore[attr-defined]
    for evil in EVIL:
        page.goto("about:blank")
        query = urlencode(dict.fromkeys(known, evil))
        open_at(page, address, explorer, f"#explorer-{explorer}?{query}")
        inside = page.locator(f"#explorer-{explorer}").inner_html()
        assert "onerror" not in inside
        assert "alert" not in inside
        assert "NaN" not in inside
        assert page.evaluate("({}).steps === undefined")


ALT = re.compile(r'<img [^>]*alt="([^"]+)"')


@pytest.mark.parametrize("explorer", AT_ONCE)
def test_a_screen_reader_is_told_what_there_is(page: Page, address: str, explorer: str) -> None:
    open_at(page, address, explorer)
    host = page.locator(f"#explorer-{explorer}")
    for box in host.locator(":is(input, select)").all():
        assert page.locator(f"label[for='{box.get_attribute('id')}']").inner_text().strip()
    for slider in host.locator("input[type=range]").all():
        assert slider.get_attribute("aria-valuetext")
    labels = [svg.get_attribute("aria-label") for svg in host.locator(".lr-chart > svg").all()]
    # The static fallback has the same words; its HTML is what the page had before.
    assert labels == [html.unescape(alt) for alt in ALT.findall(explorers.html(explorer))]
    assert all(len(label) > 60 for label in labels)
    assert len(host.get_by_role("status").inner_text()) > 40


# --- The explorers that train --------------------------------------------------------------------

BEST = re.compile(r"The best of the (\d+) rates tried with this schedule is ([\d.]+)")


def test_the_first_page_trains_and_shows_what_its_still_figure_shows(
    page: Page, address: str
) -> None:
    open_at(page, address, "first-look")
    host = page.locator("#explorer-first-look")
    expect(summary(page, "first-look")).to_contain_text(BEST, timeout=120_000)
    labels = [svg.get_attribute("aria-label") for svg in host.locator(".lr-chart > svg").all()]
    assert labels == [html.unescape(alt) for alt in ALT.findall(explorers.html("first-look"))]
    plot = host.locator(".lr-touch")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.click(box["x"] + 2, box["y"] + 50)
    assert float(control(page, "first-look", "rate").get_attribute("aria-valuetext")) < 0.011
    control(page, "first-look", "rate").press("Home")
    expect(summary(page, "first-look")).to_contain_text(
        "Rate 0.01, cosine: after 272 steps", timeout=60_000
    )
    control(page, "first-look", "rate").press("ArrowRight")  # between the rates that were trained
    expect(summary(page, "first-look")).to_contain_text("Rate 0.0112, cosine", timeout=60_000)
    expect(summary(page, "first-look")).to_contain_text(BEST, timeout=60_000)
    shown = values(page, "first-look")
    host.locator(".lr-details > button").click()
    link = page.evaluate("navigator.clipboard.readText()")
    page.goto("about:blank")
    page.goto(link)
    expect(summary(page, "first-look")).to_contain_text("Rate 0.0112, cosine", timeout=60_000)
    assert values(page, "first-look") == shown


def test_the_first_page_weighs_at_most_150_kilobytes_with_its_training(
    address: str, browser: Browser
) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    client = page.context.new_cdp_session(page)
    client.send("Network.enable")
    sizes: list[float] = []
    client.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    open_at(page, address, "first-look")
    page.wait_for_load_state("networkidle")
    assert 100_000 < sum(sizes) <= 150_000, f"{sum(sizes) / 1000:.0f} KB"
    page.close()


def test_without_its_digits_the_figure_stays_and_says_why(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.route("**/digits.js", lambda route: route.abort())
    page.goto(f"{address}index.html")
    host = page.locator("#explorer-first-look")
    host.scroll_into_view_if_needed()
    expect(host.get_by_role("status")).to_contain_text("digits.js, which didn't come")
    assert host.locator("img").first.is_visible()
    page.close()


@pytest.mark.parametrize(("motion", "redrawn"), [("reduce", False), ("no-preference", True)])
def test_who_wants_less_motion_sees_the_charts_when_they_are_done(
    browser: Browser, address: str, motion: Any, redrawn: bool
) -> None:
    page = browser.new_page(reduced_motion=motion)
    page.goto(f"{address}book/playground.html{TINY}")
    expect(summary(page)).to_contain_text(TRAINED, timeout=60_000)
    page.evaluate("""() => {
      window.drawn = 0;
      const charts = document.querySelector("#explorer-playground .lr-charts");
      new MutationObserver(() => (window.drawn += 1)).observe(charts, { childList: true });
    }""")
    page.evaluate("location.hash = '#explorer-playground?seeds=8&epochs=60'")
    expect(summary(page)).to_contain_text("mean of 8 networks", timeout=60_000)
    assert page.evaluate("drawn > 3") is redrawn
    assert page.evaluate("drawn > 0")
    page.close()


TINY = "#explorer-playground?seeds=3&epochs=2"
TRAINED = re.compile(r"after \d+ steps the validation error is")


def summary(page: Page, explorer: str = "playground") -> Any:
    return page.locator(f"#explorer-{explorer} .lr-summary")


def test_the_playground_trains_and_says_so(page: Page, address: str) -> None:
    open_at(page, address, "playground")
    expect(summary(page)).to_contain_text(TRAINED, timeout=60_000)
    assert summary(page).get_attribute("role") == "status"
    host = page.locator("#explorer-playground")
    labels = [svg.get_attribute("aria-label") for svg in host.locator(".lr-chart > svg").all()]
    # The figure for pages without scripts was trained in Node: the same networks, the same losses.
    assert labels == [html.unescape(alt) for alt in ALT.findall(explorers.html("playground"))]
    for box in host.locator(":is(input, select)").all():
        assert page.locator(f"label[for='{box.get_attribute('id')}']").text_content().strip()


def test_a_newer_setting_ends_the_older_training(page: Page, address: str) -> None:
    # A long training: 32 networks, 80 epochs, small batches.
    open_at(page, address, "playground", "#explorer-playground?seeds=32&epochs=80&batch=8")
    expect(page.locator("#explorer-playground path.lr-line").first).to_be_attached()
    page.evaluate(f"location.hash = '{TINY}'")
    expect(summary(page)).to_contain_text("mean of 3 networks", timeout=30_000)
    for rate in ("0.2", "0.02", "0.3"):
        page.evaluate(f"location.hash = '{TINY}&rate={rate}'")
    expect(summary(page)).to_contain_text("Rate 0.3, cosine", timeout=30_000)


def test_a_kept_setting_is_compared_by_keyboard_and_its_link_shows_the_same(
    page: Page, address: str
) -> None:
    open_at(page, address, "playground", TINY)
    keep = page.get_by_role("button", name="Keep this setting to compare")
    keep.focus()
    page.keyboard.press("Enter")
    expect(page.locator(":focus")).to_have_text("Keep this setting to compare")
    page.keyboard.press("Enter")  # the same setting isn't kept twice
    expect(page.get_by_role("button", name="Remove")).to_have_count(1)
    control(page, "playground", "rate").press("Home")
    expect(summary(page)).to_contain_text(re.compile("This setting is .+ A"), timeout=30_000)
    expect(page.locator("#explorer-playground tbody tr")).to_have_count(1)
    notes = page.locator("#explorer-playground .lr-notes p").all_inner_texts()
    assert notes[1] == "A: rate 0.1, cosine, SGD with momentum 0.9, 2 epochs."
    page.locator("#explorer-playground .lr-more summary").click()
    control(page, "playground", "batch").select_option("64")
    expect(summary(page)).to_contain_text(re.compile("after 34 steps .+ A"), timeout=30_000)
    code = page.locator("#explorer-playground .lr-code")
    code.locator("button").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == code.locator("code").inner_text()
    assert "batch_size=64" in copied
    shown = picture(page, "playground"), values(page, "playground")
    page.locator("#explorer-playground .lr-details > button").click()
    link = page.evaluate("navigator.clipboard.readText()")
    page.goto("about:blank")
    page.goto(link)
    expect(summary(page)).to_contain_text(re.compile("after 34 steps .+ A"), timeout=30_000)
    assert (picture(page, "playground"), values(page, "playground")) == shown
    page.get_by_role("button", name="Remove A").click()
    expect(page.locator("#explorer-playground tbody tr")).to_have_count(0)


def test_undo_brings_back_the_kept_settings_once(page: Page, address: str) -> None:
    open_at(page, address, "playground", f"{TINY}&rate=0.2&kept=rate:0.3,epochs:2")
    before = values(page, "playground")
    undo = page.get_by_role("button", name="Undo")
    expect(undo).to_have_attribute("aria-disabled", "true")
    for name in ("stairs", "Reset", "Reset"):  # the second Reset changes nothing
        page.get_by_role("button", name=name, exact=True).click()
        expect(page.get_by_role("button", name="Remove A")).to_have_count(0)
    undo.click()
    assert "StepDecay" in values(page, "playground").values()
    page.goto("about:blank")
    open_at(page, address, "playground", f"{TINY}&rate=0.2&kept=rate:0.3,epochs:2")
    page.get_by_role("button", name="Reset").click()
    undo.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Remove A")).to_have_count(1)
    assert values(page, "playground") == before
    expect(page.locator(":focus")).to_have_text("Undo")
    expect(undo).to_have_attribute("aria-disabled", "true")
    page.keyboard.press("Enter")  # nothing is left to undo
    assert values(page, "playground") == before


def test_a_range_test_finds_a_rate_and_a_button_uses_it(page: Page, address: str) -> None:
    open_at(page, address, "playground", TINY)
    control(page, "playground", "find").press("Space")
    use = page.get_by_role("button", name=re.compile(r"Use [\d.]+ \(valley\)"))
    use.wait_for(timeout=60_000)
    expect(summary(page)).to_contain_text("The range test is done, on 3 networks.")
    rate = use.inner_text().split()[1]
    use.focus()
    page.keyboard.press("Enter")
    assert control(page, "playground", "rate").get_attribute("aria-valuetext") == rate
    expect(page.locator(":focus")).to_have_text(use.inner_text())
    expect(summary(page)).to_contain_text(f"Rate {rate}, cosine", timeout=60_000)
    expect(use).to_have_attribute("aria-disabled", "true")
    # In the range test's own chart, too.
    plot = page.locator("#explorer-playground .lr-touch")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 6 / 7, box["y"] + 50)
    chosen = float(control(page, "playground", "rate").get_attribute("aria-valuetext"))
    assert chosen == pytest.approx(1, rel=0.1)


def test_the_program_is_stored_as_a_notebook_that_runs(page: Page, address: str) -> None:
    open_at(page, address, "playground", TINY)
    with page.expect_download() as stored:
        page.get_by_role("link", name="Download as a notebook").click()
    assert stored.value.suggested_filename == "playground.ipynb"
    notebook = nbformat.read(stored.value.path(), as_version=4)
    nbformat.validate(notebook)
    told, setup, program = (cell.source for cell in notebook.cells)
    assert told.endswith("rate 0.1, cosine, SGD with momentum 0.9, 2 epochs")
    book = nbformat.read(ROOT / "chapters/01-decay-theory/noise-floor.ipynb", as_version=4)
    (expected,) = [cell.source for cell in book.cells if cell.source.startswith("# Setup")]
    assert setup == expected.replace("lrlib[book]", "lrlib[lab]")
    code = page.locator("#explorer-playground .lr-code code")
    assert program == code.inner_text()


def test_while_the_playground_trains_it_says_so_and_disturbs_no_reader(
    page: Page, address: str
) -> None:
    query = "seeds=8&epochs=60&kept=rate:0.2,epochs:2"
    open_at(page, address, "playground", TINY)
    expect(summary(page)).to_contain_text(TRAINED, timeout=30_000)
    page.evaluate(f"location.hash = '#explorer-playground?{query}'")
    expect(summary(page)).to_contain_text("Training 8 networks")
    assert summary(page).get_attribute("aria-busy") == "true"
    code = page.locator("#explorer-playground .lr-code")
    code.locator("button").click()
    page.evaluate("box => getSelection().selectAllChildren(box)", code.element_handle())
    expect(page.locator("#explorer-playground tbody tr")).to_have_count(1, timeout=60_000)
    expect(summary(page)).to_have_attribute("aria-busy", "false")
    assert "fit_many" in page.evaluate("String(getSelection())")


@pytest.mark.parametrize(
    "broken",
    [
        "delete window.Worker",
        "window.Worker = class { constructor() { throw new Error('refused'); } }",
        """window.Worker = class {
          postMessage() { setTimeout(() => this.onerror(new Event("error"))); }
          terminate() {}
        }""",
        "URL.createObjectURL = () => { throw new Error('refused'); }",
    ],
)
def test_without_a_worker_the_page_trains_by_itself_and_says_so(
    page: Page, address: str, broken: str
) -> None:
    page.add_init_script(broken)
    open_at(page, address, "playground", TINY)
    expect(summary(page)).to_contain_text(TRAINED, timeout=30_000)
    expect(summary(page)).to_contain_text("the page trains by itself")


@pytest.mark.parametrize(
    ("policy", "kernel"),
    [
        ("script-src 'self' 'unsafe-inline' blob: 'wasm-unsafe-eval'", "WebAssembly"),
        ("script-src 'self' 'unsafe-inline' blob:", "JavaScript"),
    ],
)
def test_where_a_policy_refuses_webassembly_the_worker_trains_without_it(
    page: Page, address: str, policy: str, kernel: str
) -> None:
    def serve_with_policy(route: Any) -> None:
        answer = route.fetch()
        headers = {**answer.headers, "content-security-policy": policy}
        route.fulfill(response=answer, headers=headers)

    page.route("**/playground.html", serve_with_policy)
    page.add_init_script("""
      window.kernels = [];
      window.Worker = class extends Worker {
        constructor(address) {
          super(address);
          this.addEventListener("message", ({ data }) => kernels.push(data.kernel));
        }
      };
    """)
    open_at(page, address, "playground", TINY)
    expect(summary(page)).to_contain_text(TRAINED, timeout=30_000)
    assert "by itself" not in summary(page).inner_text()
    assert set(page.evaluate("kernels")) == {kernel}


def test_what_no_control_allows_becomes_a_setting_and_a_sentence(page: Page, address: str) -> None:
    query = "seeds=0&epochs=1&rate=1e9&schedule=evil&kept=rate:1e9,x:y;;:;seeds:99"
    open_at(page, address, "playground", f"#explorer-playground?{query}")
    expect(summary(page)).to_contain_text("Rate 10, cosine", timeout=30_000)
    expect(summary(page)).to_contain_text("one network: no interval")


def test_a_preset_reaches_the_chapter_that_explains_what_happened(page: Page, address: str) -> None:
    open_at(page, address, "playground", "#explorer-playground?seeds=2&epochs=1")
    page.get_by_role("button", name="too large").click()
    link = page.locator("#explorer-playground .lr-notes a").first
    expect(link).to_have_text("chapter 1, Why rates decay", timeout=60_000)
    link.click()
    expect(page.locator("article h1")).to_contain_text("rates decay")


@pytest.mark.parametrize("explorer", ["first-look", "playground"])
def test_from_a_folder_it_trains_in_a_worker(browser: Browser, site: Path, explorer: str) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 780}, reduced_motion="reduce")
    troubles = watched(page, "file:")
    query = TINY if explorer == "playground" else "#explorer-first-look"
    page.goto(f"{(site / f'{HOME[explorer]}.html').as_uri()}{query}")
    expect(summary(page, explorer)).to_contain_text(TRAINED, timeout=60_000)
    assert "by itself" not in summary(page, explorer).inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert [trouble for trouble in troubles if "Unsafe attempt" not in trouble] == []
    page.close()


PLAYGROUND = 'from lrlib.notebook import explorer\n\nexplorer("playground", seeds=3, epochs=2)'


@pytest.fixture
def jupyterlab(tmp_path: Path) -> Iterator[str]:
    """The address of a JupyterLab with one notebook, in which nothing has run."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    notebook.cells.append(nbformat.v4.new_code_cell(PLAYGROUND))
    nbformat.write(notebook, tmp_path / "try.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [f"--port={port}", f"--ServerApp.root_dir={tmp_path}", "--ServerApp.token=secret"]
    # The kernel's sockets in files: a TCP port may be taken by another test's kernel in between.
    # Their names may have about 100 characters: pytest's own folder is too long for them.
    options.append("--KernelManager.transport=ipc")
    with tempfile.TemporaryDirectory() as sockets:
        folders = {"CONFIG": str(tmp_path), "DATA": str(tmp_path), "RUNTIME": sockets}
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {f"JUPYTER_{kind}_DIR": path for kind, path in folders.items()},
        )
        yield f"http://127.0.0.1:{port}/lab/tree/try.ipynb?token=secret"
        server.terminate()
        server.wait(30)


def test_in_jupyterlab_a_key_moves_the_slider_and_the_browser_trains(
    browser: Browser, jupyterlab: str
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    for _ in range(60):  # until the server listens
        with contextlib.suppress(Error):
            page.goto(jupyterlab)
            break
        page.wait_for_timeout(500)
    # JupyterLab may say or ask something, such as that a kernel died: its proposal will do.
    page.add_locator_handler(
        page.locator(".jp-Dialog"),
        lambda asked: asked.locator(".jp-mod-accept").click(),
        no_wait_after=True,
    )
    slider = page.locator(".lr-live input[type=range]").first
    for _ in range(6):  # what is pressed before the notebook is ready is lost
        page.locator(".jp-Notebook .jp-Cell").first.click(timeout=60_000)
        idle = page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")
        with contextlib.suppress(Error):
            idle.first.wait_for(state="attached", timeout=15_000)
        page.keyboard.press("Control+Enter")
        with contextlib.suppress(Error):
            slider.wait_for(timeout=15_000)
            break
    summary = page.locator(".lr-live .lr-summary")
    expect(summary).to_contain_text("Rate 0.1, cosine", timeout=60_000)
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(summary).to_contain_text("Rate 0.112, cosine", timeout=60_000)
    expect(summary).to_contain_text("after 68 steps the validation error is")
    expect(page.locator(".lr-live .lr-notes")).to_contain_text("no server and no Jupyter kernel")
    page.close()


# --- The site -----------------------------------------------------------------------------------


def test_what_teaches_stands_before_assignments_and_nothing_is_said_twice(
    page: Page, address: str
) -> None:
    page.goto(f"{address}search.html?q=warmup")
    results = page.locator("#search-results li")
    expect(page.locator(".search-summary")).to_contain_text("found")
    links = [a.get_attribute("href") for a in page.locator("#search-results li > a").all()]
    course = re.compile("assignment|instructors|bibliography|status|performance")
    last = [bool(course.search(link or "")) for link in links]
    assert any(last)
    assert last == sorted(last)
    page.goto(f"{address}search.html?q=curvature")
    results.first.locator(".context").wait_for()
    assert "\\" not in page.inner_text("#search-results")


# Whether the element that has the focus looks different without it. (A shadow that it always has
# is no mark.)
MARKED = """() => {
  const at = document.activeElement, card = at.closest(".sd-card");
  const look = () => {
    document.getAnimations().forEach(one => one.finish());
    // A card cuts off the outline of what is in it.
    const parts = card ? [card] : [at, ...at.children];
    return parts.map(part => {
      const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(part);
      return [outlineStyle, outlineStyle !== "none" && outlineWidth, boxShadow];
    }).join();
  };
  const focused = look();
  at.blur();
  const plain = look();
  at.focus();
  return focused !== plain;
}"""


@pytest.mark.parametrize("name", ["index", "chapters/01-decay-theory/noise-floor"])
def test_the_focus_is_seen_wherever_it_is(page: Page, address: str, name: str) -> None:
    page.goto(f"{address}{name}.html")
    unseen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break
        if not page.evaluate(MARKED):
            unseen.append(page.evaluate("document.activeElement.outerHTML.slice(0, 120)"))
    assert unseen == []


def test_on_paper_dark_is_light_code_is_open_and_notes_are_on_the_sheet(
    page: Page, address: str
) -> None:
    page.set_viewport_size({"width": 794, "height": 1123})
    page.emulate_media(color_scheme="dark", media="print")
    page.goto(f"{address}chapters/01-decay-theory/noise-floor.html")
    theme = "document.documentElement.dataset.theme"
    assert page.evaluate(theme) == "dark"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(theme) == "light"
    assert page.locator(".code-fold pre").last.is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(theme) == "dark"
    assert not page.locator(".code-fold pre").last.is_visible()
    page.goto(f"{address}chapters/01-decay-theory/index.html")
    for note in page.locator("aside.margin").all():
        box = note.bounding_box()
        assert box["x"] + box["width"] <= 794


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_the_handout_is_one_printed_page(page: Page, address: str, paper: str) -> None:
    page.goto(f"{address}book/museum-handout.html")
    margins = dict.fromkeys(("top", "right", "bottom", "left"), "1cm")
    printed = page.pdf(format=paper, margin=margins)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1


def test_on_a_phone_what_goes_on_to_the_right_fades_out_until_its_end(
    browser: Browser, address: str
) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(f"{address}chapters/04-built-in-schedulers/which-one-wins.html")
    mask = "box => getComputedStyle(box).maskImage"
    for kind in (".wide-figure", ".text_html:has(.dataframe)", "pre"):
        boxes = [box for box in page.locator(f"article {kind}").all() if box.is_visible()]
        goes_on = [box for box in boxes if box.evaluate("b => b.scrollWidth > b.clientWidth + 20")]
        assert goes_on, kind
        goes_on[0].scroll_into_view_if_needed()
        assert "gradient" in goes_on[0].evaluate(mask), kind
        goes_on[0].evaluate("box => (box.scrollLeft = box.scrollWidth)")
        expect(goes_on[0]).to_have_css("mask-image", "none")
    for box in page.locator("article .claim").all():
        assert box.evaluate("claim => getComputedStyle(claim.parentElement).maskImage") == "none"
    page.close()


def test_code_is_copied(page: Page, address: str) -> None:
    page.goto(f"{address}chapters/03-manual-schedules/index.html")
    page.locator("div.highlight").first.hover()
    page.locator("button.copybtn").first.click()
    assert 'group["lr"] = 0.025' in page.evaluate("navigator.clipboard.readText()")


def test_dark_mode_is_chosen_and_kept(page: Page, address: str) -> None:
    page.goto(f"{address}{HOME['composer']}.html")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    button = page.get_by_role("button", name="Color mode")
    for _ in range(3):
        if page.evaluate("document.documentElement.dataset.mode") != "dark":
            button.click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark
    page.locator("#explorer-composer").scroll_into_view_if_needed()
    line = page.locator("#explorer-composer path.lr-line").first
    assert line.evaluate("l => getComputedStyle(l).stroke") == "rgb(108, 184, 230)"


def test_a_phone_lays_out_a_section_when_it_is_near(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(f"{address}chapters/01-decay-theory/index.html")
    last = page.locator("article > section > section > h2").last
    laid_out = "part => part.checkVisibility({contentVisibilityAuto: true})"
    assert not last.evaluate(laid_out)
    page.evaluate("id => { location.hash = id }", last.evaluate("h => h.parentElement.id"))
    expect(last).to_be_in_viewport()
    assert last.evaluate(laid_out)
    page.close()


def test_the_sidebar_opens_on_a_phone(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 780})
    page.goto(f"{address}{HOME['composer']}.html")
    assert not page.get_by_role("link", name="Glossary").is_visible()
    page.locator("button.primary-toggle").first.click()
    page.get_by_role("link", name="Glossary").wait_for(state="visible")
    page.close()


def test_launch_menu_opens_by_keyboard(page: Page, address: str) -> None:
    page.goto(f"{address}chapters/01-decay-theory/noise-floor.html")
    page.get_by_role("button", name="Launch interactive content").focus()
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Colab logo Colab").wait_for(state="visible")


@pytest.mark.parametrize("explorer", HOME)
def test_without_scripts_there_are_text_mathematics_and_figures(
    browser: Browser, site: Path, explorer: str
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((site / f"{HOME[explorer]}.html").as_uri())
    host = page.locator(f"#explorer-{explorer}")
    for image in host.locator("img").all():
        assert image.is_visible()
        assert image.evaluate("image => image.naturalWidth") >= 300
        assert image.bounding_box()["height"] > 150
    assert "Where scripts run, this figure has sliders" in host.inner_text()
    assert page.locator("article h1").is_visible()
    math = page.locator("article .katex-html").first
    if math.count():
        assert math.bounding_box()["height"] < 200
    solutions = page.locator(".admonition.dropdown")
    for solution in solutions.all():
        assert solution.locator("p").last.is_visible(), "a solution can be read without scripts"
    context.close()
