"""The built site: no warning, no broken link, alt text everywhere, nothing from another host."""

from __future__ import annotations

import copy
import gzip
import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup
from docutils import nodes
from lrbook import patiently
from pages import plumbing
from typography import SHORT, letter_lists, signs, with_words

from lrlib._rules import MUSEUM, RULES, SITE

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))


def toc_pages() -> list[str]:
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    return re.findall(r"(?:root|file): (\S+)", toc)


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, BeautifulSoup]:
    """The site's own pages by name."""
    return {
        name: BeautifulSoup((site / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
        for name in toc_pages()
    }


def test_every_page_of_the_contents_has_a_title_and_a_description(pages) -> None:
    descriptions = set()
    for name, page in pages.items():
        assert page.find("h1"), name
        (meta,) = page.find_all("meta", {"name": "description"})
        assert 50 < len(meta["content"]) < 260, name
        assert meta["content"] not in descriptions, name
        descriptions.add(meta["content"])


def test_links_and_anchors_resolve(pages) -> None:
    broken = []
    ids = {}
    for name, page in pages.items():
        ids[(HTML / f"{name}.html").resolve()] = {tag["id"] for tag in page.find_all(id=True)}
    for name, page in pages.items():
        here = (HTML / f"{name}.html").resolve()
        for tag in page.find_all(href=True):
            link = urlsplit(tag["href"])
            if link.scheme or link.netloc:
                continue
            target = (here.parent / unquote(link.path)).resolve() if link.path else here
            if not target.exists():
                broken.append(f"{name}: {tag['href']}")
            # A link to an explorer's setting has the setting behind its anchor.
            elif link.fragment and target in ids and link.fragment.split("?")[0] not in ids[target]:
                broken.append(f"{name}: {tag['href']} (no such anchor)")
    assert broken == []


def test_what_the_checkup_finds_is_explained_where_it_says(pages) -> None:
    assert CONFIG["html"]["baseurl"] == SITE
    for place, _ in RULES.values():
        address = f"{MUSEUM}{place}" if isinstance(place, int) else place
        page, _, anchor = address.partition("#")
        found = pages[page.removesuffix(".html")]
        assert not anchor or found.find(id=anchor), address


def test_every_picture_says_what_it_shows(pages) -> None:
    shown = 0
    for name, page in pages.items():
        for image in page.select("article img"):
            shown += 1
            alt = image.get("alt", "")
            assert len(alt) > 60, f"{name}: {image['src']} has the alt text {alt!r}"
            assert not re.search(r"\.(svg|png)|_images", alt), alt
    assert shown >= 15


def test_nothing_is_loaded_from_another_host(pages) -> None:
    for name, page in pages.items():
        loaded = [tag["src"] for tag in page.find_all(src=True)]
        loaded += [
            tag["href"]
            for tag in page.find_all("link", href=True)
            if "canonical" not in tag.get("rel", [])  # a name, not a load
        ]
        outside = [url for url in loaded if urlsplit(url).netloc]
        assert outside == [], name
    for sheet in HTML.rglob("*.css"):
        assert not re.search(r"url\(['\"]?https?:", sheet.read_text(encoding="utf-8")), sheet


def test_mathematics_is_rendered_without_a_script(pages) -> None:
    chapter = pages["chapters/01-decay-theory/index"]
    assert len(chapter.select(".katex")) > 50
    for name, page in pages.items():
        article = copy.copy(page.find("article"))  # the other tests need the page whole
        for math in article.select(".math"):
            assert math.select(".katex"), f"{name}: {math.get_text()[:60]}"
        assert not article.select(".katex-error"), name
        for code in article(["code", "pre", "script", "style", "annotation"]):
            code.extract()
        assert "$" not in article.get_text(), f"{name}: mathematics that was not read as such"


def test_numbers_and_figures_of_the_narrative_come_from_its_notebooks(pages) -> None:
    chapter = pages["chapters/01-decay-theory/index"]
    numbers = [tag.get_text() for tag in chapter.select("span.measured")]
    assert len(numbers) >= 10
    assert all(re.search(r"\d", number) for number in numbers)
    assert len(chapter.select("figure img")) >= 8


def test_every_notebook_page_has_its_launch_buttons(pages) -> None:
    owner_and_name = CONFIG["repository"]["url"].split("/", 3)[3]
    for name, page in pages.items():
        if not (ROOT / f"{name}.ipynb").exists():
            continue
        links = [tag["href"] for tag in page.find_all("a", href=True)]
        colab = f"https://colab.research.google.com/github/{owner_and_name}/blob/main/{name}.ipynb"
        assert colab in links, name
        assert any("mybinder.org" in link and owner_and_name in link for link in links), name


def test_the_reference_holds_every_public_name(pages) -> None:
    import lrlib

    ids = {tag["id"] for tag in pages["book/lrlib"].find_all(id=True)}
    for name in lrlib.__all__:
        home = getattr(lrlib, name).__module__
        assert f"{home}.{name}" in ids, name


def test_the_map_names_every_page_and_previews_have_a_picture(pages, site: Path) -> None:
    places = re.findall(r"<loc>(.*?)</loc>", (site / "sitemap.xml").read_text(encoding="utf-8"))
    address = CONFIG["html"]["baseurl"]
    assert set(places) == {f"{address}{name}.html" for name in pages}
    for name, page in pages.items():
        assert page.find("link", rel="canonical")["href"] == f"{address}{name}.html"
        picture = page.find("meta", property="og:image")["content"].removeprefix(address)
        assert (site / picture).read_bytes().startswith(b"\x89PNG")
        assert page.find("link", rel="icon"), name


def test_a_wrong_address_leads_home(site: Path) -> None:
    page = BeautifulSoup((site / "404.html").read_text(encoding="utf-8"), "html.parser")
    home = urlsplit(CONFIG["html"]["baseurl"]).path
    assert page.select_one("article a")["href"] == f"{home}index.html"
    # The page is shown at any depth.
    links = [tag.get("href") or tag.get("src") for tag in page.select("[href], [src]")]
    assert [link for link in links if not link.startswith((home, "https://", "#"))] == []


def test_only_what_pages_use_is_sent(pages, site: Path) -> None:
    for name, page in pages.items():
        sheets = page.find_all("link", rel="stylesheet")
        assert len(sheets) == 1, name
        scripts = [tag["src"] for tag in page.find_all("script", src=True)]
        assert len(scripts) == 1 + len(page.select("[data-explorer]")), name
        assert all(tag.has_attr("defer") for tag in page.find_all("script", src=True)), name
    # Beyond 29 KB, a phone's first paint waits for one more round trip.
    assert len(gzip.compress((site / "_static/site.css").read_bytes())) < 29_000
    assert len(gzip.compress((site / "_static/site.js").read_bytes())) < 50_000
    for waste in ("scripts", "vendor", "styles"):
        assert not (site / "_static" / waste).exists()


def test_figures_keep_their_place_while_they_load(pages) -> None:
    for name, page in pages.items():
        for image in page.select("article img"):
            if not image["src"].startswith("data:"):
                assert int(image["width"]) > 0, name
                assert int(image["height"]) > 0, name


def test_every_chapter_and_the_first_page_have_a_live_figure(pages) -> None:
    for name, page in pages.items():
        wanted = name == "index" or re.fullmatch(r"chapters/\d\d-[\w-]+/index", name)
        assert bool(page.select("[data-explorer]")) >= bool(wanted), name


def test_every_chapter_has_a_quiz_and_exercises_that_open_without_a_script(pages) -> None:
    for name, page in pages.items():
        if not re.fullmatch(r"chapters/\d\d-[\w-]+/index", name):
            continue
        assert len(page.select(".quiz")) >= 3, name
        for quiz in page.select(".quiz"):
            assert len(quiz.select("details.quiz-right")) == 1
            assert len(quiz.select("details.quiz-wrong")) >= 1
            for option in quiz.select("details"):
                assert option.summary.get_text(strip=True)
                assert re.match(r"(Right|No)\. .{10}", option.find_all("p")[-1].get_text())
        assert len(page.select(".admonition.dropdown")) >= 4, name


def test_a_notebook_says_how_to_run_it_and_what_its_last_run_was(pages) -> None:
    runs = json.loads((ROOT / "book/results/notebooks.json").read_text(encoding="utf-8"))
    for name, page in pages.items():
        line = page.select_one("article h1 + .run-line")
        assert bool(line) == (ROOT / f"{name}.ipynb").exists(), name
        if line:
            assert [link.get_text() for link in line("a")] == ["Colab", "Binder", ".ipynb"]
            run = runs.get(f"{name}.ipynb")
            said = (
                f"{run['seconds']:.0f} s · last run {run['executed']} · {run['claims']} claims"
                if run
                else ""
            )
            assert said in line.get_text()


def test_a_chapters_narrative_ends_with_the_next_chapter(pages) -> None:
    chapters = [name for name in pages if re.fullmatch(r"chapters/[\w-]+/index", name)]
    for name, following in zip(chapters, [*chapters[1:], None], strict=True):
        link = pages[name].select_one("article .next-chapter a")
        if following is None:
            assert link is None
        else:
            target = (HTML / name).parent / link["href"]
            assert target.resolve() == HTML / f"{following}.html"
            title = pages[following].h1.find(string=True).strip()
            assert link.get_text().endswith(title)


def test_figures_are_seen_and_their_code_can_be_opened(pages) -> None:
    folds = 0
    for page in pages.values():
        for fold in page.select("details.code-fold"):
            folds += 1
            said, lines = re.fullmatch(
                r"Show the (.+) \((\d+) lines\)", fold.summary.get_text()
            ).groups()
            assert len(fold.pre.get_text().rstrip().splitlines()) == int(lines)
            picture = fold.parent.select(".cell_output img")
            assert (said == "code of this figure") == bool(picture)
            assert not fold.select("img")
    assert folds >= 50


REPORT = "x = known[0]\n" + "\n" * 14 + "claim('small', x < 1, measured(x))"

LONG = "x = 1" + "\n3" * 40


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("# Setup: installs lrlib\n%pip install x", "Show the setup"),
        ("import torch\nfrom lrlib import Cosine", "Show the imports"),
        ("import torch\ntorch.manual_seed(0)", None),
        ("glue('a', '1')\nglue('b', '2')", "Show the numbers for the chapter"),
        ('import torch\ndata = load("digits")', "Show the imports and the data"),
        ('import torch\ndata = load("digits")\nEPOCHS = 3\nSEEDS = 4', None),
        ("fig, axes = figure()\nshow(fig, alt='a')", "Show the code of this figure"),
        ("def idea():\n    pass\n\n\nshow(fig)", None),
        ("show(fig)\nclaim('x', True)", None),
        ("%timeit x", None),
        (REPORT, "Show the code of this claim"),
        (REPORT.replace("\n\n", "\n"), None),
        (REPORT.replace("x = ", "x = torch."), None),
        (LONG, "Show the code"),
        (LONG.removesuffix("\n3"), None),
        (f"{LONG}\nloss.backward()", None),
        (f"{LONG}\nclaim('x', True)", "Show the code of this claim"),
        (f"def draw():\n    pass\n\n\n{LONG}\nshow(fig)", "Show the code of this figure"),
    ],
)
def test_only_plumbing_is_folded(source: str, what: str | None) -> None:
    assert plumbing(source) == what


