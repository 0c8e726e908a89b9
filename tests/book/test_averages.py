"""Chapter 10's schedule-free optimizers do what the authors' package does, step for step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import schedulefree
import torch
from torch import nn

NOTEBOOK = (
    Path(__file__).resolve().parents[2] / "chapters" / "10-beyond-the-schedule" / "averages.ipynb"
)


def classes() -> dict[str, type[torch.optim.Optimizer]]:
    """The two classes, from the notebook's cell."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    (source,) = (
        text for cell in cells if "class ScheduleFreeSGD(" in (text := "".join(cell["source"]))
    )
    names: dict[str, type[torch.optim.Optimizer]] = {"torch": torch}
    exec(source, names)
    return names


OURS = classes()


def pair(name: str, model: nn.Module, other: nn.Module, warmup: int, decay: float, beta: float):
    """Our optimizer and the package's, with the same settings."""
    if name == "SGD":
        ours = OURS["ScheduleFreeSGD"](
            model.parameters(), 0.3, beta, warmup=warmup, weight_decay=decay
        )
        theirs = schedulefree.SGDScheduleFree(
            other.parameters(), 0.3, momentum=beta, warmup_steps=warmup, weight_decay=decay
        )
    else:
        ours = OURS["ScheduleFreeAdamW"](
            model.parameters(), 0.02, beta, warmup=warmup, weight_decay=decay
        )
        theirs = schedulefree.AdamWScheduleFree(
            other.parameters(), 0.02, (beta, 0.99), warmup_steps=warmup, weight_decay=decay
        )
    return ours, theirs


@pytest.mark.parametrize("beta", [0.9, 0.98])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("warmup", [0, 7])
@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_schedule_free_is_the_packages(name: str, warmup: int, decay: float, beta: float) -> None:
    """Equal weights after every step, in train() and in eval(), also across evaluations."""
    torch.manual_seed(0)
    make = lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    models = make(), make()
    models[1].load_state_dict(models[0].state_dict())
    optimizers = pair(name, *models, warmup, decay, beta)

    def same() -> bool:
        return all(
            torch.allclose(a, b, rtol=1e-9, atol=1e-12)
            for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True)
        )

    optimizers[1].train()  # ours begins in train()
    for step in range(30):
        x, y = torch.randn(8, 5).double(), torch.randint(0, 3, (8,))
        for model, optimizer in zip(models, optimizers, strict=True):
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert same(), f"y after step {step}"
        if step % 3 == 0:
            in_training = [weight.detach().clone() for weight in models[0].parameters()]
            for optimizer in optimizers:
                optimizer.eval()
            assert same(), f"x after step {step}"
            moved = [
                not torch.equal(a, b)
                for a, b in zip(in_training, models[0].parameters(), strict=True)
            ]
            assert step == 0 or any(moved)
            for optimizer in optimizers:
                optimizer.train()
            assert same(), f"y again after step {step}"


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_only_the_packages_begin_in_eval(name: str) -> None:
    models = nn.Linear(2, 1), nn.Linear(2, 1)
    ours, theirs = pair(name, *models, 0, 0.0, 0.9)
    for model in models:
        model(torch.ones(1, 2)).sum().backward()
    ours.step()
    with pytest.raises(Exception, match="train mode"):
        theirs.step()


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_a_step_in_eval_is_refused_by_both(name: str) -> None:
    models = nn.Linear(2, 1), nn.Linear(2, 1)
    for model, optimizer in zip(models, pair(name, *models, 0, 0.0, 0.9), strict=True):
        optimizer.train()
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        optimizer.eval()
        with pytest.raises(Exception, match=r"train\(\)|train mode"):
            optimizer.step()
