"""`make slides`: for each chapter a deck in one HTML file, which shows without a network.

book/slides has an outline for each chapter: Markdown for Marp, with lines such as {figure a/b},
{rule 1}, {quiz 2} and {exhibit 3}. These are the book's own: a deck says what the book says.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from html import escape
from pathlib import Path

from build import ROOT, node_folder

from lrlib.notebook.outputs import named_outputs

sys.path.insert(0, str(ROOT / "book" / "_ext"))

import lrbook

MARP = "@marp-team/marp-cli@4.5.1"
DECKS = ROOT / "_build" / "slides"
MUSEUM = ROOT / "chapters" / "04-built-in-schedulers" / "bug-museum.ipynb"
BREAK = "\n\n---\n\n"
HEAD = """---
marp: true
math: mathjax
paginate: true
style: |
  section { font-size: 30px; padding: 50px 70px; }
  img { display: block; margin: 0 auto; max-width: 100%; max-height: 500px; height: 500px; }
  h1, h2 { color: #1f4e79; } pre { font-size: 22px; }
---

"""


def plain(text: str, chapter: Path) -> str:
    """The book's text without what only the site can show: numbers for roles, no references."""

    def value(match: re.Match[str]) -> str:
        return named_outputs(chapter / f"{match[1]}.ipynb")[match[2]].text

    text = re.sub(r"\{measured\}`([\w-]+)/([\w-]+)`", value, text)
    text = re.sub(r" ?\((?:\w+ )*\{(?:doc|ref|eq|numref)\}`[^`]*`\)", "", text)
    text = re.sub(r"\{(?:doc|ref|eq|numref|py:\w+)\}`~?(?:[\w/.-]*[/.])?([\w-]+)`", r"`\1`", text)
    return re.sub(r"\[(#\d+)\]\([^)]*\)", r"\1", text)


def figure(chapter: Path, target: str, headline: str) -> str:
    notebook, _, name = target.partition("/")
    found = named_outputs(chapter / f"{notebook}.ipynb")[name]
    data = base64.b64encode(found.svg.encode()).decode()
    picture = f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(found.alt)}">'
    return f"## {headline}\n\n{picture}"


def quiz(question: lrbook.Question, chapter: Path) -> str:
    """Two slides: the question, and the same with its answer."""
    asked = f"## Vote\n\n{question.text}"
    options = [
        f"{letter}. {text}" for letter, (_, text, _) in zip("ABC", question.options, strict=True)
    ]
    shown = [
        f"**{option}**\n\n{why}" if right else option
        for option, (right, _, why) in zip(options, question.options, strict=True)
    ]
    return plain("\n\n".join([asked, *options]) + BREAK + "\n\n".join([asked, *shown]), chapter)


def exhibit(number: str) -> str:
    cells = json.loads(MUSEUM.read_text(encoding="utf-8"))["cells"]
    text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    found = re.search(rf"^### {number}\. (.*?)\n(.*?)(?=^##)", text, re.MULTILINE | re.DOTALL)
    assert found, f"the museum has no exhibit {number}"
    written, happens = found[2].strip().split(" **What happens:**")
    head = f"## Bug museum, exhibit {number}\n\n{written}"
    asked = f"{head}\n\n**What happens, and why?**{BREAK}{head}"
    answer = f"**What happens:**{happens}".replace(" **Why", "\n\n**Why")
    return plain(f"{asked}\n\n{answer}", MUSEUM.parent)


def deck(outline: Path) -> str:
    """The Marp source: the outline with what it names."""
    chapter = ROOT / "chapters" / outline.stem
    page = (chapter / "index.md").read_text(encoding="utf-8")
    rules = re.findall(r"^:class: tip rule-to-keep\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    quizzes = lrbook.quizzes(page)

    def included(match: re.Match[str]) -> str:
        kind, what, rest = match[1], match[2], match[3].strip()
        if kind == "figure":
            return figure(chapter, what, rest)
        if kind == "rule":
            return f"## Rule to keep\n\n{plain(rules[int(what) - 1], chapter)}"
        return quiz(quizzes[int(what) - 1], chapter) if kind == "quiz" else exhibit(what)

    line = re.compile(r"^\{(figure|rule|quiz|exhibit) (\S+)(.*)\}$", re.MULTILINE)
    return HEAD + line.sub(included, outline.read_text(encoding="utf-8"))


def main() -> int:
    DECKS.mkdir(parents=True, exist_ok=True)
    for outline in sorted((ROOT / "book" / "slides").glob("*.md")):
        (DECKS / outline.name).write_text(deck(outline), encoding="utf-8")
    node = Path(node_folder())
    npx = node.parent / "lib" / "node_modules" / "npm" / "bin" / "npx-cli.js"
    command: list[str | Path] = [
        node / "node",
        npx,
        "--yes",
        MARP,
        "--html",
        "--input-dir",
        DECKS,
        *sys.argv[1:],
    ]
    path = os.pathsep.join([str(node), os.environ["PATH"]])
    return subprocess.run(command, env=os.environ | {"PATH": path}).returncode


if __name__ == "__main__":
    sys.exit(main())
