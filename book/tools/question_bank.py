"""`make question-bank`: all quizzes of the book as one GIFT file, which Moodle and others import.

A category for each page; every option keeps its comment, which the student sees as feedback.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from slides import plain

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import lrbook  # noqa: E402

BANK = ROOT / "_build" / "question-bank.gift"


def mathematics(formula: str, options: dict[str, bool]) -> str:
    r"""As Moodle's MathJax reads it: \( … \) or \[ … \]."""
    return rf"\[{formula}\]" if options["display_mode"] else rf"\({formula}\)"


MARKDOWN = MarkdownIt().use(dollarmath_plugin, renderer=mathematics)


def pages() -> list[Path]:
    return [*sorted(ROOT.glob("chapters/*/index.md")), *sorted(ROOT.glob("book/wrap-up-*.md"))]


def gift(markdown: str, chapter: Path) -> str:
    """The text as HTML in one line, with GIFT's own characters escaped."""
    html = re.sub("^<p>(.*)</p>$", r"\1", MARKDOWN.render(plain(markdown, chapter)).strip())
    return re.sub(r"([\\~=#{}:])", r"\\\1", html).replace("\n", r"\n")


def category(page: str) -> str:
    found = re.search(r"^# (.*)$", page, re.MULTILINE)
    assert found, "a page has a title"
    return found[1].replace("/", "//")


def bank() -> str:
    written = []
    for path in pages():
        page = path.read_text(encoding="utf-8")
        written.append(f"$CATEGORY: The Learning-Rate Book/{category(page)}\n")
        for number, question in enumerate(lrbook.quizzes(page), start=1):
            options = [
                f"{'=' if right else '~'}{gift(text, path.parent)}#{gift(why, path.parent)}"
                for right, text, why in question.options
            ]
            name = f"{path.parent.name if path.stem == 'index' else path.stem} {number}"
            lines = [f"::{name}::[html]{gift(question.text, path.parent)}{{", *options, "}\n"]
            written.append("\n".join(lines))
    return "\n".join(written)


def main() -> int:
    BANK.parent.mkdir(exist_ok=True)
    written = bank()
    BANK.write_text(written, encoding="utf-8")
    print(f"{BANK.relative_to(ROOT)}: {written.count('::[html]')} questions to import as GIFT")
    return 0


if __name__ == "__main__":
    sys.exit(main())
