"""The book's figures: one look, one palette, and alt text with every one of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatterSciNotation
from numpy.typing import ArrayLike, NDArray

from lrlib.finder import RangeTest
from lrlib.lab.contest import VERDICTS, Verdict
from lrlib.lab.stats import interval
from lrlib.notebook.outputs import display_figure
from lrlib.schedules import Schedule

__all__ = [
    "COLORS",
    "CYCLE",
    "PALETTE",
    "band",
    "contours",
    "figure",
    "forest",
    "label_line",
    "lr_curve",
    "range_curve",
    "show",
]

# Okabe and Ito's colors, darkened where needed so that all read on white (3:1 at least).
PALETTE = {
    "blue": "#0072b2",
    "orange": "#c1440e",
    "green": "#00805e",
    "purple": "#a6559a",
    "gold": "#a67c00",
    "sky": "#3a8fc7",
    "gray": "#4d4d4d",
}
CYCLE = list(PALETTE.values())
# The same schedule has the same color in every chapter.
COLORS = {
    "constant": PALETTE["gray"],
    "step": PALETTE["blue"],
    "cosine": PALETTE["orange"],
    "inverse time": PALETTE["green"],
    "linear": PALETTE["purple"],
    "optimal": PALETTE["gold"],
    "theory": "#000000",
}

# In CSS pixels: how wide a phone shows a figure, how wide one over WIDE, which scrolls there (see
# book.css and lean.py), and the smallest letters that one can read.
PHONE, SCROLLED, WIDE, LETTERS = 374, 760, 700, 10

STYLE: Any = {
    "figure.constrained_layout.use": True,
    "axes.prop_cycle": cycler(color=CYCLE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    # The same file from the same figure, so that a diff shows what changed.
    "svg.hashsalt": "learning-rate-book",
    "svg.fonttype": "path",
}


def figure(rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """`plt.subplots` in the book's style, which stays set; finish with `show`.

    A figure with one panel in a row is 5.6 inches wide, so that a phone shows readable letters.
    """
    options.setdefault("figsize", (5.6 if columns == 1 else 8.4, 3.6 * (1 + 0.8 * (rows - 1))))
    wide = _is_wide(options["figsize"][0])
    mpl.rcParams.update(STYLE | {"font.size": 10 if wide else 11})
    return plt.subplots(rows, columns, **options)


def show(figure: Figure, alt: str, name: str = "") -> None:
    """Displays the figure as vector graphics, with `alt` as the text for those who don't see it.

    `alt` says what the figure shows, not that it is a figure. By `name` the chapter's narrative can
    show the same figure.
    """
    import io

    if len(alt) < 40:
        rule = "a sentence of at least 40 characters that says what the figure shows"
        raise ValueError(f"show(alt={alt!r}): alt must be {rule}")
    for axes in figure.axes:
        _write_powers_out(axes)
    figure.draw_without_rendering()
    _check_titles(figure)
    _check_letters(figure)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    display_figure(compact(buffer.getvalue()), alt, name)


def _is_wide(inches: float) -> bool:
    return inches * 96 > WIDE


class _Plain(LogFormatterSciNotation):
    """The powers of a log axis as 0.001 and 1e-6: an exponent would be too small to read."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}".replace("e-0", "e-").replace("e+0", "e") if super().__call__(x, pos) else ""


def _write_powers_out(axes: Axes) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        if type(axis.get_major_formatter()) is LogFormatterSciNotation:
            axis.set_major_formatter(_Plain())
            axis.set_minor_formatter(_Plain(labelOnlyBase=False))


def _check_titles(figure: Figure) -> None:
    for axes in figure.axes:
        title = axes.get_title(loc="left")
        found = [text for text in axes.findobj(Text) if title and text.get_text() == title]
        if any(text.get_window_extent().x1 > figure.bbox.x1 for text in found):
            raise ValueError(f"show: the title {title!r} is cut off on the right; shorten it")


