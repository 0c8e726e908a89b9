"""Writes .binder/requirements.txt: what a notebook needs to run, pinned as in requirements.txt.

Torch comes as its CPU build, which spares the image several GB; nothing that only builds or tests
the book is installed. `make requirements` calls this.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
HEAD = (
    "# What Binder installs, with the versions of requirements.txt: made by `make requirements`.\n"
)


def requirements() -> str:
    """The text of the file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    pins = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", pinned, re.M))
    names = [re.split(r"[<>=]", requirement)[0] for requirement in project["dependencies"]]
    lines = [
        f"{name}=={pins[name]}{'+cpu' if name in ('torch', 'torchvision') else ''}"
        for name in names
    ]
    return "\n".join([f"{HEAD}--extra-index-url {CPU_BUILDS}", *lines]) + "\n"


if __name__ == "__main__":
    (ROOT / ".binder" / "requirements.txt").write_text(requirements(), encoding="utf-8")
    sys.exit()
