"""Plateau reduction as a visible state machine: no optimizer, no hidden counters.

`PlateauRule` is torch's `ReduceLROnPlateau` as a pure function from one state to the next, on
arrays, so that one call moves a single run or ten thousand. `decisions` is its log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrlib import _checks
from lrlib._checks import Checked, Factor, Whole, one_of

__all__ = ["PlateauRule", "decisions"]


class PlateauState(NamedTuple):
    """All that the rule remembers; arrays of one shape, or of shapes that broadcast.

    lr: the rates now; best: the best metric so far; bad: epochs since then without improvement;
    cooldown: epochs left in which bad ones aren't counted.
    """

    lr: NDArray[np.float64]
    best: NDArray[np.float64]
    bad: NDArray[np.int64]
    cooldown: NDArray[np.int64]


def _reducing(owner: str, name: str, value: Any) -> float:
    factor = _checks.number(owner, name, value)
    if factor >= 1:
        raise _checks.refuse(owner, name, value, "below 1, or nothing is reduced")
    return factor


def _one_or_per_group(owner: str, name: str, value: Any) -> float | tuple[float, ...]:
    if not isinstance(value, Iterable):
        return _checks.number(owner, name, value)
    return _checks.each(_checks.number, rule="a rate, or one for each group")(owner, name, value)


@dataclass(frozen=True)
class PlateauRule(Checked):
    """When to lower the rate, and how far: the arguments of torch's `ReduceLROnPlateau`.

    An epoch is *bad* if its metric isn't better than the best so far by more than the threshold
    (NaN is bad). After more than `patience` bad epochs in a row the rate is multiplied by `factor`,
    but not below `min_lr` (one value for all groups, or one for each). If that would change the
    rate by `eps` or less, the rate stays. Then `cooldown` epochs pass in which bad ones don't
    count.

    The value to beat depends on `threshold_mode`. With "rel" it is best · (1 ∓ threshold), as in
    torch; if the best is negative, even a slightly worse metric beats this value. With "abs" it is
    best ∓ threshold. With "magnitude", which torch doesn't have, it is
    best ∓ threshold · abs(best): the same as "rel" for positive metrics.

    >>> rule = PlateauRule(factor=0.5, patience=1)
    >>> state = rule.start(0.1)
    >>> for metric in [1.0, 1.0, 1.0]:
    ...     state = rule.step(state, metric)
    >>> float(state.lr), int(state.bad)
    (0.05, 0)
    """

    mode: Annotated[str, one_of("min", "max")] = "min"
    factor: Annotated[float, _reducing] = 0.1
    patience: Whole = 10
    threshold: Factor = 1e-4
    threshold_mode: Annotated[str, one_of("rel", "abs", "magnitude")] = "rel"
    cooldown: Whole = 0
    min_lr: Annotated[float | tuple[float, ...], _one_or_per_group] = 0.0
    eps: Factor = 1e-8

    def start(self, lr: ArrayLike) -> PlateauState:
        """The state before the first metric: a rate, one for each group, or one for each run.

        The groups of one optimizer share one metric, and each run has a metric of its own. `step`
        works for both.
        """
        rates = _checks.array("start", "lr", lr, "a rate, or one for each group or run")
        if not (np.isfinite(rates).all() and (rates >= 0).all()):
            raise _checks.refuse("start", "lr", lr, "finite numbers of at least 0")
        if isinstance(self.min_lr, tuple) and rates.shape != (len(self.min_lr),):
            raise _checks.refuse("start", "lr", lr, f"{len(self.min_lr)} rates, as min_lr has")
        worst = np.array(np.inf if self.mode == "min" else -np.inf)
        return PlateauState(rates, worst, np.array(0), np.array(0))

    def step(self, state: PlateauState, metric: ArrayLike) -> PlateauState:
        """The state after an epoch; `metric` is a number, or an array with one for each run.

        If the metrics have another shape than the rates, the two shapes must broadcast.
        """
        value = np.asarray(metric, dtype=np.float64)
        better = self.better(value, state.best)
        best = np.where(better, value, state.best)
        bad = np.where(better | (state.cooldown > 0), 0, state.bad + 1)
        cooldown = np.maximum(state.cooldown - 1, 0)
        reduce = bad > self.patience
        lower = np.maximum(state.lr * self.factor, self.min_lr)
        lr = np.where(reduce & (state.lr - lower > self.eps), lower, state.lr)
        return PlateauState(
            lr, best, np.where(reduce, 0, bad), np.where(reduce, self.cooldown, cooldown)
        )

    def better(self, metric: ArrayLike, best: ArrayLike) -> NDArray[np.bool_]:
        """Whether a metric improves on the best so far by more than the threshold."""
        value, reference = np.asarray(metric), np.asarray(best)
        sign = 1.0 if self.mode == "min" else -1.0
        with np.errstate(invalid="ignore"):  # 0 · infinity: torch gets NaN there too, and is bad
            if self.threshold_mode == "rel":
                bar = reference * (1.0 - sign * self.threshold)
            elif self.threshold_mode == "abs":
                bar = reference - sign * self.threshold
            else:
                size = np.where(np.isfinite(reference), np.abs(reference), 0.0)
                bar = reference - sign * self.threshold * size
            result: NDArray[np.bool_] = value < bar if sign > 0 else value > bar
        return result


class Decision(NamedTuple):
    """The rule's decision for one epoch. As text, a line of the log.

    lr: the rate from the next step on, a tuple if there are groups; bad: bad epochs in a row,
    this one included; verdict: the reason in words.
    """

    epoch: int
    metric: float
    bad: int
    lr: float | tuple[float, ...]
    verdict: str

    def __str__(self) -> str:
        return f"epoch {self.epoch}: {self.metric:.4g}, {self.verdict}"


def decisions(
    metrics: Iterable[float], base_lr: float | Sequence[float] = 0.1, **rule: Any
) -> list[Decision]:
    """What plateau reduction decides after each metric, and why; epochs count from 0.

    `rule` are the arguments of `PlateauRule`, which are those of torch's `ReduceLROnPlateau`, and
    the rates are those of torch at every epoch. `base_lr` is a rate, or one for each parameter
    group.

    >>> for decision in decisions([1.0, 0.8, 0.9, 0.8, 0.7], factor=0.5, patience=1):
    ...     print(decision)
    epoch 0: 1, the best so far
    epoch 1: 0.8, the best so far
    epoch 2: 0.9, 1 bad (patience 1)
    epoch 3: 0.8, 2 bad, more than 1: reduced 0.1 → 0.05
    epoch 4: 0.7, the best so far
    """
    chosen = PlateauRule(**rule)
    due = "a sequence of numbers"
    number = partial(_checks.array, rule=due, single=True)
    values = _checks.each(number, rule=due)("decisions", "metrics", metrics)
    state = chosen.start(_one_or_per_group("decisions", "base_lr", base_lr))
    log = []
    for epoch, metric in enumerate(map(float, values)):
        before, state = state, chosen.step(state, metric)
        # The state forgets the count when it acts on it.
        improved = bool(chosen.better(metric, before.best))
        bad = 0 if improved or before.cooldown > 0 else int(before.bad) + 1
        verdict = _verdict(chosen, before, state, improved, bad)
        lr = tuple(state.lr.tolist()) if state.lr.ndim else float(state.lr)
        log.append(Decision(epoch, metric, bad, lr, verdict))
    return log


def _verdict(
    rule: PlateauRule, before: PlateauState, after: PlateauState, improved: bool, bad: int
) -> str:
    if improved:
        return "the best so far"
    if before.cooldown > 0:
        left = f"cooldown, {after.cooldown} more" if after.cooldown else "the last of the cooldown"
        return f"not better, but not counted: {left}"
    if bad <= rule.patience:
        return f"{bad} bad (patience {rule.patience})"
    reason = f"{bad} bad, more than {rule.patience}: "
    if np.array_equal(before.lr, after.lr):
        held = np.maximum(before.lr * rule.factor, rule.min_lr) >= before.lr
        why = "which is min_lr" if held.all() else "the change would be no more than eps"
        return f"{reason}stays at {_text(after.lr)}, {why}"
    return f"{reason}reduced {_text(before.lr)} → {_text(after.lr)}"


def _text(lr: NDArray[np.float64]) -> str:
    return ", ".join(f"{rate:.4g}" for rate in np.atleast_1d(lr))
