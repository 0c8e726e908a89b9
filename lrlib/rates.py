"""Reading, setting and tracing the rates that an optimizer really uses.

`trace` records what a torch scheduler did; `from_torch` returns the pure schedule that it follows;
`to_torch` goes the other way. The tests check that the first two agree for every
class of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim import Optimizer
from torch.optim import lr_scheduler as torch_lr
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.optim.swa_utils import SWALR

from lrlib import _checks, schedules
from lrlib.schedules import Schedule

__all__ = ["current_lrs", "from_torch", "set_lr", "to_torch", "trace"]


def current_lrs(optimizer: Optimizer) -> list[float]:
    """The rate of each parameter group now, as plain floats.

    >>> current_lrs(torch.optim.SGD([torch.zeros(1)], lr=0.1))
    [0.1]
    """
    _is_optimizer("current_lrs", "optimizer", optimizer)
    return [float(group["lr"]) for group in optimizer.param_groups]


def set_lr(optimizer: Optimizer, lr: float | Sequence[float]) -> None:
    """Sets the rate of every parameter group: one number, or a sequence with one for each.

    A manual schedule needs nothing else. A tensor-valued rate (as compiled and capturable
    optimizers keep it) is changed in place. If one of the rates isn't allowed, no rate is changed.

    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    >>> set_lr(optimizer, 0.01)
    >>> current_lrs(optimizer)
    [0.01]
    """
    groups = _is_optimizer("set_lr", "optimizer", optimizer).param_groups
    rates = _one_per_group("set_lr", "lr", lr, groups, _checks.number)
    for group, rate in zip(groups, rates, strict=True):
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def trace(
    make_scheduler: Callable[[Optimizer], LRScheduler],
    steps: int,
    base_lrs: float | Sequence[float] = 0.1,
) -> NDArray[np.float64]:
    """The rates that an optimizer used under a torch scheduler, shape [steps, groups].

    A real SGD with one parameter group for each of `base_lrs` takes `steps` steps. The
    scheduler that `make_scheduler(optimizer)` returns is stepped after each of them. Row t has the
    rates of step t, counted from 0.

    >>> trace(lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 2), 4).round(6).tolist()
    [[0.1], [0.1], [0.01], [0.01]]
    """
    steps = _checks.integer("trace", "steps", steps)
    rule = "a function that makes a scheduler for an optimizer"
    _checks.instance("trace", "make_scheduler", make_scheduler, kind=Callable, rule=rule)
    given = base_lrs if isinstance(base_lrs, Iterable) else [base_lrs]
    rates = _checks.each(_checks.number, least=1)("trace", "base_lrs", given)
    groups = [{"params": [torch.zeros(1)], "lr": rate} for rate in rates]
    # With momentum, because by default CyclicLR and OneCycleLR also change the momentum.
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    scheduler = make_scheduler(optimizer)
    _open_loop("trace", scheduler)
    used = []
    for step in range(steps):
        used.append(current_lrs(optimizer))
        optimizer.step()
        if step < steps - 1:
            scheduler.step()
    return np.array(used, dtype=np.float64).reshape(steps, len(groups))


def to_torch(schedule: Schedule | Sequence[Schedule], optimizer: Optimizer) -> LambdaLR:
    """A torch scheduler that sets each group's rate to its `initial_lr` times the schedule.

    `schedule` is one for all groups, or a sequence with one for each group.

    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    >>> scheduler = to_torch(schedules.Linear(0.5, 1.0, steps=10), optimizer)
    >>> scheduler.get_last_lr()
    [0.05]
    """
    check = partial(_checks.instance, kind=Schedule, rule="a schedule, or one for each group")
    groups = _is_optimizer("to_torch", "optimizer", optimizer).param_groups
    factors = _one_per_group("to_torch", "schedule", schedule, groups, check)
    # In a partial, because LambdaLR would save the fields of an object, and when a checkpoint is
    # loaded, write them over the fields of another schedule. A partial has no fields.
    return LambdaLR(optimizer, [partial(factor) for factor in factors])


_is_optimizer = partial(_checks.instance, kind=Optimizer, rule="a torch optimizer")


def _one_per_group(
    function: str, name: str, given: Any, groups: Sequence[Any], check: _checks.Check
) -> list[Any]:
    """What was given, checked: as it is for every group, or one item for each."""
    if not isinstance(given, Iterable):
        return [check(function, name, given)] * len(groups)
    rule = f"one for all groups, or a sequence of {len(groups)}, one for each"
    each = _checks.each(check, rule=rule)(function, name, given)
    if len(each) != len(groups):
        raise _checks.refuse(function, name, given, rule)
    return list(each)


# --- from_torch --------------------------------------------------------------------------------


def from_torch(scheduler: LRScheduler) -> list[Schedule]:
    """The pure schedule that a torch scheduler follows, one for each parameter group.

    Each is a factor of the group's `initial_lr`, counted from the scheduler's first step,
    even if the scheduler has been stepped already. Covers all of torch's open-loop schedulers,
    `SWALR`, and `SequentialLR` and `ChainedScheduler` if their parts don't interfere.

    Raises TypeError for `ReduceLROnPlateau` (its rate depends on a metric), for classes that torch
    doesn't have, and for composites in which a part continues from the rate that another part
    left; `trace` records the rates of all these but the first.

    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    >>> from_torch(torch.optim.lr_scheduler.StepLR(optimizer, step_size=30))
    [StepDecay(step_size=30, gamma=0.1)]
    """
    _open_loop("from_torch", scheduler)
    groups = range(len(scheduler.optimizer.param_groups))
    return [_factor_of_initial(scheduler, i) for i in groups]


def _open_loop(function: str, scheduler: Any) -> None:
    rule = "a torch learning-rate scheduler"
    if isinstance(scheduler, torch_lr.ReduceLROnPlateau):
        rule += " that needs no metric; the rate of ReduceLROnPlateau depends on the metric. Call "
        rule += "lrlib.decisions to see what it does with given metrics"
    elif isinstance(scheduler, LRScheduler):
        return
    raise _checks.refuse(function, "scheduler", scheduler, rule, TypeError)


def _factor_of_initial(scheduler: Any, i: int) -> Schedule:
    """The schedule as a factor of group i's `initial_lr`."""
    initial = float(scheduler.optimizer.param_groups[i]["initial_lr"])
    if type(scheduler) is torch_lr.SequentialLR:
        parts = _parts(scheduler, i, initial, _STARTS_ANEW)
        return schedules.Sequential(parts, scheduler._milestones)
    if type(scheduler) is torch_lr.ChainedScheduler:
        return schedules.Product(_parts(scheduler, i, initial, _MULTIPLIES))
    base = float(scheduler.base_lrs[i])
    form = _closed_form(scheduler, i)
    return form if base == initial else (base / initial) * form


