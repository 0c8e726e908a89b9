"""The assignments' graders: full marks for the solution and for unusual right answers, none for the
blank, and for each of many plausible wrong answers exactly the marks that it should lose.

Here a notebook's cells run one after the other in this process: an error or an endless loop ends
its cell, not the notebook. nbgrader's own code, with the course's configuration, makes the marks
from what a cell has put out. `make test-long` takes the same answers through `nbgrader autograde`.
"""

from __future__ import annotations

import ast
import contextlib
import html
import io
import json
import re
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import scipy.optimize  # noqa: F401 - imported here, so that it takes none of a cell's time
import torch._dynamo  # noqa: F401 - by an optimizer, at its first step
from nbformat.v4 import new_code_cell, new_output
from nbgrader.preprocessors import IgnorePattern
from nbgrader.utils import determine_grade
from traitlets.config import Config, PyFileConfigLoader

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
ASSIGNMENTS = ROOT / "book" / "assignments"
SOURCES = ASSIGNMENTS / "source"
NAMES = sorted(path.name for path in SOURCES.iterdir() if path.is_dir())
HIDDEN = re.compile(r"^[ ]*### BEGIN (SOLUTION|HIDDEN TESTS)\n(.*?)^[ ]*### END \1\n?", re.M | re.S)

ANSWER = re.compile(r"^# %% (\S+): (.*)\n# loses: (.*)\n", re.M)
CHANGE = re.compile(r"^# - (.*)\n((?:# \+.*\n?)+)", re.M)


class Answer(NamedTuple):
    """An answer: the cell that it replaces, and the test cells that it fails."""

    cell: str
    what: str
    loses: set[str]
    code: str


def changed(solution: str, changes: str) -> str:
    """The cell after changes of its solution: `# - before` and, once or more, `# + after`."""
    given, mark, written = solution.partition("### BEGIN SOLUTION")
    for before, after in CHANGE.findall(changes):
        assert written.count(before) == 1, f"{before!r} is not in the solution once"
        lines = [re.sub("^# [+] ?", "", line) for line in after.splitlines()]
        written = written.replace(before, "\n".join(lines))
    return given + mark + written


def parse(written: str, solution: dict[str, str]) -> list[Answer]:
    """The answers in a file of book/assignments/answers."""
    pieces = iter(ANSWER.split(written)[1:])
    found = []
    for cell, what, loses, code in zip(pieces, pieces, pieces, pieces, strict=True):
        if CHANGE.search(code):
            code = changed(solution[cell], code)
        found.append(Answer(cell, what, set(loses.split(", ")) - {"nothing"}, code))
    assert len(found) == written.count("# %%"), "an answer has no line '# loses: …'"
    return found


class Endless(BaseException):
    """The cell took too long: not an Exception, which an answer may catch."""


def cells(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def role(cell: dict[str, Any]) -> dict[str, Any]:
    return cell["metadata"]["nbgrader"]


def source(name: str) -> list[dict[str, Any]]:
    return cells(SOURCES / name / "assignment.ipynb")


def student(name: str) -> list[dict[str, Any]]:
    return cells(ROOT / "chapters" / name / "assignment.ipynb")


def answers_of(notebook: list[dict[str, Any]]) -> dict[str, str]:
    return {role(c)["grade_id"]: text(c) for c in notebook if role(c)["solution"]}


def answers_file(name: str) -> str:
    return (ASSIGNMENTS / "answers" / f"{name}.py").read_text(encoding="utf-8")


ANSWERS = {name: parse(answers_file(name), answers_of(source(name))) for name in NAMES}
RIGHT = {name: [one for one in ANSWERS[name] if not one.loses] for name in NAMES}
WRONG = {name: [one for one in ANSWERS[name] if one.loses] for name in NAMES}


def course_config(folder: Path = ASSIGNMENTS) -> Config:
    return PyFileConfigLoader("nbgrader_config.py", path=str(folder)).load_config()


def run(code: str, names: dict[str, Any], seconds: float) -> list[Any]:
    """What the cell puts out: its error, if it has one, and what it writes to stderr.

    It is stopped after this time: the processor's, so that a busy machine costs no marks.
    """

    def stop(*_: Any) -> None:
        raise Endless

    def warn(message: Any, category: Any, *_: Any, **__: Any) -> None:
        sys.stderr.write(f"{category.__name__}: {message}\n")

    outputs, stderr = [], io.StringIO()
    before = signal.signal(signal.SIGVTALRM, stop)
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(stderr),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default")
        warnings.showwarning = warn
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        try:
            exec(compile(code, "cell", "exec"), names)
        except (Exception, SystemExit, Endless) as error:
            outputs.append(new_output("error", ename=type(error).__name__, evalue=str(error)))
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)
    if stderr.getvalue():
        outputs.insert(0, new_output("stream", name="stderr", text=stderr.getvalue()))
    return outputs