def test_a_long_recorded_experiment_is_folded_with_its_loop() -> None:
    loop = f"{LONG}\nloss.backward()"
    assert plumbing(loop, recorded=True) == "Show the recorded experiment"
    assert plumbing("loss.backward()", recorded=True) is None
    assert plumbing(f"# In a script: import torch\n{loop}", recorded=True) is None


def test_the_reference_shows_plain_types(pages) -> None:
    signatures = [one.get_text() for one in pages["book/lrlib"].select("dt.sig")]
    assert len(signatures) > 100
    assert not [one for one in signatures if re.search("Annotated| at 0x|~|<", one)]
    assert "Alias for field" not in pages["book/lrlib"].get_text()


def test_long_names_in_tables_break_where_their_words_begin(pages) -> None:
    cells = pages["chapters/04-built-in-schedulers/index"].select("article td code")
    words = {code.get_text(): [*code.stripped_strings] for code in cells}
    assert words["CosineAnnealingWarmRestarts"] == ["Cosine", "Annealing", "Warm", "Restarts"]
    assert words["T_max"] == ["T_", "max"]
    assert words["step()"] == ["step()"]
    # What marks the places is no text, not even in a link with an exhibit's title.
    assert [name for name, page in pages.items() if "<wbr" in page.get_text()] == []


