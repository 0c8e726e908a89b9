"""The assignments' graders: full marks for the solution, none for the blank, and for each of many
plausible wrong answers exactly the marks that it should lose.

Here a notebook's cells run as nbgrader runs them (an error or an endless loop ends its cell, not
the notebook), but in this process. `make test-long` takes the same answers through nbgrader itself.
"""

from __future__ import annotations

import html
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "book" / "assignments" / "source"
NAMES = sorted(path.name for path in SOURCES.iterdir() if path.is_dir())
HIDDEN = re.compile(r"^[ ]*### BEGIN (SOLUTION|HIDDEN TESTS)\n(.*?)^[ ]*### END \1\n?", re.M | re.S)

# (what is wrong, the cell, what to replace in its solution, by what, the cells that lose marks)
Wrong = tuple[str, str, str, str, set[str]]
WRONG: dict[str, list[Wrong]] = {
    "01-decay-theory": [
        ("1/λ for 2/λ", "limit", "2.0 /", "1.0 /", {"limit-diagonal", "limit-rotated"}),
        (
            "the trace for the largest eigenvalue",
            "limit",
            "torch.linalg.eigvalsh(hessian).max()",
            "hessian.trace()",
            {"limit-diagonal", "limit-rotated"},
        ),
        (
            "the diagonal for the eigenvalues",
            "limit",
            "torch.linalg.eigvalsh(hessian).max()",
            "hessian.diagonal().max()",
            {"limit-rotated"},
        ),
        (
            "right for small rates only",
            "floor",
            "(curvature * (2 - rate * curvature))",
            "(2 * curvature)",
            {"floor-value"},
        ),
        ("no stability limit", "floor", "if rate * curvature >= 2:", "if False:", {"floor-limit"}),
        (
            "one step late",
            "best",
            "m, rates = start, []",
            "m, rates = start * noise**2 / (curvature**2 * start + noise**2), []",
            {"best-first", "best-all"},
        ),
        (
            "always the first mean square",
            "best",
            "m = (1 - rate * curvature) ** 2 * m + rate**2 * noise**2",
            "m = start",
            {"best-all"},
        ),
        ("rounded down", "steps", "math.ceil(steps - 1e-9)", "int(steps)", {"steps-value"}),
        ("train longer", "curves", '"b": 1', '"b": 4', {"curve-b"}),
    ],
    "02-per-layer-rates": [
        ("frozen weights too", "two", "if weight.requires_grad:", "if True:", {"two-audit"}),
        ("one rate for both", "two", '"lr": head_lr', '"lr": body_lr', {"two-rates"}),
        (
            "a shared weight twice",
            "two",
            "named_parameters()",
            "named_parameters(remove_duplicate=False)",
            {"two-tied"},
        ),
        (
            "the wrong end",
            "layerwise",
            "(len(layers) - 1 - i)",
            "i",
            {"layerwise-rates", "layerwise-frozen"},
        ),
        (
            "off by one",
            "layerwise",
            "(len(layers) - 1 - i)",
            "(len(layers) - i)",
            {"layerwise-rates", "layerwise-frozen"},
        ),
        (
            "by name, so norms decay",
            "split",
            "[w for w in trained if w.ndim >= 2]",
            '[w for n, w in model.named_parameters() if w.requires_grad and "weight" in n]',
            {"split-which"},
        ),
        (
            "added again",
            "unfreeze",
            "if id(weight) not in held:",
            "if True:",
            {"unfreeze-twice"},
        ),
        (
            "still frozen",
            "unfreeze",
            "weight.requires_grad_(True)",
            "pass",
            {"unfreeze-once"},
        ),
    ],
    "03-manual-schedules": [
        ("step 0 at rate 0", "cosine", "(t + 1) / warmup", "t / warmup", {"cosine-warmup"}),
        (
            "divided by the whole length",
            "cosine",
            "total - warmup) / (total - warmup)",
            "total - warmup) / total",
            {"cosine-decay", "cosine-after"},
        ),
        (
            "climbs again",
            "cosine",
            "min(t - warmup, total - warmup)",
            "(t - warmup)",
            {"cosine-after"},
        ),
        ("floor added on top", "cosine", "(1 - floor) *", "1 *", {"cosine-decay"}),
        (
            "one step late",
            "stairs",
            "milestone <= t",
            "milestone < t",
            {"stairs-plain", "stairs-special"},
        ),
        (
            "twice counts once",
            "stairs",
            "in milestones)",
            "in set(milestones))",
            {"stairs-special"},
        ),
        (
            "one step late",
            "restarts",
            "t >= period",
            "t > period",
            {"restarts-equal", "restarts-longer"},
        ),
        ("periods don't grow", "restarts", "period *= mult", "period *= 1", {"restarts-longer"}),
        (
            "the first group only",
            "line",
            "optimizer.param_groups:",
            "optimizer.param_groups[:1]:",
            {"line-groups"},
        ),
        ("compounded", "line", 'group["initial_lr"] *', 'group["lr"] *', {"line-steps"}),
    ],
    "04-built-in-schedulers": [
        ("a step early", "predict", "[0.8, 0.4, 0.2]", "[0.4, 0.4, 0.2]", {"predict-a"}),
        ("constant", "predict", "[0.2, 0.2, 0.8]", "[0.2, 0.2, 0.2]", {"predict-b"}),
        ("held at its end", "predict", "[0.4, 0.0, 0.8]", "[0.4, 0.0, 0.0]", {"predict-c"}),
        ("the default factor", "predict", "[0.4, 0.5, 0.8]", "[0.2667, 0.4, 0.8]", {"predict-d"}),
        (
            "recorded too late",
            "order",
            'used.append(optimizer.param_groups[0]["lr"])\n        optimizer.step()\n'
            "        scheduler.step()",
            "optimizer.step()\n        scheduler.step()\n"
            '        used.append(optimizer.param_groups[0]["lr"])',
            {"order-rates"},
        ),
        (
            "off by one",
            "batches",
            "T_max=epochs * batches",
            "T_max=epochs * batches - 1",
            {"batches-rates"},
        ),
        (
            "the scheduler starts anew",
            "resume",
            'scheduler.load_state_dict(checkpoint["scheduler"])',
            "pass",
            {"resume-rates"},
        ),
        ("the whole length", "joined", "T_max=epochs - warmup", "T_max=epochs", {"joined-rates"}),
    ],
    "05-plateau-reduction": [
        ("reaching is enough", "better", "metric < bar if", "metric <= bar if", {"better-min"}),
        (
            "the bar on the wrong side",
            "better",
            'sign = 1 if mode == "min" else -1',
            "sign = 1",
            {"better-max"},
        ),
        (
            "one epoch early",
            "machine",
            "self.bad > self.patience",
            "self.bad >= self.patience",
            {"machine-patience", "machine-threshold", "machine-cooldown", "machine-floor"},
        ),
        (
            "the cooldown counts",
            "machine",
            "            self.bad = 0\n        if self.bad >",
            "        if self.bad >",
            {"machine-cooldown", "machine-floor"},
        ),
        (
            "below min_lr",
            "machine",
            "max(self.lr * self.factor, self.min_lr)",
            "self.lr * self.factor",
            {"machine-floor"},
        ),
        ("eps ignored", "machine", "> self.eps", "> 0", {"machine-floor"}),
        (
            "threshold times infinity",
            "machine",
            "self.best * (1 - sign * threshold)",
            "self.best - sign * threshold * self.best",
            {"machine-patience", "machine-threshold", "machine-cooldown", "machine-floor"},
        ),
        ("one too few", "alarm", "1 / (patience + 2)", "1 / (patience + 1)", {"alarm-probability"}),
        ("one too many", "alarm", "> probability + 1e-12", ">= probability", {"alarm-patience"}),
    ],
    "06-lr-dropout": [
        (
            "the buffer is masked",
            "right",
            "w.sub_(lr * coins(w, keep, generator) * buffer)",
            "buffer.mul_(coins(w, keep, generator)); w.sub_(lr * buffer)",
            {"right-buffer", "right-mean"},
        ),
        (
            "the gradient is masked",
            "right",
            "add_(grad)\n    w.sub_(lr * coins(w, keep, generator) * buffer)",
            "add_(grad * coins(w, keep, generator))\n    w.sub_(lr * buffer)",
            {"right-untouched", "right-buffer"},
        ),
        (
            "one coin for all",
            "right",
            "coins(w, keep, generator)",
            "torch.empty(1).bernoulli_(keep, generator=generator)",
            {"right-untouched", "right-mean"},
        ),
        ("divided by p", "right", "(lr * coins", "(lr / keep * coins", {"right-mean"}),
        (
            "the step before the buffer",
            "right",
            "buffer.mul_(momentum).add_(grad)\n    w.sub_(lr * coins(w, keep, generator) * buffer)",
            "w.sub_(lr * coins(w, keep, generator) * buffer)\n    buffer.mul_(momentum).add_(grad)",
            {"right-untouched", "right-whole"},
        ),
        ("a and b confused", "wrong", '{"a": 3, "b": 2', '{"a": 2, "b": 3', {"wrong-a", "wrong-b"}),
        (
            "momentum forgotten",
            "effective",
            "keep * (1 - momentum)",
            "keep",
            {"effective-matched"},
        ),
        (
            "the normal quantile",
            "judge",
            "float(stats.t.ppf(0.975, n - 1))",
            "1.96",
            {"judge-interval"},
        ),
        (
            "divided by n",
            "judge",
            "for d in differences) / (n - 1)",
            "for d in differences) / n",
            {"judge-interval"},
        ),
    ],
}


