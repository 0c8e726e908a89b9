"""Executable claims: sentences of the book that fail the build when they stop being true.

Numbers that were measured are written with "≈": they may differ in the last digits on another
machine, and notebook comparison skips them. What must not differ is the claim, which is checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from lrlib import _checks
from lrlib.lab.contest import Verdict
from lrlib.lab.stats import Interval
from lrlib.param_groups import GroupSummary

__all__ = ["claim", "glue", "group_table", "measured", "table", "verdict_table"]

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
        raise _checks.refuse("claim", "holds", holds, "True or False", TypeError)
    if not holds:
        raise ClaimError(f"no longer true: {sentence}" + (f" ({evidence})" if evidence else ""))
    return Claim(sentence, evidence)


def measured(value: float | Interval, spec: str = ".3g", percent: bool = False) -> str:
    """A measured number as text, marked with ≈; an `Interval` with its half-width.

    With `percent`, a share is written in percent, and a difference of shares in points. `spec` is
    Python's format of a number, without a width. Raises ValueError for any other format.

    >>> measured(0.98765, ".1f", percent=True), measured(-1234.5, ",.0f")
    ('≈98.8%', '≈−1,234')
    >>> measured(Interval(0.0241, 0.0057, n=32), "+.1f", percent=True)
    '≈+2.4 ± 0.6 points'
    """
    if not isinstance(percent, bool | np.bool_):
        raise _checks.refuse("measured", "percent", percent, "True or False", TypeError)
    if not isinstance(spec, str) or not SPEC.fullmatch(spec):
        rule = "a format of numbers with e, f or g and no width, such as '.3g' or '+,.1f'"
        raise _checks.refuse("measured", "spec", spec, rule)
    scale = 100.0 if percent else 1.0
    if isinstance(value, Interval):
        half = f"{value.half_width * scale:{spec.lstrip('+')}}".replace("-", "−")
        return f"{measured(value.mean * scale, spec)} ± {half}{' points' if percent else ''}"
    number = _checks.array("measured", "value", value, "a number or an Interval", single=True)
    text = f"{float(number) * scale:{spec}}"
    if float(text.replace(",", "")) == 0:
        text = f"{0:{spec}}"  # −0.0 says nothing that 0.0 doesn't
    return f"≈{text}{'%' if percent else ''}".replace("-", "−")


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
    """A table of texts whose first column labels the rows; write numbers with `measured` or f"…".

    >>> table({"rate": ["0.1"], "loss": [measured(0.25, ".2f")]}, caption="One run.")
    One run.
    rate | loss
    0.1 | ≈0.25
    """
    import pandas as pd

    rule = "a dict from headings to columns, each a sequence of texts, all equally long"
    if not isinstance(columns, Mapping):
        raise _checks.refuse("table", "columns", columns, rule, TypeError)
    columns = {name: _checks.items("table", "columns", one, rule) for name, one in columns.items()}
    if len({len(column) for column in columns.values()}) > 1:
        raise _checks.refuse("table", "columns", columns, rule)
    cells = {
        name: [re.sub(r"(?<!\w)-(?=\d)|(?<=\de)-(?=\d)", "−", str(cell)) for cell in column]
        for name, column in columns.items()
    }
    return Table(pd.DataFrame(cells), caption)


def group_table(rows: Sequence[GroupSummary]) -> Table:
    """The audit of `lrlib.summary` as a table, with its total in the caption.

    >>> import lrlib, torch
    >>> model = torch.nn.Linear(4, 2)
    >>> group_table(lrlib.summary([{"params": list(model.parameters()), "lr": 0.1}], model))
    10 trainable parameters in 1 group, each in exactly one.
    group | parameters | count | lr | weight decay
    0 | weight, bias | 10 | 0.1 | –
    """
    total = sum(row.count for row in rows)
    frozen = sum(len(row.frozen) for row in rows)
    return table(
        {
            "group": [row.group for row in rows],
            "parameters": [_shortened(row.parameters) for row in rows],
            "count": [f"{row.count:,}" for row in rows],
            "lr": ["–" if row.lr is None else f"{row.lr:g}" for row in rows],
            "weight decay": [
                "–" if row.weight_decay is None else f"{row.weight_decay:g}" for row in rows
            ],
        },
        caption=f"{total:,} trainable parameters in {len(rows)} "
        f"group{'s' if len(rows) != 1 else ''}, each in exactly one."
        + (f" {frozen} frozen tensors wait in the groups." if frozen else ""),
    )


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names if len(names) <= 4 else [*names[:3], f"… {len(names) - 3} more"])


def verdict_table(verdicts: Sequence[Verdict], percent: bool = False, caption: str = "") -> Table:
    """The verdicts of a contest, a row for each pair and budget; `percent` for shares.

    >>> verdict_table([Verdict("a", "b", 8, (0.010, 0.012, 0.014), "better")], percent=True)
    budget | pair | difference | median | verdict
    8 | a − b | ≈+1.20 ± 0.50 points | ≈+1.20 points | better
    """
    scale, unit = (100, " points") if percent else (1, "")
    return table(
        {
            "budget": [str(one.budget) for one in verdicts],
            "pair": [f"{one.a} − {one.b}" for one in verdicts],
            "difference": [measured(one.difference, "+.2f", percent) for one in verdicts],
            "median": [
                f"{measured(scale * median(one.differences), '+.2f')}{unit}" for one in verdicts
            ],
            "verdict": [one.verdict for one in verdicts],
        },
        caption=caption,
    )


# The types and the metadata under which a notebook stores what the site reads: a glued text (in
# papermill's format, which no front end displays), and a figure with its alt text.
_GLUE = "application/papermill.record/"
_TEXT, _SVG = f"{_GLUE}text/plain", "image/svg+xml"


def glue(name: str, value: str) -> None:
    """Keeps a text under a name, for the narrative to print: ``{measured}`notebook/name```.

    Shows nothing in the notebook; the site reads it from the stored output.
    """
    from IPython.display import display

    if not isinstance(value, str):
        raise _checks.refuse(
            "glue", "value", value, "text, such as measured(0.5, '.2f')", TypeError
        )
    scrapbook = {"name": name, "mime_prefix": _GLUE}
    display({_TEXT: value}, raw=True, metadata={"scrapbook": scrapbook})


def display_figure(svg: str, alt: str, name: str = "") -> None:
    """Displays a picture with its alt text; `plots.show` makes the picture."""
    from IPython.display import display

    figure = {"alt": alt} | ({"name": name} if name else {})
    display({_SVG: svg, "text/plain": alt}, raw=True, metadata={"lrlib": figure})


@dataclass(frozen=True)
class NamedOutput:
    """What a notebook stored under a name: a glued text, a figure with its alt text, or both."""

    text: str = ""
    svg: str = ""
    alt: str = ""


def named_outputs(notebook: Path) -> dict[str, NamedOutput]:
    """What `glue` and `plots.show` stored in the notebook, by name."""
    named: dict[str, NamedOutput] = {}

    def store(name: str, **values: str) -> None:
        named[name] = replace(named.get(name, NamedOutput()), **values)

    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            metadata, data = output.get("metadata", {}), output.get("data", {})
            if "scrapbook" in metadata:
                store(metadata["scrapbook"]["name"], text="".join(data[_TEXT]))
            elif name := metadata.get("lrlib", {}).get("name"):
                store(name, svg="".join(data[_SVG]), alt=metadata["lrlib"]["alt"])
    return named
