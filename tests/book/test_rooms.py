"""The rooms: imports run chapters → notebook → lab → lrlib, and each extra lists what they need."""

from __future__ import annotations

import ast
import importlib
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lrlib._extras

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("lrlib", "lrlib.lab", "lrlib.notebook")  # each may use itself and those before it
# `python -m lrlib` is the laboratory's command line, so this door opens upward.
DOOR = "lrlib.__main__"
BRINGS = packages_distributions()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module(path): path.read_text(encoding="utf-8") for path in ROOT.glob("lrlib/**/*.py")}


def room(name: str) -> str:
    return max((r for r in ROOMS if f"{name}.".startswith(f"{r}.")), key=len)


def imported(source: str) -> Iterator[str]:
    """Every name that the source imports: inside functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"write the whole name: from {'.' * node.level}{node.module}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def arrows() -> dict[str, set[str]]:
    """Which modules of lrlib each one imports."""
    return {
        user: {
            name if name in SOURCES else name.rpartition(".")[0]
            for name in imported(source)
            if name.startswith("lrlib.")
        }
        for user, source in SOURCES.items()
    }


def test_arrows_run_downward_from_room_to_room() -> None:
    for user, used in arrows().items():
        for name in used:
            if user != DOOR:
                assert ROOMS.index(room(name)) <= ROOMS.index(room(user)), f"{user} imports {name}"


def test_no_modules_import_each_other() -> None:
    TopologicalSorter(arrows()).prepare()


def test_the_reference_has_every_module_that_names_what_is_public() -> None:
    reference = (ROOT / "book" / "lrlib.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"automodule:: (\S+)", reference))
    public = {name for name, source in SOURCES.items() if re.search(r"^__all__ = ", source, re.M)}
    assert public - set(ROOMS) <= listed


def others(sources: Iterator[str]) -> set[str]:
    """The packages that are imported and come from elsewhere."""
    names = {name.partition(".")[0] for source in sources for name in imported(source)}
    return names - sys.stdlib_module_names - {"lrlib"}


def notebook_cells() -> Iterator[str]:
    for path in ROOT.glob("chapters/*/*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                yield re.sub(r"^(\s*)%.*", r"\1pass", "".join(cell["source"]), flags=re.M)


def declared(requirements: list[str]) -> set[str]:
    """The distributions that are asked for, those of another extra of lrlib with them."""
    asked: set[str] = set()
    for requirement in map(Requirement, requirements):
        if requirement.name == "lrlib":
            for extra in requirement.extras:
                asked |= declared(PROJECT["optional-dependencies"][extra])
        else:
            asked.add(canonicalize_name(requirement.name))
    return asked


@pytest.mark.parametrize("place", ROOMS)
def test_what_is_imported_is_what_is_declared(place: str) -> None:
    below = ROOMS[: ROOMS.index(place) + 1]
    requirements = [
        *PROJECT["dependencies"],
        *{
            "lrlib": [],
            "lrlib.lab": ["lrlib[lab]"],
            # One notebook imports the frameworks, where they are installed.
            "lrlib.notebook": ["lrlib[book]", "lrlib[frameworks]"],
        }[place],
    ]
    sources = [source for name, source in SOURCES.items() if room(name) in below]
    used = others(iter(sources)) | (others(notebook_cells()) if place == ROOMS[-1] else set())
    # ipywidgets shows what anywidget makes; the book promises it by name.
    unseen = {"ipywidgets"} if place == ROOMS[-1] else set()
    assert {canonicalize_name(BRINGS[name][0]) for name in used} | unseen == declared(requirements)


@pytest.mark.parametrize(("place", "extra"), [("lrlib.lab", "lab"), ("lrlib.notebook", "book")])
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    place: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = importlib.import_module(place)
    find_spec = importlib.util.find_spec
    own = (source for name, source in SOURCES.items() if room(name) == place)
    for missing in others(own) - {"torch", "numpy"}:
        monkeypatch.setattr(
            lrlib._extras, "find_spec", lambda name: None if name == missing else find_spec(name)
        )
        with pytest.raises(ImportError, match=rf'{missing},.* pip install "lrlib\[{extra}\]"$'):
            importlib.reload(opened)
