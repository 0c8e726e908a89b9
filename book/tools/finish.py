"""Turns what Sphinx wrote into what is sent: what a page uses, once, and nothing else.

The theme ships 1.5 MB of icons as a script, 0.5 MB of styles and a dozen scripts for features that
the book doesn't have. Here the icons become pictures in the page, the styles one file with the
rules that some page or script can match, the scripts one file; figures get their size, pages their
description, and the site its map. `build.py` calls `finish` after Sphinx.
"""

from __future__ import annotations

import hashlib
import html
import os
import re
import shutil
import struct
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import social_card
import tinycss2
import yaml
from rename_repository import pages_address

from lrlib.notebook import explorers

# In this order, in one file. The theme's own icon script, Thebe (live code from a CDN), and the
# search outside its page are left out.
SCRIPTS = (
    "documentation_options.js",
    "doctools.js",
    "sphinx_highlight.js",
    "clipboard.min.js",
    "copybutton.js",
    "scripts/sphinx-book-theme.js",
    "togglebutton.js",
    "scripts/bootstrap.js",
    "scripts/pydata-sphinx-theme.js",
)
PRELUDE = """\
let toggleHintShow = "Click to show";
let toggleHintHide = "Click to hide";
let toggleOpenOnPrint = "true";
var togglebuttonSelector = ".toggle, .admonition.dropdown";
"""
SEARCH = ("searchtools.js", "language_data.js", "searchindex.js")
UNUSED = ("sphinx-thebe.js", "design-tabs.js", "scripts/fontawesome.js")
# Nothing links to these, or the one script and the one stylesheet hold them.
LEFTOVERS = (
    "**/*.map",
    "_static/scripts",
    "_static/styles",
    "_static/vendor",
    "_static/*webpack-macros.html",
    "_static/*.ttf",
    "_static/*thebe*",
    "_static/mystnb*",
    "_static/design-*",
    "_static/jquery*",
    "_static/*togglebutton*",
    "_static/*copybutton*",
    "_static/clipboard*",
    "_static/book.css",
    "_static/sphinx-design*",
    "_static/katex/*.css",
    "_static/katex-math.css",
    "_static/_sphinx_javascript*",
    "_static/locales",
)


def finish(root: Path, site: Path) -> None:
    """Changes the site in place. `root` holds the book's configuration and the pages' sources."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    for made_last_time in [*site.glob("_static/*.????????.*"), *site.glob("404.html")]:
        made_last_time.unlink()
    pages = {path: path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))}
    pages = {path: page for path, page in pages.items() if "<html" in page}
    icons = Icons((site / "_static/scripts/fontawesome.js").read_text(encoding="utf-8"))
    scripts = _scripts(site)
    pages = {path: icons.inline(page) for path, page in pages.items()}
    # The explorers' own styles are among the others.
    (site / "_static/explorer.css").write_text(explorers.stylesheet(), encoding="utf-8")
    live = {name: explorers.script(name) for name in explorers.NAMES}
    style = _stylesheet(site, pages, [scripts, *live.values()])
    script_name = _write(site, "book", "js", scripts)
    style_name = _write(site, "book", "css", style)
    live_names = {name: _write(site, name, "js", source) for name, source in live.items()}
    address = pages_address(config["repository"]["url"])
    for path, page in pages.items():
        up = "../" * (len(path.relative_to(site).parts) - 1)
        page = _head(page, up, path.name == "search.html", style_name, script_name)
        page = _with_explorers(page, up, live_names)
        page = _with_figure_sizes(page, path)
        page = _found(page, urljoin(address, path.relative_to(site).as_posix()), address)
        path.write_text(page, encoding="utf-8")
    for pattern in LEFTOVERS:
        for path in site.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    social_card.draw(site / "_static" / "social-card.png", config["title"])
    _write_sitemap(site, pages, address)
    _write_not_found(site, address, config["title"])
    (site / ".nojekyll").touch()


def _write(site: Path, stem: str, kind: str, text: str) -> str:
    """Stores the text under a name that changes with it, so that it can be cached for ever."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    path = site / "_static" / f"{stem}.{digest}.{kind}"
    path.write_text(text, encoding="utf-8")
    return f"_static/{path.name}"


# --- Icons -------------------------------------------------------------------------------------


