"""The rules that every notebook keeps, so that it runs in Colab, reads well and can be compared."""

from __future__ import annotations

import ast
import builtins
import dis
import json
import re
import types
from pathlib import Path

import pytest
import yaml

from lrlib.notebook.outputs import MEASURED

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(
    path
    for path in (ROOT / "chapters").glob("*/*.ipynb")
    if path.stem != "assignment" and ".ipynb_checkpoints" not in path.parts
)
IGNORE = "nbval-ignore-output"
RECORDED = json.loads((ROOT / "book" / "results" / "notebooks.json").read_text(encoding="utf-8"))


def load(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def text(cell: dict) -> str:
    return "".join(cell["source"])


def code_cells(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def path(request) -> Path:
    return request.param


@pytest.fixture
def notebook(path: Path) -> dict:
    return load(path)


def test_it_opens_with_a_title_what_you_will_see_time_and_place(notebook: dict) -> None:
    first = text(notebook["cells"][0])
    assert notebook["cells"][0]["cell_type"] == "markdown"
    assert first.startswith("# ")
    for part in ("**You will see**", "**Time**", "**Runs**"):
        assert part in first


def test_every_claim_and_table_ends_its_cell_and_so_is_shown(notebook: dict) -> None:
    """Jupyter shows the value of a cell's last line only."""
    for cell in code_cells(notebook):
        if text(cell).startswith(("%", "# Setup")):
            continue
        for line in ast.parse(text(cell)).body[:-1]:
            called = line.value if isinstance(line, ast.Expr) else None
            name = getattr(getattr(called, "func", None), "id", None)
            assert name not in {"claim", "table"}, ast.unparse(line)


def test_the_setup_cell_is_the_same_everywhere_and_installs_the_right_repository(
    notebook: dict,
) -> None:
    setups = {text(load(other)["cells"][1]) for other in NOTEBOOKS}
    assert len(setups) == 1
    (setup,) = setups
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert f'"lrlib[book] @ git+{config["repository"]["url"]}"' in setup
    assert 'find_spec("lrlib") is None' in setup, "it leaves what is installed alone"


def test_it_was_run_top_to_bottom_from_a_clean_kernel(notebook: dict) -> None:
    counts = [cell["execution_count"] for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1)), "run `make execute`"


def test_make_execute_would_store_it_as_it_is(path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "book" / "tools"))
    import execute
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    execute.tidy(notebook)
    assert nbformat.writes(notebook) + "\n" == path.read_text(encoding="utf-8")


def test_no_cell_failed_unless_it_teaches_an_error(notebook: dict) -> None:
    for cell in code_cells(notebook):
        errors = [o for o in cell["outputs"] if o["output_type"] == "error"]
        taught = "raises-exception" in cell["metadata"].get("tags", [])
        assert bool(errors) == taught, text(cell)


def test_every_figure_has_alt_text_that_says_what_it_shows(notebook: dict) -> None:
    for cell in code_cells(notebook):
        pictures = [o for o in cell["outputs"] if any("image" in m for m in o.get("data", {}))]
        if not pictures:
            continue
        assert len(pictures) == 1, "one figure a cell, so that its alt text is its own"
        alt = cell["metadata"]["mystnb"]["image"]["alt"]
        assert alt == pictures[0]["metadata"]["lrlib"]["alt"]
        assert len(alt) > 60, alt
        assert " " in alt
        assert not alt.lower().startswith(("figure", "plot", "image", "a figure", "a plot"))
        assert "image/svg+xml" in pictures[0]["data"], "vector output"


def test_only_figures_live_figures_and_progress_are_not_compared(notebook: dict) -> None:
    for cell in code_cells(notebook):
        if IGNORE not in cell["metadata"].get("tags", []):
            continue
        shows = [m for o in cell["outputs"] for m in o.get("data", {})]
        source = text(cell)
        live = "explorer(" in source
        assert "image/svg+xml" in shows or live or "tqdm" in source or "timeit" in source, source


def test_most_cells_are_compared(notebook: dict) -> None:
    tags = [cell["metadata"].get("tags", []) for cell in code_cells(notebook)]
    assert sum(IGNORE in tag for tag in tags) < len(tags) / 2


