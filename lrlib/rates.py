"""Reading, setting and tracing the rates that an optimizer really uses.

`trace` records what a torch scheduler did; `from_torch` says as a pure schedule what it will do;
`to_torch` goes the other way. The tests hold the first two equal for every class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim import Optimizer
from torch.optim import lr_scheduler as torch_schedulers
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.optim.swa_utils import SWALR

from lrlib import _checks
from lrlib.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Custom,
    Cyclic,
    Exponential,
    Linear,
    MultiStep,
    OneCycle,
    Piecewise,
    Polynomial,
    Product,
    Recurrence,
    Schedule,
    Sequential,
    StepDecay,
)


def current_lrs(optimizer: Optimizer) -> list[float]:
    """The rate of each parameter group now, as plain floats.

    >>> current_lrs(torch.optim.SGD([torch.zeros(1)], lr=0.1))
    [0.1]
    """
    return [float(group["lr"]) for group in _optimizer("current_lrs", optimizer).param_groups]


def set_lr(optimizer: Optimizer, lr: float | Sequence[float]) -> None:
    """Sets the rate of every parameter group: one number for all, or a sequence with one each.

    This is the whole of a manual schedule. A tensor-valued rate (as compiled and capturable
    optimizers keep it) is filled in place.

    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    >>> set_lr(optimizer, 0.01)
    >>> current_lrs(optimizer)
    [0.01]
    """
    groups = _optimizer("set_lr", optimizer).param_groups
    given: list[Any] = (
        [lr] * len(groups)
        if isinstance(lr, int | float | np.number)
        else list(_checks.items("set_lr", "lr", lr, "a rate, or a sequence with one a group"))
    )
    if len(given) != len(groups):
        raise _checks.refuse("set_lr", "lr", lr, f"one rate, or {len(groups)}, one a group")
    # All are checked before the first is set, so that an error changes nothing.
    checked = [_checks.number("set_lr", "lr", rate) for rate in given]
    for group, rate in zip(groups, checked, strict=True):
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

    A real SGD with one parameter group for each of `base_lrs` takes `steps` steps, and
    `make_scheduler(optimizer)` steps after each; row t is the rate of step t, counted from 0.

    >>> trace(lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 2), 4).round(6).tolist()
    [[0.1], [0.1], [0.01], [0.01]]
    """
    steps = _checks.integer("trace", "steps", steps)
    rule = "a function that makes a scheduler for an optimizer"
    make_scheduler = _checks.function("trace", "make_scheduler", make_scheduler, rule)
    one = isinstance(base_lrs, int | float | np.number)
    rates = [base_lrs] if one else _checks.items("trace", "base_lrs", base_lrs, "rates")
    groups = []
    for rate in rates:
        weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        weight.grad = torch.zeros(1, dtype=torch.float64)
        groups.append({"params": [weight], "lr": _checks.number("trace", "base_lrs", rate)})
    if not groups:
        raise _checks.refuse("trace", "base_lrs", base_lrs, "at least one rate")
    # Momentum, because CyclicLR and OneCycleLR move it unless they are told not to.
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    scheduler = make_scheduler(optimizer)
    _open_loop("trace", scheduler)
    used: list[list[float]] = []
    optimizer.register_step_pre_hook(
        lambda optimizer, args, kwargs: used.append(current_lrs(optimizer))
    )
    for step in range(steps):
        optimizer.step()
        if step < steps - 1:
            scheduler.step()
    return np.array(used, dtype=np.float64).reshape(steps, len(groups))


def to_torch(schedule: Schedule | Sequence[Schedule], optimizer: Optimizer) -> LambdaLR:
    """A torch scheduler that sets each group's rate to its `initial_lr` times the schedule.

    One schedule for all groups, or a sequence with one each.

    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    >>> scheduler = to_torch(Linear(0.5, 1.0, steps=10), optimizer)
    >>> scheduler.get_last_lr()
    [0.05]
    """
    groups = _optimizer("to_torch", optimizer).param_groups
    given: list[Any] = (
        [schedule] * len(groups)
        if isinstance(schedule, Schedule)
        else list(_checks.items("to_torch", "schedule", schedule, "schedules"))
    )
    for one in given:
        if not isinstance(one, Schedule):
            raise _checks.refuse_type("to_torch", "schedule", one, "a schedule, or one a group")
    if len(given) != len(groups):
        rule = f"one schedule, or {len(groups)}, one a group"
        raise _checks.refuse("to_torch", "schedule", schedule, rule)
    # Functions, not the schedules themselves: LambdaLR would save an object's fields and write
    # them over another schedule's when a checkpoint is loaded. A function it leaves alone.
    return LambdaLR(optimizer, [_factor_function(one) for one in given])


