"""Figures carry alt text that says something, are the same file every time, and can be read."""

from __future__ import annotations

import io
import itertools
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import colors as mpl_colors

from lrlib import Cosine, RangeTest, StepDecay
from lrlib.lab.contest import VERDICTS, Verdict
from lrlib.notebook import plots


@pytest.fixture
def displayed(monkeypatch) -> list[dict]:
    seen: list[dict] = []
    monkeypatch.setattr(
        "IPython.display.display",
        lambda data, raw, metadata: seen.append(data | metadata["lrlib"]),
    )
    return seen


def test_a_figure_is_shown_as_vector_graphics_with_its_alt_text(displayed) -> None:
    def draw() -> str:
        fig, alt = plots.lr_curve({"cosine": Cosine(50), "step": StepDecay(10)}, 50, 0.1, "Two")
        plots.show(fig, alt, name="two")
        return displayed[-1]["image/svg+xml"]

    first, second = draw(), draw()
    assert first == second, "the same figure is the same file"
    assert "<svg" in first
    assert "step: from 0.1 at step 0 to 1e-05 at step 49" in displayed[0]["alt"]
    assert displayed[0]["name"] == "two"


def test_the_stored_picture_is_the_drawn_one_in_less_space(displayed) -> None:
    fig, axes = plots.figure()
    axes.plot(np.linspace(0, 1, 200) ** 2, label="a label")
    axes.legend()
    drawn = io.StringIO()
    fig.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    plots.show(fig, "A parabola with a legend, over two hundred points.")
    stored = displayed[-1]["image/svg+xml"]
    assert len(stored) < 0.85 * len(drawn.getvalue())

    def shapes(svg: str) -> list[tuple[str, list[float]]]:
        keep = [e for e in ElementTree.fromstring(svg).iter() if "svg}" in e.tag]
        numbers = re.compile(r"-?\d+(?:\.\d+)?")
        return [
            (
                element.tag,
                [float(x) for a in ("d", "x", "y") for x in numbers.findall(element.get(a, ""))],
            )
            for element in keep
            if not element.tag.endswith("metadata")
        ]

    for (tag, before), (other, after) in zip(shapes(drawn.getvalue()), shapes(stored), strict=True):
        assert tag == other
        assert after == pytest.approx(before, abs=0.01)


def test_a_title_that_is_cut_off_is_refused(displayed) -> None:
    title = "A title that is far too long for a figure that a phone can show, as everyone sees"
    fig, alt = plots.lr_curve({"cosine": Cosine(50)}, 50, title=title)
    with pytest.raises(ValueError, match="is cut off on the right; shorten it"):
        plots.show(fig, alt)
    assert displayed == []


@pytest.mark.parametrize(
    ("inches", "enough", "too_small"), [(5.6, 10.8, 10.7), (6.4, 12.4, 12.2), (8.4, 8.0, 7.9)]
)
def test_letters_that_are_small_on_a_phone_are_refused(
    displayed, inches, enough, too_small
) -> None:
    def draw(points: float) -> None:
        fig, axes = plots.figure(figsize=(inches, 3))
        axes.tick_params(labelsize=14)
        axes.text(0.5, 0.5, "a note", fontsize=points)
        plots.show(fig, "A note in the middle of a panel that has nothing else.")

    draw(enough)
    with pytest.raises(ValueError, match=r"a phone shows 'a note' in letters of 9\.9 pixels"):
        draw(too_small)
    assert len(displayed) == 1


def test_the_style_s_letters_are_large_enough(displayed) -> None:
    for columns in (1, 2):
        fig, panels = plots.figure(columns=columns)
        for axes in np.ravel(panels):
            axes.plot([1, 2], label="a line")
            axes.set(title="A title", xlabel="step", ylabel="loss")
            axes.legend()
            plots.label_line(axes, 0, 1, "a label", "#000000")
        plots.show(fig, "A line from 1 to 2 in each of the panels.")
    assert len(displayed) == 2


