"""What readers get on a page beyond its text: ways to run it, its next chapter, folded plumbing.

Under a notebook's title stands how to run it and what its last run was; at the end of a chapter's
narrative, the next chapter. The code of a figure, the setup, the imports and long reports are
folded, and named.
A link `[text](#explorer-noisy-valley?rate=2.1)` sets the explorer that is on the same page.
An index entry above a heading leads to the heading.
The search page gets the messages of errors and warnings that the pages explain.
"""

from __future__ import annotations

import ast
import re
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.transforms import Transform
from lrbook import last_runs
from sphinx import addnodes
from sphinx.application import Sphinx

from lrlib.notebook import explorers

SETTING = re.compile(r"#explorer-(?P<name>[\w-]+?)\?")
HEADING = re.compile(r"<h[1-4]>.*?</h[1-4]>", re.DOTALL)
HYPHENATED = re.compile(r"\w+(?:-\w+)+(?![^<]*>)")
LONG_NAME = re.compile(r"[^\s-]{30,}")  # more than a line of a list holds on a phone
WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[._])(?=\w)")
MESSAGE = re.compile(r"\w+(Error|Warning|Exception): ")
CHAPTER = re.compile(r"chapters/\d\d-[\w-]+/index")
# A cell that trains, steps or draws is more than a report, however long its claim is.
EXPERIMENT = re.compile(r"torch\.|optimizer\.|scheduler\.|random\.|\bfit|\brun\(|show\(")
LONG_REPORT = 16  # lines
SCREEN = 40  # lines


class LinkToSetting(Transform):  # type: ignore[misc]
    """Lets `[text](#explorer-NAME?control=value)` through, which names no anchor of the page."""

    # Before MyST looks for the anchor.
    default_priority = 870

    def apply(self, **kwargs: Any) -> None:
        """Takes the mark away by which MyST finds the links that it resolves."""
        for link in self.document.findall(nodes.reference):
            found = SETTING.match(link.get("refuri", ""))
            if link.get("id_link") and found and found["name"] in explorers.NAMES:
                del link["id_link"]


class EntryAtItsHeading(Transform):  # type: ignore[misc]
    """Lets an index entry above a heading lead to the heading, as the heading's own link does."""

    # After the entry's target has become an id of the section, before the index is made.
    default_priority = 840

    def apply(self, **kwargs: Any) -> None:
        """Gives the entries the section's id, and takes their own id away."""
        sections = {at: one for one in self.document.findall(nodes.section) for at in one["ids"]}
        for index in self.document.findall(addnodes.index):
            for kind, value, at, main, key in list(index["entries"]):
                if at.startswith("index-") and (section := sections.get(at)):
                    index["entries"].remove((kind, value, at, main, key))
                    index["entries"].append((kind, value, section["ids"][0], main, key))
                    section["ids"] = [one for one in section["ids"] if one != at]


def fold_code(app: Sphinx, doctree: nodes.document) -> None:
    """Puts cells of plumbing into a `details` element: it needs no script, and search finds it."""
    # A list: what is put in would be walked through as well.
    for cell in list(doctree.findall(nodes.container)):
        if cell.get("nb_element") != "cell_code_source":
            continue
        for block in cell.findall(nodes.literal_block):
            # Without the empty lines that hidden tests leave behind.
            block.rawsource = block.astext().rstrip()
            block.children = [nodes.Text(block.rawsource)]
        source = cell.astext()
        tags = {one.removeprefix("tag_") for one in cell.parent["classes"]}
        what = "Show the tools" if "tools" in tags else plumbing(source, "recorded" in tags)
        if what and (lines := source.count("\n") + 1) >= 4:
            summary = f"<summary>{what} ({lines} lines)</summary>"
            opening = nodes.raw("", f'<details class="code-fold">{summary}', format="html")
            closing = nodes.raw("", "</details>", format="html")
            cell.parent.replace(cell, [opening, cell, closing])


def break_names(app: Sphinx, doctree: nodes.document) -> None:
    """Lets names in a table, and very long ones, break where their words begin."""
    entries = doctree.findall(nodes.entry)
    in_tables = {name for entry in entries for name in entry.findall(nodes.literal)}
    for name in list(doctree.findall(nodes.literal)):
        if " --" in name.astext():  # a command: its options don't break at their hyphens
            words = [nodes.inline("", word, classes=["unbroken"]) for word in name.astext().split()]
            name.children = []
            name += [node for word in words for node in (nodes.Text(" "), word)][1:]
        elif name in in_tables or LONG_NAME.search(name.astext()):
            words = WORDS.split(name.astext())
            parts = [[nodes.raw("", "<wbr>", format="html"), nodes.Text(word)] for word in words]
            name.children = []
            name += [node for part in parts for node in part][1:]


def plumbing(source: str, recorded: bool = False) -> str | None:
    """What a reader of the idea may skip: setup, imports, the drawing of a figure, a long report.

    A cell that defines a function says more than how a figure is drawn, so it isn't. One of helpers
    that a notebook's text has described gets the tag `tools`, and is folded as well. A report turns
    results that exist into a table or a claim; the sentence that it prints stays in view. So does
    what a cell longer than a screen gives; its code stays only if it is a program for a reader's
    script, or a loop that trains here.
    """
    if source.startswith("# Setup"):
        return "Show the setup"
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a magic
        return None
    rest = [ast.unparse(one) for one in body if not isinstance(one, ast.Import | ast.ImportFrom)]
    if not rest:
        return "Show the imports"
    if all(one.startswith("glue(") for one in rest):
        return "Show the numbers for the chapter"
    if len(rest) <= 2 and rest[0].startswith("data = load("):
        return "Show the imports and the data"
    lines = source.count("\n") + 1
    lesson = "# In a script" in source or (".backward()" in source and not recorded)
    long = lines > SCREEN and not lesson
    match body[-1]:
        case ast.Expr(value=ast.Call(func=ast.Name(id="show"))):
            defines = any(isinstance(one, ast.FunctionDef | ast.ClassDef) for one in body)
            return "Show the code of this figure" if long or not defines else None
        case ast.Expr(value=ast.Call(func=ast.Name(id="claim" | "table" as what))):
            reports = "measured(" in source and not EXPERIMENT.search(source)
            if long or (reports and lines >= LONG_REPORT):
                return f"Show the code of this {what}"
    if long:
        return "Show the recorded experiment" if recorded else "Show the code"
    return None