def _check_letters(figure: Figure) -> None:
    inches = figure.get_figwidth()
    scale = (SCROLLED if _is_wide(inches) else PHONE) / (72 * inches)
    for text in figure.findobj(Text):
        size = scale * float(text.get_fontsize())
        if text.get_visible() and text.get_text().strip() and size < LETTERS:
            raise ValueError(
                f"show: a phone shows {text.get_text()!r} in letters of {size:.1f} pixels; "
                f"at least {LETTERS} are needed. Make the figure narrower, or the letters larger"
            )


def compact(svg: str) -> str:
    """The same picture in half the bytes: no comments, no indentation, hundredths of a point."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s+", " ", svg).replace("> <", "><")
    return re.sub(
        r'(?<= )(d|x|y)="[^"]*"',
        lambda match: re.sub(r"(\.\d\d)\d+", r"\1", match.group()),
        svg,
    )


def label_line(axes: Axes, x: float, y: float, text: str, color: str, **options: Any) -> None:
    """Writes a label beside a line, in its color: easier to read than a legend."""
    settings: dict[str, Any] = {
        "va": "center",
        "ha": "left",
        "fontweight": "bold",
    } | options
    axes.annotate(text, (x, y), xytext=(5, 0), textcoords="offset points", color=color, **settings)


def lr_curve(
    schedules: dict[str, Schedule], steps: int, base_lr: float = 1.0, title: str = ""
) -> tuple[Figure, str]:
    """The rate at every step, a line per schedule, and alt text that describes them."""
    result, axes = figure()
    ends = []
    for label, schedule in schedules.items():
        rates = schedule.lrs(base_lr, steps)
        color = COLORS.get(label)
        (line,) = axes.plot(np.arange(steps), rates, color=color)
        label_line(axes, steps - 1, rates[-1], label, line.get_color())
        ends.append(f"{label}: {_described(rates)}")
    axes.set(xlabel="step", ylabel="learning rate", title=title, ylim=(0, None))
    axes.margins(x=0)
    return result, f"Learning rate over {steps} steps. " + "; ".join(ends) + "."


def _described(rates: NDArray[np.float64]) -> str:
    last, top = len(rates) - 1, int(rates.argmax())
    ends = f"from {rates[0]:.3g} at step 0 to {rates[-1]:.3g} at step {last}"
    return ends if top in (0, last) else f"{ends}, highest {rates[top]:.3g} at step {top}"


def range_curve(test: RangeTest, readings: dict[str, float], title: str = "") -> tuple[Figure, str]:
    """The losses of a range test over the rate, a line for each reading, and alt text."""
    result, axes = figure()
    first, low = test.smoothed[0], test.smoothed.min()
    axes.semilogx(test.rates, test.losses, ".", color="#b9c3cc", markersize=3)
    axes.semilogx(test.rates, test.smoothed, color=PALETTE["blue"])
    # The labels have the rows above the curve's start, the highest rate on top, and each line ends
    # at its label: so nothing crosses. An explosion runs out of the figure.
    axes.set_ylim(low - 0.1 * (first - low), first + 0.8 * (first - low))
    ordered = sorted(zip(readings.items(), CYCLE[1:], strict=False), key=lambda item: -item[0][1])
    for row, ((label, rate), color) in enumerate(ordered):
        height, where = 0.95 - 0.09 * row, axes.get_xaxis_transform()
        axes.axvline(rate, ymax=height, color=color, linewidth=1)
        text = f"{label}: {rate:.2g} "
        axes.text(rate, height, text, transform=where, color=color, ha="right", va="center")
    axes.set(xlabel="learning rate", ylabel="loss", title=title)
    alt = (
        f"A range test from {test.rates[0]:.2g} to {test.rates[-1]:.2g}: the smoothed loss goes "
        f"from {first:.3g} to {low:.3g} at {test.rates[test.smoothed.argmin()]:.2g} and ends at "
        f"{test.smoothed[-1]:.3g}. "
    )
    return result, alt + "; ".join(f"{label}: {rate:.2g}" for label, rate in readings.items()) + "."


def band(
    axes: Axes, x: ArrayLike, runs: NDArray[np.float64], color: str, label: str = ""
) -> NDArray[np.float64]:
    """The mean over runs (first axis) with its 95 % interval as a band; returns the mean."""
    stats = [interval(column) for column in runs.T]
    mean = np.array([stat.mean for stat in stats])
    half = np.array([stat.half_width for stat in stats])
    axes.plot(x, mean, color=color, label=label)
    axes.fill_between(np.asarray(x), mean - half, mean + half, color=color, alpha=0.2, linewidth=0)
    return mean


def forest(
    verdicts: Sequence[Verdict], margin: float, unit: str, scale: float = 1.0, title: str = ""
) -> tuple[Figure, str]:
    """A row for each verdict: the difference, its interval, every unit as a dot; and alt text.

    What was compared stands above its row, so that the data have the whole width. The gray boxes
    are `±margin`. The axis reads "difference in" `unit`; `scale` is 100 for shares in points.
    Budgets are epochs, and are named if there are several.
    """
    result, axes = figure(figsize=(5.6, 1.5 + 0.43 * len(verdicts)))
    colors = (CYCLE[2], CYCLE[1], CYCLE[0], CYCLE[6])
    looks = dict(zip(VERDICTS, zip(colors, "^vso", strict=True), strict=True))
    several = len({one.budget for one in verdicts}) > 1
    rows: list[str] = []
    sentences: list[str] = []
    for row, one in enumerate(reversed(verdicts)):
        mean, half = scale * one.difference.mean, scale * one.difference.half_width
        color, marker = looks[one.verdict]
        dots = scale * np.array(one.differences)
        axes.barh(row, 2 * scale * margin, 0.4, -scale * margin, color="#4d4d4d", alpha=0.12)
        axes.vlines(0, row - 0.2, row + 0.2, color="#4d4d4d", linewidth=1)
        axes.plot(dots, [row] * len(dots), ".", color=color, alpha=0.3, markersize=4)
        axes.errorbar(mean, row, xerr=half, fmt=marker, color=color)
        epochs = f", {one.budget} epoch{'' if one.budget == 1 else 's'}" if several else ""
        rows.append(f"{one.a} − {one.b}{epochs}")
        sentences.insert(0, f"{rows[-1]}: {mean:+.2f} ± {half:.2f}, {one.verdict}")
    axes.set_yticks(0.5 + np.arange(len(rows)), rows, ha="left")
    axes.tick_params(axis="y", length=0, pad=0)
    axes.spines.left.set_visible(False)
    axes.grid(False)
    axes.set(xlabel=f"difference in {unit}", title=title, ylim=(-0.4, len(rows) - 0.25))
    for verdict in (name for name in VERDICTS if name in {one.verdict for one in verdicts}):
        color, marker = looks[verdict]
        axes.plot([], [], marker, color=color, label=verdict)
    result.legend(loc="outside lower center", ncols=len(VERDICTS), columnspacing=1, handletextpad=0)
    return result, f"Differences in {unit}, with 95 % intervals. " + "; ".join(sentences) + "."


def contours(
    axes: Axes, curvatures: tuple[float, float], extent: float, levels: Sequence[float] | int = 12
) -> None:
    """The level lines of ½ (λ₁ x² + λ₂ y²) on a square of ±extent."""
    side = np.linspace(-extent, extent, 201)
    x, y = np.meshgrid(side, side)
    heights = 0.5 * (curvatures[0] * x**2 + curvatures[1] * y**2)
    axes.contour(x, y, heights, levels=levels, colors="#b9c3cc", linewidths=0.7)
    axes.set_aspect("equal")
    axes.grid(False)
