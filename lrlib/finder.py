"""The range test (LR finder): a short run whose rate rises from tiny to huge, and its readings.

The loss is drawn over the rate. Where it falls, the rate is useful. Where it rises, the rate is too
high. The model, the optimizer and the random state are put back bit for bit, however the test ends.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from lrlib import _checks
from lrlib.rates import current_lrs, set_lr

__all__ = ["RangeTest", "last_clear_fall", "minimum_over_ten", "range_test", "steepest", "valley"]

Curve = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RangeTest:
    """The curve that a range test drew; all arrays have the shape [steps taken].

    rates: of the first parameter group. losses: of each step's batch, before the step changed the
    weights. smoothed: their exponential moving average, corrected for its start. stop: why the test
    ended, which is "end" (of the ramp), "diverged" or "not finite".
    """

    rates: Curve = field(repr=False)
    losses: Curve = field(repr=False)
    smoothed: Curve = field(repr=False)
    stop: str


def range_test(
    model: nn.Module,
    batches: Iterable[Any],
    optimizer: Optimizer,
    loss: Callable[[nn.Module, Any], Tensor] | None = None,
    *,
    lowest: float = 1e-6,
    highest: float = 10.0,
    steps: int = 200,
    smoothing: float = 0.9,
    diverged: float = 4.0,
    step: Callable[[Any], Tensor | float] | None = None,
    restore: Sequence[Any] = (),
) -> RangeTest:
    """Trains for `steps` steps while the rate rises, and puts everything back (Smith, 2017).

    The rate rises by the same factor at every step, from `lowest` to `highest`. These are rates of
    the first parameter group; the other groups keep their ratios to it. `batches` is a loader, or
    any iterable; if it ends, it starts again. `loss(model, batch)` returns the loss to minimize.

    If an update of yours is more than a backward pass (accumulation, a GradScaler, clipping), give
    `step` instead of `loss`: `step(batch)` makes one update and returns the loss. Objects that it
    changes and that have a `state_dict`, such as the GradScaler, belong in `restore`.

    The test stops early if the loss isn't finite, or if the smoothed loss (an average with the
    weight `smoothing` on the past) is above its first value, and also above its lowest value by
    more than (`diverged` − 1) times the size of this lowest value. For positive losses, the second
    condition means: it is more than `diverged` times the lowest.

    A model in evaluation mode is put in training mode. Weights, buffers, gradients, modes, the
    optimizer's state and the random state of torch, numpy and Python are what they were before,
    even after an error or Ctrl-C. If `batches` is an iterator, the batches that the test took from
    it are gone; a loader starts again.

    Raises ValueError if a scheduler has been made for the optimizer, if the rate is changed during
    a step, if the first loss isn't finite, or if `batches` is an iterator that ends too early.

    >>> model = nn.Linear(4, 2)
    >>> adamw = torch.optim.AdamW(model.parameters())
    >>> batches = torch.randn(50, 32, 4)
    >>> test = range_test(model, batches, adamw, lambda model, batch: (model(batch) ** 2).mean())
    >>> test.stop, len(test.rates) < 200, bool(1e-4 < valley(test) < 1)
    ('diverged', True, True)
    """
    owner = "range_test"
    _checks.instance(owner, "model", model, kind=nn.Module, rule="a torch module")
    _checks.instance(owner, "optimizer", optimizer, kind=Optimizer, rule="a torch optimizer")
    lowest = _checks.positive(owner, "lowest", lowest)
    steps = _checks.integer(owner, "steps", steps, low=2)
    smoothing = _checks.number(owner, "smoothing", smoothing, high=0.999)
    diverged = _checks.number(owner, "diverged", diverged)
    if _checks.number(owner, "highest", highest) <= lowest:
        raise _checks.refuse(owner, "highest", highest, f"above lowest={lowest}")
    if callable(loss) == callable(step):
        raise TypeError(f"{owner}: give one function, either loss(model, batch) or step(batch)")
    if any("initial_lr" in group for group in optimizer.param_groups):
        raise ValueError(
            f"{owner}(optimizer): a scheduler was made for this optimizer. It noted the rates that "
            "it found, as `initial_lr`, and may go back to them. Make a new optimizer, run the "
            "test, set the rate, and make the scheduler last"
        )
    base = current_lrs(optimizer)
    if base[0] == 0:
        raise ValueError(f"{owner}(optimizer): the first group's rate is 0; give it a rate above 0")

    def plain(batch: Any) -> Tensor:
        assert loss is not None
        optimizer.zero_grad()
        value = loss(model, batch)
        value.backward()
        optimizer.step()
        return value

    losses, smoothed, average, stop = list[float](), list[float](), 0.0, "end"
    rates = np.geomspace(lowest, highest, steps)
    with ExitStack() as undo:
        _put_back(undo, model, optimizer, batches, restore)
        if not model.training:
            model.train()
        again = _again(batches, steps)
        for count, rate in enumerate(rates.tolist(), 1):
            set_lr(optimizer, [rate * (lr / base[0]) for lr in base])
            wanted = current_lrs(optimizer)
            result = (step or plain)(next(again))
            value = float(result.detach() if isinstance(result, Tensor) else result)
            if current_lrs(optimizer) != wanted:
                raise ValueError(
                    f"{owner}(step): step changed the rates from {wanted} to "
                    f"{current_lrs(optimizer)}; don't step a scheduler in it"
                )
            if not math.isfinite(value):
                stop = "not finite"
                break
            average = smoothing * average + (1 - smoothing) * value
            losses.append(value)
            smoothed.append(average / (1 - smoothing**count))
            low = min(smoothed)
            if smoothed[-1] > max(smoothed[0], low + (diverged - 1) * abs(low)):
                stop = "diverged"
                break
    if not losses:
        raise _checks.refuse(owner, "loss", value, "finite at the first step, before any update")
    return RangeTest(rates[: len(losses)], np.array(losses), np.array(smoothed), stop)


def _again(batches: Iterable[Any], steps: int) -> Iterator[Any]:
    """The batches, and again from the start when they end."""
    seen, before = 0, -1
    while seen > before:
        before = seen
        for batch in batches:
            seen += 1
            yield batch
    raise ValueError(
        f"range_test(batches): batches ended after {seen} of {steps} and can't start again; "
        "pass the loader itself, not an iterator over it, or take fewer `steps`"
    )


def _put_back(
    undo: ExitStack, model: nn.Module, optimizer: Optimizer, batches: Any, restore: Sequence[Any]
) -> None:
    """Has `undo` put back, to the last bit, everything that training changes."""
    own = (weight for group in optimizer.param_groups for weight in group["params"])
    tensors = dict.fromkeys([*model.parameters(), *model.buffers(), *own])
    cuda = {tensor.device for tensor in tensors if tensor.device.type == "cuda"}
    undo.enter_context(torch.random.fork_rng(devices=list(cuda)))
    undo.callback(random.setstate, random.getstate())
    undo.callback(np.random.set_state, np.random.get_state())  # noqa: NPY002
    # Loaders, samplers and the masks of LRDropout may have generators of their own.
    masks = getattr(optimizer, "_generators", {})
    undo.callback(_refill, masks, dict(masks))
    owners = (batches, getattr(batches, "sampler", None))
    for generator in (*masks.values(), *(getattr(owner, "generator", None) for owner in owners)):
        if isinstance(generator, torch.Generator):
            undo.callback(generator.set_state, generator.get_state())
    for other in restore:
        undo.callback(other.load_state_dict, copy.deepcopy(other.state_dict()))
    for module in model.modules():
        undo.callback(setattr, module, "training", module.training)
        for slots in (module._parameters, module._buffers):  # forward may put other tensors there
            undo.callback(_refill, slots, dict(slots))
    for tensor in tensors:
        undo.callback(_rewind, tensor, tensor.detach().clone(), tensor.grad)
        tensor.grad = None
    # The test works on copies of the optimizer's state; the originals come back untouched.
    undo.callback(_refill, optimizer.state, dict(optimizer.state))
    optimizer.state.update({key: copy.deepcopy(kept) for key, kept in optimizer.state.items()})
    for group in optimizer.param_groups:
        undo.callback(_refill, group, dict(group))
        group.update({k: copy.deepcopy(kept) for k, kept in group.items() if k != "params"})


def _refill(store: dict[Any, Any], kept: dict[Any, Any]) -> None:
    store.clear()
    store.update(kept)


@torch.no_grad()
def _rewind(tensor: Tensor, value: Tensor, gradient: Tensor | None) -> None:
    tensor.copy_(value)
    tensor.grad = gradient


# --- Readings ----------------------------------------------------------------------------------


def minimum_over_ten(test: RangeTest) -> float:
    """A tenth of the rate at which the smoothed loss is lowest (Howard and Gugger, 2020, ch. 5)."""
    rates, loss = _curve("minimum_over_ten", test)
    return float(rates[loss.argmin()]) / 10


def steepest(test: RangeTest) -> float:
    """The rate at which the smoothed loss falls fastest per decade (torch-lr-finder, fastai)."""
    rates, loss = _curve("steepest", test)
    return float(rates[np.gradient(loss, np.log10(rates)).argmin()])


def valley(test: RangeTest) -> float:
    """The rate halfway along the longest fall of the smoothed loss, fastai's default (2021).

    The longest strictly falling subsequence has n points; its last one is at index e. The reading
    is at index e − n + ⌊n/3⌋ + ⌊n/6⌋, or at 0 if that is negative. This is fastai's formula, which
    treats the points as neighbors.
    """
    rates, loss = _curve("valley", test)
    lengths = np.ones(len(loss), dtype=int)
    for i in range(1, len(loss)):
        lengths[i] += lengths[:i][loss[:i] > loss[i]].max(initial=0)
    end, length = int(lengths.argmax()), int(lengths.max())
    return float(rates[max(end - length + length // 3 + length // 6, 0)])


def last_clear_fall(test: RangeTest) -> float:
    """The rate at which nine tenths of the smoothed loss's whole fall are done.

    Our definition of the "last point where the loss was clearly decreasing" (Howard and Gugger,
    2020, ch. 5): the first rate whose loss is at most lowest + (first − lowest) / 10.
    """
    rates, loss = _curve("last_clear_fall", test)
    low = loss.min()
    return float(rates[(loss <= low + 0.1 * (loss[0] - low)).argmax()])


def _curve(reading: str, test: RangeTest) -> tuple[Curve, Curve]:
    """Rates and smoothed losses without the first tenth and the last five, as fastai reads them.

    The first smoothed losses are averages of few losses; the last five belong to the divergence.
    """
    _checks.instance(reading, "test", test, kind=RangeTest, rule="the result of range_test")
    count = len(test.rates)
    rates, loss = test.rates[count // 10 : -5], test.smoothed[count // 10 : -5]
    if len(rates) < 10 or loss.argmin() == 0:
        raise ValueError(
            f"{reading}(test): there is no fall to read in {count} steps from {test.rates[0]:.3g} "
            f"to {test.rates[-1]:.3g}; set `lowest` lower, or take more `steps`"
        )
    return rates, loss