def name_exhibits(app: Sphinx, doctree: nodes.document) -> None:
    """Gives exhibit 6 of the bug museum the anchor and the label `exhibit-6`, whatever its title.

    The checkup's findings and the page of symptoms link to them.
    """
    page, labels = app.env.docname, app.env.get_domain("std").data
    if not page.endswith("/bug-museum"):
        return
    for section in doctree.findall(nodes.section):
        title = section.next_node(nodes.title).astext()
        if number := re.match(r"(\d+)\. ", title):
            name = f"exhibit-{number[1]}"
            section["ids"].append(name)
            labels["labels"][name] = (page, name, title)
            labels["anonlabels"][name] = (page, name)


def keep_messages(app: Sphinx, doctree: nodes.document) -> None:
    """Keeps what errors and warnings say, and the section that explains it, for the search.

    A message is a title that is code, with the quotations below it, which show how it goes on; or
    any code that begins with the name of an error or a warning.
    """
    messages: dict[str, dict[str, None]] = {}
    for literal in doctree.findall(nodes.literal):
        titled = isinstance(literal.parent, nodes.title) and len(literal.parent) == 1
        if titled or MESSAGE.match(literal.astext()):
            section = literal.parent
            while not isinstance(section, nodes.section):
                section = section.parent
            texts = messages.setdefault(section["ids"][-1], {})
            texts[literal.astext()] = None
            if titled:
                texts |= {quote.astext(): None for quote in section.findall(nodes.block_quote)}
    app.env.metadata[app.env.docname]["messages"] = [[at, [*all]] for at, all in messages.items()]


def give_messages(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Gives the search page the messages that the pages explain."""
    if page == "search":
        context["messages"] = [
            [one, *message]
            for one in sorted(app.env.found_docs)
            for message in app.env.metadata[one].get("messages", ())
        ]


def keep_last_run(app: Sphinx, doctree: nodes.document) -> None:
    """Keeps a notebook's last run for its page, which is read again when the runs change."""
    page = app.env.docname
    if Path(app.env.doc2path(page)).suffix == ".ipynb":
        app.env.metadata[page]["last run"] = last_runs(app.env).get(f"{page}.ipynb")


def add_links(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Adds the line under a notebook's title, and the link at a chapter's end.

    A heading doesn't break in a word with a hyphen.
    """
    if doctree is None:
        return
    context["body"] = HEADING.sub(
        lambda found: HYPHENATED.sub(r'<span class="unbroken">\g<0></span>', found[0]),
        context["body"],
    )
    if context.get("page_source_suffix") == ".ipynb":
        line = f'<p class="run-line">{run_line(app, page, context)}</p>'
        context["body"] = context["body"].replace("</h1>", f"</h1>\n{line}", 1)
    chapters = sorted(filter(CHAPTER.fullmatch, app.env.found_docs))
    if page in chapters[:-1]:
        following = chapters[chapters.index(page) + 1]
        number = ".".join(map(str, app.env.toc_secnumbers.get(following, {}).get("", ())))
        title = escape(f"{number}. {app.env.titles[following].astext()}")
        link = f'<a href="{context["pathto"](following)}">{title}</a>'
        context["body"] += f'<p class="next-chapter">Next chapter: {link}</p>'


def run_line(app: Sphinx, page: str, context: dict[str, Any]) -> str:
    """Where the notebook runs, from the theme's buttons, and what its last run was."""
    buttons = {
        button["text"]: button["url"]
        for group in context["header_buttons"]
        for button in group.get("buttons", [])
        if "url" in button
    }
    links = [
        f'<a href="{escape(buttons[name])}"{" download" if name == ".ipynb" else ""}>{name}</a>'
        for name in ("Colab", "Binder", ".ipynb")
    ]
    line = f"Run it: {' · '.join(links)}"
    run = app.env.metadata[page]["last run"]
    if run is None:
        return line
    ran = f"{run['seconds']:.0f} s · last run {run['executed']} · {run['claims']} claims ✓"
    return f"{line} <span>{ran}</span>"


def name_expanders(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Says to a screen reader what each expander in the sidebar opens."""
    made = context["generate_toctree_html"]

    def named(*arguments: Any, **options: Any) -> Any:
        return re.sub(
            r">([^<>]+)(</a><details[^>]*>)<summary>",
            r'>\1\2<summary aria-label="Pages of \1">',
            str(made(*arguments, **options)),
        )

    context["generate_toctree_html"] = named


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_transform(LinkToSetting)
    app.add_transform(EntryAtItsHeading)
    app.connect("doctree-read", fold_code)
    app.connect("doctree-read", keep_last_run)
    app.connect("doctree-read", name_exhibits)
    app.connect("doctree-read", keep_messages)  # with the names of exhibits
    app.connect("doctree-read", break_names)  # what is kept above has no marks in it
    app.connect("html-page-context", give_messages)
    # After the theme has made its buttons and its sidebar.
    app.connect("html-page-context", add_links, priority=600)
    app.connect("html-page-context", name_expanders, priority=600)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
