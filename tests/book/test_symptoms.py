"""The page of symptoms: every message is what torch says today, and every program runs."""

from __future__ import annotations

import ast
import inspect
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import lr_scheduler

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "book" / "symptoms.md").read_text(encoding="utf-8")
BLOCK = r"```\{code-block\} python\n(.*?)```"

_, MESSAGES, FRAMEWORKS, SYMPTOMS, _ = re.split(
    r"^## Error messages|^### In Lightning and Trainer|^## Symptoms|^## What a checkup sees",
    PAGE,
    flags=re.M,
)
(BEFORE,) = re.findall(BLOCK, MESSAGES.split("####")[0], re.S)
# A message, how it goes on, and what produces it.
ENTRIES = re.findall(r"^#### (`+) ?(.*?) ?\1\n\n(?:> ([^\n]*)\n\n)?" + BLOCK, MESSAGES, re.M | re.S)
(SETUP,) = re.findall(BLOCK.replace(r"\n(", r"\n(?!:)(", 1), SYMPTOMS.split("\n### ")[0], re.S)
PROGRAMS = re.findall(BLOCK.replace(r"\n", r"\n:class: program\n", 1), SYMPTOMS, re.S)
TITLES = re.findall(r"^#{3,4} (.*)", PAGE, re.M)

# The words are those of the torch that the book is built with.
newest = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 14), reason="an older torch"
)


def said(program: str) -> str:
    """The error that the program raises, or the last warning, as Python prints it."""
    names: dict[str, Any] = {}
    exec(BEFORE, names)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            exec(program, names)
        except Exception as error:
            text = error.args[0] if error.args else ""
            # Python shows a KeyError's key with quotes; torch puts whole sentences there.
            key = isinstance(error, KeyError) and " " not in text
            return f"{type(error).__name__}: {text!r}" if key else f"{type(error).__name__}: {text}"
    return f"{type(caught[-1].message).__name__}: {caught[-1].message}" if caught else "nothing"


@newest
@pytest.mark.parametrize(("message", "rest", "program"), [entry[1:] for entry in ENTRIES])
def test_torch_says_it_word_for_word(
    message: str, rest: str, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    heard = said(program).rstrip().removesuffix(":")
    if message.endswith(" …"):
        assert heard.startswith(message.removesuffix(" …"))
    else:
        assert heard == message
    assert all(part in " ".join(heard.split()) for part in rest.split(" … "))


def words(node: ast.expr) -> str:
    """A pattern of the messages that the expression makes."""
    match node:
        case ast.Constant(value=str()):
            return re.escape(node.value)
        case ast.JoinedStr():
            return "".join(map(words, node.values))
        case ast.BinOp():
            return words(node.left) + words(node.right)
        case ast.Name() if hasattr(lr_scheduler, node.id):
            return re.escape(getattr(lr_scheduler, node.id))
    return ".*"


def torch_can_say() -> set[str]:
    """Patterns of all errors and warnings in the source of torch's schedulers."""
    found = set()
    for node in ast.walk(ast.parse(inspect.getsource(lr_scheduler))):
        match node:
            case ast.Raise(exc=ast.Call(args=[said, *_])):
                found.add(words(said))
            case ast.Call(func=ast.Attribute(attr="warn"), args=[said, *_]):
                found.add(words(said))
    return found


@newest
def test_everything_that_torchs_schedulers_can_say_is_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    heard = [said(program) for *_, program in ENTRIES]
    patterns = torch_can_say()
    assert len(patterns) > 30
    missing = [
        pattern
        for pattern in patterns
        if not any(re.search(pattern, message, re.S) for message in heard)
    ]
    # No argument of a reader's leads there.
    assert missing == [re.escape("Unknown _anneal_func_type: ") + ".*"]


def test_there_are_enough_entries_each_once_and_each_with_cause_and_repair() -> None:
    assert len(ENTRIES) == MESSAGES.count("\n#### "), "an entry has no program"
    assert len(TITLES) == len(set(TITLES))
    assert len(re.findall(r"^#### ", PAGE, re.M)) >= 50
    for entry in re.split(r"^#### ", MESSAGES + FRAMEWORKS, flags=re.M)[1:]:
        assert "**Why:**" in entry, entry
        assert "**Instead:**" in entry, entry
    symptoms = re.split(r"^### ", SYMPTOMS, flags=re.M)[1:]
    assert len(symptoms) >= 20
    for entry in symptoms:
        assert "**How to tell.**" in entry, entry
        assert re.search(r"\*\*(Why|Why and instead):\*\*", entry) or "cause is" in entry, entry
        assert re.search(r"\*\*(Instead|Why and instead):\*\*", entry), entry


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_programs_run(program: str) -> None:
    names: dict[str, Any] = {}
    exec(SETUP, names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(program, names)


# --- What the page says about symptoms, on a small network --------------------------------------


def losses(lr: float, steps: int = 30, **data: Any) -> list[float]:
    """The loss at each step, on one batch."""
    torch.manual_seed(0)
    x, y = torch.randn(64, 8), torch.randint(3, (64,))
    x[0, 0] = data.get("first", x[0, 0])
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    optimizer.param_groups[0]["lr"] = lr
    seen = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        seen.append(float(loss.detach()))
    return seen


def test_nan_from_the_first_step_is_not_the_rate() -> None:
    assert torch.tensor(losses(lr=0.0, first=float("nan"))).isnan().all()
    assert torch.tensor(losses(lr=0.0)).isfinite().all()


def test_nan_after_a_few_steps_is_the_rate_and_the_loss_has_grown() -> None:
    """On a parabola, where the limit is known: 2 / curvature."""
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=2.2)
    seen = []
    for _ in range(3000):
        optimizer.zero_grad()
        loss = (weight**2 / 2).sum()
        loss.backward()
        optimizer.step()
        seen.append(float(loss.detach()))
    ratios = torch.tensor(seen[1:20]) / torch.tensor(seen[:19])
    assert torch.allclose(ratios, torch.full((19,), 1.2**2), rtol=1e-4)
    assert not torch.tensor(seen[-1]).isfinite()


def test_a_step_at_a_tiny_rate_lowers_the_loss_and_a_negative_rate_raises_it() -> None:
    down, up = losses(lr=1e-3, steps=5), losses(lr=-1e-3, steps=5)
    assert down == sorted(down, reverse=True)
    assert up == sorted(up)


def test_a_weight_that_is_twice_in_a_group_is_updated_twice() -> None:
    weight = nn.Parameter(torch.zeros(1))
    with pytest.warns(UserWarning, match="duplicate parameters"):
        optimizer = torch.optim.SGD([weight, weight], lr=0.1)
    weight.grad = torch.ones(1)
    optimizer.step()
    assert weight.item() == pytest.approx(-0.2)


def test_yaml_reads_a_number_without_a_point_as_text() -> None:
    assert yaml.safe_load("[1e-3, 1.0e-3]") == ["1e-3", 0.001]


def test_a_scheduler_accepts_the_state_of_an_optimizer_in_silence() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = lr_scheduler.StepLR(optimizer, step_size=30)
    scheduler.load_state_dict(optimizer.state_dict())
    assert scheduler.last_epoch == 0


def test_one_cycle_starts_at_a_25th_and_linear_at_a_third() -> None:
    for make, share in (
        (lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.1, total_steps=100), 1 / 25),
        (lambda o: lr_scheduler.LinearLR(o), 1 / 3),
    ):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
        assert make(optimizer).get_last_lr() == pytest.approx([0.1 * share])
