"""A full round of nbgrader in its own course: generate, collect, autograde, the table of marks."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from test_assignments import (
    ANSWERS,
    NAMES,
    ROOT,
    answers_of,
    course_config,
    role,
    source,
    student,
)

pytestmark = pytest.mark.long


def hand_in(course: Path, who: str, name: str, answers: dict[str, str]) -> None:
    """The student's version with these answers, where nbgrader collects it."""
    notebook = nbformat.read(course / "release" / name / "assignment.ipynb", as_version=4)
    for cell in notebook.cells:
        if role(cell)["solution"]:
            # A student never sees the marks of the regions.
            code = re.sub(
                r"^\s*### (BEGIN|END) SOLUTION\n?", "", answers[role(cell)["grade_id"]], flags=re.M
            )
            cell.source = code
    folder = course / "submitted" / who / name
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / "assignment.ipynb")


@pytest.mark.parametrize("name", NAMES)
def test_the_marks_are_those_that_the_answers_deserve(
    name: str, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "book" / "tools"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    import assignments
    from nbgrader.api import Gradebook
    from nbgrader.apps import NbGraderAPI
    from nbgrader.coursedir import CourseDirectory

    course = tmp_path / "course"
    assignments.make_course(course)
    points = {role(c)["grade_id"]: role(c)["points"] for c in source(name) if role(c)["grade"]}
    solution = answers_of(source(name))
    endless = next(c for c, code in solution.items() if code.startswith("def "))
    header = re.match(r"def .*?:\n", solution[endless])
    assert header
    loop = solution | {endless: f"{header[0]}    while True:\n        pass\n"}
    costs = {cell for cell in points if cell.startswith(f"{endless}-")}
    expected = {"solution": 20, "blank": 0, "endless loop": 20 - sum(points[c] for c in costs)}
    hand_in(course, "solution", name, solution)
    hand_in(course, "blank", name, answers_of(student(name)))
    hand_in(course, "endless loop", name, loop)
    for i, answer in enumerate(ANSWERS[name]):
        kind = "wrong" if answer.loses else "right"
        who = f"{kind} {i + 1} {answer.cell}: {answer.what.replace('/', ' over ')}"
        hand_in(course, who, name, solution | {answer.cell: answer.code})
        expected[who] = 20 - sum(points[c] for c in answer.loses)
    config = course_config(course)
    config.CourseDirectory.root = str(course)
    config.CourseDirectory.db_assignments = []
    config.ExecutePreprocessor.timeout = 15
    config.ExecutePreprocessor.interrupt_on_timeout = True
    logging.getLogger("traitlets").setLevel(logging.CRITICAL)
    api = NbGraderAPI(CourseDirectory(config=config), config=config)
    marks = {}
    for who in expected:
        done = api.autograde(name, who, create=True, force=True)
        assert done["success"], done["log"]
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        for who in expected:
            marks[who] = book.find_submission(name, who).score
    print(f"\n{name}")
    for who, mark in marks.items():
        print(f"  {mark:4.0f} of 20 (expected {expected[who]})  {who}")
    for kind in ("right", "wrong"):
        tried = [who for who in expected if who.startswith(kind)]
        full = [who for who in tried if marks[who] == 20]
        print(f"  {kind}: {len(tried)} tried, {len(full)} with full marks")
    assert marks == expected
    shutil.rmtree(course)
