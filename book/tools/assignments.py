"""`make assignments`: from the instructor's sources, the students' versions and a whole course.

The sources in book/assignments/source hold solutions and hidden tests. nbgrader takes them out: the
result goes to chapters/*/assignment.ipynb, which the book shows, and with the sources into a zip
that is an nbgrader course.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[2]
ASSIGNMENTS = ROOT / "book" / "assignments"
COURSE = ROOT / "_build" / "assignments" / "learning-rates"


def names() -> list[str]:
    return sorted(path.name for path in (ASSIGNMENTS / "source").iterdir() if path.is_dir())


def make_course(folder: Path) -> None:
    """An nbgrader course in `folder`: sources, configuration, and the released versions."""
    from nbgrader.apps import NbGraderAPI
    from nbgrader.coursedir import CourseDirectory

    # nbgrader calls `alembic` by its name.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ASSIGNMENTS, folder)
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
    make_course(COURSE)
    for name in names():
        student = students_version(COURSE, name)
        (ROOT / "chapters" / name / "assignment.ipynb").write_text(student, encoding="utf-8")
        print(f"chapters/{name}/assignment.ipynb")
    for left in (*COURSE.glob("gradebook.db"), *COURSE.glob("__pycache__")):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    archive = shutil.make_archive(str(COURSE), "zip", COURSE.parent, COURSE.name)
    print(f"{Path(archive).relative_to(ROOT)}: for the instructor (it holds the solutions)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
