"""The instructor's kit: a deck of slides for each chapter, and the minutes of its sections."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from reading_time import sections

ROOT = Path(__file__).resolve().parents[2]
OUTLINES = sorted((ROOT / "book" / "slides").glob("*.md"))


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "book" / "tools"))
    import slides

    return slides


def slides_of(tool, outline: Path) -> list[str]:
    head, body = tool.deck(outline)[: len(tool.HEAD)], tool.deck(outline)[len(tool.HEAD) :]
    assert head == tool.HEAD
    return body.split("\n---\n")


def test_every_chapter_has_a_deck() -> None:
    chapters = {path.parent.name for path in (ROOT / "chapters").glob("*/index.md")}
    assert {path.stem for path in OUTLINES} == chapters


@pytest.mark.parametrize("outline", OUTLINES, ids=lambda path: path.stem)
def test_a_deck_asks_before_it_shows_and_fits_the_screen(tool, outline: Path) -> None:
    deck = slides_of(tool, outline)
    assert 8 <= len(deck) <= 12
    title = re.search("^# (.*)$", deck[0], re.M)
    assert title
    page = (ROOT / "chapters" / outline.stem / "index.md").read_text(encoding="utf-8")
    assert re.search(f"^# {re.escape(title[1])}", page, re.M)
    text = "\n".join(re.sub("<img.*?>", "FIGURE", slide) for slide in deck)
    for kind in ("## Predict", "FIGURE", "## Rule to keep", "## Vote", "## Bug museum"):
        assert kind in text, kind
    # A question or a prediction comes before the first figure.
    assert min(text.find(ask) % 10**6 for ask in ("## Predict", "## Question")) < text.find(
        "FIGURE"
    )
    for slide in deck:
        words = re.sub("<img.*?>", "", slide).split()
        assert len(words) <= 110, " ".join(words[:8])
    # Nothing is left that only the site can show, and nothing comes from a network.
    assert not re.search(r"\{[a-z:]+( |\})|\{[a-z:]+\}`", text)
    assert not re.search(r"(src|href)=.https?:", "\n".join(deck))


def test_the_guide_s_minutes_are_about_those_of_the_rule_that_it_names() -> None:
    guide = (ROOT / "book" / "instructors.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\*Minutes\.\* (.*)\.$", guide, re.M)
    chapters = sorted((ROOT / "chapters").glob("*/index.md"))
    assert len(lines) >= 6
    for line, path in zip(lines, chapters, strict=False):
        written = [part.rsplit(" ", 1) for part in line.split(" · ")]
        counted = sections(path.read_text(encoding="utf-8"))
        assert [title for title, _ in written] == [title for title, _ in counted], path
        # A changed sentence is no reason to change the guide.
        for (title, said), (_, minutes) in zip(written, counted, strict=True):
            assert abs(int(said) - minutes) <= 1, f"{title}: about {minutes} min"


def test_the_handout_names_exhibits_of_the_museum() -> None:
    handout = (ROOT / "book" / "museum-handout.md").read_text(encoding="utf-8")
    museum = ROOT / "chapters" / "04-built-in-schedulers" / "bug-museum.ipynb"
    there = set(re.findall(r'"### (\d+)\. |\\n### (\d+)\. ', museum.read_text(encoding="utf-8")))
    named = re.findall(r"[*,] (\d+)(?=[,.])", handout.split("Choose two")[1].split("\n1. ")[0])
    assert len(named) > 20
    assert {int(number) for number in named} <= {int(a or b) for a, b in there}
