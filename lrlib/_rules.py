"""The rules of the checkup: each function yields what it saw, as (rule, step or None, words)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import isclose, isfinite
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.optim import Optimizer
from torch.optim import lr_scheduler as torch_lr

from lrlib.rates import from_torch

Seen = tuple[str, int | None, str]
Rates = NDArray[np.float64]

SITE = "https://learning-rate-book.github.io/learning-rate-book/"
MUSEUM = "chapters/04-built-in-schedulers/bug-museum.html#exhibit-"
GROUPS, SYMPTOMS = "chapters/02-per-layer-rates/parameter-groups.html", "book/symptoms.html"
COSINE = "chapters/04-built-in-schedulers/cosine.html"
HAND = "chapters/03-manual-schedules/by-hand.html"

# Each rule: the exhibit of the bug museum (or the page) that explains it, and what to do instead.
RULES: dict[str, tuple[int | str, str]] = {
    "raises": (SYMPTOMS, "look up the message on this page"),
    "not-finite": (SYMPTOMS, "look for a division by 0 in the function that gives the rate"),
    "negative-rate": (35, "hold the rate at 0 after the end; check the sign of `gamma`"),
    "starts-at-zero": (7, "start above 0; on a used optimizer, set `lr` and `initial_lr` again"),
    "rises-at-end": (6, "count the calls of scheduler.step(), and end the decay at that number"),
    "restarts-at-end": (COSINE, "choose the cycles so that the last one ends with the run"),
    "zero-early": (3, "count the schedule's length in the unit in which you call step()"),
    "decays-in-first-epoch": (3, "step once per epoch, or use gamma ** (1 / steps_per_epoch)"),
    "unfinished": (21, "the lengths of the parts must add up to the calls of scheduler.step()"),
    "group-not-scheduled": (39, "add all groups to the optimizer before you build the scheduler"),
    "flattened": (27, "pass one rate per group: max_lr=[g['lr'] for g in optimizer.param_groups]"),
    "weight-in-no-group": (GROUPS, "give the optimizer every trainable parameter"),
    "weight-in-two-groups": (GROUPS, "build the groups from one list of named parameters"),
    "lr-overwritten": (27, "tune the scheduler's `max_lr` or `base_lr`; `lr` has no effect"),
    "momentum-overwritten": (41, "set cycle_momentum=False"),
    "used-before": (9, "delete `initial_lr` from each group before you build the new scheduler"),
    "stepped-first": (1, "call optimizer.step() first, then scheduler.step()"),
    "stepped-too-often": (2, "step the scheduler only if the optimizer took a step"),
    "stepped-too-seldom": (HAND, "call scheduler.step() once per step, or once per epoch"),
    "never-stepped": (HAND, "call scheduler.step() after each optimizer step, or each epoch"),
    "last-lr-differs": (
        36,
        "build both, then load both; change rates in the schedule, not by hand",
    ),
    "off-schedule": (37, "after loading, write the schedule's rate into the optimizer"),
    "saves-an-object": (38, "pass a function: LambdaLR(optimizer, lambda t: schedule(t))"),
    "milestones-unsorted": (20, "sort the milestones"),
    "nested": (18, "use one flat SequentialLR, or one function"),
    "chain-not-a-product": (24, "multiply the factors in one function, and pass it to LambdaLR"),
    "rate-squared": (26, "return the factor, not the rate; or give the optimizer lr=1.0"),
    "plateau-mode": (31, "set `mode` to what the metric does when it gets better"),
    "plateau-negative": (30, 'set threshold_mode="abs"'),
    "plateau-nan": (32, "stop the run when the metric isn't finite"),
    "plateau-frozen": (33, "set eps=0, and min_lr to the lowest rate that you want"),
}
# What some sound runs do as well: notes.
NOTES: dict[str, tuple[int | str, str]] = {
    "ends-high": (21, "if the rate should decay to 0, check the length; a constant end is fine"),
    "never-changes": (29, "check the milestones and lengths; a constant rate is fine"),
    "first-rate-zero": (SYMPTOMS, "start the warmup at 1/n; else a step or epoch is lost"),
    "past-the-end": (8, "don't call scheduler.step() after the last step"),
    "not-at-start": (4, "build a new scheduler, unless you resume"),
    "constant-group": (GROUPS, "check its rate; a group that is held constant is fine"),
}
RULES |= NOTES


# --- The optimizer and the scheduler -----------------------------------------------------------


def weights(optimizer: Optimizer | None, model: nn.Module | None) -> Iterator[Seen]:
    """Each trainable weight of the model belongs to exactly one group."""
    if optimizer is None or model is None:
        return
    held = Counter(id(weight) for group in optimizer.param_groups for weight in group["params"])
    for name, weight in model.named_parameters():
        if weight.requires_grad and not held[id(weight)]:
            yield "weight-in-no-group", None, f"{name} is in no group, and is never trained"
        if held[id(weight)] > 1:
            yield "weight-in-two-groups", None, f"{name} is in the groups more than once"


def parts(scheduler: Any) -> Iterator[Any]:
    """The scheduler, and all those inside it."""
    yield scheduler
    for part in getattr(scheduler, "_schedulers", []):
        yield from parts(part)


def counter(scheduler: Any) -> Any:
    """What counts the scheduler's steps, as `last_epoch`: a chain leaves that to its parts."""
    return next(part for part in parts(scheduler) if hasattr(part, "last_epoch"))