def _factor_function(schedule: Schedule) -> Callable[[int], float]:
    def factor(step: int) -> float:
        return schedule(step)

    # `from_torch` returns this very schedule.
    factor.schedule = schedule  # type: ignore[attr-defined]
    return factor


# --- from_torch --------------------------------------------------------------------------------


def from_torch(scheduler: LRScheduler) -> list[Schedule]:
    """The pure schedule that a torch scheduler follows, one for each parameter group.

    Each is a factor of the group's `initial_lr`, counted from the scheduler's first step,
    however far it has been stepped. Covers all of torch's open-loop schedulers, `SWALR`,
    `SequentialLR` and `ChainedScheduler`.

    Raises TypeError for `ReduceLROnPlateau` (its rate depends on a metric), for classes that torch
    doesn't have, and for composites inside a `SequentialLR`, which torch steps wrongly
    (pytorch/pytorch#196243).

    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    >>> from_torch(torch.optim.lr_scheduler.StepLR(optimizer, step_size=30))
    [StepDecay(step_size=30, gamma=0.1)]
    """
    _open_loop("from_torch", scheduler)
    groups = range(len(scheduler.optimizer.param_groups))
    return [_factor_of_initial(scheduler, i) for i in groups]


def _open_loop(function: str, scheduler: Any) -> None:
    if isinstance(scheduler, torch_schedulers.ReduceLROnPlateau):
        raise _checks.refuse_type(
            function,
            "scheduler",
            scheduler,
            "an open-loop scheduler; the rate of ReduceLROnPlateau depends on the metric that it "
            "is shown, and has no closed form",
        )
    if not isinstance(scheduler, LRScheduler):
        raise _checks.refuse_type(
            function, "scheduler", scheduler, "a torch learning-rate scheduler"
        )


def _factor_of_initial(scheduler: Any, i: int) -> Schedule:
    """The schedule as a factor of group i's `initial_lr`."""
    initial = float(scheduler.optimizer.param_groups[i]["initial_lr"])
    if type(scheduler) is torch_schedulers.SequentialLR:
        parts = list(scheduler._schedulers)
        bases = {float(part.base_lrs[i]) for part in parts if _is_simple(part)}
        simple = all(_is_simple(part) and type(part) not in _NO_RESTART for part in parts)
        if simple and bases == {initial}:
            return Sequential([_closed_form(part, i) for part in parts], scheduler._milestones)
    elif type(scheduler) is torch_schedulers.ChainedScheduler:
        parts = list(scheduler._schedulers)
        if all(type(part) in _SCALING and float(part.base_lrs[i]) == initial for part in parts):
            return Product([_closed_form(part, i) for part in parts])
    else:
        base = float(scheduler.base_lrs[i])
        form = _closed_form(scheduler, i)
        return form if base == initial else (base / initial) * form
    # A composite whose parts interfere has no formula of its own, but each part's step is one.
    step = _stepper(scheduler, i)
    if initial == 0:
        return Recurrence(lambda t, factor: 0.0)

    def update(t: int, factor: float) -> float:
        value = step(t, initial * factor) / initial
        # A line that ends at 0 may end at −1e-17; a rate that is really negative is refused.
        return 0.0 if -1e-12 < value < 0 else value

    return Recurrence(update)


def _is_simple(scheduler: Any) -> bool:
    return type(scheduler) in _CLOSED_FORMS


def _closed_form(scheduler: Any, i: int) -> Schedule:
    """A simple scheduler's formula, as a factor of its own base rate for group i."""
    form = _CLOSED_FORMS.get(type(scheduler))
    if form is None:
        raise _checks.refuse_type(
            "from_torch",
            "scheduler",
            scheduler,
            "one of torch's own classes; lrlib.trace records what any other scheduler does",
        )
    return form(scheduler, i)


