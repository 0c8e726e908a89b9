"""Interactive figures for Jupyter and the website: those of the chapters, and the playground.

An explorer is one ES module without dependencies. Its formulas are JavaScript, and the tests hold
them equal to lrlib's and torch's. `first-look` and `playground` train networks in the browser,
even if there is a kernel. A page on which no script runs shows a static fallback: what the explorer
draws at its start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrlib.notebook.explorers._pages import (
    DATA_FILE,
    NAMES,
    check_name,
    data,
    data_file,
    html,
    script,
    stylesheet,
)

if TYPE_CHECKING:
    from lrlib.notebook.explorers._widget import Explorer

__all__ = ["DATA_FILE", "NAMES", "data", "data_file", "explorer", "html", "script", "stylesheet"]


def explorer(name: str, **state: Any) -> Explorer:
    """A live figure with controls, for a notebook: move a slider, and the curve follows.

    `name` is one of `explorers.NAMES`. `state` sets controls by their names. If a control doesn't
    allow a value, then a message in the figure's place says which values it allows.

    >>> figure = explorer("composer", steps=200, main="Linear")
    >>> figure.state["steps"]
    200
    """
    check_name("explorer", name)
    # Only here, because anywidget takes time to import.
    from lrlib.notebook.explorers._widget import Explorer

    return Explorer(name, state)