def at_start(scheduler: Any, optimizer: Optimizer) -> Iterator[Seen]:
    """What can be seen before the first step."""
    groups, position = optimizer.param_groups, counter(scheduler).last_epoch
    used, said = [float(g["lr"]) for g in groups], scheduler.get_last_lr()
    if said != used:
        words = f"get_last_lr() says {shown(said)}, the optimizer uses {shown(used)}"
        yield "last-lr-differs", 0, words
    for part in parts(scheduler):
        if len(getattr(part, "base_lrs", groups)) < len(groups):
            words = f"was built for {len(part.base_lrs)} of {len(groups)} groups"
            yield "group-not-scheduled", None, f"{type(part).__name__} {words}"
        for function in getattr(part, "lr_lambdas", []):
            if not isinstance(function, FunctionType) and getattr(function, "__dict__", None):
                words = f"a checkpoint saves the fields of {type(function).__name__}"
                yield "saves-an-object", None, words
        milestones = getattr(part, "_milestones", [])
        if list(milestones) != sorted(milestones):
            yield "milestones-unsorted", None, f"milestones={milestones}: a part never runs"
        inner = [p for p in getattr(part, "_schedulers", []) if hasattr(p, "_schedulers")]
        if inner and isinstance(part, torch_lr.SequentialLR):
            words = f"{type(inner[0]).__name__} in a SequentialLR loses a step or fails"
            yield "nested", None, words
    if position > 0:
        yield "not-at-start", 0, f"the scheduler begins at position {position}"
        try:
            factors = [factor(position) for factor in from_torch(scheduler)]
        except (TypeError, ValueError):  # it has no formula
            return
        initial = [group["initial_lr"] for group in groups]
        due = np.multiply(initial, factors).tolist()
        if not np.allclose(due, used, rtol=1e-4, atol=1e-6 * max(initial)):
            words = f"at position {position} the schedule gives {shown(due)}, the optimizer has "
            yield "off-schedule", 0, words + shown(used)


def momentum(before: Sequence[Mapping[str, Any]], groups: Sequence[Any]) -> Iterator[Seen]:
    """Momentum and β₁ are those that the optimizer was given."""
    for old, new in zip(before, groups, strict=True):
        for name in ("momentum", "betas"):
            if name in old and old[name] != new[name]:
                words = f"the scheduler set {name} to {new[name]}, the optimizer was given "
                yield "momentum-overwritten", 0, f"{words}{old[name]}"