def marks(cell: dict[str, Any], outputs: list[Any], config: Config) -> float:
    """What nbgrader gives to a test cell that has put this out."""
    graded = new_code_cell(text(cell), outputs=outputs, metadata=cell["metadata"])
    ignore = IgnorePattern(config=config)
    if ignore.enabled:
        graded, _ = ignore.preprocess_cell(graded, {}, 0)
    return determine_grade(graded)[0]


def lost(
    notebook: list[dict[str, Any]],
    answers: dict[str, str],
    seconds: float = 3,
    config: Config | None = None,
    changed: str = "",
) -> set[str]:
    """The test cells that give no marks to these answers.

    changed: the only answer that isn't the solution; the tests before it aren't run again.
    """
    config = course_config() if config is None else config
    names: dict[str, Any] = {"__name__": "__main__"}
    failed = set()
    tested = not changed
    for cell in notebook:
        if cell["cell_type"] != "code":
            continue
        cell_id = role(cell)["grade_id"]
        tested |= cell_id == changed
        if role(cell)["grade"] and not tested:
            continue
        code = answers[cell_id] if role(cell)["solution"] else text(cell)
        outputs = run(code, names, seconds)
        if role(cell)["grade"] and marks(cell, outputs, config) < role(cell)["points"]:
            failed.add(cell_id)
    return failed


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_has_full_marks_and_the_blank_none(name: str) -> None:
    graded = {role(c)["grade_id"]: role(c)["points"] for c in source(name) if role(c)["grade"]}
    assert sum(graded.values()) == 20
    assert lost(source(name), answers_of(source(name))) == set()
    assert lost(source(name), answers_of(student(name))) == set(graded)


def each(answers: dict[str, list[Answer]]) -> list[Any]:
    return [
        pytest.param(name, answer, id=f"{name} {answer.cell}: {answer.what}")
        for name in NAMES
        for answer in answers[name]
    ]


@pytest.mark.parametrize(("name", "answer"), each(RIGHT))
def test_an_unusual_right_answer_keeps_its_marks(name: str, answer: Answer) -> None:
    answers = answers_of(source(name)) | {answer.cell: answer.code}
    assert lost(source(name), answers, changed=answer.cell) == set()


@pytest.mark.parametrize(("name", "answer"), each(WRONG))
def test_a_wrong_answer_loses_its_marks_and_no_others(name: str, answer: Answer) -> None:
    answers = answers_of(source(name)) | {answer.cell: answer.code}
    assert lost(source(name), answers, changed=answer.cell) == answer.loses


def test_a_warning_costs_marks_only_without_the_course_s_configuration() -> None:
    (name, answer) = next(
        (name, one) for name in NAMES for one in RIGHT[name] if "progress bar" in one.what
    )
    answers = answers_of(source(name)) | {answer.cell: answer.code}
    assert lost(source(name), answers) == set()
    assert lost(source(name), answers, config=Config()) != set()


