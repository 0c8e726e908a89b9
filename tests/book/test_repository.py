"""What the repository promises about itself: commands, pins, one address, one voice."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
URL = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def test_the_readme_names_commands_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), re.M))
    named = set(re.findall(r"`make ([a-z-]+)", read(ROOT / "README.md")))
    assert {"book", "test"} <= named <= targets


def test_make_help_names_every_command() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    phony = re.search(r"\.PHONY: (.*)", read(ROOT / "Makefile"))
    assert phony
    for target in phony[1].split():
        assert f"make {target} " in done.stdout


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    pins = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", read(ROOT / "requirements.txt"), re.M))
    extras = project["optional-dependencies"]
    for requirement in [
        *project["dependencies"],
        *(one for extra in ("book", "test", "teach") for one in extras[extra]),
    ]:
        name = re.split(r"[\[<>=]", requirement)[0]
        assert name.lower() in {pin.lower() for pin in pins}, f"run `make requirements` for {name}"
    for requirement in extras["pins"]:
        name, version = requirement.split("==")
        assert pins[name] == version


def test_binder_installs_the_same_versions_with_the_cpu_build(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "book" / "tools"))
    import binder_requirements

    kept = read(ROOT / ".binder" / "requirements.txt")
    assert kept == binder_requirements.requirements(), "run `make requirements`"
    assert "+cpu" in kept
    assert read(ROOT / ".binder" / "runtime.txt").startswith("python-3.")
    assert os.access(ROOT / ".binder" / "postBuild", os.X_OK)


def test_lrlib_asks_for_lower_bounds_only() -> None:
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    for requirement in project["dependencies"]:
        assert re.fullmatch(r"[\w-]+>=[\d.]+", requirement), "or Colab's torch would be replaced"


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load(read(ROOT / "CITATION.cff"))
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    config = yaml.safe_load(read(ROOT / "_config.yml"))
    assert citation["version"] == project["version"]
    assert (citation["title"], citation["repository-code"]) == (config["title"], URL)
    assert citation["authors"] == [{"name": config["author"]}]


def test_one_address_everywhere() -> None:
    owner_and_name = URL.split("/", 3)[3]
    others = re.compile(r"github\.com/([\w.-]+/[\w.-]+?)(?=[\"'\s)/`]|\.git|$)", re.M)
    allowed = {owner_and_name}
    for path in tracked():
        if path.suffix in {".md", ".yml", ".ipynb", ".toml", ".cff"}:
            found = set(others.findall(read(path)))
            assert found <= allowed, f"{path.relative_to(ROOT)} names {found - allowed}"


def test_the_site_is_where_github_pages_shows_the_repository() -> None:
    owner, name = URL.split("/")[-2:]
    config = yaml.safe_load(read(ROOT / "_config.yml"))
    assert config["html"]["baseurl"] == f"https://{owner}.github.io/{name}/"


def test_the_address_can_be_changed_in_one_go(tmp_path: Path) -> None:
    def rename(url: str) -> subprocess.CompletedProcess[str]:
        script = ROOT / "book" / "tools" / "rename_repository.py"
        command = [sys.executable, script, url]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    colab = "https://colab.research.google.com/github/{}/blob/main/a.ipynb"
    shutil.copy(ROOT / "_config.yml", tmp_path)
    (tmp_path / "page.md").write_text(f"{colab.format(URL.split('/', 3)[3])} {URL}.git")
    (tmp_path / "other.md").write_text("github.com/someone/unrelated")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "--all"], cwd=tmp_path, check=True)
    assert "URL='not a url'" in rename("not a url").stderr
    assert rename("https://github.com/Some/else").stdout == "_config.yml\npage.md\n"
    config = yaml.safe_load(read(tmp_path / "_config.yml"))
    assert config["repository"]["url"] == "https://github.com/Some/else"
    assert config["html"]["baseurl"] == "https://some.github.io/else/"
    page = f"{colab.format('Some/else')} https://github.com/Some/else.git"
    assert read(tmp_path / "page.md") == page


def test_layers_import_only_downward() -> None:
    order = [
        "_checks",
        "recorded",
        "devices",
        "_files",
        "schedules",
        "plateau",
        "lr_dropout",
        "claims",
        "param_groups",
        "datasets",
        "models",
        "rates",
        "training",
        "ensemble",
        "plots",
        "explorers",
        "__main__",
    ]
    for path in (ROOT / "lrlib").rglob("*.py"):
        source = read(path)
        name = path.relative_to(ROOT / "lrlib").parts[0].removesuffix(".py")
        assert not re.search(r"^\s*(import|from) (chapters|book|tests)", source, re.M)
        if name == "__init__":
            continue
        used = {*re.findall(r"^\s*from lrlib\.(\w+)[\w.]* import", source, re.M)} - {name}
        used |= {"_checks"} if "_checks" in source and name != "_checks" else set()
        for module in used:
            assert order.index(module) < order.index(name), f"{path} imports {module}"


def test_recorded_results_say_how_they_were_made() -> None:
    for path in (ROOT / "book" / "results").glob("*.json"):
        record = json.loads(read(path))
        if path.stem == "notebooks":
            wanted = {"seconds", "peak_mib", "claims", "executed", "device", "python", "torch"}
            assert all(set(row) == wanted for row in record.values())
        elif path.stem == "benchmarks":
            assert {"rows", "machine", "torch", "python", "date"} <= set(record)
        else:
            wanted = {"notebook", "command", "seconds", "device", "machine", "python", "torch"}
            assert set(record) - {"settings"} == wanted | {"date", "data"}, path
            assert (ROOT / record["notebook"]).exists()


def test_every_module_opens_with_its_one_idea() -> None:
    for folder in ("lrlib", "book/tools", "book/_ext", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            assert read(path).startswith('"""'), path


def test_the_repository_stays_small() -> None:
    assert sum(path.stat().st_size for path in tracked()) < 30_000_000
