"""Language models: a training loop that counts steps, and many runs in processes.

A step of a transformer is mostly arithmetic, so stacking many runs, as `fit_many` does, gains
little. Here each run is the ordinary loop on one core, and the cores share the runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lrlib import _checks
from lrlib.lab.data import Text
from lrlib.lab.models import Decoder, seeded
from lrlib.lab.sweep import Run
from lrlib.rates import set_lr
from lrlib.schedules import Constant, Schedule

__all__ = ["TextResult", "fit_text", "fit_texts", "text_loss"]

Floats = NDArray[np.float64]


def fit_text(
    model: Decoder,
    text: Text,
    optimizer: Optimizer,
    *,
    steps: int,
    schedule: Schedule | None = None,
    batch_size: int = 16,
    seed: int = 0,
) -> Floats:
    """Trains for `steps` steps, and returns the training loss at each, in nats per character.

    schedule: the factor of each group's base rate at every step; the base rate is the group's rate
    at the start. Without a schedule the rates are constant. seed: for the batches, which are
    `batch_size` random pieces of the text.

    >>> from lrlib import Linear
    >>> from lrlib.lab import decoder, load_text, seeded
    >>> text = load_text(device="cpu")
    >>> model = seeded(lambda: decoder(len(text.characters)), seed=0)
    >>> adamw = torch.optim.AdamW(model.parameters(), lr=0.02)
    >>> losses = fit_text(model, text, adamw, steps=40, schedule=Linear(1.0, 0.0, 40))
    >>> bool(losses[0] > 4 and losses[-1] < 3.2)
    True
    """
    steps = _checks.count("fit_text", "steps", steps)
    batch_size = _checks.count("fit_text", "batch_size", batch_size)
    seed = _checks.seed("fit_text", "seed", seed)
    schedule = Constant() if schedule is None else schedule
    _checks.instance("fit_text", "schedule", schedule, kind=Schedule, rule="an lrlib schedule")
    base_lrs = [float(group["lr"]) for group in optimizer.param_groups]
    model.train()
    losses: list[Tensor] = []
    for step in range(steps):
        factor = schedule(step)
        set_lr(optimizer, [factor * base for base in base_lrs])
        x, y = text.batch(batch_size, model.context, seed, step)
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses).double().cpu().numpy()


@torch.inference_mode()
def text_loss(model: Decoder, part: Tensor) -> float:
    """The mean loss on a part of a text, such as `text.validation`, in nats per character.

    The part is cut into pieces as long as the model's context.
    """
    pieces = (len(part) - 1) // model.context
    if not pieces:
        rule = f"longer than the model's context, {model.context}"
        raise _checks.refuse("text_loss", "part", f"{len(part)} characters", rule)
    x, y = (part[i : i + pieces * model.context].view(pieces, -1) for i in (0, 1))
    training = model.training
    model.eval()
    loss = sum(
        F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), reduction="sum").item()
        for inputs, targets in zip(x.split(64), y.split(64), strict=True)
    )
    model.train(training)
    return loss / y.numel()


@dataclass(frozen=True)
class TextResult:
    """What happened in many runs; the first axis of every array counts the runs.

    train_loss: float64 [runs, steps]; validation_loss, test_loss: float64 [runs], of the final
    weights or of their average; the test loss is NaN unless it was asked for. Nats per character.
    """

    runs: tuple[Run, ...]
    train_loss: Floats
    validation_loss: Floats
    test_loss: Floats


def fit_texts(
    model_fn: Callable[[], Decoder],
    text: Text,
    runs: Sequence[Run],
    *,
    steps: int,
    batch_size: int = 16,
    optimizer: Callable[[Iterable[Tensor]], Optimizer] = torch.optim.AdamW,
    average: float | None = None,
    test: bool = False,
) -> TextResult:
    """Trains all `runs`, each with its own initial weights, batches and rate, as `fit_text` does.

    `joblib.parallel_config` decides where they run: this process, several (`("loky", n_jobs=2)`)
    or a cluster. The result is the same, because each run uses one thread. `optimizer` makes a
    torch optimizer from parameters. `average` is the decay of an exponential moving average of the
    weights: then this average is evaluated. With `test=True` the models see the test part, once.

    Raises ValueError for a run with per-layer rates or learning-rate dropout.

    >>> from lrlib.lab import decoder, grid, load_text
    >>> text = load_text(device="cpu")
    >>> sweep = grid({"constant": Constant()}, base_lrs=[0.01, 0.02], seeds=[0])
    >>> fit_texts(partial(decoder, len(text.characters)), text, sweep, steps=3).train_loss.shape
    (2, 3)
    """
    import joblib

    is_run = partial(_checks.instance, kind=Run, rule="a sequence of Run")
    checked: tuple[Run, ...] = _checks.each(is_run, least=1)("fit_texts", "runs", runs)
    for run in checked:
        if run.scales or run.keep < 1:
            rule = "without scales or a keep below 1, which only fit_many has"
            raise _checks.refuse("fit_texts", "runs", run, rule)
    if average is not None:
        average = _checks.number("fit_texts", "average", average, high=1.0)

    def one(run: Run) -> tuple[Floats, float, float]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            model: Any = seeded(model_fn, run.seed).to(text.train.device)
            made, final = optimizer(model.parameters()), model
            set_lr(made, run.base_lr)
            if average is not None:
                averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(average))
                made.register_step_post_hook(lambda *_: averaged.update_parameters(model))
                final = averaged.module
            plan = partial(fit_text, steps=steps, schedule=run.schedule, batch_size=batch_size)
            losses = plan(model, text, made, seed=run.seed)
            last = text_loss(final, text.test) if test else float("nan")
            return losses, text_loss(final, text.validation), last
        finally:
            torch.set_num_threads(threads)

    done = joblib.Parallel()(joblib.delayed(one)(run) for run in checked)
    train, validation, last = (np.array(values) for values in zip(*done, strict=True))
    return TextResult(checked, train, validation, last)
