"""Executable claims: sentences of the book that fail the build when they stop being true.

Numbers that were measured are written with "≈": they may differ in the last digits on another
machine, and notebook comparison skips them. What must not differ is the claim, which is checked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from lrlib import _checks

if TYPE_CHECKING:
    import pandas as pd

# What a measured number looks like in a stored output. pyproject's nbval settings use the same.
MEASURED = re.compile(r"≈ ?[−+]?[\d.,]+(?:e[−+]?\d+)?(?: ± [\d.,]+(?:e[−+]?\d+)?)?%?")

# How a number may be written so that the pattern above finds it: not padded, not in other digits.
SPEC = re.compile(r"\+?,?(\.\d{1,2})?[efg]")


class ClaimError(AssertionError):
    """A sentence of the book is not true here."""


@dataclass(frozen=True)
class Claim:
    """A sentence that was checked, and the measurement that it was checked against."""

    sentence: str
    evidence: str = ""

    def __str__(self) -> str:
        return f"✓ {self.sentence}" + (f"\n  {self.evidence}" if self.evidence else "")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        evidence = f'<br><span class="evidence">{escape(self.evidence)}</span>'
        return (
            f'<div class="claim"><strong>✓ {escape(self.sentence)}</strong>'
            f"{evidence if self.evidence else ''}</div>"
        )


def claim(sentence: str, holds: bool | np.bool_, evidence: str = "") -> Claim:
    """States a sentence that is true, or raises ClaimError, which fails the build.

    `evidence` shows what was measured; write its numbers with `measured`, so that they are shown
    but not compared between machines.

    >>> claim("Half is less than one", 0.5 < 1, evidence=f"half is {measured(0.5, '.1f')}")
    ✓ Half is less than one
      half is ≈0.5
    """
    if not isinstance(holds, bool | np.bool_):
        raise _checks.refuse_type("claim", "holds", holds, "True or False")
    if not holds:
        raise ClaimError(f"no longer true: {sentence}" + (f" ({evidence})" if evidence else ""))
    return Claim(sentence, evidence)


def measured(value: float | Difference, spec: str = ".3g", percent: bool = False) -> str:
    """A measured number as text, marked with ≈; a `Difference` with its interval.

    With `percent`, a share is written in percent, and a difference of shares in points. `spec` is
    Python's format of a number, without a width. Raises ValueError for any other.

    >>> measured(0.98765, ".1f", percent=True), measured(-1234.5, ",.0f")
    ('≈98.8%', '≈−1,234')
    >>> measured(Difference(0.0241, 0.0057, n=32), "+.1f", percent=True)
    '≈+2.4 ± 0.6 points'
    """
    if not isinstance(percent, bool | np.bool_):
        raise _checks.refuse_type("measured", "percent", percent, "True or False")
    if not isinstance(spec, str) or not SPEC.fullmatch(spec):
        rule = "a format of numbers with e, f or g and no width, such as '.3g' or '+,.1f'"
        raise _checks.refuse("measured", "spec", spec, rule)
    scale = 100.0 if percent else 1.0
    if isinstance(value, Difference):
        half = f"{value.half_width * scale:{spec.lstrip('+')}}".replace("-", "−")
        return f"{measured(value.mean * scale, spec)} ± {half}{' points' if percent else ''}"
    number = _checks.array("measured", "value", value, "a number or a Difference")
    if number.ndim:
        raise _checks.refuse_type("measured", "value", value, "a number or a Difference")
    text = f"{float(number) * scale:{spec}}"
    if float(text.replace(",", "")) == 0:
        text = f"{0:{spec}}"  # −0.0 says nothing that 0.0 doesn't
    return f"≈{text}{'%' if percent else ''}".replace("-", "−")


@dataclass(frozen=True)
class Difference:
    """A mean (of differences), its 95 % interval mean ± half_width, and the n it rests on."""

    mean: float
    half_width: float
    n: int

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width

    def __str__(self) -> str:
        return f"{measured(self)} (95 % interval, n = {self.n})"


def interval(values: ArrayLike) -> Difference:
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
    return Difference(float(sample.mean()), quantile * error, len(sample))


def paired_difference(a: ArrayLike, b: ArrayLike) -> Difference:
    """The mean of a − b over pairs that share a seed, and its 95 % interval (Student's t).

    What two runs with the same seed have in common (initial weights, order of batches) cancels,
    so fewer seeds are needed than for two separate means. A pair with a NaN is an error: a run
    that diverged must be counted, not dropped.

    >>> difference = paired_difference([0.98, 0.97, 0.99], [0.96, 0.96, 0.96])
    >>> round(difference.mean, 3), difference.low < 0.02 < difference.high, difference.n
    (0.02, True, 3)
    """
    first = _checks.array("paired_difference", "a", a, "a sequence of numbers")
    second = _checks.array("paired_difference", "b", b, "a sequence of numbers")
    if first.shape != second.shape or first.ndim != 1:
        shapes = f"{first.shape} and {second.shape}"
        raise _checks.refuse(
            "paired_difference", "a, b", shapes, "of one shape [n], one seed a pair"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        rule = "finite: count a run that diverged as what it scores, don't drop it"
        raise _checks.refuse("paired_difference", "a, b", "NaN or infinity", rule)
    return interval(first - second)


@dataclass(frozen=True)
class Table:
    """A small table with a caption; its first column labels the rows."""

    frame: pd.DataFrame
    caption: str = ""

    def __repr__(self) -> str:
        # Not aligned: a measured number that is one character longer must not move its neighbors.
        rows = [list(self.frame.columns), *self.frame.to_numpy().tolist()]
        return "\n".join(filter(None, [self.caption, *(" | ".join(row) for row in rows)]))

    def _repr_html_(self) -> str:
        from html import escape

        body = self.frame.to_html(index=False, border=0)
        body = re.sub(r"<tr>(\s*)<td>(.*?)</td>", r'<tr>\1<th scope="row">\2</th>', body)
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        return body.replace("<thead>", f"{caption}<thead>", 1)


def table(columns: dict[str, Sequence[str]], caption: str = "") -> Table:
    """A table of texts, the first column labelling the rows; numbers by `measured` or `f"…"`.

    >>> table({"rate": ["0.1"], "loss": [measured(0.25, ".2f")]}, caption="One run.")
    One run.
    rate | loss
    0.1 | ≈0.25
    """
    import pandas as pd

    rule = "a dict from headings to columns, each a sequence of texts, all equally long"
    if not isinstance(columns, Mapping):
        raise _checks.refuse_type("table", "columns", columns, rule)
    columns = {name: _checks.items("table", "columns", one, rule) for name, one in columns.items()}
    if len({len(column) for column in columns.values()}) > 1:
        raise _checks.refuse("table", "columns", columns, rule)
    cells = {
        name: [re.sub(r"(?<!\w)-(?=\d)|(?<=\de)-(?=\d)", "−", str(cell)) for cell in column]
        for name, column in columns.items()
    }
    return Table(pd.DataFrame(cells), caption)


def glue(name: str, value: str) -> None:
    """Keeps a text under a name, for the narrative to print: {measured}`notebook/name`.

    Shows nothing in the notebook; the site reads it from the stored output.
    """
    from IPython.display import display

    if not isinstance(value, str):
        raise _checks.refuse_type("glue", "value", value, "text, such as measured(0.5, '.2f')")
    prefix = "application/papermill.record/"  # a type that no front end displays
    display(
        {f"{prefix}text/plain": value},
        raw=True,
        metadata={"scrapbook": {"name": name, "mime_prefix": prefix}},
    )