class Endless(Exception):
    """The cell took too long."""


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


def run(code: str, names: dict[str, Any], seconds: float) -> bool:
    """Whether the cell runs to its end in time."""

    def stop(*_: Any) -> None:
        raise Endless

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        exec(compile(code, "cell", "exec"), names)
    except Exception:
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return True


def lost(name: str, answers: dict[str, str], seconds: float = 20) -> set[str]:
    """The test cells that give no marks to these answers."""
    names: dict[str, Any] = {}
    failed = set()
    for cell in source(name):
        if cell["cell_type"] != "code":
            continue
        cell_id = role(cell)["grade_id"]
        code = answers[cell_id] if role(cell)["solution"] else text(cell)
        if not run(code, names, seconds) and role(cell)["grade"]:
            failed.add(cell_id)
    return failed


def altered(name: str, cell: str, old: str, new: str) -> dict[str, str]:
    answers = answers_of(source(name))
    begin, solution = answers[cell].split("### BEGIN SOLUTION", 1)
    assert old in solution, f"{name}: the solution of {cell} has no {old!r}"
    answers[cell] = begin + "### BEGIN SOLUTION" + solution.replace(old, new, 1)
    return answers


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_has_full_marks_and_the_blank_none(name: str) -> None:
    graded = {role(c)["grade_id"]: role(c)["points"] for c in source(name) if role(c)["grade"]}
    assert sum(graded.values()) == 20
    assert lost(name, answers_of(source(name))) == set()
    assert lost(name, answers_of(student(name))) == set(graded)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [(name, wrong) for name in NAMES for wrong in WRONG[name]],
    ids=lambda value: value if isinstance(value, str) else value[0].replace(" ", "-"),
)
def test_a_wrong_answer_loses_its_marks_and_no_others(name: str, wrong: Wrong) -> None:
    _, cell, old, new, costs = wrong
    assert lost(name, altered(name, cell, old, new)) == costs


def test_every_assignment_has_as_many_wrong_answers_as_the_guide_says() -> None:
    assert list(WRONG) == NAMES
    guide = (ROOT / "book" / "instructors.md").read_text(encoding="utf-8")
    assert "at least eight plausible wrong answers each" in guide
    assert min(map(len, WRONG.values())) >= 8


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("trouble", ["while True:\n        pass", "raise RuntimeError"])
def test_an_endless_loop_or_an_error_costs_only_its_answer(name: str, trouble: str) -> None:
    answers = answers_of(source(name))
    cell = next(c for c, code in answers.items() if code.startswith("def "))
    header = re.match(r"def .*?:\n", answers[cell])
    assert header
    answers[cell] = f"{header[0]}    {trouble}\n"
    failed = lost(name, answers, seconds=1.0)
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


def test_the_students_versions_are_those_of_the_sources(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "book" / "tools"))
    import assignments

    assignments.make_course(tmp_path / "course")
    for name in NAMES:
        made = assignments.students_version(tmp_path / "course", name)
        kept = (ROOT / "chapters" / name / "assignment.ipynb").read_text(encoding="utf-8")
        assert made == kept, "run `make assignments`"
    assert sys.modules["assignments"].names() == NAMES
