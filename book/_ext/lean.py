"""Bundle and prune the site's styles and scripts, and give every image its size.

The theme and the extensions load a dozen stylesheets, half a megabyte, of which a page uses a
tenth, and as many scripts. A page of this book loads one stylesheet, without the rules that
nothing in the site can match, and one script (`_templates/layout.html` links them).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tinycss2
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.images import get_image_size
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)

# What the theme's template links before the stylesheets and after the scripts that Sphinx knows.
FIRST_STYLES = ("_static/styles/theme.css", "_static/styles/pydata-sphinx-theme.css")
LAST_SCRIPTS = ("_static/scripts/bootstrap.js", "_static/scripts/pydata-sphinx-theme.js")
# The explorers' scripts put the names of their classes and variables together.
COMPOSED = ("lr-", "--lr-")
# Nothing links to these: they are bundled, or not used.
LEFTOVERS = ("scripts", "styles", "vendor", "locales")


class Bundle:
    """The stylesheets and scripts that the pages ask for, in order, to be written as one each."""

    def __init__(self) -> None:
        self.styles = dict.fromkeys(FIRST_STYLES)
        self.scripts: dict[str, None] = {}

    def collect(
        self, app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
    ) -> None:
        """Notes what Sphinx would link in the page; the page's own settings aren't needed."""
        for sheet in sorted(context["css_files"], key=lambda sheet: sheet.priority):
            self.styles[str(sheet.filename).split("?")[0]] = None
        for script in sorted(context["script_files"], key=lambda script: script.priority):
            source = str(script.filename or script.attributes["body"]).split("?")[0]
            if not source.startswith("DOCUMENTATION_OPTIONS."):
                self.scripts[source] = None

    def write(self, app: Sphinx, error: Exception | None) -> None:
        """Writes `site.js` and `site.css`, and removes what they replace."""
        if error:
            return
        site, static = Path(app.outdir), Path(app.outdir) / "_static"
        scripts = [
            (site / source).read_text(encoding="utf-8") if source.endswith(".js") else source
            for source in (*self.scripts, *LAST_SCRIPTS)
        ]
        (static / "site.js").write_text(";\n".join(scripts), encoding="utf-8")
        pages = [path.read_text(encoding="utf-8") for path in site.rglob("*.html")]
        tags = " ".join(tag for page in pages for tag in re.findall(r"<[a-z][^>]*>", page))
        for name in missing_icons(tags, (static / "icons.css").read_text(encoding="utf-8")):
            logger.warning("the theme uses the icon %s, which icons.css lacks", name)
        live = [path.read_text(encoding="utf-8") for path in static.glob("*.js")]
        # Whatever looks like a name in a page's tags or in a script may become a class.
        words = {*re.findall(r"[\w-]+", " ".join([tags, *live]))}
        css = "\n".join(rebased(site / sheet, static) for sheet in self.styles)
        (static / "site.css").write_text(without_unused_variables(pruned(css, words), words))
        for name in LEFTOVERS:
            shutil.rmtree(static / name)


def missing_icons(tags: str, css: str) -> list[str]:
    """The icons that the tags name and the stylesheet doesn't draw."""
    return sorted(name for name in {*re.findall(r"\bfa-[\w-]+", tags)} if f".{name} " not in css)


def rebased(sheet: Path, home: Path) -> str:
    """The stylesheet, the addresses in it as seen from `home`."""

    def moved(found: re.Match[str]) -> str:
        target = found[1].strip("'\"")
        if target.startswith(("data:", "#")) or "//" in target:
            return found[0]
        return f"url({Path(os.path.relpath(sheet.parent / target.split('?')[0], home)).as_posix()})"

    return re.sub(r"url\(([^)]+)\)", moved, sheet.read_text(encoding="utf-8"))


def pruned(css: str, words: set[str]) -> str:
    """The stylesheet without the rules whose classes and ids aren't among the words."""
    return _pruned(tinycss2.parse_stylesheet(css, skip_comments=True), words)


def _pruned(rules: Iterable[Any], words: set[str]) -> str:
    kept = []
    for rule in rules:
        if rule.type == "qualified-rule":
            selectors = [s for s in _selectors(rule.prelude) if _can_match(s, words)]
            body = compact(tinycss2.serialize(rule.content))
            if selectors and body:
                prelude = ",".join(compact(tinycss2.serialize(s)) for s in selectors)
                kept.append(f"{prelude}{{{body}}}")
        elif rule.type == "at-rule" and rule.lower_at_keyword in ("media", "supports"):
            inside = _pruned(tinycss2.parse_rule_list(rule.content, skip_comments=True), words)
            if inside:
                prelude = compact(tinycss2.serialize(rule.prelude))
                kept.append(f"@{rule.lower_at_keyword} {prelude}{{{inside}}}")
        elif rule.type == "at-rule" and rule.lower_at_keyword != "charset":
            kept.append(compact(rule.serialize()))
    return "".join(kept)


def _selectors(prelude: list[Any]) -> list[list[Any]]:
    """The selectors of a rule, parted at the commas that aren't in brackets."""
    parts: list[list[Any]] = [[]]
    for token in prelude:
        if token == ",":
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _can_match(selector: list[Any], words: set[str]) -> bool:
    """Whether every class and id of the selector occurs; what stands in brackets isn't asked."""
    for before, token in zip([None, *selector], selector, strict=False):
        is_class = token.type == "ident" and before is not None and before == "."
        named = is_class or token.type == "hash"
        if named and token.value not in words and not token.value.startswith(COMPOSED):
            return False
    return True


def compact(css: str) -> str:
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.S)
    css = re.sub(r"\s+", " ", css).strip()
    return re.sub(r" ?([{};,]) ?", r"\1", re.sub(r": ", ":", css)).rstrip(";")


def without_unused_variables(css: str, words: set[str]) -> str:
    """Drops custom properties that no rule and no script reads."""
    while True:
        read = set(re.findall(r"var\(\s*(--[\w-]+)", css))
        unused = set(re.findall(r"[{;](--[\w-]+):", css)) - read - words
        # The explorers put these names together.
        unused = {name for name in unused if not name.startswith("--lr-")}
        if not unused:
            return css
        names = "|".join(re.escape(name) for name in sorted(unused, key=len, reverse=True))
        css = re.sub(rf"(?<=[{{;])(?:{names}):[^;}}]*;?", "", css)


def visit_image(translator: HTML5Translator, node: nodes.image) -> None:
    """An image keeps its place until it is there; all but the first wait until they are in view."""
    lazy = any("<img" in part for part in translator.body)
    size = get_image_size(Path(translator.builder.srcdir) / node["uri"])
    HTML5Translator.visit_image(translator, node)
    if size:
        attributes = f'width="{size[0]}" height="{size[1]}"' + ' loading="lazy"' * lazy
        translator.body[-1] = translator.body[-1].replace("<img", f"<img {attributes}", 1)


def setup(app: Sphinx) -> dict[str, Any]:
    bundle = Bundle()
    app.connect("html-page-context", bundle.collect, priority=900)
    # Late: the theme writes the highlighter's stylesheet at the same event.
    app.connect("build-finished", bundle.write, priority=900)
    app.add_node(nodes.image, override=True, html=(visit_image, HTML5Translator.depart_image))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
