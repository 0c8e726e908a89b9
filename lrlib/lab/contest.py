"""The protocol of a comparison: tune all entrants equally, then judge all pairs on fresh seeds.

1. One metric tunes (on the validation split) and judges (on the test split).
2. The grid of rates grows until the best rate of every entrant lies inside it.
3. The verdict uses seeds that the tuning has not seen, as pairs; scores are averaged within a unit.
4. The margin, below which a difference doesn't matter, is written down before the run.
5. All pairs at all budgets are tested together, with Holm's correction.

The rules are those of a designed experiment: the rate is tuned, the seed is not of interest, and
every entrant is compared at its own best rate.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrlib import _checks
from lrlib._checks import Checked, Positive
from lrlib.lab.stats import Interval, holm, interval, paired_p_values

__all__ = ["Card", "Contest", "Verdict", "contest", "judge"]

Floats = NDArray[np.float64]
# (entrant, budget, rates, seeds, split) → metric → the scores, [rates, seeds].
Trial = Callable[[str, int, Sequence[float], Sequence[int], str], Mapping[str, Floats]]

VERDICTS = ("better", "worse", "equivalent", "not told apart")
LARGEST_GRID = 40


@dataclass(frozen=True)
class Card(Checked):
    """What is written down before the first run.

    question: the sentence that the contest answers; metric: its name, for the tuning and for the
    verdict; higher_is_better; margin: the difference that doesn't matter, in the metric's unit;
    reason: why this margin; diverged: what a run without a finite score counts as; unit: what is
    independent, such as "seed" or "draw of the data".
    """

    question: str
    metric: str
    higher_is_better: bool
    margin: Positive
    reason: str
    diverged: float
    unit: str = "seed"

    def _best(self, scores: Sequence[float]) -> int:
        return int(np.argmax(scores) if self.higher_is_better else np.argmin(scores))


@dataclass(frozen=True)
class Verdict:
    """How entrant `a` did against `b` at one budget, in one of VERDICTS.

    differences: a − b of every unit; you can see an outlier here, but not in a mean.
    """

    a: str
    b: str
    budget: int
    differences: tuple[float, ...]
    verdict: str

    @property
    def difference(self) -> Interval:
        """The mean of the differences, with its 95 % interval."""
        return interval(self.differences)


@dataclass(frozen=True)
class Contest:
    """A finished contest: all that was seen, in a form that JSON can store.

    rates: the grid that each entrant ended with, per budget; tuning: the mean score at each of
    these rates; best: the rate that won; scores: the test score of every unit at that rate. Each is
    a dict budget → entrant → value.
    """

    card: Card
    rates: dict[int, dict[str, list[float]]]
    tuning: dict[int, dict[str, list[float]]]
    best: dict[int, dict[str, float]]
    scores: dict[int, dict[str, list[float]]]

    def record(self) -> dict[str, Any]:
        """The contest as plain data."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Contest:
        """The contest that `record` kept (JSON has string budgets). Raises as `check` does."""
        parts = {
            name: {int(budget): dict(by_entrant) for budget, by_entrant in record[name].items()}
            for name in ("rates", "tuning", "best", "scores")
        }
        made = cls(Card(**record["card"]), **parts)
        made.check()
        return made

    def check(self) -> None:
        """Raises ValueError if a best rate isn't on the grid, or is at its edge."""
        places = [(budget, entrant) for budget, by in self.scores.items() for entrant in by]
        for budget, entrant in places:
            rates, means = self.rates[budget][entrant], self.tuning[budget][entrant]
            place = f"contest: {entrant} at budget {budget}"
            best = self.card._best(means)
            if rates[best] != self.best[budget][entrant]:
                raise ValueError(
                    f"{place}: {self.card.metric} is best at the rate {rates[best]:g}, but the "
                    f"verdict was made at {self.best[budget][entrant]:g}"
                )
            if best in (0, len(rates) - 1):
                said = "is the grid's edge; start with a grid that goes further"
                raise ValueError(f"{place}: the best rate, {rates[best]:g}, {said}")

    def neighbors(self, budget: int, entrant: str) -> tuple[float, float, float]:
        """The mean tuning scores at the next lower rate, the best one and the next higher one."""
        rates, means = self.rates[budget][entrant], self.tuning[budget][entrant]
        i = rates.index(self.best[budget][entrant])
        return means[i - 1], means[i], means[i + 1]

    def verdicts(self, pairs: Iterable[tuple[str, str]] | None = None) -> list[Verdict]:
        """Every pair of entrants at every budget, or those of `pairs`, tested as one family."""
        return judge(self.scores, self.card, pairs)

    def verdict(self, a: str, b: str, budget: int) -> Verdict:
        """The verdict on one pair, among all pairs at all budgets."""
        for one in self.verdicts():
            if one.budget == budget and {one.a, one.b} == {a, b}:
                return one if one.a == a else _turned(one)
        raise ValueError(f"verdict({a!r}, {b!r}, budget={budget}): no such pair in this contest")


