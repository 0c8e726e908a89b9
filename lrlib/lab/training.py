"""The training loop that a reader can read in one minute.

Everything that a run depends on is a function of (seed, epoch, step), never of what ran before:
that is why a resumed run ends where the uninterrupted one does, to the last bit.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from lrlib import _checks
from lrlib.lab.data import Dataset, Split
from lrlib.lab.files import written_whole
from lrlib.plateau import PlateauRule
from lrlib.rates import current_lrs, set_lr
from lrlib.schedules import Constant, Schedule

__all__ = [
    "History",
    "batches",
    "evaluate",
    "fit",
    "resume",
    "save",
]

if TYPE_CHECKING:
    import pandas as pd


class Evaluation(NamedTuple):
    """Mean cross-entropy (nats) and the share of right answers."""

    loss: float
    accuracy: float


@dataclass
class History:
    """What happened in a run: the rate of every step, and losses and accuracy of every epoch."""

    lrs: list[float] = field(default_factory=list)  # of the first parameter group, per step
    train_loss: list[float] = field(default_factory=list)  # mean over the epoch, per epoch
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """Epochs done."""
        return len(self.train_loss)

    def frame(self) -> pd.DataFrame:
        """One row per epoch; `lr` is the rate of the epoch's last step."""
        import pandas as pd

        last = [len(self.lrs) * (epoch + 1) // self.epochs - 1 for epoch in range(self.epochs)]
        columns = {
            "lr": [self.lrs[step] for step in last],
            "train_loss": self.train_loss,
            "validation_loss": self.validation_loss,
            "validation_accuracy": self.validation_accuracy,
        }
        return pd.DataFrame(columns, index=pd.RangeIndex(1, self.epochs + 1, name="epoch"))


def batch_order(samples: int, seed: int, epoch: int) -> Tensor:
    """The order in which an epoch visits the samples: a function of seed and epoch alone.

    >>> torch.equal(batch_order(100, seed=3, epoch=5), batch_order(100, seed=3, epoch=5))
    True
    """
    return torch.from_numpy(np.random.default_rng((seed, epoch)).permutation(samples))


def batches(samples: int, batch_size: int, seed: int, epoch: int) -> Iterator[Tensor]:
    """The epoch's batches as indices into the samples; the last may be smaller."""
    return iter(batch_order(samples, seed, epoch).split(batch_size))


Augment = Callable[[Tensor, np.random.Generator], Tensor]


def crop_and_flip(images: Tensor, random: np.random.Generator) -> Tensor:
    """Each image moved by up to 4 pixels either way (zeros come in), and half of them mirrored.

    >>> crop_and_flip(torch.ones(5, 3, 32, 32), np.random.default_rng(0)).shape
    torch.Size([5, 3, 32, 32])
    """
    count, _, height, width = images.shape
    device = images.device
    padded = F.pad(images, (4, 4, 4, 4))
    top, left = torch.from_numpy(random.integers(0, 9, (2, count, 1))).to(device)
    mirrored = torch.from_numpy(random.integers(0, 2, (count, 1)).astype(bool)).to(device)
    rows = top + torch.arange(height, device=device)
    columns = torch.arange(width, device=device)
    columns = left + torch.where(mirrored, width - 1 - columns, columns)
    image = torch.arange(count, device=device)[:, None, None]
    # Advanced indices with a slice between them come first: [count, height, width, channels].
    return padded[image, :, rows[:, :, None], columns[:, None, :]].movedim(3, 1)


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
    progress: bool = False,
) -> History:
    """Trains until `epochs` are done, and returns what happened.

    `schedule` gives the factor of each group's base rate (its `initial_lr`, or the rate that it
    has now) at every step; without one the rates stay. A `plateau` rule lowers these base rates as
    it goes, by the validation loss, or in mode "max" by the validation accuracy. `seed` decides the
    order of the batches. `augment` changes a batch's images, as `crop_and_flip` does; its random
    generator depends on seed, epoch and step alone. With the `history` of an earlier call (see
    `resume`) the run goes on where that one ended.

    >>> from lrlib import Cosine
    >>> from lrlib.lab import load, mlp, seeded
    >>> data, model = load("digits", device="cpu"), seeded(lambda: mlp(64, 32, 10), seed=0)
    >>> sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> history = fit(model, data, sgd, epochs=3, schedule=Cosine(3 * data.steps_per_epoch(32)))
    >>> history.validation_accuracy[-1] > 0.9
    True
    """
    epochs = _checks.integer("fit", "epochs", epochs)
    batch_size = _checks.integer("fit", "batch_size", batch_size, low=1)
    seed = _checks.seed("fit", seed)
    schedule = Constant() if schedule is None else schedule
    if not isinstance(schedule, Schedule):
        raise _checks.refuse("fit", "schedule", schedule, "an lrlib schedule", TypeError)
    if plateau is not None and not isinstance(plateau, PlateauRule):
        raise _checks.refuse("fit", "plateau", plateau, "a PlateauRule", TypeError)
    history = History() if history is None else history
    base_lrs = [
        float(group.setdefault("initial_lr", group["lr"])) for group in optimizer.param_groups
    ]
    x, y = data.train
    factors = schedule.lrs(1.0, epochs * data.steps_per_epoch(batch_size)).tolist()
    if plateau:
        # The rule is a function of the metrics, so that the history is all it needs to resume.
        state = plateau.start(base_lrs)
        for metric in watched(plateau, history.validation_loss, history.validation_accuracy):
            state = plateau.step(state, metric)
        base_lrs = state.lr.tolist()
    remaining = range(history.epochs, epochs)
    for epoch in _with_bar(remaining, epochs) if progress else remaining:
        model.train()
        losses: list[Tensor] = []
        for batch in batches(len(y), batch_size, seed, epoch):
            batch = batch.to(y.device)
            set_lr(optimizer, [factors[len(history.lrs)] * base for base in base_lrs])
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
            state = plateau.step(state, watched(plateau, *validation))
            base_lrs = state.lr.tolist()
    return history


