"""Figures that answer: one explorer per chapter, alive in Jupyter and on the site.

An explorer is one ES module without dependencies. Its formulas are JavaScript, and the tests hold
them equal to lrlib's; only `first-look` trains, for real where there is a kernel. Where nothing can
run, a page shows a static figure.
"""

from __future__ import annotations

import difflib
import json
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from lrlib.notebook.explorers._widget import Explorer

_HERE = Path(__file__).parent

# Each explorer, and the file of shared formulas that it needs beside explorer.js.
NAMES: dict[str, tuple[str, ...]] = {
    "first-look": (),
    "noisy-valley": ("schedules",),
    "layer-rates": (),
    "composer": ("schedules",),
    "field-guide": ("schedules",),
    "plateau": (),
    "missing-point": (),
}


def explorer(name: str, **state: Any) -> Explorer:
    """A live figure with controls, for a notebook: move a slider, and the curve follows.

    `name` is one of `explorers.NAMES`. `state` sets controls by their names; what a control doesn't
    allow is moved to the nearest value that it does.

    >>> figure = explorer("composer", steps=200, main="Linear")
    >>> figure.state["steps"]
    200
    """
    _known("explorer", name)
    from lrlib.notebook.explorers._widget import Explorer, FirstLook

    return (FirstLook if name == "first-look" else Explorer)(name, state)


@cache
def module(name: str) -> str:
    """The explorer's ES module, complete, as `anywidget` takes it."""
    _known("module", name)
    source = "\n".join(_source(part) for part in ("explorer", *NAMES[name], name))
    exports = "export default { render: (context) => renderWidget(explorer, context), explorer };\n"
    return f"{source}\n{exports}"


@cache
def script(name: str) -> str:
    """The same for a page, as a classic script: browsers refuse modules from `file://`."""
    source = "\n".join(_source(part) for part in ("explorer", *NAMES[name], name))
    return f'(() => {{\n"use strict";\n{source}\nmountPage(explorer);\n}})();\n'


@cache
def stylesheet() -> str:
    """The look of all explorers, in light and dark."""
    return (_HERE / "explorer.css").read_text(encoding="utf-8")


def html(name: str, state: dict[str, Any] | None = None) -> str:
    """A page's part: the data, and a static figure that `script` replaces where scripts run."""
    _known("html", name)
    from lrlib.notebook.explorers._figures import static_figure

    svg, alt = static_figure(name)
    # In a script element only "</" and "<!--" have a meaning.
    given = json.dumps({"state": state or {}, "data": data(name)}, separators=(",", ":"))
    return (
        f'<div class="lr-explorer" id="explorer-{name}" data-explorer="{name}">'
        f'<script type="application/json">{given.replace("<", chr(92) + "u003c")}</script>'
        f'<img src="data:image/svg+xml,{quote(svg, safe=_PLAIN)}" alt="{escape(alt)}">'
        '<p class="lr-fallback">This figure answers to sliders where scripts may run: on the '
        "book's site, or in a notebook.</p></div>"
    )


# What a data address may hold as it is; everything else is percent-encoded.
_PLAIN = " !'()*+,-./:;=?@[]^_`{|}~&$"


def data(name: str) -> dict[str, Any]:
    """What the explorer looks up: the recorded trainings of `first-look`, nothing for others."""
    if name != "first-look":
        return {}
    from lrlib.notebook.records import recorded

    return {**recorded("a-real-network")["data"], "live": False}


def _source(part: str) -> str:
    return (_HERE / f"{part}.js").read_text(encoding="utf-8")


def _known(function: str, name: object) -> None:
    if not isinstance(name, str) or name not in NAMES:
        near = difflib.get_close_matches(str(name), NAMES, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{function}(name={name!r}): must be one of {', '.join(NAMES)}{hint}")
