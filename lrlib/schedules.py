"""A schedule is a pure function of the step: no torch, no state.

`schedule(t)` takes a step counted from 0 (an int, or an integer array) and returns the *factor*
that multiplies the base rate. A schedule remembers nothing. So to resume at step t, you call it at
t, and the curve that you plot is the curve that a training with this schedule uses.

>>> warmup = Linear(start=0.1, end=1.0, steps=10)
>>> schedule = warmup.then(Cosine(steps=90), at=10)
>>> schedule(0), schedule(10), schedule(100)
(0.1, 1.0, 0.0)
>>> schedule.lrs(base_lr=0.5, steps=3).round(3).tolist()
[0.05, 0.095, 0.14]

Every class is equal, step by step, to the torch scheduler that its docstring names (`lrlib.rates`
converts between the two, and the tests compare them).
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, cast, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrlib import _checks
from lrlib._checks import Count, Factor, Flag, Positive, Share, Whole, count, each, instance

__all__ = [
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Custom",
    "Cyclic",
    "Exponential",
    "InverseSqrt",
    "InverseTime",
    "Linear",
    "MultiStep",
    "Multiplicative",
    "OneCycle",
    "Piecewise",
    "Polynomial",
    "Product",
    "Schedule",
    "Sequential",
    "StepDecay",
    "WarmupStableDecay",
]

Steps = NDArray[np.int64]
Factors = NDArray[np.float64]
_LARGEST = np.iinfo(np.int64).max


class Schedule(_checks.Checked, ABC):
    """The learning rate's factor as a function of the step.

    Subclasses are frozen dataclasses that implement the formula in `factor`; the types of their
    fields check the arguments. Schedules can be joined (`a.then(b, at=n)`), multiplied (`a * b`)
    and scaled (`2 * a`).
    """

    @abstractmethod
    def factor(self, t: Steps) -> Factors:
        """The formula, for a one-dimensional array of checked steps (int64, at least 0)."""

    @overload
    def __call__(self, t: int) -> float: ...
    @overload
    def __call__(self, t: ArrayLike) -> Factors: ...
    def __call__(self, t: Any) -> float | Factors:
        """The factor at step `t`: a float for an int, a float64 array for an integer array.

        Raises TypeError for steps that are not integers, ValueError for negative steps and for a
        factor that is not a finite number of at least 0.
        """
        if type(t) is int and 0 <= t <= _LARGEST:  # a training's case, without the work for arrays
            with np.errstate(over="ignore", invalid="ignore"):
                one = float(self.factor(np.array([t]))[0])
            if 0 <= one < math.inf:
                return one
        name = type(self).__name__
        steps = np.asarray(t)
        if steps.dtype.kind not in "iu":
            raise _checks.refuse(name, "t", t, "an integer step or an array of them", TypeError)
        if steps.size and (steps.min() < 0 or steps.max() > _LARGEST):
            raise _checks.refuse(name, "t", t, "a step of at least 0 (steps count from 0)")
        # Always along one axis: numpy's powers of a single number differ in the last bit.
        flat = steps.astype(np.int64).reshape(-1)
        with np.errstate(over="ignore", invalid="ignore"):
            factors = np.asarray(self.factor(flat), dtype=np.float64)
        sound = np.isfinite(factors) & (factors >= 0)
        if not sound.all():
            worst = int(np.argmin(sound))
            step, value = flat[worst], factors[worst]
            raise ValueError(
                f"{self!r}: the factor at step {step} is {value:g}, but a learning rate's factor "
                "must be a finite number of at least 0"
            )
        return factors.reshape(steps.shape) if steps.ndim else float(factors[0])

    def lrs(self, base_lr: float, steps: int) -> Factors:
        """The rates of steps 0 … steps−1: `base_lr` times the factor, shape [steps].

        >>> Exponential(0.5).lrs(base_lr=0.1, steps=3).tolist()
        [0.1, 0.05, 0.025]
        """
        base_lr = _checks.number("lrs", "base_lr", base_lr)
        steps = _checks.integer("lrs", "steps", steps)
        return base_lr * self(np.arange(steps))

    def then(self, other: Schedule, at: int) -> Sequential:
        """This schedule before step `at`, then `other`, which counts its steps from 0."""
        return Sequential((self, other), (at,))

    def __mul__(self, other: Schedule | float) -> Product:
        return Product((self, other if isinstance(other, Schedule) else Constant(other)))

    def __rmul__(self, other: float) -> Product:
        return Product((Constant(other), self))


def _progress(t: Steps, steps: int) -> Factors:
    """Fraction of `steps` completed at t, from 0 to 1, then held at 1."""
    return np.minimum(t, steps) / steps


# --- What the fields are checked for -----------------------------------------------------------


def _piece(owner: str, name: str, value: Any) -> tuple[int, float]:
    rule = "pairs (how many steps, factor)"
    pair = _checks.items(owner, name, value, rule)
    if len(pair) != 2:
        raise _checks.refuse(owner, name, value, rule)
    steps = count(owner, f"{name}: steps", pair[0])
    return steps, _checks.number(owner, f"{name}: factor", pair[1])


def _in_order(owner: str, name: str, value: Any) -> tuple[int, ...]:
    return tuple(sorted(each(_checks.integer)(owner, name, value)))


Schedules = Annotated[
    tuple["Schedule", ...] | Sequence["Schedule"],
    each(partial(instance, kind=Schedule, rule="schedules, such as Cosine(steps=100)"), least=1),
]
Milestones = Annotated[tuple[int, ...] | Sequence[int], _in_order]
Joints = Annotated[tuple[int, ...] | Sequence[int], each(count)]
Pieces = Annotated[
    tuple[tuple[int, float], ...] | Sequence[tuple[int, float]], each(_piece, least=1)
]
StepFunction = Annotated[
    Callable[[int], float],
    partial(instance, kind=Callable, rule="a function of the step (an int) that returns a factor"),
]


# --- One formula each --------------------------------------------------------------------------


@dataclass(frozen=True)
class Constant(Schedule):
    """The same factor at every step: f(t) = value.

    >>> Constant()(1000)
    1.0
    """

    value: Factor = 1.0

    def factor(self, t: Steps) -> Factors:
        return np.full(t.shape, self.value)


@dataclass(frozen=True)
class StepDecay(Schedule):
    """Multiplied by gamma every `step_size` steps: f(t) = gamma^⌊t / step_size⌋.

    Never ends. The same as torch's `StepLR`.

    >>> StepDecay(30, gamma=0.1).lrs(0.1, 61)[[0, 29, 30, 60]].round(6).tolist()
    [0.1, 0.1, 0.01, 0.001]
    """

    step_size: Count
    gamma: Factor = 0.1

    def factor(self, t: Steps) -> Factors:
        return np.power(self.gamma, t // self.step_size, dtype=np.float64)


@dataclass(frozen=True)
class MultiStep(Schedule):
    """Multiplied by gamma at each milestone: f(t) = gamma^(number of milestones ≤ t).

    A milestone that is listed twice counts twice. Holds its last value. The same as torch's
    `MultiStepLR`.

    >>> MultiStep([30, 80])([29, 30, 80]).round(6).tolist()
    [1.0, 0.1, 0.01]
    """

    milestones: Milestones
    gamma: Factor = 0.1

    def factor(self, t: Steps) -> Factors:
        passed = np.searchsorted(np.array(self.milestones, dtype=np.int64), t, side="right")
        return np.power(self.gamma, passed, dtype=np.float64)


@dataclass(frozen=True)
class Exponential(Schedule):
    """Multiplied by gamma at every step: f(t) = gamma^t.

    Never ends; with a gamma above 1 the rate grows (as in a range test). The same as torch's
    `ExponentialLR`.

    >>> Exponential(0.9)(2)
    0.81
    """

    gamma: Factor

    def factor(self, t: Steps) -> Factors:
        return np.power(self.gamma, t, dtype=np.float64)


@dataclass(frozen=True)
class InverseTime(Schedule):
    """The 1/t law: f(t) = 1 / (1 + decay · t).

    Optimal on the noisy quadratic with one known curvature (chapter 1), and the classical choice
    that meets the conditions of Robbins and Monro (1951). Never ends. torch has no class for it.

    >>> InverseTime(decay=0.5)([0, 2, 6]).tolist()
    [1.0, 0.5, 0.25]
    """

    decay: Factor

    def factor(self, t: Steps) -> Factors:
        return 1.0 / (1.0 + self.decay * t.astype(np.float64))


@dataclass(frozen=True)
class InverseSqrt(Schedule):
    """The inverse square root: f(t) = 1 / √(1 + t / timescale).

    After a warmup of w steps, `Linear(1 / w, 1, w - 1).then(InverseSqrt(w), at=w - 1)` is the
    schedule of the original Transformer, whose steps count from 1: t/w, then √(w / t) (Vaswani et
    al., 2017). Never ends.

    >>> InverseSqrt(timescale=100)([0, 300, 800]).round(6).tolist()
    [1.0, 0.5, 0.333333]
    """

    timescale: Positive

    def factor(self, t: Steps) -> Factors:
        return 1.0 / np.sqrt(1.0 + t / self.timescale)


@dataclass(frozen=True)
class Polynomial(Schedule):
    """From 1 down to `end` along a power: f(t) = end + (1 − end) · (1 − t / steps)^power.

    Holds `end` afterwards. With end=0 the same as torch's `PolynomialLR`.

    >>> Polynomial(steps=4, power=2)([0, 1, 2, 4, 9]).tolist()
    [1.0, 0.5625, 0.25, 0.0, 0.0]
    """

    steps: Count
    power: Positive = 1.0
    end: Factor = 0.0

    def factor(self, t: Steps) -> Factors:
        return self.end + (1.0 - self.end) * (1.0 - _progress(t, self.steps)) ** self.power


@dataclass(frozen=True)
class Linear(Schedule):
    """A straight line: f(t) = start + (end − start) · t / steps, for warmup or decay.

    Holds `end` afterwards. The same as torch's `LinearLR(start_factor, end_factor, total_iters)`.

    >>> Linear(start=0.2, end=1.0, steps=4)([0, 1, 4, 5]).tolist()
    [0.2, 0.4, 1.0, 1.0]
    """

    start: Factor
    end: Factor
    steps: Count

    def factor(self, t: Steps) -> Factors:
        return self.start + (self.end - self.start) * _progress(t, self.steps)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine wave from 1 to `end`: f(t) = end + (1 − end) · (1 + cos(π t / steps)) / 2.

    Holds `end` after `steps`. torch's `CosineAnnealingLR` does not: its factor rises again,
    is 1 at step 2 · steps, and then falls again. With `periodic=True` this class does the same.
    Beyond a few thousand steps this class is more exact than torch, which multiplies rounded
    ratios. Loshchilov and Hutter (2017).

    >>> Cosine(steps=4)([0, 2, 4, 6]).round(6).tolist()
    [1.0, 0.5, 0.0, 0.0]
    >>> Cosine(steps=4, periodic=True)([4, 6, 8]).round(6).tolist()
    [0.0, 0.5, 1.0]
    """

    steps: Count
    end: Factor = 0.0
    periodic: Flag = False

    def factor(self, t: Steps) -> Factors:
        # Whole periods are taken off first: the cosine of a large multiple of π is inexact.
        angle = t % (2 * self.steps) / self.steps if self.periodic else _progress(t, self.steps)
        return self.end + (1.0 - self.end) * (1.0 + np.cos(math.pi * angle)) / 2.0


