"""A claim that is false fails; intervals cover the truth as often as they say."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrlib.lab import interval, paired_difference
from lrlib.notebook import claim, glue, measured, table
from lrlib.notebook.outputs import (
    MEASURED,
    ClaimError,
    Interval,
    NamedOutput,
    display_figure,
    named_outputs,
)


def test_a_false_claim_fails_and_names_itself() -> None:
    with pytest.raises(ClaimError, match="no longer true: water runs uphill \\(slope −1\\)"):
        claim("water runs uphill", False, "slope −1")
    with pytest.raises(AssertionError):
        claim("numpy's False counts", np.bool_(False))


@pytest.mark.parametrize("holds", [1, None, "yes", np.array([True])])
def test_only_a_truth_value_will_do(holds) -> None:
    with pytest.raises(TypeError, match=r"claim\(holds="):
        claim("anything", holds)


def test_a_claim_shows_as_text_and_as_html() -> None:
    shown = claim("a < b & c", True, "x > 1")
    assert str(shown) == "✓ a < b & c\n  x > 1"
    assert "a &lt; b &amp; c" in shown._repr_html_()


@given(
    st.floats(-1e12, 1e12),
    st.sampled_from([".3g", ".2f", "+.1f", ",.0f", ".1e"]),
    st.booleans(),
    st.one_of(st.none(), st.floats(0, 1e6)),
)
def test_what_measured_writes_is_what_the_comparison_skips(value, spec, percent, half) -> None:
    number = value if half is None else Interval(value, half, 5)
    text = measured(number, spec, percent)
    assert MEASURED.sub("#", text) in ("#", "# points")


@pytest.mark.parametrize("spec", ["", "9f", "2147483648", ".999f", "%", "d", "s", 3, None])
@pytest.mark.parametrize("value", [0.5, Interval(0.5, 0.1, 5)])
def test_a_measured_number_is_not_padded_nor_written_in_other_ways(value, spec) -> None:
    with pytest.raises(ValueError, match=r"measured\(spec="):
        measured(value, spec)


def test_intervals_cover_the_truth_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(3.0, 2.0, size=(4000, 8))
    covered = np.mean([abs(interval(s).mean - 3.0) <= interval(s).half_width for s in samples])
    assert covered == pytest.approx(0.95, abs=0.012)  # 3.5 standard errors


def test_pairs_cancel_what_they_share() -> None:
    rng = np.random.default_rng(1)
    shared = rng.normal(0, 10, 30)
    a, b = shared + 0.5 + rng.normal(0, 0.1, 30), shared
    difference = paired_difference(a, b)
    assert difference.low < 0.5 < difference.high
    assert difference.half_width < 0.1
    assert difference.n == 30


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [([1, 2], [1], "one shape"), ([1, np.nan], [1, 2], "don't drop"), ([1], [2], "at least 2")],
)
def test_pairs_that_cannot_be_compared(a, b, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        paired_difference(a, b)


def test_a_table_is_text_and_html_with_row_headers() -> None:
    shown = table({"rate": ["0.1", "-0.2"], "loss": ["≈1", "<b>"]}, caption="Two < three.")
    assert repr(shown) == "Two < three.\nrate | loss\n0.1 | ≈1\n−0.2 | <b>"
    html = shown._repr_html_()
    assert '<th scope="row">0.1</th>' in html
    assert "<caption>Two &lt; three.</caption>" in html
    assert "&lt;b&gt;" in html


def test_glue_keeps_text_only() -> None:
    with pytest.raises(TypeError, match=r"glue\(value="):
        glue("number", 0.5)  # type: ignore[arg-type]


def test_the_site_reads_what_a_notebook_displayed(monkeypatch, tmp_path) -> None:
    outputs = []

    def display(data: dict, raw: bool, metadata: dict) -> None:
        lines = {kind: text.splitlines(keepends=True) for kind, text in data.items()}
        outputs.append({"output_type": "display_data", "data": lines, "metadata": metadata})

    monkeypatch.setattr("IPython.display.display", display)
    glue("rate", "≈0.1")
    glue("floor", "≈0.02")
    display_figure("<svg>\n</svg>", "A floor", name="floor")
    display_figure("<svg/>", "A figure that no page shows")
    notebook = tmp_path / "one.ipynb"
    cells = [{"outputs": outputs}, {"source": "# a cell of text"}]
    notebook.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    assert named_outputs(notebook) == {
        "rate": NamedOutput(text="≈0.1"),
        "floor": NamedOutput(text="≈0.02", svg="<svg>\n</svg>", alt="A floor"),
    }
