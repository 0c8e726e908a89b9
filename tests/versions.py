"""`make test-versions`: the oldest and newest torch, on every installed Python.

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

PYTHONS = ("python3.11", "python3.12", "python3.13", "python3.14")
NEWEST = ("torch", "torchvision")
TORCH = "import torch, torchvision; print(f'torch {torch.__version__}', torchvision.__version__)"


def oldest() -> tuple[str, ...]:
    """The lower bounds of pyproject.toml for torch and torchvision, as pins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["lab"]]
    bounds = [line for line in requirements if re.match(r"torch(vision)?>=", line)]
    return tuple(f"{bound.replace('>=', '==')}.0" for bound in bounds)


def call(*command: object, folder: Path) -> tuple[bool, str]:
    """Whether the command went well, and the last line that it wrote; if not, prints the end."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        print(done.stdout[-8000:])
    return done.returncode == 0, (done.stdout.strip().splitlines() or [""])[-1].strip("= ")


def try_out(interpreter: str, torch: tuple[str, ...], wheel: Path, folder: Path) -> list[str]:
    """What failed in one combination; prints what went well."""
    call(interpreter, "-m", "venv", "venv", folder=folder)
    python = folder / "venv" / "bin" / "python"
    install = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    if not call(*install, *torch, folder=folder)[0]:
        print(f"{interpreter}, {' '.join(torch)}: not offered for this Python")
        return []
    before = call(python, "-c", TORCH, folder=folder)[1]
    installed, _ = call(*install, f"{wheel}[book,test]", "ipykernel", folder=folder)
    after = call(python, "-c", TORCH, folder=folder)[1]
    # Away from the checkout: what is tested is the wheel.
    elsewhere = shutil.ignore_patterns("book", "bench")
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=elsewhere)
    shutil.copy(ROOT / "pyproject.toml", folder)
    copy_notebooks(folder / "notebooks")
    pytest = (python, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile")
    tests = call(*pytest, "tests", "-m", "not long", folder=folder)
    nbval = ("--nbval-lax", "--nbval-current-env", "-o", "addopts=")
    cells = call(*pytest, "notebooks", *nbval, folder=folder)
    name = f"{interpreter}, {before}"
    print(f"{name}: tests: {tests[1]}; notebook cells: {cells[1]}", flush=True)
    checks = {"installing": installed, "the torch that was there": before == after}
    checks |= {"the unit tests": tests[0], "the notebooks": cells[0]}
    return [f"{name}: {check}" for check, fine in checks.items() if not fine]


def main() -> int:
    # A version manager's stand-in may be found, and not run.
    found = [one for one in PYTHONS if shutil.which(one) and not subprocess.call([one, "-c", ""])]
    combinations = [(one, oldest()) for one in found[:1]] + [(one, NEWEST) for one in found]
    failed = []
    with tempfile.TemporaryDirectory() as shared:
        wheel = build_wheel(Path(shared))
        for interpreter, torch in combinations:
            with tempfile.TemporaryDirectory() as folder:
                failed += try_out(interpreter, torch, wheel, Path(folder))
    print("FAILED:" if failed else "All combinations passed.", *failed, sep="\n  ")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