def test_every_assignment_has_as_many_answers_as_the_guide_says() -> None:
    guide = (ROOT / "book" / "instructors.md").read_text(encoding="utf-8")
    for name in NAMES:
        right, wrong = len(RIGHT[name]), len(WRONG[name])
        assert f"\n| {int(name[:2])} | {right} | {wrong} |\n" in guide
        assert right >= 8, "the guide: at least eight unusual right answers"
        assert wrong >= 12, "the guide: at least twelve plausible wrong answers"


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "book" / "tools"))
    import assignments

    return assignments


def edition(tool, name: str, seed: int) -> list[dict[str, Any]]:
    written = (SOURCES / name / "assignment.ipynb").read_text(encoding="utf-8")
    return json.loads(tool.with_numbers(written, name, seed))["cells"]


@pytest.mark.parametrize("name", NAMES)
def test_another_edition_accepts_its_own_solution(tool, name: str) -> None:
    notebook = edition(tool, name, 7)
    assert lost(notebook, answers_of(notebook)) == set()


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_another_edition_is_graded_as_well(tool, name: str) -> None:
    notebook = edition(tool, name, 7)
    solution = answers_of(notebook)
    for answer in parse(tool.with_numbers(answers_file(name), name, 7), solution):
        found = lost(notebook, solution | {answer.cell: answer.code}, changed=answer.cell)
        # Which of its question's cells a wrong answer fails may depend on the numbers.
        assert bool(found) == bool(answer.loses), answer.what
        assert all(cell in answer.loses or cell.startswith(answer.cell) for cell in found)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("seed", "other"), [(0, 7), (7, 0), (7, 8)])
def test_the_solution_of_another_edition_has_fewer_than_10_points(
    tool, name: str, seed: int, other: int
) -> None:
    notebook = edition(tool, name, seed)
    failed = lost(notebook, answers_of(edition(tool, name, other)))
    assert sum(role(c)["points"] for c in notebook if role(c)["grade_id"] in failed) > 10


def test_every_edition_has_values_of_its_own(tool) -> None:
    assert list(tool.NUMBERS) == NAMES
    for name, lines in tool.NUMBERS.items():
        written = (SOURCES / name / "assignment.ipynb").read_text(encoding="utf-8")
        for line in lines:
            values = line.split()
            assert len(values) == len(set(values)) == tool.EDITIONS
            assert values[0] in written
        assert tool.with_numbers(written, name, 0) == written


def without_names(node: ast.AST) -> str:
    """The code with one name for all variables."""
    node = ast.parse(ast.unparse(node))
    for one in ast.walk(node):
        if isinstance(one, ast.Name):
            one.id = "x"
        if isinstance(one, ast.FunctionDef):
            one.name = "f"
    return ast.unparse(node)


