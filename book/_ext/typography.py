"""What a typesetter does: nothing hangs at the start of a line, and a table's columns stand right.

A number keeps its % and its ±, and a symbol the full stop that follows it. In a table, numbers are
aligned on the right and words on the left, whoever wrote the table: a page or a notebook.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

NUMBER = re.compile(r"[≈≤≥<>+−-]*\d[\d.,]*(e[+−-]?\d+)?(?![\w.])")
CELL = re.compile(r"<(t[dh])\b([^>]*)>(.*?)</\1>", re.DOTALL)
# A space in `95 %`, `2 ± 1` and `1.3 − 0`.
INSIDE_NUMBERS = re.compile(r"(?<=\d) (?=%|− \d)|(?<=\d −) (?=\d)| (?=±)|(?<=±) ")
# In a table, `0.01 to 0.02` and `2.5 at 0.01`.
TWO_NUMBERS = re.compile(r"(?<=\d) (to|at) (?=[\d≈])")
# A name longer than a phone's first column.
NAME = re.compile(r"[A-Za-z_]{15,}")
PROSE = nodes.paragraph | nodes.inline | nodes.strong | nodes.emphasis | nodes.caption
MARK = re.compile(r"^[.,;:?!)\]’]+")
# A longer formula may have to break on a phone.
SHORT = 24


def signs(tex: str) -> int:
    """About how many signs a formula shows."""
    return len(re.sub(r"[{}^_\s]", "", re.sub(r"\\(?:[a-zA-Z]+|.)", "x", tex)))


def keep_together(app: Sphinx, doctree: nodes.document) -> None:
    """Spaces that don't break in numbers; symbols and names in code with their punctuation."""
    for text in list(doctree.findall(nodes.Text)):
        if isinstance(text.parent, PROSE):
            kept = INSIDE_NUMBERS.sub("\N{NO-BREAK SPACE}", text)
            if kept != text:
                text.parent.replace(text, nodes.Text(kept))
    formulas = [*doctree.findall(nodes.math), *doctree.findall(nodes.literal)]
    for formula in formulas:
        bold = formula.parent
        after = bold.next_node(descend=False, siblings=True)
        ends = isinstance(bold, nodes.strong | nodes.emphasis) and bold[-1] is formula
        if ends and isinstance(after, nodes.Text) and (found := MARK.match(after)):
            bold += nodes.Text(found[0])
            bold.parent.replace(after, nodes.Text(after[found.end() :]))
    for formula in formulas:
        line, place = formula.parent, formula.parent.index(formula)
        around = {at: node for at, node in enumerate(line) if isinstance(node, nodes.Text)}
        opening = re.findall(r"[(\[]$", around.get(place - 1, ""))
        closing = MARK.findall(around.get(place + 1, ""))
        width = signs if isinstance(formula, nodes.math) else len
        if (opening or closing) and width(formula.astext()) <= SHORT:
            whole = nodes.inline("", "", classes=["unbroken"])
            line[place] = whole
            whole += [*map(nodes.Text, opening), formula, *map(nodes.Text, closing)]
            for mark, at in ((opening, place - 1), (closing, place + 1)):
                if mark:
                    text = around[at]
                    cut = text[: -len(mark[0])] if at < place else text[len(mark[0]) :]
                    line[at] = nodes.Text(cut)


def letter_lists(app: Sphinx, doctree: nodes.document) -> None:
    """Lists of `a. …`, `b. …`, which Markdown can only write with a bullet before the letter.

    A list may go on where another one ended, with `c. …`.
    """
    for bullets in list(doctree.findall(nodes.bullet_list)):
        first = [next(item.findall(nodes.Text), nodes.Text("")) for item in bullets]
        start = "abcdefghijklmnopqrstuvwxyz".find(first[0][:1] or "-")
        letters = [f"{chr(ord('a') + start + n)}. " for n in range(len(first))]
        if start >= 0 and [text[:3] for text in first] == letters:
            for text in first:
                text.parent.replace(text, nodes.Text(text[3:]))
            lettered = nodes.enumerated_list("", *bullets, enumtype="loweralpha", start=start + 1)
            bullets.parent.replace(bullets, lettered)


def align_columns(app: Sphinx, doctree: nodes.document) -> None:
    """Marks the columns of numbers in a page's tables."""
    for table in doctree.findall(nodes.tgroup):
        rows = [row.children for row in table.findall(nodes.row)]
        for column in list(zip(*rows, strict=False))[1:]:
            if set(kinds(cell.astext() for cell in column[1:])) == {True}:
                for cell in column:
                    cell["classes"].append("text-right")


def set_outputs(app: Sphinx, doctree: nodes.document) -> None:
    """Sets what notebooks print as the text is set: claims, and tables with their captions."""
    for output in doctree.findall(nodes.raw):
        html = output.astext()
        if '<div class="claim">' in html or '<table class="dataframe">' in html:
            html = re.sub(r"(?<=\w)(?:'|&#x27;)(?=\w)", "’", html)
            html = re.sub(r"`([^`<>]+)`", r"<code>\1</code>", html)
            html = INSIDE_NUMBERS.sub("\N{NO-BREAK SPACE}", html)
            output.children = [nodes.Text(with_words(html) if "<table" in html else html)]


def with_words(html: str) -> str:
    """The HTML of a notebook's table, the cells of columns of words marked."""
    head, *rows = [CELL.findall(row) for row in re.findall(r"<tr.*?</tr>", html, re.DOTALL)]
    words = set()
    for place in range(1, len(head)):
        found = kinds(re.sub("<.*?>", "", row[place][2]) for row in rows if len(row) > place)
        if found.count(True) < len(found) / 2:
            words.add(place)

    def marked(row: re.Match[str]) -> str:
        places = iter(range(len(head)))
        return CELL.sub(
            lambda cell: (
                cell[0].replace(f"<{cell[1]}", f'<{cell[1]} class="words"', 1)
                if next(places, 0) in words
                else cell[0]
            ),
            NAME.sub(
                lambda name: re.sub("(?<=[a-z])(?=[A-Z])|(?<=_)", "<wbr>", name[0]),
                TWO_NUMBERS.sub("\N{NO-BREAK SPACE}\\1\N{NO-BREAK SPACE}", row[0]),
            ),
        )

    return re.sub(r"<tr.*?</tr>", marked, html, flags=re.DOTALL)


def kinds(cells: Iterable[str]) -> list[bool]:
    """Of each cell that isn't empty or a dash, whether it begins with a number."""
    return [bool(NUMBER.match(cell.strip())) for cell in cells if cell.strip(" –-\n")]


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-read", keep_together)
    app.connect("doctree-read", letter_lists)
    app.connect("doctree-read", align_columns)
    app.connect("doctree-read", set_outputs)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