def against_optimizer(scheduler: Any, before: Sequence[Any], rates: Rates) -> Iterator[Seen]:
    """The rates against those that the optimizer had before the scheduler was built."""
    groups = scheduler.optimizer.param_groups
    yield from momentum(before, groups)
    lrs = [float(group["lr"]) for group in before]
    peaks = rates.max(0)
    for i, lr in enumerate(lrs):
        flat = [j for j in range(i) if lrs[j] != lr and (rates[:, i] == rates[:, j]).all()]
        if flat and peaks[i] > 0:
            words = f"groups {flat[0]} and {i} were given different rates, and get the same rate"
            yield "flattened", 0, words
            return
    for i, (lr, old, new) in enumerate(zip(lrs, before, groups, strict=True)):
        initial = float(new["initial_lr"]) if "initial_lr" in new else lr
        if "initial_lr" in old:
            if lr != float(old["initial_lr"]) and not close(rates[0, i], lr):
                words = f"an earlier scheduler left the rate {lr:.4g}; building this one made it "
                yield "used-before", 0, f"{words}{rates[0, i]:.4g}"
        # A tenth, since the schedule's peak may lie between two steps.
        elif not close(initial, lr) and abs(peaks[i] - lr) > lr / 10:
            words = f"the optimizer's lr={lr:g} has no effect; the rates go up to {peaks[i]:.4g}"
            yield "lr-overwritten", 0, words
        if isinstance(scheduler, torch_lr.LambdaLR) and lr != 1 and close(peaks[i], lr * lr):
            words = f"the highest rate, {peaks[i]:.4g}, is the square of lr={lr:g}"
            yield "rate-squared", 0, words


def chain(scheduler: Any, rates: Rates) -> Iterator[Seen]:
    """A chain is the product of its parts."""
    if not isinstance(scheduler, torch_lr.ChainedScheduler):
        return
    initial = float(scheduler.optimizer.param_groups[0]["initial_lr"])
    try:
        factors = [from_torch(part)[0](np.arange(len(rates))) for part in scheduler._schedulers]
    except (TypeError, ValueError):  # a part has no formula
        return
    wrong = abs(np.prod(factors, 0) * initial - rates[:, 0]) > 1e-6 * rates[:, 0].max()
    if wrong.any():
        yield "chain-not-a-product", int(wrong.argmax()), "the rate isn't the product of the parts"


def length(scheduler: Any, position: int | None) -> Iterator[Seen]:
    """A schedule of a known length is finished, not passed; position: where a whole run ended."""
    total = _length(scheduler)
    if position is not None and total > 1.02 * position + 1:
        yield "unfinished", None, f"the schedule has {total} steps; the run ends after {position}"
    for part in parts(scheduler):
        if part.__dict__.get("total_steps", np.inf) <= counter(part).last_epoch:
            words = "one call of step() too many changed the rate after the schedule's end"
            yield "past-the-end", counter(part).last_epoch, words


def _length(scheduler: Any) -> int:
    """How many steps the schedule has; 0 if that isn't known."""
    if isinstance(scheduler, torch_lr.SequentialLR):
        last = _length(scheduler._schedulers[-1])
        return scheduler._milestones[-1] + last if last and scheduler._milestones else last
    if isinstance(scheduler, torch_lr.ChainedScheduler):
        return max(map(_length, scheduler._schedulers))
    names = ["total_steps", "T_max"]
    if not isinstance(scheduler, torch_lr.ConstantLR):  # its rate steps once, where it ends
        names.append("total_iters")
    known = [getattr(scheduler, name, 0) for name in names]
    for function in getattr(scheduler, "lr_lambdas", []):  # transformers' schedules are partials
        known.append(getattr(function, "keywords", {}).get("num_training_steps", 0))
    return max(known)


def plateau(scheduler: Any, metrics: Sequence[float], rates: Rates) -> Iterator[Seen]:
    """`ReduceLROnPlateau`, with the metrics that it was shown, if they are known."""
    if not isinstance(scheduler, torch_lr.ReduceLROnPlateau):
        return
    bad = [t for t, metric in enumerate(metrics) if not isfinite(metric)]
    if bad:
        yield "plateau-nan", bad[0], f"the metric is {metrics[bad[0]]}, which counts as a bad epoch"
    best = float(scheduler.best)
    if isfinite(best) and best < 0 < scheduler.threshold and scheduler.threshold_mode == "rel":
        yield (
            "plateau-negative",
            None,
            f"best is {best:g}: a slightly worse metric counts as better",
        )
    worse = np.diff(metrics) * (1 if scheduler.mode == "min" else -1)
    if not bad and len(worse) > 1 and (worse > 0).all() and rates[-1].max() < rates[0].max():
        words = "the metric gets worse all the time, and the rate fell"
        yield "plateau-mode", None, f'with mode="{scheduler.mode}" {words}'
    for group, low in zip(scheduler.optimizer.param_groups, scheduler.min_lrs, strict=False):
        lr = float(group["lr"])
        if 0 < lr - max(lr * scheduler.factor, low) <= scheduler.eps:
            words = f"would fall by no more than eps={scheduler.eps:g}, so it stays"
            yield "plateau-frozen", None, f"the rate {lr:.3g} {words}"