class Icons:
    """Font Awesome's icons, read from its script, as inline SVG."""

    def __init__(self, script: str) -> None:
        self.script = script

    def inline(self, page: str) -> str:
        """The page with every `<i class="fa-solid fa-name">` as a picture."""
        element = re.compile(r'<(i|span) class="([^"]*\b(?:fas|fab|fa-solid)\b[^"]*)"([^>]*)></\1>')
        return element.sub(lambda found: self._picture(found[2], found[3]), page)

    def _picture(self, classes: str, attributes: str) -> str:
        names = [name[3:] for name in classes.split() if name.startswith("fa-")]
        name = next(n for n in names if n not in ("solid", "brands", "lg"))
        width, height, path = self._drawing(name, brand="fab" in classes.split())
        return (
            f'<svg class="{" ".join(classes.split())} icon"{attributes} aria-hidden="true" '
            f'viewBox="0 0 {width} {height}"><path fill="currentColor" d="{path}"/></svg>'
        )

    @cache  # noqa: B019
    def _drawing(self, name: str, brand: bool) -> tuple[str, str, str]:
        entry = re.compile(
            rf'"?{re.escape(name)}"?:\s*\[(\d+),\s*(\d+),\s*\[.*?\],\s*"\w+",\s*"(M[^"]+)"'
        )
        found = entry.findall(self.script)
        if not found:
            raise ValueError(f"the theme's script has no icon {name!r}")
        # Brands come first in the script, the solid style last.
        drawing: tuple[str, str, str] = found[0 if brand else -1]
        return drawing


# --- Scripts -----------------------------------------------------------------------------------


def _scripts(site: Path) -> str:
    parts = [PRELUDE]
    for name in SCRIPTS:
        source = (site / "_static" / name).read_text(encoding="utf-8")
        parts.append(re.sub(r"^//# sourceMappingURL=.*$", "", source, flags=re.M))
    return ";\n".join(parts)


# Chosen before anything is painted; the theme's own script would first paint neither of them.
MODE = """\
(() => {
  const root = document.documentElement;
  let mode = "auto";
  try { mode = localStorage.getItem("mode") || mode; } catch {}
  const night = matchMedia("(prefers-color-scheme: dark)").matches;
  const dark = mode === "dark" || (mode === "auto" && night);
  Object.assign(root.dataset, { mode, theme: dark ? "dark" : "light" });
})();
"""


def _head(page: str, up: str, is_search: bool, style: str, script: str) -> str:
    """The page with one stylesheet and one script."""
    ours = (*SCRIPTS, *UNUSED, *(() if is_search else SEARCH))
    names = "|".join(re.escape(name) for name in ours)
    page = re.sub(
        rf'<(script|link)\b[^>]*(?:src|href)="[^"]*?(?:{names})(?:\?[^"]*)?"[^>]*>(</script>)?',
        "",
        page,
    )
    page = re.sub(
        r"<script>\s*(?:let toggle|var toggle|const THEBE|DOCUMENTATION_OPTIONS).*?</script>",
        "",
        page,
        flags=re.S,
    )
    page = re.sub(r'<script type="text/x-thebe-config">.*?</script>', "", page, flags=re.S)
    page = re.sub(r'<link\b[^>]*rel="stylesheet"[^>]*>', "", page)
    page = re.sub(r'<meta name="(?:docsearch:[^"]*)"[^>]*>', "", page)
    page = re.sub(
        r'(<script data-cfasync="false">).*?(</script>)', rf"\1\n{MODE}\2", page, flags=re.S
    )
    page = page.replace('<html lang="en"', '<html lang="en" data-theme="light"', 1)
    # Sphinx, the theme and Docutils each set the viewport.
    first, *others = re.findall(r'<meta name="viewport"[^>]*>', page)
    for other in (first, *others):
        page = page.replace(other, "", 1)
    page = page.replace('<meta charset="utf-8" />', f'<meta charset="utf-8" />\n    {first}', 1)
    # The searching scripts wait for the bundle, as all of them wait for the page.
    page = re.sub(
        r'<script src="([^"]*(?:searchtools|language_data|searchindex)\.js[^"]*)">',
        r'<script defer src="\1">',
        page,
    )
    ours_now = (
        f'<link rel="stylesheet" href="{up}{style}">\n<script defer src="{up}{script}"></script>\n'
    )
    if is_search:
        return page.replace('<script defer src="', f'{ours_now}<script defer src="', 1)
    page = page.replace("</head>", f"{ours_now}</head>", 1)
    return re.sub(r"\n\s*\n+", "\n", page) if "<pre" not in page else page