def test_a_log_axis_has_no_exponents(displayed) -> None:
    fig, axes = plots.figure()
    axes.loglog([1e-6, 1e-3, 1.0, 1e3], [2e-1, 3e-1, 4e-1, 8e-1])
    plots.show(fig, "A curve over nine decades, which rises from 0.2 to 0.8.")
    written = [text.get_text() for text in fig.axes[0].findobj(plots.Text) if text.get_text()]
    assert not [text for text in written if "$" in text]
    assert {"1e-6", "0.0001", "0.01", "1", "100", "0.3"} <= set(written)


def test_alt_text_must_say_something(displayed) -> None:
    fig, _ = plots.figure()
    with pytest.raises(ValueError, match="that says what the figure shows"):
        plots.show(fig, "a plot")


def test_a_range_test_is_drawn_with_its_readings() -> None:
    curve = np.concatenate([np.linspace(2.0, 0.5, 80), np.linspace(0.6, 4.0, 20)])
    test = RangeTest(np.geomspace(1e-6, 1.0, 100), curve, curve, "diverged")
    readings = {"minimum / 10": 0.0061, "steepest": 0.005, "valley": 0.0052}
    fig, alt = plots.range_curve(test, readings, "Four readings")
    assert alt == (
        "A range test from 1e-06 to 1: the smoothed loss goes from 2 to 0.5 at 0.061 and "
        "ends at 4. minimum / 10: 0.0061; steepest: 0.005; valley: 0.0052."
    )
    fig.draw_without_rendering()
    boxes = [text.get_window_extent() for text in fig.axes[0].texts]
    assert len(boxes) == 3
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    # No label touches the curve.
    points = fig.axes[0].transData.transform(np.column_stack([test.rates, curve])[:80])
    assert not any(box.contains(x, y) for box in boxes for x, y in points)
    # Nor a line, except its own at its end.
    for line, box in itertools.product(fig.axes[0].lines[2:], boxes):
        x, top = line.get_transform().transform(line.get_xydata())[1]
        assert not (box.x0 < x < box.x1 - 1 and top > box.y0)
    plots.plt.close(fig)


def test_a_forest_names_each_row_above_its_interval() -> None:
    found = zip(range(4), VERDICTS, strict=True)
    rows = [Verdict(f"a long name {i}", "base", 5, (-0.1, 0.2, 0.1 * i), v) for i, v in found]
    fig, alt = plots.forest(rows, 0.1, "points", title="Four rows")
    assert alt.startswith("Differences in points, with 95 % intervals. a long name 0 − base")
    axes = fig.axes[0]
    assert axes.get_xlabel() == "difference in points"
    fig.draw_without_rendering()
    names = [text for text in axes.get_yticklabels() if text.get_text()]
    assert [name.get_text()[-8] for name in names] == list("3210")
    for bar, name in zip(axes.patches, names, strict=True):
        box, label = bar.get_window_extent(), name.get_window_extent()
        assert 0 <= label.y0 - box.y1 < label.height
        assert label.x1 < fig.bbox.x1
    for lower, bar in itertools.pairwise(zip(names, axes.patches, strict=True)):
        assert lower[0].get_window_extent().y1 < bar[1].get_window_extent().y0
    plots.plt.close(fig)


def test_a_band_is_the_mean_and_its_interval() -> None:
    fig, axes = plots.figure()
    runs = np.random.default_rng(0).normal(size=(8, 5))
    mean = plots.band(axes, np.arange(5), runs, "#0072b2")
    np.testing.assert_allclose(mean, runs.mean(axis=0))
    plots.plt.close(fig)


@pytest.mark.parametrize("color", sorted({*plots.COLORS.values(), *plots.CYCLE}))
def test_colors_have_the_contrast_that_lines_need_on_white(color: str) -> None:
    channels = np.array(mpl_colors.to_rgb(color))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    assert 1.05 / (luminance + 0.05) >= 3
