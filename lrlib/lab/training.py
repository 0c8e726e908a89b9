"""The training loop, evaluation and checkpoints.

The learning rate is a function of the step, and the order of the batches is a function of the seed
and the epoch. Neither depends on what ran before, so a resumed run ends exactly (bit for bit) where
the uninterrupted run ends.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from lrlib import _checks
from lrlib.lab.data import Dataset, Split
from lrlib.lab.files import atomic_write
from lrlib.plateau import PlateauRule
from lrlib.rates import current_lrs, set_lr
from lrlib.schedules import Constant, Schedule

__all__ = ["History", "batches", "evaluate", "fit", "load_checkpoint", "save_checkpoint"]


class Evaluation(NamedTuple):
    """Mean cross-entropy (in nats) and the share of correct predictions."""

    loss: float
    accuracy: float


@dataclass
class History:
    """The log of a run: the rate of every step, and the losses and accuracy of every epoch."""

    lrs: list[float] = field(default_factory=list)  # of the first parameter group, per step
    train_loss: list[float] = field(default_factory=list)  # mean over the epoch, per epoch
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """The number of finished epochs."""
        return len(self.train_loss)


def batch_order(samples: int, seed: int, epoch: int) -> Tensor:
    """The order in which an epoch visits the samples; it depends on seed and epoch alone."""
    return torch.from_numpy(np.random.default_rng((seed, epoch)).permutation(samples))


def batches(samples: int, batch_size: int, seed: int, epoch: int) -> Iterator[Tensor]:
    """The epoch's batches, as indices of samples; the last batch may be smaller."""
    return iter(batch_order(samples, seed, epoch).split(batch_size))


Augment = Callable[[Tensor, np.random.Generator], Tensor]


def fit(
    model: nn.Module,
    data: Dataset,
    optimizer: Optimizer,
    *,
    epochs: int,
    schedule: Schedule | None = None,
    plateau: PlateauRule | None = None,
    batch_size: int = 32,
    seed: int = 0,
    augment: Augment | None = None,
    history: History | None = None,
) -> History:
    """Trains until `epochs` epochs are done, and returns the log.

    schedule: the factor of each group's base rate at every step. The base rate is the group's
    `initial_lr`, or if it has none, its rate at the start. Without a schedule the rates are
    constant. plateau: a rule that lowers the base rates after an epoch, by the validation loss, or
    in mode "max" by the validation accuracy. seed: for the order of the batches. augment: a
    function that changes a batch of images, such as `crop_and_flip`; its random generator depends
    on the seed, the epoch and the batch. history: the log of an earlier call; the run continues
    where it ended.

    >>> from lrlib import Cosine
    >>> from lrlib.lab import load, mlp, seeded
    >>> data, model = load("digits", device="cpu"), seeded(lambda: mlp(64, 32, 10), seed=0)
    >>> sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> history = fit(model, data, sgd, epochs=3, schedule=Cosine(3 * data.steps_per_epoch(32)))
    >>> history.validation_accuracy[-1] > 0.9
    True
    """
    epochs = _checks.integer("fit", "epochs", epochs)
    batch_size = _checks.count("fit", "batch_size", batch_size)
    seed = _checks.seed("fit", "seed", seed)
    schedule = Constant() if schedule is None else schedule
    _checks.instance("fit", "schedule", schedule, kind=Schedule, rule="an lrlib schedule")
    _checks.instance("fit", "plateau", plateau, kind=PlateauRule | None, rule="a PlateauRule")
    history = History() if history is None else history
    groups = optimizer.param_groups
    base_lrs = [float(group.setdefault("initial_lr", group["lr"])) for group in groups]
    if plateau:
        # The rule's state is a function of the metrics, so the history is all it needs to resume.
        metrics = history.validation_loss if plateau.mode == "min" else history.validation_accuracy
        state = plateau.start(base_lrs)
        for metric in metrics:
            state = plateau.step(state, metric)
        base_lrs = state.lr.tolist()
    x, y = data.train
    for epoch in range(history.epochs, epochs):
        model.train()
        losses: list[Tensor] = []
        for batch in batches(len(y), batch_size, seed, epoch):
            batch = batch.to(y.device)
            step = len(history.lrs)
            factor = schedule(step)
            set_lr(optimizer, [factor * base for base in base_lrs])
            images = x[batch]
            if augment:
                images = augment(images, np.random.default_rng((seed, epoch, len(losses))))
            loss = F.cross_entropy(model(images), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.lrs.append(current_lrs(optimizer)[0])
            losses.append(loss.detach() * len(batch))
        validation = evaluate(model, data.validation)
        history.train_loss.append(torch.stack(losses).sum().item() / len(y))
        history.validation_loss.append(validation.loss)
        history.validation_accuracy.append(validation.accuracy)
        if plateau:
            state = plateau.step(state, metrics[-1])
            base_lrs = state.lr.tolist()
    return history


@torch.inference_mode()
def evaluate(model: nn.Module, split: Split, batch_size: int = 4096) -> Evaluation:
    """The model's mean loss and accuracy on a split, computed in evaluation mode.

    >>> from lrlib.lab import load, mlp
    >>> 0.0 <= evaluate(mlp(64, 10), load("digits", device="cpu").validation).accuracy <= 1.0
    True
    """
    batch_size = _checks.count("evaluate", "batch_size", batch_size)
    training = model.training
    model.eval()
    loss = correct = torch.zeros((), device=split.y.device)
    for x, y in zip(split.x.split(batch_size), split.y.split(batch_size), strict=True):
        logits = model(x)
        loss = loss + F.cross_entropy(logits, y, reduction="sum")
        correct = correct + (logits.argmax(dim=1) == y).sum()
    model.train(training)
    return Evaluation(loss.item() / len(split.y), correct.item() / len(split.y))


def save_checkpoint(
    path: str | Path, model: nn.Module, optimizer: Optimizer, history: History
) -> None:
    """Saves the weights, the optimizer's state, the history and torch's random state.

    The write is atomic: if it is interrupted, the previous checkpoint is still there.
    """
    checkpoint = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": asdict(history),
        "random": {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()},
    }
    # First into memory: if the disk is full, torch's own writer fails without saying why.
    packed = io.BytesIO()
    torch.save(checkpoint, packed)
    with atomic_write(Path(path)) as file:
        file.write(packed.getbuffer())


def load_checkpoint(path: str | Path, model: nn.Module, optimizer: Optimizer) -> History:
    """Restores what `save_checkpoint` saved, and returns the history to pass to `fit`.

    Raises ValueError if the file is not a checkpoint. Code in the file is never executed
    (`weights_only=True`).
    """
    parts = ("model", "optimizer", "history", "random")
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu")
        weights, state, history, random = (checkpoint[part] for part in parts)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch.load raises many kinds
        raise ValueError(
            f"load_checkpoint(path={str(path)!r}): path must be a file that save_checkpoint wrote "
            f"({error})"
        ) from error
    model.load_state_dict(weights)
    optimizer.load_state_dict(state)
    torch.set_rng_state(random["cpu"])
    if torch.cuda.is_available() and random["cuda"]:
        torch.cuda.set_rng_state_all(random["cuda"])
    return History(**history)