def _relative(scheduler: Any, i: int, rate: float) -> float:
    """An absolute rate as a factor of the base; both 0 is the constant 0."""
    base = float(scheduler.base_lrs[i])
    if base == 0:
        if rate == 0:
            return 0.0
        raise _checks.refuse(
            "from_torch", "scheduler", scheduler, "on a base rate above 0, or it has no factors"
        )
    return float(rate) / base


def _custom(function: Callable[[int], float]) -> Schedule:
    if isinstance(function, Schedule):
        return function
    return getattr(function, "schedule", None) or Custom(function)


def _multiplicative(s: Any, i: int) -> Schedule:
    function = s.lr_lambdas[i]
    return Recurrence(lambda t, factor: factor * function(t) if t else factor)


def _cyclic(s: Any, i: int) -> Schedule:
    up = round(s.total_size * s.step_ratio)
    scale = {"triangular2": "halving", "exp_range": "exponential"}.get(s.mode, "constant")
    high = _relative(s, i, s.max_lrs[i])
    if s._scale_fn_custom is None:
        return Cyclic(1.0, high, up, round(s.total_size) - up, scale, s.gamma)
    wave = Cyclic(1.0, high, up, round(s.total_size) - up)

    def factor(step: int) -> float:
        t = np.array([step])
        x = int(wave.cycle(t)[0]) if s.scale_mode == "cycle" else step
        return 1.0 + (high - 1.0) * float(wave.triangle(t)[0]) * s._scale_fn_custom(x)

    return Custom(factor)