@dataclass(frozen=True)
class CosineRestarts(Schedule):
    """Half a cosine wave from 1 to `end`, restarted; each period is `mult` times the last.

    f(t) = end + (1 − end) · (1 + cos(π s / p)) / 2, where s is the number of steps since the
    last restart. The periods p are period, mult · period, mult² · period … Never ends. The
    same as torch's `CosineAnnealingWarmRestarts`; SGDR of Loshchilov and Hutter (2017).

    >>> CosineRestarts(period=2, mult=2)([0, 1, 2, 4, 6]).round(6).tolist()
    [1.0, 0.5, 1.0, 0.5, 1.0]
    """

    period: Count
    mult: Count = 1
    end: Factor = 0.0

    def factor(self, t: Steps) -> Factors:
        if self.mult == 1:
            since, period = t % self.period, np.asarray(self.period)
        else:
            restarts, periods = [0], [self.period]
            while restarts[-1] + periods[-1] <= t.max(initial=0):
                restarts.append(restarts[-1] + periods[-1])
                periods.append(periods[-1] * self.mult)
            current = np.searchsorted(restarts, t, side="right") - 1
            # As floats: a period may be larger than an int64 holds.
            since = t - np.array(restarts)[current]
            period = np.array(periods, dtype=np.float64)[current]
        return self.end + (1.0 - self.end) * (1.0 + np.cos(math.pi * since / period)) / 2.0