def test_expanders_in_the_sidebar_have_names(pages) -> None:
    for name, page in pages.items():
        names = [one.get("aria-label", "") for one in page.select(".bd-links summary")]
        assert len(names) == len(set(names)) >= 6, name
        assert all(re.match(r"Pages of .", one) for one in names), name


def test_the_status_page_has_every_notebook(pages) -> None:
    rows = pages["book/status"].select("article tbody tr")
    notebooks = [name for name in pages if (ROOT / f"{name}.ipynb").exists()]
    assert len(rows) == sum(not name.endswith("assignment") for name in notebooks)


def test_a_math_server_that_does_not_listen_yet_is_started_again() -> None:
    answers = iter([ConnectionRefusedError(), ConnectionRefusedError(), "server"])

    def start() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert patiently(start)() == "server"
    with pytest.raises(TimeoutError):
        patiently(lambda: (_ for _ in ()).throw(TimeoutError()))()


def test_columns_of_words_are_marked_in_a_notebooks_table_and_those_of_numbers_not() -> None:
    rows = [["pair", "gain", "verdict"], ["a − b", "≈+0.2 ± 0.7 points", "not told apart"]]
    rows.append(["b − c", "–", "1.weight"])
    html = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    marked = BeautifulSoup(with_words(f"<table>{html}</table>"), "html.parser")
    assert [cell.get_text() for cell in marked.select(".words")] == [row[2] for row in rows]


def test_no_line_begins_with_a_percent_sign_or_a_symbols_full_stop(pages) -> None:
    loose = []
    for name, page in pages.items():
        for paragraph in page.select("article p:not([data-explorer] p)"):
            texts = "\n".join(map(str, paragraph.find_all(string=True, recursive=False)))
            loose += [(name, found) for found in re.findall(r".*\d %.*|.* ±.*", texts)]
        for formula in page.select("article p > span.math"):
            after = str(formula.next_sibling or "")
            if re.match("[.,;:]", after) and signs(formula.annotation.get_text()) <= SHORT:
                loose.append((name, after))
    assert loose == []


def test_a_list_of_letters_in_order_has_no_bullets_and_another_list_keeps_them() -> None:
    for letters, changes in (("abc", True), ("ac", False), ("ijk", True), ("12", False)):
        items = [nodes.list_item("", nodes.paragraph("", f"{one}. x")) for one in letters]
        page = nodes.section("", nodes.bullet_list("", *items))
        letter_lists(None, page)
        assert isinstance(page[0], nodes.enumerated_list) == changes
        assert not changes or chr(ord("a") + page[0]["start"] - 1) == letters[0]
        assert (page.astext().split() == ["x"] * len(letters)) == changes
