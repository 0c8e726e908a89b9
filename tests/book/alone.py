"""Puts every notebook alone into an empty folder, and lrlib beside them as an installed wheel.

So `make test` runs a notebook as a student does who has downloaded that one file: nothing of the
repository is within reach.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ALONE = ROOT / "_build" / "alone"
INSTALLED = ALONE / "installed"


def build_wheel(folder: Path) -> Path:
    """lrlib's wheel, built from a copy: what an earlier build left in the checkout stays out."""
    copy = folder / "checkout"
    shutil.copytree(ROOT / "lrlib", copy / "lrlib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(copy)]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("lrlib-*.whl")
    return wheel


def unpack(wheel: Path, folder: Path) -> None:
    """Installs the wheel for all who put the folder on PYTHONPATH."""
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)


def copy_notebooks(to: Path) -> None:
    """Each into a folder of its own, empty but for it; without the assignments."""
    for path in sorted((ROOT / "chapters").glob("*/*.ipynb")):
        if path.stem != "assignment":
            folder = to / path.parent.name / path.stem
            folder.mkdir(parents=True)
            shutil.copy(path, folder)


def main() -> None:
    shutil.rmtree(ALONE, ignore_errors=True)
    ALONE.mkdir(parents=True)
    unpack(build_wheel(ALONE), INSTALLED)
    copy_notebooks(ALONE / "notebooks")


if __name__ == "__main__":
    main()