@dataclass(frozen=True)
class Cyclic(Schedule):
    """A triangle wave from `low` to `high` and back, in `up` and `down` steps.

    f(t) = low + (high − low) · triangle(t) · scale, where scale is 1 ("constant"),
    1 / 2^(cycle − 1) ("halving") or gamma^t ("exponential"). Never ends. The same as torch's
    `CyclicLR` with mode "triangular", "triangular2", "exp_range"; Smith (2017).

    >>> Cyclic(low=0.0, high=1.0, up=2)([0, 1, 2, 3, 4]).tolist()
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    low: Factor
    high: Factor
    up: Count
    down: Annotated[int | None, _checks.optional(count)] = None
    scale: Annotated[str, _checks.one_of("constant", "halving", "exponential")] = "constant"
    gamma: Factor = 1.0

    def factor(self, t: Steps) -> Factors:
        down = self.up if self.down is None else self.down
        cycle, since = np.divmod(t, self.up + down)
        triangle = np.minimum(since / self.up, (self.up + down - since) / down)
        bases = {"constant": (1.0, t), "halving": (0.5, cycle), "exponential": (self.gamma, t)}
        scale = np.power(*bases[self.scale], dtype=np.float64)
        return self.low + (self.high - self.low) * triangle * scale


@dataclass(frozen=True)
class OneCycle(Schedule):
    """One rise from `start` to 1 and one long descent to `end`.

    The peak is at step peak_at · steps − 1, the end at step steps − 1; between the corners the
    rate follows half a cosine wave (`shape="cosine"`) or a line. With `three_phase` the descent
    first mirrors the rise and then runs to `end`. A factor is a share of the peak, so the base rate
    is the highest rate. Holds `end` afterwards. torch's `OneCycleLR` allows one step too many, with
    a rate that jumps, and then raises an error. Smith and Topin (2018).

    >>> OneCycle(steps=10, peak_at=0.5, start=0.1, end=0.0, shape="linear")([0, 4, 9]).tolist()
    [0.1, 1.0, 0.0]
    """

    steps: Annotated[int, partial(_checks.integer, low=2)]
    peak_at: Share = 0.3
    start: Factor = 1 / 25
    end: Factor = 1 / 25 / 1e4
    shape: Annotated[str, _checks.one_of("cosine", "linear")] = "cosine"
    three_phase: Flag = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.peak_at * self.steps < 1:
            rule = f"at least 1/steps = {1 / self.steps:g}, or there is no rise"
            raise _checks.refuse("OneCycle", "peak_at", self.peak_at, rule)
        if self.three_phase and self.peak_at > 0.5:
            rule = "at most 0.5 with three_phase, or the descent doesn't end within steps"
            raise _checks.refuse("OneCycle", "peak_at", self.peak_at, rule)

    def factor(self, t: Steps) -> Factors:
        peak = self.peak_at * self.steps - 1.0
        middle = [(2.0 * peak, self.start)] if self.three_phase else []
        legs = [(0.0, self.start), (peak, 1.0), *middle, (self.steps - 1.0, self.end)]
        corners, values = np.array(legs).T
        # Which leg, by torch's rule: a step on a corner still belongs to the leg that ends there.
        leg = np.searchsorted(corners[1:-1], t, side="left")
        begin, finish = corners[leg], corners[leg + 1]
        length = np.where(finish > begin, finish - begin, 1.0)
        done = np.where(finish > begin, np.minimum((t - begin) / length, 1.0), 1.0)
        if self.shape == "cosine":
            done = (1.0 - np.cos(math.pi * done)) / 2.0
        return values[leg] * (1.0 - done) + values[leg + 1] * done


@dataclass(frozen=True)
class WarmupStableDecay(Schedule):
    """A linear warmup, a long constant rate, and a decay at the end.

    f(t) = (t + 1) / warmup for the first `warmup` steps (so that step 0 is not wasted on a rate
    of 0), then 1 for `stable` steps, then down to `end` over `decay` steps as "linear", "cosine"
    or "sqrt" (1 − √progress). Holds `end` afterwards. Hu et al. (2024), Hägele et al. (2024).

    >>> WarmupStableDecay(warmup=2, stable=2, decay=4)([0, 1, 3, 4, 6, 8]).tolist()
    [0.5, 1.0, 1.0, 1.0, 0.5, 0.0]
    """

    warmup: Whole
    stable: Whole
    decay: Count
    end: Factor = 0.0
    shape: Annotated[str, _checks.one_of("linear", "cosine", "sqrt")] = "linear"

    def factor(self, t: Steps) -> Factors:
        rise = np.minimum((t + 1) / max(self.warmup, 1), 1.0)
        done = _progress(np.maximum(t - self.warmup - self.stable, 0), self.decay)
        if self.shape == "cosine":
            done = (1.0 - np.cos(math.pi * done)) / 2.0
        elif self.shape == "sqrt":
            done = np.sqrt(done)
        return rise * (1.0 - done + self.end * done)


@dataclass(frozen=True)
class Piecewise(Schedule):
    """A list of pairs (how many steps, factor): a manual schedule as data. Holds the last factor.

    If the factors are rates and the base rate is 1, this is the classical table: the list below
    means 0.1 for one epoch, then 0.01 for two, then 0.001. torch's `ConstantLR(factor, n)` is
    `Piecewise([(n, factor), (1, 1.0)])`.

    >>> Piecewise([(1, 0.1), (2, 0.01), (1, 0.001)])([0, 1, 2, 3, 99]).tolist()
    [0.1, 0.01, 0.01, 0.001, 0.001]
    """

    pieces: Pieces

    def factor(self, t: Steps) -> Factors:
        lengths, values = zip(*self.pieces, strict=True)
        ends = np.cumsum(np.array(lengths, dtype=np.int64))[:-1]
        return np.array(values)[np.searchsorted(ends, t, side="right")]


def _numbers(owner: str, returned: list[Any]) -> Factors:
    rule = "a function of the step that returns a number"
    return _checks.array(owner, "function", returned, rule)


# --- Your own rule -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Custom(Schedule):
    """Any function of the step, as torch's `LambdaLR` takes it: f(t) = function(t).

    Its `repr` shows the name of the function, so `eval` can't make the schedule again from it.

    >>> Custom(lambda t: 1 / (1 + t))(3)
    0.25
    """

    function: StepFunction

    def factor(self, t: Steps) -> Factors:
        return _numbers("Custom", [self.function(int(step)) for step in t])


@dataclass(frozen=True)
class Multiplicative(Schedule):
    """A running product: f(0) = 1, f(t) = f(t − 1) · function(t).

    The same as torch's `MultiplicativeLR`. Every call multiplies from step 1 on, since a schedule
    remembers nothing. Its `repr` shows the name of the function, so `eval` can't make the schedule
    again from it.

    >>> Multiplicative(lambda t: 0.5)([0, 1, 2]).tolist()
    [1.0, 0.5, 0.25]
    """

    function: StepFunction

    def factor(self, t: Steps) -> Factors:
        ratios = [self.function(step) for step in range(1, int(t.max(initial=0)) + 1)]
        return np.multiply.accumulate(_numbers("Multiplicative", [1.0, *ratios]))[t]


# --- The algebra -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Product(Schedule):
    """The product of schedules that count the same steps; written `a * b`, or `2 * a`.

    >>> (Linear(0.5, 1.0, steps=2) * Exponential(0.5))([0, 1, 2]).tolist()
    [0.5, 0.375, 0.25]
    """

    parts: Schedules

    def factor(self, t: Steps) -> Factors:
        return cast(Factors, math.prod(part.factor(t) for part in self.parts))


@dataclass(frozen=True)
class Sequential(Schedule):
    """Schedules one after the other; part i starts at step at[i−1], and counts its steps from 0.

    Two of them are written `a.then(b, at=n)`. The rule is that of torch's `SequentialLR`,
    but milestones out of order raise an error, while torch silently skips a part.

    >>> Sequential([Constant(0.1), Constant(1), Constant(0.01)], at=[2, 4])(range(6)).tolist()
    [0.1, 0.1, 1.0, 1.0, 0.01, 0.01]
    """

    parts: Schedules
    at: Joints

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.at) != len(self.parts) - 1:
            rule = f"{len(self.parts) - 1} steps, one for each part after the first"
            raise _checks.refuse("Sequential", "at", self.at, rule)
        if any(later <= earlier for earlier, later in itertools.pairwise(self.at)):
            raise _checks.refuse("Sequential", "at", self.at, "in increasing order")

    def factor(self, t: Steps) -> Factors:
        current = np.searchsorted(np.array(self.at, dtype=np.int64), t, side="right")
        starts = (0, *self.at)
        factors = np.empty(t.shape)
        for i in set(current.tolist()):
            here = current == i
            factors[here] = self.parts[i].factor(t[here] - starts[i])
        return factors
