"""What stands in an explorer's place where nothing can run: a figure of its first settings."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from lrlib.notebook import plots
from lrlib.plateau import decisions
from lrlib.schedules import Cosine, CosineRestarts, Exponential, Linear, StepDecay

Picture = tuple[Figure, str]


@cache
def static_figure(name: str) -> tuple[str, str]:
    """The figure as SVG, and its alt text."""
    figure, alt = _PICTURES[name]()
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return plots.compact(buffer.getvalue()), alt


def _first_look() -> Picture:
    from lrlib.notebook.explorers import data

    grid = data("first-look")
    figure, axes = plots.figure()
    ends = []
    for schedule, label, _ in grid["schedules"]:
        error = [grid["results"][f"{schedule}@{rate:g}"]["error"] for rate in grid["rates"]]
        axes.plot(grid["rates"], error, color=plots.COLORS[schedule], label=label)
        best = int(np.argmin(error))
        ends.append(f"{label} is best at {grid['rates'][best]:g} with {error[best]:.1f} %")
    axes.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="test error in %")
    axes.set_title(f"Too small, right, too large: {grid['seeds']} networks at each rate")
    axes.legend()
    return figure, (
        "Test error over learning rate for four schedules, each a U: too small a rate has not "
        f"learned yet, too large a one diverges. {'; '.join(ends)}."
    )


def _noisy_valley() -> Picture:
    figure, axes = plots.figure()
    steps, ends = np.arange(201), {}
    for rate, color in ((0.5, plots.CYCLE[1]), (0.1, plots.CYCLE[0])):
        square = [4.0]
        for _ in steps[1:]:
            square.append((1 - rate) ** 2 * square[-1] + rate**2)
        ends[rate] = square[-1] / 2
        axes.plot(steps, np.array(square) / 2, color=color)
        plots.label_line(axes, 200, square[-1] / 2, f"rate {rate:g}", color)
    axes.set(yscale="log", xlabel="step", ylabel="mean loss ½x²")
    axes.set_title("A constant rate stalls at its noise floor")
    return figure, (
        "Mean loss of gradient descent with noise over 200 steps: rate 0.5 falls fast and stays at "
        f"{ends[0.5]:.2g}; rate 0.1 falls more slowly and stays at {ends[0.1]:.2g}. The larger the "
        "rate, the higher the floor."
    )


def _layer_rates() -> Picture:
    figure, axes = plots.figure()
    rates = 0.01 * 0.75 ** np.arange(7, -1, -1)
    axes.barh(np.arange(1, 9), rates, color=plots.CYCLE[0])
    axes.set(xlabel="learning rate", ylabel="layer, from the input")
    axes.set_title("Each layer learns at 0.75 times the rate of the next")
    return figure, (
        "Bars of the learning rate of eight layers with a decay of 0.75: "
        f"{rates[-1]:g} for the last one, {rates[0]:.2g} for the first."
    )


def _composer() -> Picture:
    schedule = Linear(1 / 11, 1.0, 10).then(Cosine(90), at=10)
    figure, alt = plots.lr_curve(
        {"warmup, then cosine": schedule}, 100, 0.1, "A line joined to a cosine"
    )
    return figure, alt


def _field_guide() -> Picture:
    shown = {
        "CosineAnnealingLR": Cosine(50, end=0.001, periodic=True),
        "WarmRestarts": CosineRestarts(20, 2),
        "StepLR": StepDecay(30),
        "ExponentialLR": Exponential(0.95),
    }
    figure, alt = plots.lr_curve(shown, 100, 0.1, "Four of the sixteen schedulers")
    return figure, alt


def _plateau() -> Picture:
    noise = np.random.default_rng(1).uniform(-0.03, 0.03, 40)
    metric = 0.2 + 0.8 * np.exp(-np.arange(40) / 5) + noise
    log = decisions(metric, 0.1, factor=0.5, patience=3, threshold=0.01)
    rates = [0.1, *(decision.lr for decision in log)][:-1]
    figure, (above, below) = plots.figure(2, 1, sharex=True)
    above.plot(metric, "o-", markersize=3, color=plots.CYCLE[6])
    above.set_ylabel("metric")
    above.set_title("After more than three bad epochs the rate is halved")
    below.step(range(40), rates, where="post", color=plots.CYCLE[0])
    below.set(yscale="log", xlabel="epoch", ylabel="learning rate")
    return figure, (
        "Above, a noisy validation metric that falls and then stays flat; below, the "
        f"learning rate, halved after more than 3 bad epochs, down to {rates[-1]:g} at the end."
    )


def _missing_point() -> Picture:
    figure, axes = plots.figure()
    keep = np.linspace(0.05, 1, 96)
    for label, color, step in (
        ("SGD", plots.CYCLE[6], 10 + 0 * keep),
        ("LR dropout", plots.CYCLE[0], 10 * keep),
        ("masked buffer", plots.CYCLE[1], keep / (1 - 0.9 * keep)),
    ):
        axes.plot(keep, step, color=color, label=label)
    axes.set(yscale="log", xlabel="keep probability p", ylabel="mean step / (rate · gradient)")
    axes.set_title("With momentum 0.9 a masked buffer loses most of the step")
    axes.legend()
    return figure, (
        "Mean step in the long run over the keep probability, momentum 0.9: 10 for SGD, 10 p for "
        "learning-rate dropout, and p / (1 − 0.9 p) for a masked buffer: at p = 0.5 these are 10, "
        "5 and 0.91."
    )


_PICTURES: dict[str, Callable[[], Any]] = {
    "first-look": _first_look,
    "noisy-valley": _noisy_valley,
    "layer-rates": _layer_rates,
    "composer": _composer,
    "field-guide": _field_guide,
    "plateau": _plateau,
    "missing-point": _missing_point,
}