# --- The calls of step() -----------------------------------------------------------------------


def calls(positions: Rates, start: int, end: int, per_epoch: int | None) -> Iterator[Seen]:
    """positions: where the scheduler was at each optimizer step; start, end: outside of them."""
    moved = np.diff(positions, prepend=start)
    steps, epochs = len(moved), len(moved) // (per_epoch or len(moved) or 1)
    if steps and moved[0] > 0:
        yield "stepped-first", 0, "scheduler.step() was called before the first optimizer.step()"
    often = np.flatnonzero(moved[1:] > 1) + 1
    if len(often):
        words = f"two or more calls of scheduler.step() before {len(often)} of {steps} "
        yield "stepped-too-often", int(often[0]), f"{words}optimizer steps"
    if steps > max(1, per_epoch or 1) and end == start:
        yield "never-stepped", None, f"{steps} steps of the optimizer, none of the scheduler"
    elif 0 < end - start < epochs - 1:
        words = f"{end - start} steps of the scheduler in {epochs} epochs"
        yield "stepped-too-seldom", None, words


# --- The rates ---------------------------------------------------------------------------------


def any_rates(rates: Rates, after: Sequence[float]) -> Iterator[Seen]:
    """What is wrong in any part of a run; after: the rates that the last call of step() left."""
    every = np.vstack([rates, after])
    for rule, wrong in (("not-finite", ~np.isfinite(every)), ("negative-rate", every < 0)):
        if wrong.any():
            step, group = np.argwhere(wrong)[0].tolist()
            yield rule, step, f"the rate is {every[step, group]:.4g}"
    zeros = int((rates > 0).any(1).argmax()) if (rates > 0).any() else len(rates)
    if zeros == 1 < len(rates):
        yield "first-rate-zero", 0, "the rate of the first step is 0, so this step is lost"
    elif zeros:
        yield "starts-at-zero", 0, f"the rate is 0 in the first {zeros} steps"


def whole_run(rates: Rates, per_epoch: int | None) -> Iterator[Seen]:
    """The curve of a whole run, [steps, groups]."""
    steps, tail = len(rates), max(1, len(rates) // 10)
    varies = np.ptp(rates, 0) > 0
    if not varies.any() and steps > 1:
        yield "never-changes", None, f"all {steps} steps have the same rate"
    for i, column in enumerate(rates.T):
        peak, last = column.max(), column[-1]
        who = f"the rate{f' of group {i}' * (len(varies) > 1)}"
        if not peak > 0:
            continue
        if not varies[i]:
            if varies.any():
                yield "constant-group", None, f"{who} is always {peak:.4g}"
            continue
        rises = np.diff(column[-tail - 1 :])
        if len(rises) and rises.max() > 1e-6 * peak:
            at = steps - len(rises) + int((rises > 1e-6 * peak).argmax())
            rule = "restarts-at-end" if rises.max() > peak / 2 else "rises-at-end"
            yield rule, at, f"{who} goes up from {column[at - 1]:.4g} to {column[at:].max():.4g}"
        elif peak / 10 < last < peak * (1 - 1e-6):
            yield "ends-high", steps - 1, f"{who} ends at {last:.4g}, its peak is {peak:.4g}"
        end = steps - int((column[::-1] > 1e-6 * peak).argmax())
        if steps - end > tail:
            yield "zero-early", end, f"{who} is practically 0 in the last {steps - end} steps"
        if per_epoch and steps >= 2 * per_epoch and column[per_epoch - 1 :].max() < peak / 100:
            words = f"{who} falls from {peak:.4g} to {column[per_epoch - 1]:.4g} in the first epoch"
            yield "decays-in-first-epoch", per_epoch - 1, words


close = partial(isclose, rel_tol=1e-6)


def shown(rates: Sequence[Any]) -> str:
    return ", ".join(f"{float(rate):.4g}" for rate in rates)