def _with_explorers(page: str, up: str, names: dict[str, str]) -> str:
    used = [name for name in names if f'data-explorer="{name}"' in page]
    added = "".join(f'<script defer src="{up}{names[name]}"></script>\n' for name in used)
    return page.replace("</body>", f"{added}</body>", 1)


# --- Styles ------------------------------------------------------------------------------------


def _stylesheet(site: Path, pages: dict[Path, str], scripts: Iterable[str]) -> str:
    """All stylesheets of the pages in one, without what nothing can match."""
    sheets: list[Path] = []
    for path, page in pages.items():
        for tag in re.findall(r'<link\b[^>]*rel="stylesheet"[^>]*>', page):
            (href,) = re.findall(r'href="([^"?]+)', tag)
            sheet = (path.parent / href).resolve()
            if sheet not in sheets:
                sheets.append(sheet)
    sheets.append((site / "_static/explorer.css").resolve())
    # Whatever looks like a name in a page's tags or in a script may become a class.
    words = set()
    for page in pages.values():
        for tag in re.findall(r"<[a-z][^>]*>", page):
            words.update(re.findall(r"[\w-]+", tag))
    for script in scripts:
        words.update(re.findall(r"[\w-]+", script))
    rules = []
    for sheet in sheets:
        rules += _rebased(sheet, site / "_static")
    kept = _kept(rules, words)
    css = "".join(rule for rule in kept if not rule.startswith("@keyframes"))
    used = [r for r in kept if r.startswith("@keyframes") and r[11:].split("{")[0] in css]
    return _without_unused_variables(css + "".join(used), words)


def _rebased(sheet: Path, home: Path) -> list[Any]:
    """The sheet's rules, the addresses in them as seen from `home`."""

    def moved(found: re.Match[str]) -> str:
        target = found[1].strip("'\"")
        if target.startswith(("data:", "#")) or "//" in target:
            return found[0]
        path = (sheet.parent / target.split("?")[0].split("#")[0]).resolve()
        return f"url({Path(os.path.relpath(path, home.resolve())).as_posix()})"

    text = re.sub(r"url\(([^)]+)\)", moved, sheet.read_text(encoding="utf-8"))
    rules: list[Any] = tinycss2.parse_stylesheet(text, skip_comments=True, skip_whitespace=True)
    return rules


def _kept(rules: Iterable[Any], words: set[str]) -> list[str]:
    kept = []
    for rule in rules:
        if rule.type == "qualified-rule":
            selectors = [s for s in _selectors(rule.prelude) if _can_match(s, words)]
            body = _compact(tinycss2.serialize(rule.content))
            if selectors and body:
                prelude = ",".join(_compact(tinycss2.serialize(s)) for s in selectors)
                kept.append(f"{prelude}{{{body}}}")
        elif rule.type == "at-rule" and rule.lower_at_keyword in ("media", "supports"):
            inner = tinycss2.parse_rule_list(rule.content, skip_comments=True, skip_whitespace=True)
            inside = "".join(_kept(inner, words))
            if inside:
                prelude = _compact(tinycss2.serialize(rule.prelude))
                kept.append(f"@{rule.lower_at_keyword} {prelude}{{{inside}}}")
        elif rule.type == "at-rule" and rule.lower_at_keyword == "font-face":
            body = _compact(tinycss2.serialize(rule.content))
            # Icons are pictures now.
            if "fontawesome" not in body and "fa-" not in body:
                kept.append(f"@font-face{{{body}}}")
        elif rule.type == "at-rule" and rule.lower_at_keyword == "keyframes":
            name = tinycss2.serialize(rule.prelude).strip()
            kept.append(f"@keyframes {name}{{{_compact(tinycss2.serialize(rule.content))}}}")
        elif rule.type == "at-rule" and rule.lower_at_keyword != "charset":
            kept.append(_compact(rule.serialize()))
    return kept


def _selectors(prelude: list[Any]) -> list[list[Any]]:
    """The selectors of a rule, parted at the commas that aren't in brackets."""
    parts: list[list[Any]] = [[]]
    for token in prelude:
        if token.type == "literal" and token.value == ",":
            parts.append([])
        elif token.type != "comment":
            parts[-1].append(token)
    return parts


def _can_match(selector: list[Any], words: set[str]) -> bool:
    """Whether every class and id of the selector occurs; what stands in brackets isn't asked.

    The explorers put the names of their classes together, so all of these are kept.
    """
    for before, token in zip([None, *selector], selector, strict=False):
        is_class = token.type == "ident" and before is not None and before == "."
        if is_class and token.value not in words and not token.value.startswith("lr-"):
            return False
        if token.type == "hash" and token.value not in words:
            return False
    return True