def test_it_makes_claims(notebook: dict) -> None:
    shown = [
        "".join(o["data"].get("text/plain", ""))
        for cell in code_cells(notebook)
        for o in cell["outputs"]
        if "data" in o
    ]
    assert sum(t.startswith("✓") for t in shown) >= 3


def test_it_is_plain_markdown(notebook: dict) -> None:
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            assert not re.search(r"^:::|^```\{|\{[a-z:]+\}`", text(cell), re.M), (
                "a MyST directive or role shows raw in Colab"
            )


def test_it_is_small_and_holds_nothing_of_one_machine(path: Path, notebook: dict) -> None:
    assert path.stat().st_size < 1_000_000
    assert "widgets" not in notebook["metadata"]
    raw = path.read_text(encoding="utf-8")
    assert not re.search(r"0x[0-9a-f]{8,}", raw), "an object's address"
    assert str(Path.home()) not in raw


def test_it_runs_within_a_minute_and_a_gibibyte(path: Path) -> None:
    record = RECORDED[path.relative_to(ROOT).as_posix()]
    assert record["seconds"] <= 60
    assert record["peak_mib"] is None or record["peak_mib"] <= 1024


def test_the_records_are_of_these_notebooks() -> None:
    assert set(RECORDED) == {path.relative_to(ROOT).as_posix() for path in NOTEBOOKS}


def test_nbval_skips_what_measured_marks() -> None:
    config = (ROOT / "tests" / "book" / "nbval.cfg").read_text(encoding="utf-8")
    assert f"\nregex: {MEASURED.pattern}\n" in config


def test_the_search_to_paste_is_the_one_that_the_notebook_measures() -> None:
    chapter = ROOT / "chapters" / "07-finding-a-rate"
    page = (chapter / "start-here.md").read_text(encoding="utf-8")
    shown = re.findall(r"```\{code-block\} python\n(.*?)\n```", page, re.DOTALL)
    (search,) = [program for program in shown if "def search(" in program]
    assert search in map(text, load(chapter / "search-plan.ipynb")["cells"])


def test_the_claim_on_the_first_page_is_one_that_a_notebook_prints() -> None:
    (shown,) = re.findall('"(✓ .*?)"', (ROOT / "index.md").read_text(encoding="utf-8"))
    outputs = (o for path in NOTEBOOKS for c in code_cells(load(path)) for o in c["outputs"])
    assert shown in ("".join(o.get("data", {}).get("text/plain", "")) for o in outputs)


def globals_of(code: types.CodeType) -> tuple[set[str], set[str]]:
    """The names of the module that code loads and binds, also in its functions."""
    loaded, bound = set(), set()
    for one in dis.get_instructions(code):
        if one.opname in {"LOAD_NAME", "LOAD_GLOBAL"}:
            loaded.add(one.argval)
        elif one.opname == "STORE_NAME":
            bound.add(one.argval)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            loaded |= globals_of(inner)[0]
    return loaded, bound


def programs(notebook: dict) -> list[str]:
    return [text(c) for c in code_cells(notebook) if "# In a script" in text(c)]


@pytest.mark.parametrize(
    "path", [p for p in NOTEBOOKS if programs(load(p))], ids=lambda path: path.stem, indirect=True
)
def test_a_program_for_a_script_says_what_it_needs(path: Path, notebook: dict) -> None:
    """Its first comment is the imports, and the names that the reader brings."""
    before: set[str] = set()
    for source in programs(notebook):
        head = re.match(r"# In a script: (.+\n(?:# .+\n)*?)(?:# Yours: (.+)\n|(?!#))", source)
        assert head, source
        needs: dict[str, object] = {}
        exec("\n".join(line.removeprefix("# ") for line in head[1].splitlines()), needs)
        yours = set((head[2] or "").split(", ")) - {""}
        imported = needs.keys() - {"__builtins__"}
        loaded, bound = globals_of(compile(source, "program", "exec"))
        known = bound | before | imported | yours | set(dir(builtins)) | {"__name__"}
        assert loaded <= known, f"not said: {loaded - known}\n{source}"
        assert imported | yours <= loaded - bound, f"superfluous:\n{source}"
        assert not loaded & {"claim", "measured", "show", "table", "glue"}, source
        if path.stem != "bug-museum":  # a reader takes one repair, and not those before it
            before |= bound
