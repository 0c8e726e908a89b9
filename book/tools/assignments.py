"""`make assignments`: from the instructor's sources, the students' versions and a whole course.

The sources in book/assignments/source hold solutions and hidden tests. nbgrader takes them out: the
result goes to chapters/*/assignment.ipynb, which the book shows, and with the sources into a zip
that is an nbgrader course. `make assignments SEED=7` makes a course with other numbers and names,
and leaves the book as it is.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[2]
ASSIGNMENTS = ROOT / "book" / "assignments"
COURSES = ROOT / "_build" / "assignments"

# What a seed changes in questions, solutions and tests alike. Each first word or number stands in
# its assignment for one thing only; seed 0 is the book's edition, and there are eleven.
EDITIONS = 11
NUMBERS = {
    "01-decay-theory": ["0.3 0.4 0.25 0.6 0.45 0.2 0.35 0.55 0.65 0.15 0.5"],
    "02-per-layer-rates": [
        "head classifier top readout final output last_layer decoder task probe exit",
        "0.05 0.06 0.07 0.08 0.09 0.11 0.12 0.13 0.14 0.045 0.055",
    ],
    "03-manual-schedules": [
        "13 11 17 12 16 18 15 14 19 21 22",
        "0.004 0.006 0.003 0.007 0.0045 0.008 0.0035 0.0065 0.009 0.0025 0.0075",
        "0.85 0.75 0.65 0.95 0.55 0.8 0.7 0.9 0.6 0.45 0.5",
        "peak_lr full_lr base_rate highest_lr first_lr top_lr own_lr lr_0 base_lr max_rate lr0",
    ],
    "04-built-in-schedulers": [
        "0.24 0.36 0.48 0.44 0.32 0.2 0.52 0.4 0.56 0.6 0.28",
        "15 13 17 12 16 11 19 14 18 10 9",
        "0.28 0.42 0.26 0.38 0.18 0.52 0.34 0.46 0.22 0.58 0.36",
        "14 19 21 18 23 16 12 22 17 13 25",
        "24 26 22 28 21 27 23 29 25 20 19",
        "18 16 21 13 19 22 14 17 23 12 25",
        "0.6 0.7 0.65 0.75 0.55 0.8 0.45 0.85 0.4 0.35 0.9",
        "0.002 0.004 0.001 0.003 0.005 0.006 0.0015 0.0025 0.007 0.0035 0.008",
        "0.45 0.35 0.5 0.25 0.15 0.6 0.3 0.55 0.2 0.4 0.65",
        "0.12 0.2 0.08 0.25 0.15 0.3 0.06 0.18 0.22 0.28 0.14",
    ],
    "05-plateau-reduction": [
        "0.35 0.25 0.4 0.3 0.2 0.28 0.32 0.22 0.38 0.18 0.26",
        "22 15 24 16 18 25 14 26 17 28 13",
    ],
    "06-lr-dropout": [
        "0.75 0.8 0.65 0.7 0.85 0.6 0.72 0.78 0.55 0.88 0.68",
        "0.99 0.98 0.96 0.97 0.94 0.985 0.965 0.975 0.945 0.995 0.955",
    ],
    "07-finding-a-rate": [
        "8 6 9 7 12 11 4 13 14 3 16",
        "2.6 2.4 3.1 2.8 3.4 2.2 3.7 2.9 2.3 3.3 2.7",
        "0.85 0.8 0.9 0.75 0.88 0.78 0.82 0.92 0.72 0.86 0.77",
        "3.6 3.2 4.4 2.5 4.8 2.9 3.9 5.2 2.7 4.2 3.5",
    ],
    "08-adamw-and-warmup": [
        "0.4 0.35 0.3 0.45 0.25 0.2 0.15 0.38 0.42 0.28 0.32",
        "0.013 0.012 0.014 0.011 0.015 0.016 0.018 0.009 0.019 0.008 0.021",
        "17 13 19 15 21 14 18 12 16 20 22",
    ],
    "09-steps-batches-devices": [
        "52 28 44 36 60 24 68 20 56 76 40",
        "12 6 10 7 9 14 11 5 13 18 21",
        "0.36 0.24 0.48 0.32 0.28 0.44 0.56 0.22 0.52 0.64 0.26",
        "1.3 1.1 1.7 0.9 1.9 0.8 2.3 2.1 0.7 1.6 2.7",
        "19 13 17 15 11 16 14 18 9 22 23",
    ],
    "10-beyond-the-schedule": [
        "13 11 17 12 16 18 15 14 19 21 22",
        "0.08 0.06 0.12 0.05 0.11 0.07 0.14 0.09 0.13 0.04 0.15",
        "0.7 0.6 0.8 0.75 0.65 0.55 0.85 1.4 0.45 1.3 1.2",
        "0.93 0.92 0.94 0.91 0.95 0.88 0.89 0.96 0.87 0.86 0.84",
        "35 34 37 41 44 31 47 38 43 33 46",
        "26 23 27 24 28 29 32 25 36 39 42",
    ],
}


def names() -> list[str]:
    return sorted(path.name for path in (ASSIGNMENTS / "source").iterdir() if path.is_dir())


def with_numbers(text: str, name: str, seed: int) -> str:
    """The text of an assignment, or of its answers, with the numbers of this seed."""
    new = {line.split()[0]: line.split()[seed] for line in NUMBERS[name]}
    # A whole number or name, not a part of one; `head` also in `head_lr`, but not in `header`.
    anyone = "|".join(re.escape(old) for old in new)
    whole = rf"(?<![A-Za-z0-9])(?<!\d\.)({anyone})(?![A-Za-z0-9]|\.\d)"
    return re.sub(whole, lambda match: new[match[1]], text)


def make_course(folder: Path, seed: int = 0) -> None:
    """An nbgrader course in `folder`: sources, configuration, and the released versions."""
    from nbgrader.apps import NbGraderAPI
    from nbgrader.coursedir import CourseDirectory

    # nbgrader calls `alembic` by its name.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ASSIGNMENTS, folder, ignore=shutil.ignore_patterns(".ruff_cache", "ruff.toml"))
    for name in names():
        for path in (folder / "source" / name / "assignment.ipynb", folder / f"answers/{name}.py"):
            path.write_text(with_numbers(path.read_text("utf-8"), name, seed), "utf-8")
    config = Config()
    config.CourseDirectory.root = str(folder)
    config.CourseDirectory.course_id = "learning-rates"
    logging.getLogger("traitlets").setLevel(logging.ERROR)
    course = CourseDirectory(config=config)
    api = NbGraderAPI(course, config=config)
    for name in names():
        done = api.generate_assignment(name, force=True)
        if not done["success"]:
            sys.exit(f"{name}: nbgrader could not make the students' version\n{done['log']}")


def students_version(folder: Path, name: str) -> str:
    """The released notebook as the book keeps it."""
    path = folder / "release" / name / "assignment.ipynb"
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook["metadata"] = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main() -> int:
    seed = int(sys.argv[1]) if sys.argv[1:] else 0
    if seed not in range(EDITIONS):
        sys.exit(f"SEED={seed}: it must be one of 0 (the book's edition) to {EDITIONS - 1}")
    course = COURSES / (f"learning-rates-{seed}" if seed else "learning-rates")
    make_course(course, seed)
    for name in names() if seed == 0 else ():
        student = students_version(course, name)
        (ROOT / "chapters" / name / "assignment.ipynb").write_text(student, encoding="utf-8")
        print(f"chapters/{name}/assignment.ipynb")
    for left in (*course.glob("gradebook.db"), *course.glob("__pycache__")):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    archive = shutil.make_archive(str(course), "zip", course.parent, course.name)
    print(f"{Path(archive).relative_to(ROOT)}: for the instructor (it holds the solutions)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
