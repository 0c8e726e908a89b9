"""Confidence intervals: a mean, its 95 % interval and the number of values behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrlib import _checks

__all__ = ["Interval", "interval", "paired_difference"]
# `holm` and `paired_p_values` serve `contest`.


@dataclass(frozen=True)
class Interval:
    """A mean, its 95 % confidence interval mean ± half_width, and the number n of values."""

    mean: float
    half_width: float
    n: int

    @property
    def low(self) -> float:
        """The interval's lower end."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """The interval's upper end."""
        return self.mean + self.half_width


def interval(values: ArrayLike) -> Interval:
    """The mean of independent values and its 95 % interval (Student's t).

    >>> interval([1.0, 2.0, 3.0]).mean
    2.0
    """
    from scipy.stats import t as student

    rule = "a sequence of at least 2 numbers"
    sample = _checks.array("interval", "values", values, rule)
    if sample.ndim != 1 or len(sample) < 2:
        raise _checks.refuse("interval", "values", values, rule)
    quantile = float(student.ppf(0.975, len(sample) - 1))
    error = float(sample.std(ddof=1)) / math.sqrt(len(sample))
    return Interval(float(sample.mean()), quantile * error, len(sample))


def paired_difference(a: ArrayLike, b: ArrayLike) -> Interval:
    """The mean of a − b over pairs that share a seed, and its 95 % interval (Student's t).

    Two runs with the same seed share their initial weights and their order of batches. In the
    difference this common part cancels, so you need fewer seeds than for two separate means. NaN is
    an error: a run that diverged must be counted, not dropped.

    >>> difference = paired_difference([0.98, 0.97, 0.99], [0.96, 0.96, 0.96])
    >>> round(difference.mean, 3), difference.low < 0.02 < difference.high, difference.n
    (0.02, True, 3)
    """
    rule = "a sequence of numbers"
    first = _checks.array("paired_difference", "a", a, rule)
    second = _checks.array("paired_difference", "b", b, rule)
    if first.shape != second.shape or first.ndim != 1:
        shapes, rule = (
            f"{first.shape} and {second.shape}",
            "of one shape [n], with one pair for each seed",
        )
        raise _checks.refuse("paired_difference", "a, b", shapes, rule)
    if not np.isfinite([first, second]).all():
        rule = "finite: give a run that diverged a finite score, and don't drop it"
        raise _checks.refuse("paired_difference", "a, b", "NaN or infinity", rule)
    return interval(first - second)


def paired_p_values(differences: NDArray[np.float64], margin: float) -> tuple[float, float]:
    """Two p-values of a mean difference: of being 0, and of lying outside ±margin.

    The first is the paired t-test, the second the larger of two one-sided t-tests (TOST,
    Schuirmann 1987). Differences that are all the same have no error: then each is 0 or 1.

    >>> different, outside = paired_p_values(np.array([0.9, 1.0, 1.1, 1.0]), margin=2.0)
    >>> different < 0.01, outside < 0.01
    (True, True)
    """
    from scipy.stats import t as student

    n, mean = len(differences), float(differences.mean())
    error = float(differences.std(ddof=1)) / math.sqrt(n)
    if error == 0:
        return float(mean == 0), float(abs(mean) >= margin)
    different = 2 * student.sf(abs(mean) / error, n - 1)
    outside = student.sf((margin - abs(mean)) / error, n - 1)
    return float(different), float(outside)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values, adjusted so that the chance of any false rejection stays at the level.

    Holm (1979): the smallest times n, the next times n − 1, …, none below the one before.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    scaled = np.asarray(p_values)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(p) for p in adjusted]
