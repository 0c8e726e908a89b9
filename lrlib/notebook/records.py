"""Recorded experiments: results that took too long to run again in a notebook.

A notebook that shows one holds the function that made it; `make record NB=path` runs it and writes
results/NAME.json beside this module, which travels with the package.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["recorded"]

FOLDER = Path(__file__).parent / "results"


def recorded(name: str) -> dict[str, Any]:
    """The record of an experiment: its `data`, and what it was made with (`machine`, `torch`, …).

    Raises ValueError if there is no such record; the message lists those that exist.

    >>> recorded("across-widths")["notebook"]
    'chapters/02-per-layer-rates/across-widths.ipynb'
    """
    known = {path.stem: path for path in FOLDER.glob("*.json")}
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"recorded(name={name!r}): must be one of {', '.join(sorted(known))}")
    record: dict[str, Any] = json.loads(known[name].read_text(encoding="utf-8"))
    return record