def _one_cycle(s: Any, i: int) -> Schedule:
    group = s.optimizer.param_groups[i]
    peak = float(group["max_lr"])
    form = OneCycle(
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
        return Constant(end)
    # The strategy's name is not kept by every torch; its function is.
    if s.anneal_func(0.25) == 0.25:
        return Linear(1.0, end, s.anneal_epochs)
    return Cosine(s.anneal_epochs, end)


_CLOSED_FORMS: dict[type, Callable[[Any, int], Schedule]] = {
    torch_schedulers.LambdaLR: lambda s, i: _custom(s.lr_lambdas[i]),
    torch_schedulers.MultiplicativeLR: _multiplicative,
    torch_schedulers.StepLR: lambda s, i: StepDecay(s.step_size, s.gamma),
    torch_schedulers.MultiStepLR: lambda s, i: MultiStep(tuple(s.milestones.elements()), s.gamma),
    torch_schedulers.ConstantLR: lambda s, i: Piecewise([(s.total_iters, s.factor), (1, 1.0)]),
    torch_schedulers.LinearLR: lambda s, i: Linear(s.start_factor, s.end_factor, s.total_iters),
    torch_schedulers.ExponentialLR: lambda s, i: Exponential(s.gamma),
    torch_schedulers.PolynomialLR: lambda s, i: Polynomial(s.total_iters, s.power),
    torch_schedulers.CosineAnnealingLR: lambda s, i: Cosine(
        s.T_max, _relative(s, i, s.eta_min), periodic=True
    ),
    torch_schedulers.CosineAnnealingWarmRestarts: lambda s, i: CosineRestarts(
        s.T_0, s.T_mult, _relative(s, i, s.eta_min)
    ),
    torch_schedulers.CyclicLR: _cyclic,
    torch_schedulers.OneCycleLR: _one_cycle,
    SWALR: _swa,
}

# These multiply the rate that they find, whoever set it: (scheduler, its formula, group, step) → by
# how much. Not the ratio of two values of the formula where that could be 0/0.
_SCALING: dict[type, Callable[[Any, Schedule, int, int], float]] = {
    torch_schedulers.StepLR: lambda s, form, i, t: s.gamma if t % s.step_size == 0 else 1.0,
    torch_schedulers.MultiStepLR: lambda s, form, i, t: s.gamma ** s.milestones[t],
    torch_schedulers.ExponentialLR: lambda s, form, i, t: s.gamma,
    torch_schedulers.MultiplicativeLR: lambda s, form, i, t: s.lr_lambdas[i](t),
    torch_schedulers.ConstantLR: lambda s, form, i, t: form(t) / form(t - 1),
    torch_schedulers.LinearLR: lambda s, form, i, t: _held_or_ratio(form, t),
    torch_schedulers.PolynomialLR: lambda s, form, i, t: _held_or_ratio(form, t),
}


def _held_or_ratio(form: Schedule, t: int) -> float:
    before, now = form(t - 1), form(t)
    return 1.0 if now == before else now / before


# Whether SequentialLR enters a part by a full `step(0)`, as it did before torch had `_update_lr`.
_JOINT_IS_A_STEP = not hasattr(LRScheduler, "_update_lr")
# Have no rate of their own to start from when SequentialLR reaches them: they go on from the last.
_NO_RESTART = {torch_schedulers.MultiplicativeLR, SWALR}


def _stepper(scheduler: Any, i: int) -> Callable[[int, float], float]:
    """What one `scheduler.step()` does to group i: (t, the rate it finds) → the rate it leaves.

    At t = 0 that is what constructing the scheduler does. Parts of a ChainedScheduler are taken
    to have been constructed in the order in which they are listed.
    """
    if type(scheduler) is torch_schedulers.ChainedScheduler:
        steppers = [_stepper(part, i) for part in scheduler._schedulers]

        def chained(t: int, lr: float) -> float:
            for step in steppers:
                lr = step(t, lr)
            return lr

        return chained
    if type(scheduler) is torch_schedulers.SequentialLR:
        return _sequential_stepper(scheduler, i)
    form = _closed_form(scheduler, i)
    base = float(scheduler.base_lrs[i])
    if type(scheduler) in _SCALING:
        by = _SCALING[type(scheduler)]
        return lambda t, lr: lr * (by(scheduler, form, i, t) if t else form(0))
    if type(scheduler) is torch_schedulers.CosineAnnealingLR:
        return _cosine_stepper(scheduler, base)
    if type(scheduler) is SWALR:
        return _swa_stepper(scheduler, i)
    return lambda t, lr: base * form(t)  # the others assign, whatever they find


def _cosine_stepper(s: Any, base: float) -> Callable[[int, float], float]:
    def step(t: int, lr: float) -> float:
        if t == 0:
            return lr
        if (t - 1 - s.T_max) % (2 * s.T_max) == 0:
            return lr + (base - s.eta_min) * (1 - math.cos(math.pi / s.T_max)) / 2
        now, before = (1 + math.cos(math.pi * x / s.T_max) for x in (t, t - 1))
        return float(now / before * (lr - s.eta_min) + s.eta_min)

    return step


def _swa_stepper(s: Any, i: int) -> Callable[[int, float], float]:
    target = float(s.optimizer.param_groups[i]["swa_lr"])

    def step(t: int, lr: float) -> float:
        # With nothing to anneal, torch's first step is already its last.
        t = max(t, 1) if s.anneal_epochs == 0 else t
        before, now = (
            s.anneal_func(min(max(x / max(1, s.anneal_epochs), 0), 1)) for x in (t - 1, t)
        )
        start = target if before == 1 else (lr - before * target) / (1 - before)
        return float(target * now + start * (1 - now))

    return step


def _sequential_stepper(scheduler: Any, i: int) -> Callable[[int, float], float]:
    parts, at = scheduler._schedulers, scheduler._milestones
    for part in parts:
        if not _is_simple(part):
            raise _checks.refuse_type(
                "from_torch",
                "scheduler",
                part,
                "no composite inside a SequentialLR: torch steps it wrongly (pytorch#196243). "
                "Join lrlib schedules with `sequence` and pass them to `to_torch` instead",
            )
    initial = float(scheduler.optimizer.param_groups[i]["initial_lr"])
    steppers = [_stepper(part, i) for part in parts]
    forms = [_closed_form(part, i) for part in parts]
    # Sequential's own checks of the milestones: their number, their order.
    starts = (0, *Sequential(forms, at).at)

    def step(t: int, lr: float) -> float:
        current = sum(start <= t for start in starts) - 1
        clock = t - starts[current]
        if t == 0:
            return steppers[current](0, initial)
        if type(parts[current]) is SWALR:
            # SWALR counts its steps itself; older torches let the joint be one of them.
            return steppers[current](clock + (current > 0 and _JOINT_IS_A_STEP), lr)
        if clock:
            return steppers[current](clock, lr)
        if type(parts[current]) is torch_schedulers.MultiplicativeLR:
            return float(lr * parts[current].lr_lambdas[i](0))
        return float(parts[current].base_lrs[i]) * forms[current](0)

    return step


def _optimizer(function: str, optimizer: Any) -> Optimizer:
    if not isinstance(optimizer, Optimizer):
        raise _checks.refuse_type(function, "optimizer", optimizer, "a torch optimizer")
    return optimizer
