"""Bundle and prune the site's styles and scripts, and give every image its size.

The theme and the extensions link a dozen stylesheets, of which a page uses a quarter, a dozen
scripts, and icons as a script of 1.5 MB. A page of this book links one stylesheet, without the
rules that nothing in the site can match, and one script (`_templates/layout.html`); its icons are
in `icons.css`.
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
from sphinx.errors import ExtensionError
from sphinx.util.images import get_image_size
from sphinx.writers.html5 import HTML5Translator

# The theme's own template links these before Sphinx's stylesheets and after Sphinx's scripts, and
# imports Sphinx's basic.css, without which this book's look was made.
FIRST_STYLES = ("_static/styles/pydata-sphinx-theme.css",)
LAST_SCRIPTS = ("_static/scripts/bootstrap.js", "_static/scripts/pydata-sphinx-theme.js")
# Components of Bootstrap that its script could make, and that no page asks for.
UNASKED = ("carousel", "list-group", "modal", "offcanvas", "popover", "toast")
# What nothing links any more.
LEFTOVERS = ("scripts", "styles", "vendor", "locales")


class Bundle:
    """The stylesheets and scripts that Sphinx would link, to be written as one file each."""

    def __init__(self) -> None:
        # Ordered sets: files, and the lines of script that set what a script file reads.
        self.styles = dict.fromkeys(FIRST_STYLES)
        self.scripts: dict[str, None] = {}
        self.settings: dict[str, None] = {}

    def collect(
        self, app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
    ) -> None:
        """Notes a page's stylesheets and scripts, without the settings of that page alone."""
        for sheet in sorted(context["css_files"], key=lambda sheet: sheet.priority):
            self.styles[str(sheet.filename).split("?")[0]] = None
        for script in sorted(context["script_files"], key=lambda script: script.priority):
            if script.filename:
                self.scripts[str(script.filename).split("?")[0]] = None
            elif not script.attributes["body"].startswith("DOCUMENTATION_OPTIONS."):
                self.settings[script.attributes["body"]] = None

    def write(self, app: Sphinx, error: Exception | None) -> None:
        """Writes `site.css` and `site.js`, and removes what they replace."""
        if error:
            return
        site, static = Path(app.outdir), Path(app.outdir) / "_static"
        scripts = [*self.settings]
        for source in (*self.scripts, *LAST_SCRIPTS):
            scripts.append((site / source).read_text(encoding="utf-8"))
        (static / "site.js").write_text(";\n".join(scripts), encoding="utf-8")
        pages = [page.read_text(encoding="utf-8") for page in site.rglob("*.html")]
        tags = " ".join(tag for page in pages for tag in re.findall(r"<[a-z][^>]*>", page))
        if missing := missing_icons(tags, (static / "icons.css").read_text(encoding="utf-8")):
            raise ExtensionError(
                f"icons.css must draw each icon that pages use; it lacks {missing}"
            )
        # Whatever looks like a name in a page's tags or in a script may become a class.
        code = " ".join(path.read_text(encoding="utf-8") for path in static.glob("*.js"))
        made = {word for word in re.findall(r"[\w-]+", code) if not word.startswith(UNASKED)}
        words = made.union(re.findall(r"[\w-]+", tags))
        css = "\n".join(rebased(site / sheet, static) for sheet in self.styles)
        (static / "site.css").write_text(pruned(css, words), encoding="utf-8")
        sent: list[str | Path] = [*self.styles, *self.scripts, *static.glob("*.html")]
        for path in sent:
            (site / path).unlink()
        for name in LEFTOVERS:
            shutil.rmtree(static / name)


def missing_icons(tags: str, css: str) -> list[str]:
    """The icons that tags name by a class `fa-…` and the stylesheet doesn't draw."""
    names = set(re.findall(r"\bfa-[a-z-]+", tags))
    return sorted(name for name in names if not re.search(rf"\.{name}\b(?!-)", css))


