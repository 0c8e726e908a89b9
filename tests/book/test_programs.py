"""Short programs of the narratives: each is run as a reader pastes it."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

import lrlib
from lrlib.lab import decoder

CHAPTERS = Path(__file__).resolve().parents[2] / "chapters"


def program(chapter: str, words: str) -> str:
    """The one program of the chapter's narrative that has these words."""
    page = (CHAPTERS / chapter / "index.md").read_text(encoding="utf-8")
    shown = re.findall(r"```\{code-block\} python\n(.*?)```", page, re.DOTALL)
    (found,) = [block for block in shown if words in block]
    return found


def sgd() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)


def used(optimizer: torch.optim.Optimizer, scheduler: LambdaLR, steps: int) -> list[float]:
    """The rates of the next steps."""
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("steps", "warmup", "cooldown"), [(50, 5, 10), (50, 1, 49), (8, 3, 5), (3, 1, 1)]
)
def test_the_trunk_and_its_branch_are_the_whole_schedule(
    steps: int, warmup: int, cooldown: int
) -> None:
    """Chapter 10's two functions are `WarmupStableDecay`, also with a branch from a checkpoint."""
    code = program("10-beyond-the-schedule", "def wsd")
    whole: dict[str, Any] = {"steps": steps, "warmup": warmup, "cooldown": cooldown}
    whole["optimizer"] = sgd()
    exec(code, whole)
    expected = lrlib.WarmupStableDecay(warmup, steps - warmup - cooldown, cooldown)
    rates = used(whole["optimizer"], whole["scheduler"], steps)
    assert rates == pytest.approx([0.1 * expected(step) for step in range(steps)])
    assert whole["optimizer"].param_groups[0]["lr"] == 0.0
    start = steps - cooldown
    optimizer = sgd()
    trunk = used(optimizer, LambdaLR(optimizer, whole["trunk"]), start)
    loaded = sgd()
    loaded.load_state_dict(optimizer.state_dict())
    branch = LambdaLR(loaded, whole["wsd"], last_epoch=start - 1)
    assert trunk + used(loaded, branch, cooldown) == rates
    with pytest.raises(KeyError, match="initial_lr"):
        LambdaLR(sgd(), whole["wsd"], last_epoch=start - 1)


def test_noise_and_progress_are_those_of_numpy_and_of_the_notebook() -> None:
    code = program("05-plateau-reduction", "def noise_and_progress")
    path = CHAPTERS / "05-plateau-reduction" / "when-it-fails.ipynb"
    cells = ["".join(cell["source"]) for cell in json.loads(path.read_text("utf-8"))["cells"]]
    (tried,) = [cell for cell in cells if "def noise_and_progress" in cell]
    assert tried.endswith(code[code.index("def ") :].rstrip())
    losses = 3 - 0.01 * np.arange(30) + 0.02 * np.random.default_rng(0).normal(size=30)
    given: dict[str, Any] = {"losses": losses.tolist(), "optimizer": sgd()}
    exec(code, given)
    last = losses[-20:]
    noise, progress = np.diff(last).std(ddof=1) / np.sqrt(2), -np.polyfit(range(20), last, 1)[0]
    assert (given["noise"], given["progress"]) == pytest.approx((noise, progress))
    assert given["scheduler"].patience == np.ceil(2.5 * noise / progress)
    with pytest.raises(AssertionError, match="doesn't fall"):
        exec(code, given | {"losses": losses[::-1].tolist()})


def test_torch_lowers_the_rate_after_every_validation_if_the_patience_is_negative() -> None:
    optimizer = sgd()
    rule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=-1, threshold=0.0)
    for reductions, loss in enumerate((3.0, 2.0, 1.0), 1):
        rule.step(loss)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1**reductions * 0.1)


def test_the_control_shorter_makes_0_28_of_the_step_in_the_hidden_tensors_only() -> None:
    """Hidden are the notebook's tensors: all but the two embeddings, the last norm, the output."""
    model = decoder(vocabulary=20)
    model(torch.arange(20)[None]).square().sum().backward()
    plain, start = copy.deepcopy(model), [w.detach().clone() for w in model.parameters()]
    for weight, other in zip(plain.parameters(), model.parameters(), strict=True):
        weight.grad = other.grad
    given: dict[str, Any] = {"torch": torch, "model": model, "rate": 0.01}
    exec(program("06-lr-dropout", "0.28 * rate"), given)
    given["optimizer"].step()
    torch.optim.Adam(plain.parameters(), lr=0.01).step()
    weights = list(zip(model.parameters(), plain.parameters(), start, strict=True))
    for number, (shorter, full, before) in enumerate(weights):
        share = 0.28 if 2 <= number < len(weights) - 4 else 1.0
        torch.testing.assert_close(shorter - before, share * (full - before), atol=1e-6, rtol=1e-4)