def contest(
    card: Card,
    entrants: Sequence[str],
    trial: Trial,
    *,
    rates: Sequence[float],
    budgets: Sequence[int],
    tuning_seeds: Sequence[int],
    seeds: Sequence[int],
    repeats: int = 1,
) -> Contest:
    """Runs the protocol: tunes each entrant at each budget, then scores it on fresh seeds.

    `rates` is the first grid, at least three rates in increasing order; it grows by the ratio of
    its last two. `trial(entrant, budget, rates, seeds, split)` trains and returns a dict from
    metrics to scores on "validation" or "test", [rates, seeds]; the card says which metric counts.
    The scores of `repeats` seeds in a row are one unit, and are averaged.

    Raises ValueError if tuning and verdict share a seed, or if a best rate is still on the edge of
    a grid of 40 rates.

    >>> card = Card("Is b better than a?", "score", True, 0.5, "by construction", diverged=-9)
    >>> def trial(entrant, budget, rates, seeds, split):
    ...     shift = {"a": 0.0, "b": 2.0}[entrant]
    ...     noise = np.random.default_rng([len(split), ord(entrant)]).normal(0, 0.1, len(seeds))
    ...     return {"score": shift - np.log10(np.array(rates) / 10)[:, None] ** 2 + noise}
    >>> result = contest(card, ["a", "b"], trial, rates=[0.1, 0.3, 1], budgets=[1],
    ...                  tuning_seeds=range(4), seeds=range(10, 20))
    >>> round(result.best[1]["a"], 1), result.verdict("b", "a", 1).verdict
    (11.1, 'better')
    """
    first = [_checks.positive("contest", "rates", rate) for rate in rates]
    if len(first) < 3 or sorted(set(first)) != first:
        raise _checks.refuse("contest", "rates", rates, "at least three rates in increasing order")
    if set(tuning_seeds) & set(seeds):
        raise _checks.refuse("contest", "seeds", seeds, "fresh: none of the tuning seeds")
    if len(seeds) % repeats or len(seeds) // repeats < 2:
        rule = f"at least 2 units of {repeats} seeds each"
        raise _checks.refuse("contest", "seeds", seeds, rule)

    def scored(*arguments: Any) -> Floats:
        # The one place where a metric is chosen: for the tuning and for the verdict.
        scores = np.asarray(trial(*arguments)[card.metric], dtype=np.float64)
        return np.where(np.isfinite(scores), scores, card.diverged)

    def tuned(entrant: str, budget: int) -> tuple[list[float], list[float]]:
        grid = list(first)
        means = scored(entrant, budget, grid, tuning_seeds, "validation").mean(axis=1).tolist()
        while (best := card._best(means)) in (0, len(grid) - 1):
            if len(grid) >= LARGEST_GRID:
                raise ValueError(
                    f"contest: the best rate of {entrant} at budget {budget} is still on the edge "
                    f"of a grid of {len(grid)} rates, {grid[0]:g} to {grid[-1]:g}; "
                    "check whether the scores depend on the rate"
                )
            rate = grid[0] * grid[0] / grid[1] if best == 0 else grid[-1] * grid[-1] / grid[-2]
            mean = float(scored(entrant, budget, [rate], tuning_seeds, "validation").mean())
            at = 0 if best == 0 else len(grid)
            grid.insert(at, rate)
            means.insert(at, mean)
        return grid, means

    result = Contest(card, {}, {}, {}, {})
    for budget, entrant in itertools.product(budgets, entrants):
        grid, means = tuned(entrant, budget)
        rate = grid[card._best(means)]
        scores = scored(entrant, budget, [rate], seeds, "test")[0]
        result.rates.setdefault(budget, {})[entrant] = grid
        result.tuning.setdefault(budget, {})[entrant] = means
        result.best.setdefault(budget, {})[entrant] = rate
        units = scores.reshape(-1, repeats).mean(axis=1).tolist()
        result.scores.setdefault(budget, {})[entrant] = units
    result.check()
    return result


def judge(
    scores: Mapping[int, Mapping[str, Sequence[float]]],
    card: Card,
    pairs: Iterable[tuple[str, str]] | None = None,
) -> list[Verdict]:
    """The verdict on every pair at every budget, from the scores of paired units.

    A pair is "equivalent" if its difference lies within the margin (two one-sided t-tests), else
    "better" or "worse" if it differs from 0 (a paired t-test), else "not told apart". Both families
    of tests are corrected by Holm, so that the chance of any false verdict of that kind is at most
    5 %.

    >>> card = Card("", "loss", False, 0.1, "an example", diverged=9.0)
    >>> judge({1: {"a": [1.0, 1.1, 0.9], "b": [2.0, 2.1, 1.8]}}, card)[0].verdict
    'better'
    """
    chosen = None if pairs is None else list(pairs)
    family = [
        (budget, a, b)
        for budget, by_entrant in scores.items()
        for a, b in (itertools.combinations(by_entrant, 2) if chosen is None else chosen)
    ]
    differences = [np.subtract(scores[budget][a], scores[budget][b]) for budget, a, b in family]
    tests = [paired_p_values(difference, card.margin) for difference in differences]
    apart, within = (holm([test[i] for test in tests]) for i in (0, 1))
    verdicts = []
    for i, ((budget, a, b), difference) in enumerate(zip(family, differences, strict=True)):
        verdict = "not told apart"
        if within[i] < 0.05:
            verdict = "equivalent"
        elif apart[i] < 0.05:
            verdict = "better" if (difference.mean() > 0) == card.higher_is_better else "worse"
        verdicts.append(Verdict(a, b, budget, tuple(difference.tolist()), verdict))
    return verdicts


def _turned(one: Verdict) -> Verdict:
    opposite = {"better": "worse", "worse": "better"}.get(one.verdict, one.verdict)
    return Verdict(one.b, one.a, one.budget, tuple(-d for d in one.differences), opposite)
