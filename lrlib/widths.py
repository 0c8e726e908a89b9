"""The coordinate check: does a step change a wide network as much as a narrow one?

If some layer's activations change more in a wider network, then a rate that was tuned at one width
is too high for a larger one. The check needs a few steps at each width, not a training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lrlib import _checks

__all__ = ["WidthChange", "coordinate_check"]


@dataclass(frozen=True)
class WidthChange:
    """A row of the coordinate check: one layer.

    layer: its name; changes: the root mean square of the change of its output, one for each width,
    a geometric mean over the seeds; slope: how the log of the change depends on the log of the
    width; 1 if twice the width doubles the change; verdict: "grows", "shrinks" or "steady".
    """

    layer: str
    changes: tuple[float, ...]
    slope: float
    verdict: str


def coordinate_check(
    make: Callable[[int], Sequence[Any]],
    widths: Sequence[int],
    batches: Iterable[Any],
    loss: Callable[[nn.Module, Any], Tensor],
    *,
    steps: int = 4,
    seeds: Sequence[int] = (0, 1, 2),
    tolerance: float = 0.25,
) -> list[WidthChange]:
    """How the size of each layer's change depends on the width, after a few steps (Yang, 2021).

    `make(width)` returns a new model and the optimizers that train it, one or several, with the
    rates that you would use at this width. `loss(model, batch)` returns the loss to minimize. All
    models see the same first `steps` of `batches`. The change of a layer with weights of its own is
    its output after the steps minus its output before the steps, for the first batch, in evaluation
    mode. A layer whose slope is within `tolerance` of 0 is "steady": theory expects slopes of 0, ½
    and 1. A layer has no row if its output never changes, or if it is never called (torch's
    attention uses the weight of its `out_proj` without calling it).

    The random state of torch is left unchanged. Raises ValueError if a change isn't finite, if
    no layer changes, or if the layers can't be seen because the model is compiled.

    >>> def make(width):
    ...     model = nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 1))
    ...     return model, torch.optim.Adam(model.parameters(), lr=1e-3)
    >>> batches = torch.randn(4, 16, 8, generator=torch.Generator().manual_seed(0))
    >>> rows = coordinate_check(make, [64, 256, 1024], batches, lambda model, x: model(x).mean())
    >>> [(row.layer, row.verdict) for row in rows]
    [('0', 'steady'), ('2', 'grows')]
    """
    owner = "coordinate_check"
    _checks.instance(owner, "make", make, kind=Callable, rule="a function of the width")
    rule = "at least two widths in increasing order"
    checked = _checks.each(_checks.count, least=2, rule=rule)(owner, "widths", widths)
    if sorted({*checked}) != [*checked]:
        raise _checks.refuse(owner, "widths", widths, rule)
    steps = _checks.count(owner, "steps", steps)
    seeds = _checks.each(_checks.seed, least=1)(owner, "seeds", seeds)
    tolerance = _checks.number(owner, "tolerance", tolerance)
    some = list(islice(batches, steps))
    if len(some) < steps:
        raise _checks.refuse(owner, "batches", f"{len(some)} batches", f"at least steps={steps}")

    changes: dict[str, dict[int, list[float]]] = {}
    # The weights are drawn on the CPU or on the GPU: both states are put back.
    with torch.random.fork_rng():
        for size in checked:
            for seed in seeds:
                torch.manual_seed(seed)
                for layer, change in _changes(make, size, some, loss).items():
                    changes.setdefault(layer, {}).setdefault(size, []).append(change)
    rows = []
    for layer, by_width in changes.items():
        found = [by_width.get(size, []) for size in checked]
        if not all(map(all, found)) or not all(found):  # no change, or not at every width
            continue
        if not np.isfinite(found).all():
            raise ValueError(f"{owner}: the output of {layer} isn't finite; use a lower rate")
        logs = np.log2(found).mean(axis=1)
        slope = float(np.polyfit(np.log2(checked), logs, 1)[0])
        verdict = "steady" if abs(slope) <= tolerance else "grows" if slope > 0 else "shrinks"
        rows.append(WidthChange(layer, tuple((2.0**logs).tolist()), slope, verdict))
    if not rows:
        raise ValueError(f"{owner}: no layer's output changed at every width; is the rate 0?")
    return rows


def _changes(
    make: Callable[[int], Sequence[Any]],
    width: int,
    batches: Sequence[Any],
    loss: Callable[[nn.Module, Any], Tensor],
) -> dict[str, float]:
    """By the layer's name, the root mean square of its output's change in one run."""
    made = make(width)
    if not isinstance(made, Sequence) or len(made) < 2 or not isinstance(made[0], nn.Module):
        rule = "a function that returns a model and its optimizers, at least one"
        raise _checks.refuse("coordinate_check", "make", make, rule, TypeError)
    model, *optimizers = made
    before = _outputs(model, batches[0], loss)
    model.train()
    for batch in batches:
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss(model, batch).backward()
        for optimizer in optimizers:
            optimizer.step()
    after = _outputs(model, batches[0], loss)
    return {
        layer: math.sqrt((after[layer] - output).double().square().mean().item())
        for layer, output in before.items()
        if layer in after
    }


def _outputs(
    model: nn.Module, batch: Any, loss: Callable[[nn.Module, Any], Tensor]
) -> dict[str, Tensor]:
    """The output of each layer that has weights of its own, at its first call in evaluation."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        if isinstance(first, Tensor) and first.is_floating_point():
            outputs.setdefault(name, first.detach().clone())

    hooks = [
        module.register_forward_hook(partial(keep, name or type(model).__name__))
        for name, module in model.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    try:
        # With gradients: without them torch's encoder takes a fast path past its layers.
        loss(model.eval(), batch)
    finally:
        for hook in hooks:
            hook.remove()
    compiled = (hasattr(m, "_orig_mod") or m._compiled_call_impl for m in model.modules())
    if any(compiled) or not outputs:
        raise ValueError(
            f"coordinate_check: the layers of this {type(model).__name__} can't be seen, as in a "
            "compiled model; let `make` return the model before torch.compile"
        )
    return outputs