def watched(rule: PlateauRule, loss: Any, accuracy: Any) -> Any:
    """What a plateau rule is shown: the loss, or in mode "max" the accuracy."""
    return loss if rule.mode == "min" else accuracy


def _with_bar(epochs: range, total: int) -> Iterator[int]:
    from tqdm.auto import tqdm

    return iter(tqdm(epochs, initial=epochs.start, total=total, unit="epoch"))


@torch.inference_mode()
def evaluate(model: nn.Module, split: Split, batch_size: int = 4096) -> Evaluation:
    """The model's mean loss and accuracy on a split, in evaluation mode.

    >>> from lrlib.lab import load, mlp
    >>> 0.0 <= evaluate(mlp(64, 10), load("digits", device="cpu").validation).accuracy <= 1.0
    True
    """
    batch_size = _checks.integer("evaluate", "batch_size", batch_size, low=1)
    training = model.training
    model.eval()
    loss = correct = torch.zeros((), device=split.y.device)
    for x, y in zip(split.x.split(batch_size), split.y.split(batch_size), strict=True):
        logits = model(x)
        loss = loss + F.cross_entropy(logits, y, reduction="sum")
        correct = correct + (logits.argmax(dim=1) == y).sum()
    model.train(training)
    return Evaluation(loss.item() / len(split.y), correct.item() / len(split.y))


def save(path: str | Path, model: nn.Module, optimizer: Optimizer, history: History) -> None:
    """Writes a checkpoint: weights, the optimizer's state, the history, torch's random state.

    The file is written under a temporary name and renamed, so an interruption leaves the last
    checkpoint as it was.
    """
    path = Path(path)
    checkpoint = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": asdict(history),
        "random": _random_state(),
    }
    # Through memory: where a disk is full, torch's own writer dies without saying why.
    packed = io.BytesIO()
    torch.save(checkpoint, packed)
    with written_whole(path) as file:
        file.write(packed.getbuffer())


def resume(path: str | Path, model: nn.Module, optimizer: Optimizer) -> History:
    """Puts model, optimizer and torch's random state back as `save` found them.

    Returns the history to pass to `fit`. Raises ValueError where the file is no such checkpoint;
    nothing is executed from it (`weights_only=True`).
    """
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu")
        parts = [checkpoint[part] for part in ("model", "optimizer", "history", "random")]
    except FileNotFoundError:
        raise
    except Exception as error:  # torch.load raises many kinds
        raise ValueError(
            f"resume({str(path)!r}): not a checkpoint of lrlib.save ({error})"
        ) from error
    weights, state, history, random = parts
    model.load_state_dict(weights)
    optimizer.load_state_dict(state)
    torch.set_rng_state(random["cpu"])
    if torch.cuda.is_available() and random["cuda"]:
        torch.cuda.set_rng_state_all(random["cuda"])
    return History(**history)


def _random_state() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}