def _parts(scheduler: Any, i: int, initial: float, sound: AbstractSet[type]) -> list[Schedule]:
    """The closed forms of a composite's parts, or the error that says which one interferes."""
    for part in scheduler._schedulers:
        if type(part) not in sound or float(part.base_lrs[i]) != initial:
            raise TypeError(
                f"from_torch(scheduler): {type(part).__name__} interferes with the other parts of "
                f"the {type(scheduler).__name__}, which therefore has no formula. Record what it "
                "does with `trace`, or compose lrlib schedules and pass them to `to_torch`"
            )
    return [_closed_form(part, i) for part in scheduler._schedulers]


def _closed_form(scheduler: Any, i: int) -> Schedule:
    """A simple scheduler's formula, as a factor of its own base rate for group i."""
    if type(scheduler) not in _CLOSED_FORMS:
        rule = "one of torch's own classes; lrlib.trace records what any other scheduler does"
        raise _checks.refuse("from_torch", "scheduler", scheduler, rule, TypeError)
    return _CLOSED_FORMS[type(scheduler)](scheduler, i)


def _relative(scheduler: Any, i: int, rate: float) -> float:
    """An absolute rate as a factor of the base; both 0 is the constant 0."""
    base = float(scheduler.base_lrs[i])
    if base == 0 and rate != 0:
        rule = "built at a rate above 0, because a schedule is a factor of this rate"
        raise _checks.refuse("from_torch", "scheduler", scheduler, rule)
    return float(rate) / base if base else 0.0


