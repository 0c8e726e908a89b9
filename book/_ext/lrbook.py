"""What the site needs beyond Jupyter Book: numbers and figures from the notebooks' stored outputs.

{measured}`noise-floor/agreement` prints what the notebook `noise-floor` of the same chapter glued
under `agreement`; `../02-name/notebook/agreement` is another chapter's. The directive
`notebook-figure` does the same for a figure that `plots.show` named, with its alt text. Both warn,
and so fail the build, where there is no such name. The directive `explorer` puts one of lrlib's
live figures on the page, and the role `playground` links to a setting of one of them. `quiz` is a
question whose options open; `notebook-status` and `benchmarks` are the tables of what was run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from math import isclose
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints
from urllib.parse import urlsplit

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.directives.patches import Figure
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinxcontrib import katex

from lrlib.notebook import explorers
from lrlib.notebook.outputs import NamedOutput, named_outputs

logger = logging.getLogger(__name__)


outputs = cache(named_outputs)


def find(source: SphinxRole | SphinxDirective, target: str, kind: str) -> NamedOutput | None:
    """The output that `target` (notebook/name) names, or None and a warning."""
    notebook, _, name = target.rpartition("/")
    path = Path(source.env.doc2path(source.env.docname)).parent / f"{notebook}.ipynb"
    source.env.note_dependency(str(path))
    known = outputs(path) if path.exists() else {}
    names = [key for key, value in known.items() if getattr(value, kind)]
    if name in names:
        return known[name]
    logger.warning(
        "no %s %r in %s; it has: %s",
        {"text": "number", "svg": "figure"}[kind],
        name,
        path.name if path.exists() else f"{path.name} (no such notebook)",
        ", ".join(names) or "none",
        location=source.get_location(),
    )
    return None


class Measured(SphinxRole):
    """{measured}`notebook/name`: a glued text, in the flow of the sentence."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The text as an inline node."""
        found = find(self, self.text, "text")
        return [nodes.inline("", found.text if found else "?", classes=["measured"])], []


