"""Puts every notebook alone into an empty folder, and lrlib beside them as an installed wheel.

So `make test` runs a notebook as a student does who has downloaded that one file: nothing of the
repository is within reach.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ALONE = ROOT / "_build" / "alone"
INSTALLED = ALONE / "installed"


def build_wheel(folder: Path) -> Path:
    """lrlib's wheel, built from a copy, so that nothing is left in the checkout."""
    copy = folder / "checkout"
    parts = ("pyproject.toml", "README.md", "LICENSE", "lrlib", "book/results")
    for part in parts:
        target = copy / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, target)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(copy)]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("lrlib-*.whl")
    return wheel


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
    with zipfile.ZipFile(build_wheel(ALONE)) as wheel:
        wheel.extractall(INSTALLED)
    copy_notebooks(ALONE / "notebooks")
    found = subprocess.run(
        [sys.executable, "-c", "import lrlib; print(lrlib.__file__)"],
        cwd=ALONE / "notebooks",
        env=os.environ | {"PYTHONPATH": str(INSTALLED)},
        capture_output=True,
        text=True,
        check=True,
    )
    if not found.stdout.startswith(str(INSTALLED)):
        sys.exit(f"notebooks would import {found.stdout.strip()}, not the wheel in {INSTALLED}")


if __name__ == "__main__":
    main()