def bodies(code: str) -> Iterator[tuple[str, str]]:
    """Each function's name, and its body without docstring and names."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef):
            lines = node.body[ast.get_docstring(node) is not None :]
            yield node.name, "\n".join(map(without_names, lines))


def code_of_the_book() -> Iterator[str]:
    for path in sorted((ROOT / "chapters").rglob("*")):
        if path.suffix == ".ipynb" and path.stem != "assignment":
            yield from (text(cell) for cell in cells(path) if cell["cell_type"] == "code")
        if path.suffix == ".md":
            yield from re.findall(r"^```.*\n(.*?)^```", path.read_text("utf-8"), re.M | re.S)


def is_python(code: str) -> bool:
    with contextlib.suppress(SyntaxError):
        ast.parse(code)
        return True
    return False


def test_no_solution_can_be_pasted_from_the_book() -> None:
    printed = "\n".join(without_names(ast.parse(c)) for c in code_of_the_book() if is_python(c))
    body = "return x * x ** 2 / (x * (2 - x * x))"
    assert body in printed, "the noise floor, which assignment 1 asks for with weight decay"
    for name in NAMES:
        for code in answers_of(source(name)).values():
            for function, body in bodies(code):
                assert body not in printed, f"{name}: {function} is in the book"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("trouble", ["while True:\n        pass", "raise RuntimeError"])
def test_an_endless_loop_or_an_error_costs_only_its_answer(name: str, trouble: str) -> None:
    answers = answers_of(source(name))
    cell = next(c for c, code in answers.items() if code.startswith("def "))
    header = re.match(r"def .*?:\n", answers[cell])
    assert header
    answers[cell] = f"{header[0]}    {trouble}\n"
    failed = lost(source(name), answers, seconds=1.0)
    # Test cells are named after the answer that they test.
    assert failed == {
        role(c)["grade_id"]
        for c in source(name)
        if role(c)["grade"] and role(c)["grade_id"].startswith(f"{cell}-")
    }


@pytest.mark.parametrize("name", NAMES)
def test_it_says_its_points_its_time_and_what_each_question_is_worth(name: str) -> None:
    first = text(source(name)[0])
    (minutes,) = re.findall(r"\*\*20 points, about (\d+) minutes\.\*\*", first)
    chapter = (ROOT / "chapters" / name / "index.md").read_text(encoding="utf-8")
    assert f"20 points, about {minutes} minutes" in chapter
    guide = (ROOT / "book" / "instructors.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| {int(name[:2])} .*\| {minutes} min \|$", guide, re.M)
    rubric = [int(points) for points in re.findall(r"^\| \d .* \| (\d+) \|$", first, re.M)]
    headings = [
        int(points)
        for cell in source(name)
        for points in re.findall(r"^## \d .*\((\d+) points?\)$", text(cell), re.M)
    ]
    assert rubric == headings
    assert sum(rubric) == 20


def secrets(name: str) -> set[str]:
    """Lines of solutions and hidden tests that stand nowhere else in the source."""
    inside: set[str] = set()
    outside: set[str] = set()
    for cell in source(name):
        for _, region in HIDDEN.findall(text(cell)):
            inside |= {line.strip() for line in region.splitlines()}
        outside |= {line.strip() for line in HIDDEN.sub("", text(cell)).splitlines()}
    return {line for line in inside - outside if len(line) > 20}


def test_no_solution_is_in_a_students_version_or_on_the_site(site: Path) -> None:
    suffixes = {".html", ".ipynb", ".js", ".md", ".txt"}
    pages = {p: p.read_text(encoding="utf-8") for p in site.rglob("*") if p.suffix in suffixes}
    found = [
        (path.name, mark)
        for path, page in pages.items()
        for mark in ("BEGIN SOLUTION", "HIDDEN TESTS")
        if mark in page
    ]
    for name in NAMES:
        hidden = secrets(name)
        assert len(hidden) > 10
        own = [ROOT / "chapters" / name / "assignment.ipynb"]
        own += [p for p in pages if p.stem.startswith("assignment") and p.parent.name == name]
        assert {p.suffix for p in own} == {".ipynb", ".html"}
        assert len(own) >= 3, "the student's version, the page, and its source"
        for path in own:
            if path.suffix == ".ipynb":
                shown = "\n".join(text(cell) for cell in cells(path))
            else:
                shown = html.unescape(re.sub(r"<[^>]+>", "", pages[path]))
            lines = {line.strip() for line in shown.splitlines()}
            found += [(path.name, line) for line in hidden & lines]
        # Anywhere else a common line may stand by chance, a long one hardly.
        for path, page in pages.items():
            found += [(path.name, line) for line in hidden if len(line) > 50 and line in page]
    assert found == []


def test_the_students_versions_are_those_of_the_sources(tool, tmp_path: Path) -> None:
    tool.make_course(tmp_path / "course")
    for name in NAMES:
        made = tool.students_version(tmp_path / "course", name)
        kept = (ROOT / "chapters" / name / "assignment.ipynb").read_text(encoding="utf-8")
        assert made == kept, "run `make assignments`"
    assert tool.names() == NAMES