class NotebookFigure(Figure, SphinxDirective):
    """A numbered figure whose picture and alt text come from a notebook's output."""

    option_spec = Figure.option_spec | {"name": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """The figure node, its picture written where the site finds it."""
        notebook, _, name = self.arguments[0].partition("/")
        found = find(self, self.arguments[0], "svg")
        if found is None:
            return []
        chapter = Path(self.env.docname).parent.name
        folder = Path(self.env.app.outdir).parent / "figures"
        picture = folder / f"{chapter}-{notebook}-{name}.svg"
        picture.parent.mkdir(parents=True, exist_ok=True)
        if not picture.exists() or picture.read_text(encoding="utf-8") != found.svg:
            picture.write_text(found.svg, encoding="utf-8")
        self.arguments[0] = "/" + picture.relative_to(self.env.srcdir).as_posix()
        self.options.setdefault("alt", found.alt)
        return super().run()


class Explorer(SphinxDirective):
    """`{explorer} name`: a figure that answers."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The explorer's data and static figure."""
        name = self.arguments[0]
        if name not in explorers.NAMES:
            known = ", ".join(explorers.NAMES)
            logger.warning("no explorer %r; there is %s", name, known, location=self.get_location())
            return []
        return [nodes.raw("", explorers.html(name), format="html")]


class Playground(SphinxRole):
    """{playground}`words <rate=0.3&schedule=Linear>`: a link that sets the playground."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The link."""
        found = re.fullmatch(r"(.+?)\s*<(.*)>", self.text, re.DOTALL)
        if found is None:
            message = "a link to the playground is written `words <control=value&…>`"
            logger.warning(message, location=self.get_location())
            return [], []
        page = self.env.app.builder.get_relative_uri(self.env.docname, "book/playground")
        address = f"{page}#explorer-playground?{found[2]}"
        return [nodes.reference("", found[1], refuri=address, internal=True)], []


class Question(NamedTuple):
    """A quiz: its question, and of each option whether it is right, what it says, and why."""

    text: str
    options: list[tuple[bool, str, str]]


def read_quiz(written: str) -> Question | None:
    """The question, of one or more lines, and its options; None if the form is another one."""
    question, *lines = re.split(r"^(?=- \[[ x]\] )", written.strip(), flags=re.MULTILINE)
    found = [re.fullmatch(r"- \[([ x])\] (.+?) :: (.+)", line.strip()) for line in lines]
    options = [(option[1] == "x", option[2], option[3]) for option in found if option]
    if not question or len(options) < 2 or len(options) < len(found):
        return None
    return Question(question.strip(), options) if sum(right for right, *_ in options) == 1 else None


def quizzes(page: str) -> list[Question]:
    """The quizzes of a page, which the build has found to be well written."""
    blocks = re.findall(r"^(`{3,})\{quiz\}\n(.*?)^\1$", page, re.DOTALL | re.MULTILINE)
    return [question for _, block in blocks if (question := read_quiz(block))]


class Quiz(SphinxDirective):
    """A question with options that open: `- [x] right :: why`, `- [ ] wrong :: why`.

    Made of `details` elements, so it needs no script and works by keyboard.
    """

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The question, and a `details` element for each option."""
        question = read_quiz("\n".join(self.content))
        if question is None:
            message = "a quiz has a question, then options `- [x] text :: why`, one of them right"
            logger.warning(message, location=self.get_location())
            return []
        made: list[nodes.Node] = [
            html_node('<div class="quiz" role="group" aria-label="Question">')
        ]
        made += [html_node('<div class="quiz-question">'), *self.parse_text_to_nodes(question.text)]
        made.append(html_node("</div>"))
        for right, text, why in question.options:
            shape = "right" if right else "wrong"
            made.append(html_node(f'<details class="quiz-{shape}"><summary>'))
            made += [*self.parse_text_to_nodes(text), html_node("</summary>")]
            made += self.parse_text_to_nodes(f"**{'Right.' if right else 'No.'}** {why}")
            made.append(html_node("</details>"))
        return [*made, html_node("</div>")]


def last_runs(env: BuildEnvironment) -> dict[str, dict[str, Any]]:
    """What `make execute` last saw of every notebook; the page that is being read depends on it."""
    path = Path(env.srcdir) / "book" / "results" / "notebooks.json"
    env.note_dependency(str(path))
    rows: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return rows


class Claims(SphinxRole):
    """{claims}`chapters`: how many claims the notebooks in this folder make."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The number as an inline node."""
        rows = last_runs(self.env).items()
        total = sum(row["claims"] for name, row in rows if name.startswith(f"{self.text}/"))
        return [nodes.inline("", f"{total}")], []


class NotebookStatus(SphinxDirective):
    """The table of what `make execute` last saw of every notebook, from book/results."""

    def run(self) -> list[nodes.Node]:
        """A paragraph and a table node."""
        rows = last_runs(self.env)
        machines = {
            f"{r['device']}; Python {r['python']}, torch {r['torch']}" for r in rows.values()
        }
        lines = [f"Run on: {' · '.join(sorted(machines))}.", ""]
        lines += ["| notebook | executed on | seconds | peak memory (MiB) | claims checked |"]
        lines += ["| --- | --- | ---: | ---: | ---: |"]
        lines += [
            f"| {{doc}}`/{name.removesuffix('.ipynb')}` | {unbroken(row['executed'])} "
            f"| {row['seconds']} | {row['peak_mib']} | {row['claims']} |"
            for name, row in rows.items()
        ]
        return self.parse_text_to_nodes("\n".join(lines))


def unbroken(date: str) -> str:
    return date.replace("-", "\N{NON-BREAKING HYPHEN}")


def html_node(text: str) -> nodes.Node:
    return nodes.raw("", text, format="html")


class Benchmarks(SphinxDirective):
    """The table of `make bench`, and with what it was measured, from book/results."""

    def run(self) -> list[nodes.Node]:
        """A table node and a paragraph."""
        path = Path(self.env.srcdir) / "book" / "results" / "benchmarks.json"
        self.env.note_dependency(str(path))
        report = json.loads(path.read_text(encoding="utf-8"))
        lines = ["| what was timed | compared with | ratio | aim |", "| --- | --- | ---: | --- |"]
        lines += [
            f"| {row['what']}: {duration(row['seconds'])} "
            f"| {row['against']}: {duration(row['against_seconds'])} "
            f"| {row['ratio']:.3g}× {direction(row)} | {row['aim']} |"
            for row in report["rows"]
        ]
        lines += ["", f"{report['machine']}; {report['gflops']} GFLOP/s at best (a large float32"]
        lines += [f"matrix product); Python {report['python']}, torch {report['torch']}, numpy"]
        lines += [f"{report['numpy']}; {report['date']}. Peak memory {report['peak_mib']:,} MiB."]
        return self.parse_text_to_nodes("\n".join(lines))


def direction(row: dict[str, Any]) -> str:
    """What the ratio says: how much cheaper the first time is, or how many times the second."""
    its_time = isclose(row["ratio"], row["seconds"] / row["against_seconds"], rel_tol=0.01)
    return "its time" if its_time else "cheaper"


def duration(seconds: float) -> str:
    for unit, size in (("s", 1), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g}\N{NO-BREAK SPACE}{unit}"
    return f"{seconds / 1e-6:.3g}\N{NO-BREAK SPACE}µs"


def patiently(start: Callable[[], Any]) -> Callable[[], Any]:
    """Starts again where the server's socket was there before the server listened to it."""

    def started() -> Any:
        for _ in range(5):
            with suppress(ConnectionRefusedError):
                return start()
        return start()

    return started


def write_explorers(app: Sphinx) -> None:
    """Puts the explorers' scripts and stylesheet among the site's files."""
    static = Path(app.outdir) / "_static"
    static.mkdir(parents=True, exist_ok=True)
    (static / "explorer.css").write_text(explorers.stylesheet(), encoding="utf-8")
    (static / explorers.DATA_FILE).write_text(explorers.data_file(), encoding="utf-8")
    for name in explorers.NAMES:
        (static / f"{name}.js").write_text(explorers.script(name), encoding="utf-8")


def link_explorers(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Adds the scripts of the explorers on the page, also of those in a notebook's outputs."""
    for name in re.findall(r'data-explorer="([\w-]+)"', context.get("body", "")):
        source = context["pathto"](f"_static/{name}.js", resource=True)
        context["body"] += f'<script defer src="{source}"></script>'


def place_not_found_page(app: Sphinx, config: Config) -> None:
    """The page for wrong addresses is shown at any depth, so its links start at the host."""
    config.notfound_urls_prefix = urlsplit(config.html_baseurl).path


def reuse_description(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """A description that the page gives is its link preview's too."""
    given = re.search(r'<meta content="([^"]*)" name="description"', context.get("metatags", ""))
    if given and doctree:
        context["meta"]["og:description"] = given[1]


def show_plain_types(app: Sphinx, function: Any, bound: bool) -> None:
    """In the reference a type with a check in it, such as `Count`, reads as the type: `int`."""
    if function.__name__ == "__init__":
        with suppress(NameError):  # a name that only type checkers import
            function.__annotations__ = get_type_hints(function)


def name_defaults(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, arguments: str | None, result: Any
) -> tuple[str | None, Any]:
    """A default that isn't Python, `<class 'torch.optim.sgd.SGD'>`, would spoil the signature."""
    named = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", arguments or "")
    return named.replace("<factory>", "...") or arguments, result


def drop_aliases(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Python's own docstring of a field, "Alias for field number 0", says nothing."""
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()


def setup(app: Sphinx) -> dict[str, Any]:
    # Seconds for Node to start and to answer; the defaults of 5 fail on a busy machine.
    katex.STARTUP_TIMEOUT = katex.RENDER_TIMEOUT = 120.0
    katex.KaTeXServer.start = patiently(katex.KaTeXServer.start)
    app.connect("config-inited", place_not_found_page)
    app.connect("builder-inited", write_explorers)
    app.connect("autodoc-before-process-signature", show_plain_types)
    app.connect("autodoc-process-signature", name_defaults)
    app.connect("autodoc-process-docstring", drop_aliases)
    app.connect("html-page-context", link_explorers)
    app.connect("html-page-context", reuse_description, priority=400)
    app.add_role("claims", Claims())
    app.add_role("measured", Measured())
    app.add_role("playground", Playground())
    app.add_directive("notebook-figure", NotebookFigure)
    app.add_directive("benchmarks", Benchmarks)
    app.add_directive("explorer", Explorer)
    app.add_directive("quiz", Quiz)
    app.add_directive("notebook-status", NotebookStatus)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
