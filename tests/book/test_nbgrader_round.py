"""A round of nbgrader in the assignments' own course: generate, autograde, the table of marks."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
from itertools import zip_longest
from pathlib import Path

import nbformat
import pytest
from test_assignments import (
    NAMES,
    RIGHT,
    ROOT,
    WRONG,
    Answer,
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


def one_for_each_cell(answers: list[Answer]) -> list[list[Answer]]:
    """The answers in as few notebooks as possible, since each notebook starts a kernel."""
    cells = dict.fromkeys(answer.cell for answer in answers)
    columns = [[answer for answer in answers if answer.cell == cell] for cell in cells]
    return [[answer for answer in row if answer] for row in zip_longest(*columns)]


@pytest.mark.parametrize("name", NAMES)
def test_each_cell_has_the_marks_that_its_answer_deserves(
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
    loop = {endless: f"{header[0]}    while True:\n        pass\n"}
    loses: dict[str, set[str]] = {}

    def submit(who: str, answers: dict[str, str], costs: set[str]) -> None:
        hand_in(course, who, name, solution | answers)
        loses[who] = costs

    submit("solution", {}, set())
    submit("blank", answers_of(student(name)), set(points))
    submit("endless", loop, {cell for cell in points if cell.startswith(f"{endless}-")})
    tried = {"right": one_for_each_cell(RIGHT[name]), "wrong": one_for_each_cell(WRONG[name])}
    for kind, notebooks in tried.items():
        for i, answers in enumerate(notebooks):
            costs = set().union(*(answer.loses for answer in answers))
            submit(f"{kind} {i}", {answer.cell: answer.code for answer in answers}, costs)

    config = course_config(course)
    config.CourseDirectory.root = str(course)
    config.CourseDirectory.db_assignments = []
    config.ExecutePreprocessor.timeout = 30
    logging.getLogger("traitlets").setLevel(logging.CRITICAL)
    api = NbGraderAPI(CourseDirectory(config=config), config=config)
    for who in loses:
        done = api.autograde(name, who, create=True, force=True)
        assert done["success"], done["log"]
    lost = {}
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        for who in loses:
            (notebook,) = book.find_submission(name, who).notebooks
            scores = {grade.name: grade.score for grade in notebook.grades}
            assert scores.keys() == points.keys()
            assert all(score in (0, points[cell]) for cell, score in scores.items())
            lost[who] = {cell for cell, score in scores.items() if score == 0}
    for kind, notebooks in tried.items():
        as_expected = [
            answer.loses <= lost[f"{kind} {i}"] if answer.loses else not lost[f"{kind} {i}"]
            for i, answers in enumerate(notebooks)
            for answer in answers
        ]
        print(f"{name}, {kind} answers: {sum(as_expected)} of {len(as_expected)} marked as such")
    assert lost == loses
    shutil.rmtree(course)