def _custom(function: Callable[[int], float]) -> Schedule:
    inner = getattr(function, "func", function)  # `to_torch` wraps a schedule
    return inner if isinstance(inner, Schedule) else schedules.Custom(function)


def _cyclic(s: Any, i: int) -> Schedule:
    up, period = round(s.total_size * s.step_ratio), round(s.total_size)
    scale = {"triangular2": "halving", "exp_range": "exponential"}.get(s.mode, "constant")
    high = _relative(s, i, s.max_lrs[i])
    if s._scale_fn_custom is None:
        return schedules.Cyclic(1.0, high, up, period - up, scale, s.gamma)
    triangle = schedules.Cyclic(0.0, 1.0, up, period - up)

    def factor(step: int) -> float:
        x = 1 + step // period if s.scale_mode == "cycle" else step
        return 1.0 + (high - 1.0) * triangle(step) * float(s._scale_fn_custom(x))

    return schedules.Custom(factor)


def _one_cycle(s: Any, i: int) -> Schedule:
    group = s.optimizer.param_groups[i]
    peak = float(group["max_lr"])
    form = schedules.OneCycle(
        steps=s.total_steps,
        peak_at=(s._schedule_phases[0]["end_step"] + 1) / s.total_steps,
        start=float(group["initial_lr"]) / peak,
        end=float(group["min_lr"]) / peak,
        shape={"cos": "cosine"}.get(s._anneal_func_type, s._anneal_func_type),
        three_phase=len(s._schedule_phases) == 3,
    )
    return _relative(s, i, peak) * form


def _swa(s: Any, i: int) -> Schedule:
    end = _relative(s, i, s.optimizer.param_groups[i]["swa_lr"])
    if s.anneal_epochs == 0:
        return schedules.Constant(end)
    # The strategy's name is not kept by every torch; its function is.
    if s.anneal_func(0.25) == 0.25:
        return schedules.Linear(1.0, end, s.anneal_epochs)
    return schedules.Cosine(s.anneal_epochs, end)


_CLOSED_FORMS: dict[type, Callable[[Any, int], Schedule]] = {
    torch_lr.LambdaLR: lambda s, i: _custom(s.lr_lambdas[i]),
    torch_lr.MultiplicativeLR: lambda s, i: schedules.Multiplicative(s.lr_lambdas[i]),
    torch_lr.StepLR: lambda s, i: schedules.StepDecay(s.step_size, s.gamma),
    torch_lr.MultiStepLR: lambda s, i: schedules.MultiStep(tuple(s.milestones.elements()), s.gamma),
    torch_lr.ConstantLR: lambda s, i: schedules.Piecewise([(s.total_iters, s.factor), (1, 1.0)]),
    torch_lr.LinearLR: lambda s, i: schedules.Linear(s.start_factor, s.end_factor, s.total_iters),
    torch_lr.ExponentialLR: lambda s, i: schedules.Exponential(s.gamma),
    torch_lr.PolynomialLR: lambda s, i: schedules.Polynomial(s.total_iters, s.power),
    torch_lr.CosineAnnealingLR: lambda s, i: schedules.Cosine(
        s.T_max, _relative(s, i, s.eta_min), periodic=True
    ),
    torch_lr.CosineAnnealingWarmRestarts: lambda s, i: schedules.CosineRestarts(
        s.T_0, s.T_mult, _relative(s, i, s.eta_min)
    ),
    torch_lr.CyclicLR: _cyclic,
    torch_lr.OneCycleLR: _one_cycle,
    SWALR: _swa,
}

# The classes that may be parts of a chain. Each multiplies the current rate, so torch computes
# their product. The other classes assign a rate, or move the rate towards an end value.
_MULTIPLIES = {
    torch_lr.StepLR,
    torch_lr.MultiStepLR,
    torch_lr.ExponentialLR,
    torch_lr.MultiplicativeLR,
    torch_lr.ConstantLR,
    torch_lr.LinearLR,
    torch_lr.PolynomialLR,
}
# The classes that may be parts of a sequence: each sets a rate of its own at its milestone.
_STARTS_ANEW = _CLOSED_FORMS.keys() - {torch_lr.MultiplicativeLR, SWALR}
