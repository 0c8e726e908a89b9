"""Programs to paste, with what a reader brings: a language model, groups with their own rates."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.data import DataLoader, TensorDataset

from lrlib.lab import decoder

CHAPTERS = Path(__file__).resolve().parents[2] / "chapters"
TOKENS, LENGTH = 20, 8


def block(page: str, words: str) -> str:
    """The Python block of a page that has these words."""
    text = (CHAPTERS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```\{code-block\} python\n(.*?)```", text, re.DOTALL)
    (found,) = [one for one in blocks if words in one]
    return found


def cell(notebook: str, words: str) -> str:
    """The program of a notebook that has these words, with the imports of its first comment."""
    cells = json.loads((CHAPTERS / notebook).read_text(encoding="utf-8"))["cells"]
    sources = ["".join(one["source"]) for one in cells if one["cell_type"] == "code"]
    (found,) = [one for one in sources if "# In a script: " in one and words in one]
    head = re.match(r"# In a script: (.+\n(?:# .+\n)*?)(?:# Yours|(?!#))", found)
    assert head
    return head[1].replace("# ", "") + found


def language() -> torch.nn.Module:
    torch.manual_seed(0)
    return decoder(TOKENS)


def sequences(count: int) -> TensorDataset:
    text = torch.randint(TOKENS, (count, LENGTH + 1), generator=torch.Generator().manual_seed(1))
    return TensorDataset(text[:, :-1], text[:, 1:])


def flattened(program: str) -> str:
    """What a page tells the readers with a language model to write."""
    changed = re.sub(
        r"cross_entropy\(model\((x\w*)\), (y\w*)",
        r"cross_entropy(model(\1).flatten(0, 1), \2.flatten()",
        program,
    )
    assert changed != program
    return changed


# --- A label for each token ---------------------------------------------------------------------


def test_accumulation_divides_by_the_tokens_of_the_whole_batch() -> None:
    model, (x, y) = language(), sequences(80).tensors
    weights = list(model.parameters())
    whole = torch.autograd.grad(cross_entropy(model(x).flatten(0, 1), y.flatten()), weights)
    seen: list[list[torch.Tensor]] = []
    hook = register_optimizer_step_pre_hook(
        lambda *_: seen.append([weight.grad.clone() for weight in weights])  # type: ignore[union-attr]
    )
    try:
        exec(
            flattened(block("09-steps-batches-devices/index.md", "x.split(32)")),
            {
                "model": model,
                "optimizer": torch.optim.SGD(weights, lr=0.1),
                "loader": [(x, y)],
                "epochs": 1,
                "device": torch.device("cpu"),
            },
        )
    finally:
        hook.remove()
    (used,) = seen
    for gradient, one in zip(used, whole, strict=True):
        torch.testing.assert_close(gradient, one, rtol=1e-4, atol=1e-6)


def test_the_program_of_chapter_5_reports_the_loss_of_a_token(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names: dict[str, Any] = {}
    exec(flattened(cell("05-plateau-reduction/training.ipynb", "def fit_with_plateau")), names)
    loader = DataLoader(sequences(40), 16)
    model = language()
    ((training, validation, _),) = names["fit_with_plateau"](model, loader, loader, 1, 5)
    x, y = sequences(40).tensors
    with torch.inference_mode():
        loss = cross_entropy(model(x).flatten(0, 1), y.flatten()).item()
    assert validation == pytest.approx(loss, rel=1e-4)
    assert 1 < training / validation < 2


# --- Groups with rates of their own -------------------------------------------------------------


def grouped(*rates: float) -> torch.optim.Optimizer:
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in rates]
    return torch.optim.AdamW(
        [{"params": [weight], "lr": rate} for weight, rate in zip(weights, rates, strict=True)]
    )


def lrs(optimizer: torch.optim.Optimizer) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


def test_a_factor_keeps_the_rates_of_the_groups_also_after_a_resume() -> None:
    program = block("03-manual-schedules/index.md", "* factor")
    optimizer, resumed = grouped(3e-4, 1e-3, 1e-3), grouped(3e-4, 1e-3, 1e-3)
    for factor in (1.0, 0.5, 0.1):
        exec(program, {"optimizer": optimizer, "factor": factor})
        assert lrs(optimizer) == [3e-4 * factor, 1e-3 * factor, 1e-3 * factor]
    resumed.load_state_dict(optimizer.state_dict())
    exec(program, {"optimizer": resumed, "factor": 0.5})
    assert lrs(resumed) == [1.5e-4, 5e-4, 5e-4]


def test_the_range_test_of_chapter_7_keeps_the_ratios_of_the_groups() -> None:
    torch.manual_seed(0)
    body, head = torch.nn.Linear(8, 16), torch.nn.Linear(16, 3)
    optimizer = torch.optim.SGD(
        [
            {"params": body.parameters(), "lr": 0.01},
            {"params": head.parameters(), "lr": 0.03},
        ]
    )
    names = {
        "model": torch.nn.Sequential(body, torch.nn.ReLU(), head),
        "loader": DataLoader(TensorDataset(torch.randn(64, 8), torch.randint(3, (64,))), 32),
        "optimizer": optimizer,
        "device": torch.device("cpu"),
    }
    exec(block("07-finding-a-rate/index.md", "valley(test)"), names)
    reading = names["valley"](names["test"])
    assert lrs(optimizer) == pytest.approx([reading, 3 * reading])


# --- A warmup and a cosine ----------------------------------------------------------------------

WITH_WARMUP = block("04-built-in-schedulers/which-schedule.md", "CosineAnnealingLR(")
COSINE = "CosineAnnealingLR(optimizer, T_max=steps - warm)"
LINE = "LinearLR(optimizer, 1.0, 0.0, total_iters=steps - warm)"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("part", "shape"),
    [(COSINE, lambda done: (1 + math.cos(math.pi * done)) / 2), (LINE, lambda done: 1 - done)],
)
@pytest.mark.parametrize(("epochs", "batches"), [(1, 3), (5, 20)])
def test_the_warmup_and_the_cosine_or_the_line_end_at_zero_after_the_last_step(
    part: str, shape: Callable[[float], float], epochs: int, batches: int
) -> None:
    page = (CHAPTERS / "04-built-in-schedulers" / "which-schedule.md").read_text(encoding="utf-8")
    assert LINE in page
    assert WITH_WARMUP.count(COSINE) == 1
    optimizer = grouped(6e-4)
    names = {"optimizer": optimizer, "loader": range(batches), "epochs": epochs}
    exec(WITH_WARMUP.replace(COSINE, part), names)
    used = []
    for _ in range(epochs * batches):
        used += lrs(optimizer)
        optimizer.step()
        names["scheduler"].step()
    steps, warm = epochs * batches, max(1, epochs * batches // 10)
    rising = [6e-4 * (0.1 + 0.9 * step / warm) for step in range(warm)]
    falling = [6e-4 * shape((step - warm) / (steps - warm)) for step in range(warm, steps)]
    assert used == pytest.approx(rising + falling)
    assert lrs(optimizer) == pytest.approx([0.0], abs=1e-12)


# --- A range test that is interrupted -----------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("after", [1, 120])
def test_the_short_range_test_puts_everything_back_however_it_ends(
    error: type[BaseException], after: int
) -> None:
    names: dict[str, Any] = {}
    exec(cell("07-finding-a-rate/range-test.ipynb", "def lr_finder"), names)
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 3)
    before = [weight.detach().clone() for weight in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    calls = itertools.count(1)

    def interrupt(*_: Any) -> None:
        if next(calls) == after:
            raise error

    model.register_forward_hook(interrupt)
    batch = torch.randn(16, 8), torch.randint(3, (16,))
    with pytest.raises(error):
        names["lr_finder"](model, [batch], optimizer)
    assert lrs(optimizer) == [0.05]
    assert not optimizer.state
    assert all(map(torch.equal, before, model.parameters()))


# --- The schedule that a reader writes: a language model, AdamW, a length from the loader --------


def test_the_warmup_and_cosine_of_chapter_3_end_with_the_readers_run() -> None:
    program = cell("03-manual-schedules/design-your-own.ipynb", "def warmup_cosine")
    model = language()
    before = [weight.detach().clone() for weight in model.parameters()]

    def loss_of(model: torch.nn.Module, batch: Any) -> torch.Tensor:
        x, y = batch
        return cross_entropy(model(x).flatten(0, 1), y.flatten())

    loader = DataLoader(sequences(50), 4)
    names = {"model": model, "loader": loader, "loss_of": loss_of, "epochs": 3}
    exec(program, names)
    steps, warm = 39, 3
    rising = [6e-4 * (0.1 + 0.9 * step / warm) for step in range(warm)]
    falling = [
        3e-4 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))
        for step in range(warm, steps)
    ]
    assert names["used"] == pytest.approx(rising + falling)
    assert lrs(names["optimizer"]) == [0.0]
    assert not any(map(torch.equal, before, model.parameters()))
