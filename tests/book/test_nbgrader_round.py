"""A round of nbgrader in the assignments' own course: generate, autograde, the table of marks;
and the instructor's guide, each command as printed."""

from __future__ import annotations

import csv
import logging
import os
import re
import shutil
import subprocess
import sys
import time
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


# --- The guide for instructors, as printed ------------------------------------------------------

BLOCK = re.compile(r"^```\{code-block\} bash\n:caption: ([^\n]*)\n\n(.*?)^```", re.M | re.S)
NAME = "01-decay-theory"


def changed_copy(
    source: Path, target: Path, answers: dict[str, str], keep_metadata: bool = True
) -> None:
    """A notebook with these answers, as a student's computer may have stored it."""
    notebook = nbformat.read(source, as_version=4)
    for cell in notebook.cells:
        cell.source = answers.get(role(cell)["grade_id"], cell.source)
        if not keep_metadata:
            cell.metadata.clear()
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)


def test_every_command_of_the_guide_runs_as_printed(tmp_path: Path) -> None:
    """A course of six students in an empty home, typed from the guide alone.

    Two downloads are replaced: the repository comes from this folder, and for what pip would
    install stand the packages that run this test.
    """
    guide = (ROOT / "book" / "instructors.md").read_text(encoding="utf-8")
    todo = dict(BLOCK.findall(guide))
    assert len(todo) == guide.count("```{code-block} bash"), "a block has no caption"
    home, theirs = tmp_path / "teacher", tmp_path / "student"
    home.mkdir()
    theirs.mkdir()
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "SHARED": str(tmp_path),
        "PYTHONPATH": next(path for path in sys.path if path.endswith("site-packages")),
        "PIP_NO_INDEX": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{ROOT}.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/learning-rate-book/learning-rate-book",
    }

    def types(caption: str, student: str = "", succeeds: bool = True) -> str:
        folder = home if caption.startswith("You,") else theirs
        began = time.perf_counter()
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", todo[caption]],
            cwd=folder,
            env=environment | {"HOME": str(folder), "STUDENT": student},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        print(f"{caption}: {time.perf_counter() - began:.1f} s")
        assert (done.returncode == 0) == succeeds, f"{caption}\n{done.stdout}"
        typed.add(caption)
        return done.stdout

    def marks() -> dict[str, float]:
        with (course / "grades.csv").open(encoding="utf-8") as file:
            return {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}

    typed: set[str] = set()
    course = home / "learning-rates"
    types("You, before the course")
    types("You, if the hub has no exchange")
    types("You, to make the students' version")
    types("You, to release it through the exchange")
    released = course / "release" / NAME / "assignment.ipynb"
    right = {
        cell: re.sub(r"^\s*### (BEGIN|END) SOLUTION\n?", "", code, flags=re.M)
        for cell, code in answers_of(source(NAME)).items()
    }

    types("Your students, to get it")
    fetched = theirs / NAME / "assignment.ipynb"
    changed_copy(fetched, fetched, right)
    types("Your students, to hand it in")
    types("You, to collect")
    types("You, to grade")
    types("You, to make the feedback and the table of marks")
    types("You, to return it through the exchange")
    types("Your students, to see it")
    assert len(list(theirs.rglob("feedback/*/assignment.html"))) == 1
    (me,) = [path.name for path in (course / "submitted").iterdir()]
    assert marks() == {me: 20}

    inbox = course / "inbox" / NAME
    changed_copy(released, inbox / "Kim Lee_1_assignsubmission_file/assignment (1).ipynb", right)
    changed_copy(released, inbox / "lopez_2_3_assignment-1.ipynb", right, keep_metadata=False)
    changed_copy(released, inbox / "novak_assignment.ipynb", right)
    # Python ends a moment after the cell has called exit().
    leaves = {"curves": f"{right['curves']}\nexit()\nimport time; time.sleep(1)"}
    changed_copy(released, inbox / "exit_assignment.ipynb", right | leaves)
    types("You, for files that were uploaded")
    submitted = course / "submitted"
    # Through the exchange a file comes under the name that the student gave it.
    misnamed = submitted / "misnamed" / NAME / "assignment (1).ipynb"
    changed_copy(released, misnamed, right)
    students = {me, "Kim Lee_1", "lopez_2_3", "novak", "exit", "misnamed"}
    assert {path.name for path in submitted.iterdir()} == students

    said = types("You, to grade", succeeds=False)
    cells = dict(re.findall(r"^\w+/(.*?)/?(?:\d\d-[\w-]+/)?assignment.ipynb:(\d+)$", said, re.M))
    assert cells["lopez_2_3"] == "0"
    assert len({n for who, n in cells.items() if who != "lopez_2_3"}) == 1
    assert sorted(re.findall(r"for student '(.*)'", said)) == ["exit", "misnamed"]
    assert "did you forget to run 'nbgrader generate_assignment'?" in said
    types("You, to make the feedback and the table of marks")
    failed = dict.fromkeys(["lopez_2_3", "exit", "misnamed"], 0)
    assert marks() == {me: 20, "Kim Lee_1": 20, "novak": 20} | failed

    # They are repaired as the guide says: answers into the released notebook, a line deleted, a
    # file renamed.
    changed_copy(released, submitted / "lopez_2_3" / NAME / "assignment.ipynb", right)
    one = submitted / "exit" / NAME / "assignment.ipynb"
    changed_copy(one, one, {"curves": ""})
    misnamed.rename(misnamed.with_name("assignment.ipynb"))
    for who in failed:
        types("You, to grade one student again", who)
    types("You, to make the feedback and the table of marks")
    assert marks() == dict.fromkeys(students, 20) | {"exit": 17}
    pages = {path.parts[-3]: path.read_text("utf-8") for path in course.glob("feedback/*/*/*.html")}
    # The first score of a page is the sum.
    sums = {who: re.findall(r"Score: ([\d.]+) /", page)[0] for who, page in pages.items()}
    assert {who: float(points) for who, points in sums.items()} == marks()

    assert typed == todo.keys(), "every block was typed"
