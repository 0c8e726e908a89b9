"""`make test-versions`: the oldest and newest torch, on every Python there is.

Each combination gets an environment of its own, in which torch is installed first and lrlib's wheel
after it, as in Colab: the torch that was there must stay. Then the unit tests run, and every
notebook, alone: its numbers may differ from the stored ones, its claims have to hold. Takes
six minutes for each, and gigabytes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from book.alone import ROOT, build_wheel, copy_notebooks

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
TOOLS = (
    "pytest",
    "pytest-xdist",
    "hypothesis",
    "filelock",
    "dask[distributed]",
    "nbval",
    "ipykernel",
)


def oldest() -> list[str]:
    """The lower bounds of pyproject.toml for torch and torchvision, as pins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = [line for line in project["dependencies"] if re.match(r"torch(vision)?>=", line)]
    return [f"{bound.replace('>=', '==')}.0" for bound in bounds]


def runs(interpreter: str) -> bool:
    """Whether it is there; a version manager's stand-in may be there and not run."""
    if shutil.which(interpreter) is None:
        return False
    return subprocess.run([interpreter, "-c", ""], capture_output=True).returncode == 0


def version(python: Path, name: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    return subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def try_out(interpreter: str, torch: list[str], wheel: Path, folder: Path) -> str:
    """One combination; returns its line of the table."""
    subprocess.run([interpreter, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if subprocess.run([*install, *torch]).returncode:
        return f"{interpreter} {' '.join(torch)}: not offered for this Python"
    before = version(python, "torch"), version(python, "torchvision")
    subprocess.run([*install, wheel], check=True)
    after = version(python, "torch"), version(python, "torchvision")
    name = f"{interpreter}, torch {after[0]}, torchvision {after[1]}"
    if before != after:
        return f"{name}: FAILED, installing lrlib replaced {before}"
    subprocess.run([*install, *TOOLS], check=True)
    # Away from the checkout: what is tested is the wheel.
    shutil.copytree(
        ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("book", "bench")
    )
    shutil.copy(ROOT / "pyproject.toml", folder)
    copy_notebooks(folder / "notebooks")
    tests = pytest(python, folder, "tests", "-m", "not long")
    cells = pytest(
        python, folder, "notebooks", "--nbval-lax", "--nbval-current-env", "-o", "addopts="
    )
    return f"{name}: tests: {tests}; notebook cells: {cells}"


def pytest(python: Path, folder: Path, *arguments: str) -> str:
    """Runs it, and returns its last line; prints what failed."""
    done = subprocess.run(
        [python, "-m", "pytest", *arguments, "-q", "-n", "2", "--dist", "loadfile"],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-300:]
    if done.returncode:
        print(done.stdout[-8000:])
    return f"{'FAILED, ' if done.returncode else ''}{last.strip('= ')}"


def main() -> int:
    found = [f"python{number}" for number in PYTHONS if runs(f"python{number}")]
    combinations = [(name, oldest()) for name in found[:1]]
    combinations += [(name, ["torch", "torchvision"]) for name in found]
    lines = []
    with tempfile.TemporaryDirectory() as shared:
        wheel = build_wheel(Path(shared))
        for interpreter, torch in combinations:
            with tempfile.TemporaryDirectory() as folder:
                lines.append(try_out(interpreter, torch, wheel, Path(folder)))
            print(lines[-1], flush=True)
    return 1 if any("FAILED" in line for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