def _compact(css: str) -> str:
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.S)
    css = re.sub(r"\s+", " ", css).strip()
    return re.sub(r" ?([{};,]) ?", r"\1", re.sub(r": ", ":", css)).rstrip(";")


def _without_unused_variables(css: str, words: set[str]) -> str:
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


# --- Figures, descriptions, the map ------------------------------------------------------------


def _with_figure_sizes(page: str, path: Path) -> str:
    """Figures keep their place while they load, and load when they come into view."""
    seen = 0

    def sized(found: re.Match[str]) -> str:
        nonlocal seen
        tag = found[0]
        (source,) = re.findall(r'src="([^"]+)"', tag)
        if source.startswith("data:") or " width=" in tag or urlsplit(source).netloc:
            return tag
        size = _size((path.parent / source).resolve())
        seen += 1
        lazy = ' loading="lazy" decoding="async"' if seen > 1 else ""
        width, height = size
        return re.sub(r"\s*/?>$", f' width="{width}" height="{height}"{lazy}>', tag)

    return re.sub(r'<img\b[^>]*\bsrc="[^"]+"[^>]*>', sized, page)


@cache
def _size(picture: Path) -> tuple[int, int]:
    if picture.suffix == ".png":
        return struct.unpack(">II", picture.read_bytes()[16:24])
    view = re.search(r'viewBox="\S+ \S+ ([\d.]+) ([\d.]+)"', picture.read_text(encoding="utf-8"))
    if not view:
        raise ValueError(f"{picture.name} has no viewBox, so its size can't be known")
    # Points to pixels.
    return round(float(view[1]) * 4 / 3), round(float(view[2]) * 4 / 3)


def _found(page: str, url: str, address: str) -> str:
    """What search engines and link previews read."""
    title = re.search(r"<title>\s*(.*?)\s*</title>", page, re.S)
    given = re.search(r'<meta\s+content="([^"]*)"\s+name="description"[^>]*>', page)
    text = html.unescape(given[1]) if given else _first_sentences(page)
    name = re.sub(r"\s*(?:&#8212;|—).*", "", title[1]) if title else ""
    tags = [] if given else [f'<meta name="description" content="{html.escape(text)}">']
    tags += [
        f'<link rel="canonical" href="{url}">',
        f'<meta property="og:title" content="{name}">',
        f'<meta property="og:description" content="{html.escape(text)}">',
        '<meta property="og:type" content="article">',
        f'<meta property="og:url" content="{url}">',
        f'<meta property="og:image" content="{address}_static/social-card.png">',
        '<meta name="twitter:card" content="summary_large_image">',
    ]
    return page.replace("</title>", "</title>\n" + "\n".join(tags), 1)


def _first_sentences(page: str, limit: int = 160) -> str:
    """The article's first paragraph that says something, cut at a word."""
    article = page[page.find("<article") :]
    for paragraph in re.findall(r"<p>(.*?)</p>", article, re.S):
        text = html.unescape(re.sub(r"<[^>]+>", "", paragraph))
        text = re.sub(r"\s+", " ", text).strip().removeprefix("You will see ")
        if len(text) > 50:
            text = text[0].upper() + text[1:]
            return (
                text if len(text) <= limit else text[:limit].rsplit(" ", 1)[0].rstrip(",;:") + " …"
            )
    return (
        "A page of the Learning-Rate Book: how to choose and change the learning rate in PyTorch."
    )


def _write_sitemap(site: Path, pages: Iterable[Path], address: str) -> None:
    skipped = {"search.html", "genindex.html", "py-modindex.html"}
    places = [page.relative_to(site).as_posix() for page in pages if page.name not in skipped]
    urls = [address if place == "index.html" else address + place for place in places]
    entries = "".join(f"  <url><loc>{url}</loc></url>\n" for url in urls)
    text = '<?xml version="1.0" encoding="UTF-8"?>\n'
    text += f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{entries}</urlset>\n'
    (site / "sitemap.xml").write_text(text, encoding="utf-8")


def _write_not_found(site: Path, address: str, title: str) -> None:
    """The page for wrong addresses: it may be shown at any depth, so it stands alone."""
    home = urlsplit(address).path
    template = (Path(__file__).with_name("404.html")).read_text(encoding="utf-8")
    text = template.replace("{home}", home).replace("{title}", html.escape(title))
    (site / "404.html").write_text(text, encoding="utf-8")
