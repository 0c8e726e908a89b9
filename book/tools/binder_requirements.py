"""Writes .binder/requirements.txt: what a notebook needs to run, pinned as in requirements.txt.

Torch comes as its CPU build, which spares the image several GB; nothing that only builds or tests
the book is installed. `make requirements` calls this.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
HEAD = (
    "# What Binder installs, with the versions of requirements.txt: made by `make requirements`.\n"
)


def requirements() -> str:
    """The text of the file: lrlib's dependencies and those of the extra `book`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = map(Requirement, [*project["dependencies"], *extras["lab"], *extras["book"]])
    pinned = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    python = (ROOT / ".binder" / "runtime.txt").read_text(encoding="utf-8").strip()
    binder = {
        "python_full_version": f"{python.removeprefix('python-')}.0",
        "sys_platform": "linux",
    }
    # A package has a pin for each range of Pythons in which the newest version differs.
    pins = {
        pin.name: f"{pin.name}{pin.specifier}"
        for pin in (Requirement(line) for line in pinned if line and not line.startswith("#"))
        if pin.marker is None or pin.marker.evaluate(binder)
    }
    builds = {"torch": "+cpu", "torchvision": "+cpu"}
    lines = [pins[one.name] + builds.get(one.name, "") for one in asked if one.name != "lrlib"]
    return "\n".join([f"{HEAD}--extra-index-url {CPU_BUILDS}", *lines]) + "\n"


if __name__ == "__main__":
    (ROOT / ".binder" / "requirements.txt").write_text(requirements(), encoding="utf-8")
