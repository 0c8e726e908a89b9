"""Interactive figures, one per chapter, for Jupyter and the website.

An explorer is one ES module without dependencies. Its formulas are JavaScript, and the tests hold
them equal to lrlib's and torch's; only `first-look` trains, for real if there is a kernel. A page
on which no script runs shows a static fallback: what the explorer draws at its start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrlib.notebook.explorers._pages import NAMES, check_name, data, html, script, stylesheet

if TYPE_CHECKING:
    from lrlib.notebook.explorers._widget import Explorer

__all__ = ["NAMES", "data", "explorer", "html", "script", "stylesheet"]


def explorer(name: str, **state: Any) -> Explorer:
    """A live figure with controls, for a notebook: move a slider, and the curve follows.

    `name` is one of `explorers.NAMES`. `state` sets controls by their names; a value that a control
    doesn't allow is moved to the nearest one that it does.

    >>> figure = explorer("composer", steps=200, main="Linear")
    >>> figure.state["steps"]
    200
    """
    check_name("explorer", name)
    # Only here, because anywidget takes time to import.
    from lrlib.notebook.explorers._widget import Explorer, FirstLook

    return (FirstLook if name == "first-look" else Explorer)(name, state)
