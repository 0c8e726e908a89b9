"""What a page or a notebook is sent of an explorer: its script, its styles, its static fallback."""

from __future__ import annotations

import difflib
import json
from functools import cache
from pathlib import Path
from typing import Any

from lrlib.notebook.plots import PALETTE
from lrlib.notebook.records import recorded

_HERE = Path(__file__).parent

# What the explorers that train need, in a worker of the page. Their digits are in their own file.
TRAINS = ("stats", "engine", "kernel", "trainer", "results")
DATA_FILE = "digits.js"

# Each explorer, and what it needs beside charts.js and explorer.js.
NAMES: dict[str, tuple[str, ...]] = {
    "first-look": ("schedules", *TRAINS),
    "noisy-valley": ("schedules", "random"),
    "layer-rates": (),
    "composer": ("schedules", "compose"),
    "field-guide": ("schedules",),
    "plateau": ("schedules", "random"),
    "missing-point": (),
    "range-test": (),
    "adam-valley": ("random",),
    "step-calculator": (),
    "trunk-branch": (),
    "playground": ("schedules", "compose", *TRAINS, "finder"),
}

# The colors of the figures and of what is around them; dark mode has lighter ones.
LIGHT = PALETTE | {
    **{"text": "#1f2933", "quiet": "#52606d", "grid": "#e3e3e3"},
    **{"border": "#c9d1d9", "surface": "#ffffff", "field": "#f6f8fa"},
}
DARK = {
    **{"blue": "#6cb8e6", "orange": "#f08a5d", "green": "#4fc9a4", "purple": "#d59ccb"},
    **{"gold": "#d9b43c", "sky": "#8ccbf0", "gray": "#b4bcc4"},
    **{"text": "#e6e9ec", "quiet": "#aab4be", "grid": "#3a424a"},
    **{"border": "#46505a", "surface": "#161b20", "field": "#20272e"},
}
# How the site, JupyterLab and Colab say that they are dark.
_DARK_PAGES = 'html[data-theme="dark"], body[data-jp-theme-light="false"], html[theme="dark"]'


@cache
def module(name: str) -> str:
    """The explorer's ES module, complete, as `anywidget` takes it."""
    exports = "export default { render: (context) => renderWidget(explorer, context), explorer };\n"
    return f"{_sources(name)}\n{exports}"


@cache
def script(name: str) -> str:
    """The same for a page, as a classic script: browsers refuse modules from `file://`."""
    return f'(() => {{\n"use strict";\n{_sources(name)}\nmountPage(explorer);\n}})();\n'


@cache
def stylesheet() -> str:
    """The look of all explorers, in light and dark."""
    colors = {".lr-explorer": LIGHT, f":is({_DARK_PAGES}) .lr-explorer": DARK}
    rules = [
        f"{pages} {{ {' '.join(f'--lr-{name}: {color};' for name, color in values.items())} }}"
        for pages, values in colors.items()
    ]
    return "\n".join([*rules, source("explorer.css"), source("charts.css")])


def html(name: str, state: dict[str, Any] | None = None) -> str:
    """A page's part: the data, and the static fallback that `script` replaces where scripts run."""
    check_name("html", name)
    known = {"data": {}, "file": DATA_FILE} if trains(name) else {"data": data(name)}
    # In a script element only "</" and "<!--" have a meaning.
    given = json.dumps({"state": state or {}, **known}, separators=(",", ":"))
    return (
        f'<div class="lr-explorer" id="explorer-{name}" data-explorer="{name}">'
        f'<script type="application/json">{given.replace("<", chr(92) + "u003c")}</script>'
        f"{source(f'fallbacks/{name}.html')}"
        '<p class="lr-fallback">Where scripts run, this figure has sliders: on the book\'s '
        "website, or in a notebook.</p></div>"
    )


def trains(name: str) -> bool:
    """Whether the explorer trains networks."""
    return set(TRAINS) <= set(NAMES[name])


def data_file() -> str:
    """The script `DATA_FILE`: what the explorers that train are given on a page."""
    given = json.dumps({DATA_FILE: {"digits": json.loads(source("digits.json"))}})
    return f"window.lrData = {given};\n"


def data(name: str) -> dict[str, Any]:
    """What the explorer looks up: a record, or the digits to train on; nothing for most."""
    if name == "range-test":
        return _range_tests(recorded("range-test")["data"])
    if name == "trunk-branch":
        return _branches(recorded("one-trunk")["data"]["live"])
    if trains(name):
        return {"digits": json.loads(source("digits.json"))}
    return {}


def _range_tests(known: dict[str, Any]) -> dict[str, Any]:
    """The curves of a few seeds, what each rule reads from them, and the sweeps' losses."""
    seeds = list(known["curves"]["SGD"])
    readings = {
        optimizer: {rule: rates[: len(seeds)] for rule, rates in by_rule.items()}
        for optimizer, by_rule in known["readings"].items()
    }
    sweeps = {
        optimizer: {
            budget: {key: one["sweep"][key] for key in ("rates", "loss")}
            for budget, one in by_budget.items()
        }
        for optimizer, by_budget in known["budgets"].items()
    }
    return {"seeds": seeds, "curves": known["curves"], "readings": readings, "sweeps": sweeps}


def _branches(known: dict[str, Any]) -> dict[str, Any]:
    """The mean loss over the seeds of the branches that end at each length, by share and shape."""
    by_branch: dict[tuple[str, int], list[float]] = {}
    for run in known["runs"]:
        for share, shape, steps, loss in run:
            by_branch.setdefault((f"{share:g} {shape}", steps), []).append(loss)
    losses: dict[str, list[float]] = {}
    for (branch, _), values in sorted(by_branch.items()):
        losses.setdefault(branch, []).append(round(sum(values) / len(values), 4))
    lengths = sorted({steps for _, steps in by_branch})
    return {"seeds": len(known["runs"]), "warmup": 10, "lengths": lengths, "losses": losses}


def source(file: str) -> str:
    """The text of a file in this folder."""
    return (_HERE / file).read_text(encoding="utf-8")


def check_name(function: str, name: object) -> None:
    """Raises ValueError if there is no such explorer."""
    if not isinstance(name, str) or name not in NAMES:
        near = difflib.get_close_matches(str(name), NAMES, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{function}(name={name!r}): must be one of {', '.join(NAMES)}{hint}")


def _sources(name: str) -> str:
    check_name("explorer", name)
    return "\n".join(source(f"{part}.js") for part in ("charts", "explorer", *NAMES[name], name))