def rebased(sheet: Path, home: Path) -> str:
    """The text of a stylesheet, the addresses in it as seen from the folder `home`."""

    def moved(found: re.Match[str]) -> str:
        target = found[1].strip("'\"")
        if target.startswith(("data:", "#")) or "//" in target:
            return found[0]
        return f"url({Path(os.path.relpath(sheet.parent / target.split('?')[0], home)).as_posix()})"

    return re.sub(r"url\(([^)]+)\)", moved, sheet.read_text(encoding="utf-8"))


def pruned(css: str, words: set[str]) -> str:
    """The stylesheet without what has no effect where these words are all the names there are.

    That is, rules with another class or id, and variables that no rule that is left reads.
    """
    while True:
        names = words.union(re.findall(r"var\(\s*(--[\w-]+)", css))
        shorter = _pruned(tinycss2.parse_stylesheet(css, skip_comments=True), names)
        if shorter == css:
            return css
        css = shorter


def _pruned(rules: Iterable[Any], words: set[str]) -> str:
    kept = []
    for rule in rules:
        if rule.type == "qualified-rule":
            selectors = [_text(s) for s in _selectors(rule.prelude) if _can_match(s, words)]
            body = _declarations(rule.content, words)
            if selectors and body:
                kept.append(f"{','.join(selectors)}{{{body}}}")
        elif rule.type == "at-rule" and rule.lower_at_keyword in ("media", "supports"):
            inside = _pruned(tinycss2.parse_rule_list(rule.content, skip_comments=True), words)
            if inside:
                kept.append(f"@{rule.lower_at_keyword} {_text(rule.prelude)}{{{inside}}}")
        elif rule.type == "at-rule" and "fontawesome" not in (text := _text([rule])):
            kept.append(text)
    return "\n".join(kept)


def _declarations(content: list[Any], words: set[str]) -> str:
    """The declarations of a rule, without those of variables that nothing reads."""
    return "".join(
        f"{one.name}:{_text(one.value)}{'!important' if one.important else ''};"
        for one in tinycss2.parse_declaration_list(content, True, True)
        if one.type == "declaration" and (not one.name.startswith("--") or _known(one.name, words))
    )


def _text(tokens: list[Any]) -> str:
    return " ".join(re.sub(r"/\*.*?\*/", "", tinycss2.serialize(tokens), flags=re.S).split())


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
    """Whether every class and id of the selector occurs, apart from those in brackets."""
    names = [
        token.value
        for before, token in zip([None, *selector], selector, strict=False)
        if token.type == "hash" or (token.type == "ident" and before == ".")
    ]
    return all(_known(name, words) for name in names)


def _known(name: str, words: set[str]) -> bool:
    # The explorers put names together, so all of theirs are kept.
    return name in words or name.startswith(("lr-", "--lr-"))


def visit_image(translator: HTML5Translator, node: nodes.image) -> None:
    """An image keeps its place until it is there; all but the first wait until they are in view."""
    size = get_image_size(Path(translator.builder.srcdir) / node["uri"])
    first = not any("<img" in part for part in translator.body)
    HTML5Translator.visit_image(translator, node)
    if size:
        # On a phone, the two panels of a wide figure would be too small to read: it scrolls.
        if size[0] > 700:
            translator.body[-1] = f'<div class="wide-figure">{translator.body[-1]}</div>'
        tag = f'<img width="{size[0]}" height="{size[1]}"' + ("" if first else ' loading="lazy"')
        translator.body[-1] = translator.body[-1].replace("<img", tag, 1)


def setup(app: Sphinx) -> dict[str, Any]:
    bundle = Bundle()
    app.connect("html-page-context", bundle.collect, priority=900)
    # Late: the theme writes the highlighter's stylesheet at the same event.
    app.connect("build-finished", bundle.write, priority=900)
    app.add_node(nodes.image, override=True, html=(visit_image, HTML5Translator.depart_image))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
