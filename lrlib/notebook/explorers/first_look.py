"""The trainings behind `first-look`: digits, a small network, dozens of seeds at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrlib.lab.data import Dataset, load
from lrlib.lab.models import mlp
from lrlib.lab.stats import interval
from lrlib.lab.sweep import Run, fit_many
from lrlib.schedules import Constant, Cosine, Linear, Schedule, StepDecay

EPOCHS, SEEDS = 8, 32
# Each schedule's label, its color, and how it is made for a number of steps. "step" is a tenth of
# the rate after a third of the steps, and again after two thirds.
SCHEDULES: dict[str, tuple[str, str, Callable[[int], Schedule]]] = {
    "constant": ("constant", "gray", lambda steps: Constant()),
    "step": ("steps", "blue", lambda steps: StepDecay(-(-steps // 3))),
    "linear": ("line to zero", "purple", lambda steps: Linear(1.0, 0.0, steps)),
    "cosine": ("cosine", "orange", Cosine),
}
# Four per decade, as the website's slider goes.
RATES = [float(f"{10 ** (k / 4):.3g}") for k in range(-8, 3)]


@cache
def _digits() -> Dataset:
    return load("digits", device="cpu")


def train(schedule: str, rate: float, seeds: int = SEEDS) -> dict[str, Any]:
    """The mean training loss of each epoch and the test error in percent, with 95 % intervals."""
    return _train([(schedule, rate)], seeds)[0]


def table(rates: Sequence[float] = RATES, seeds: int = SEEDS) -> dict[str, Any]:
    """All that the site's explorer looks up: every schedule with every rate."""
    places = [(schedule, rate) for schedule in SCHEDULES for rate in rates]
    return {
        "rates": list(rates),
        "seeds": seeds,
        "steps": EPOCHS * _digits().steps_per_epoch(32),
        "schedules": [[name, label, color] for name, (label, color, _) in SCHEDULES.items()],
        "results": {
            f"{schedule}@{rate:g}": result
            for (schedule, rate), result in zip(places, _train(places, seeds), strict=True)
        },
    }


def _train(places: Sequence[tuple[str, float]], seeds: int) -> list[dict[str, Any]]:
    steps = EPOCHS * _digits().steps_per_epoch(32)
    runs = [
        Run(SCHEDULES[schedule][2](steps), rate, seed, schedule)
        for schedule, rate in places
        for seed in range(seeds)
    ]
    options: dict[str, Any] = {"validate": "end", "test": True, "shard_size": 64}
    result = fit_many(lambda: mlp(64, 32, 10), _digits(), runs, epochs=EPOCHS, **options)
    parts = [slice(i * seeds, (i + 1) * seeds) for i in range(len(places))]
    return [_summary(result.train_loss[part], result.test_accuracy[part]) for part in parts]


def _summary(loss: NDArray[np.float64], accuracy: NDArray[np.float64]) -> dict[str, Any]:
    per_epoch = _digits().steps_per_epoch(32)
    # A run that diverged has no loss; if one did, the mean has none either.
    epochs = [interval(column) for column in loss.T]
    error = interval(100.0 * (1.0 - accuracy))
    return {
        # An epoch's mean loss stands in the epoch's middle.
        "x": [per_epoch * (epoch + 0.5) for epoch in range(EPOCHS)],
        "loss": [_plain(stat.mean) for stat in epochs],
        "low": [_plain(stat.mean - stat.half_width) for stat in epochs],
        "high": [_plain(stat.mean + stat.half_width) for stat in epochs],
        "error": _plain(error.mean),
        "half": _plain(error.half_width),
    }


def _plain(value: float) -> float | None:
    """Four digits; None for what JSON has no number for."""
    return float(f"{value:.4g}") if np.isfinite(value) else None
