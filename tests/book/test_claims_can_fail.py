"""Claims are no decoration: alter a formula or a measurement a little, and the notebook fails.

A cell's mutants are in its metadata: `"mutants": [{"old": …, "new": …, "breaks": …}]`. `old` is a
text that the cell has once; `breaks` are words of the claim that must fail when `new` stands there.
`make test` runs one mutant of each notebook, the first without `"long": true`; `make test-long`
runs the others. If some cells of a notebook have the tag
`mutants-need`, then only these cells are run.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from test_notebooks import NOTEBOOKS, text

from lrlib.notebook.outputs import ClaimError

pytestmark = pytest.mark.slow
NEED = "mutants-need"
Cells = dict[int, str]


def read(path) -> tuple[Cells, list[tuple[int, dict[str, Any]]], bool]:
    """The cells to run, the mutants with their cells' numbers, and whether cells are left out."""
    code = [
        (index, cell)
        for index, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"])
        if cell["cell_type"] == "code"
    ]
    mutants = [(i, mutant) for i, cell in code for mutant in cell["metadata"].get("mutants", [])]
    tags = {index: cell["metadata"].get("tags", []) for index, cell in code}
    some = any(NEED in tags[index] for index in tags)
    python = {
        index: text(cell)
        for index, cell in code[1:]  # the first installs lrlib
        if (NEED in tags[index] or not some)
        and "raises-exception" not in tags[index]
        and not text(cell).startswith("%")
    }
    return python, mutants, some


def run(name: str, cells: Cells) -> None:
    names: dict[str, Any] = {"__name__": "notebook"}
    for index, source in cells.items():
        exec(compile(source, f"{name}, cell {index}", "exec"), names)


def quick(mutants: list[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    return next(mutant for _, mutant in mutants if not mutant.get("long"))


READ = {f"{path.parent.name}/{path.stem}": read(path) for path in NOTEBOOKS}


@pytest.mark.parametrize("name", READ)
def test_every_notebook_has_a_mutant_and_each_alters_one_place(name: str) -> None:
    cells, mutants, _ = READ[name]
    assert mutants
    for index, mutant in mutants:
        assert cells[index].count(mutant["old"]) == 1, f"{name}, cell {index}: {mutant['old']!r}"


@pytest.mark.parametrize(
    ("name", "index", "mutant"),
    [
        pytest.param(
            name,
            index,
            mutant,
            id=f"{name} [{index}] {mutant['new']}",
            marks=[] if mutant is quick(mutants) else [pytest.mark.long],
        )
        for name, (_, mutants, _) in READ.items()
        for index, mutant in mutants
    ],
)
def test_an_altered_notebook_fails(name: str, index: int, mutant: dict[str, Any], capsys) -> None:
    cells = dict(READ[name][0])
    cells[index] = cells[index].replace(mutant["old"], mutant["new"])
    shown = f"{name}, cell {index}, with {mutant['new']!r} for {mutant['old']!r}"
    try:
        run(name, cells)
    except ClaimError as error:
        if mutant["breaks"] not in str(error):
            pytest.fail(f"{shown}: not {mutant['breaks']!r} fails, but: {error}")
    else:
        pytest.fail(f"{shown}: no claim fails")


# nbval runs the whole notebooks; this is about the claims that hold only after a cell left out.
@pytest.mark.long
@pytest.mark.parametrize("name", [name for name, (*_, some) in READ.items() if some])
def test_unaltered_the_cells_that_mutants_need_pass(name: str, capsys) -> None:
    run(name, READ[name][0])
