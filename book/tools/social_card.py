"""The picture that a link to the book shows elsewhere: 1200 × 630, with its first figure."""

from __future__ import annotations

from pathlib import Path

from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

from lrlib.notebook import explorers, plots


def draw(path: Path, title: str) -> None:
    """Writes the card as PNG."""
    grid = explorers.data("first-look")
    figure = plt.figure(figsize=(12, 6.3), dpi=100, facecolor="#fbfbf9")
    first, _, rest = title.partition(" Book")[0].rpartition(" ")
    figure.text(0.06, 0.72, f"{first}\n{rest} Book", size=42, weight="bold", linespacing=1.2)
    figure.text(0.06, 0.49, "How to choose and change the\nlearning rate in PyTorch", size=25)
    figure.text(0.06, 0.16, "Proven schedules · error bars ·\nclaims that can fail", size=19)
    figure.patches.append(
        Rectangle((0, 0), 0.012, 1, transform=figure.transFigure, color=plots.CYCLE[0])
    )
    axes = figure.add_axes((0.63, 0.17, 0.32, 0.66), facecolor="#fbfbf9")
    for schedule, width in {"constant": 5, "step": 3, "linear": 3, "cosine": 5}.items():
        error = [grid["results"][f"{schedule}@{rate:g}"]["error"] for rate in grid["rates"]]
        axes.plot(grid["rates"], error, color=plots.COLORS[schedule], linewidth=width)
    axes.set(xscale="log", yscale="log", xticks=[], yticks=[])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("learning rate", size=19, labelpad=12)
    axes.set_ylabel("test error", size=19, labelpad=12)
    figure.savefig(path)
    plt.close(figure)
