"""`make record NB=path`: runs the recorded experiment of a notebook and stores its result.

The notebook's cells with the tag "recorded" hold all that the experiment needs, and define
`record()`, whose result is written with the versions, the machine and the date that it was made on.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from pathlib import Path

import nbformat
import torch
from execute import ROOT, device_name, write

from lrlib.notebook.records import FOLDER


def made_with() -> dict[str, str]:
    """On what and when: a part of every record."""
    return {
        "device": device_name(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: make record NB=chapters/…/NAME.ipynb", file=sys.stderr)
        return 2
    path = Path(arguments[0]).resolve()
    cells = [
        cell.source
        for cell in nbformat.read(path, as_version=4).cells
        if "recorded" in cell.metadata.get("tags", [])
    ]
    namespace: dict[str, object] = {}
    exec(compile("\n\n".join(cells), path.name, "exec"), namespace)
    record = namespace.get("record")
    if not callable(record):
        print(f"{path.name}: no cell with the tag 'recorded' defines record()", file=sys.stderr)
        return 1
    began = time.perf_counter()
    data = record()
    report = {
        "notebook": path.relative_to(ROOT).as_posix(),
        "command": f"make record NB={path.relative_to(ROOT).as_posix()}",
        "seconds": round(time.perf_counter() - began),
        **made_with(),
        "data": data,
    }
    target = FOLDER / f"{path.stem}.json"
    write(target, json.dumps(report, indent=1) + "\n")
    print(f"{target.relative_to(ROOT)}: {report['seconds']} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
