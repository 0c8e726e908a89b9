"""Recorded experiments: results that took too long to run again in a notebook.

A notebook that shows one holds the function that made it; `make record NB=path` runs it and writes
book/results/NAME.json, which travels with the package.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# Beside the modules in an installed package, in book/results in a checkout.
_FOLDERS = (
    Path(__file__).parent / "results",
    Path(__file__).parent.parent / "book" / "results",
)


def recorded(name: str) -> dict[str, Any]:
    """The record of an experiment: its `data`, and with what it was made (`machine`, `torch`, …).

    Raises ValueError where there is no such record; it lists those that there are.

    >>> recorded("across-widths")["notebook"]
    'chapters/02-per-layer-rates/across-widths.ipynb'
    """
    known = {path.stem: path for folder in _FOLDERS for path in folder.glob("*.json")}
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"recorded(name={name!r}): must be one of {', '.join(sorted(known))}")
    record: dict[str, Any] = json.loads(known[name].read_text(encoding="utf-8"))
    return record
