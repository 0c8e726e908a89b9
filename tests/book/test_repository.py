"""What the repository promises about itself: commands, pins, one address, one voice."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import lrlib
from lrlib.notebook.records import FOLDER

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


def test_commands_that_pages_name_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), re.M))
    for path in tracked():
        if path.suffix in {".md", ".yml", ".ipynb"}:
            named = set(re.findall(r"`make ([a-z-]+)|run: make ([a-z-]+)", read(path)))
            assert {name for pair in named for name in pair if name} <= targets, path


def requirements(*extras: str) -> list[Requirement]:
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    optional = project["optional-dependencies"]
    lines = chain(project["dependencies"], *(optional[extra] for extra in extras or optional))
    return [one for one in map(Requirement, lines) if one.name != "lrlib"]


def test_every_dependency_is_pinned() -> None:
    pins = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", read(ROOT / "requirements.txt"), re.M))
    for requirement in requirements():
        assert requirement.name in pins, f"run `make requirements` for {requirement.name}"
        assert pins[requirement.name] in requirement.specifier


def test_a_notebook_asks_for_lower_bounds_only() -> None:
    for requirement in requirements("lab", "book"):
        assert {one.operator for one in requirement.specifier} == {">="}, (
            f"installing lrlib could replace Colab's {requirement.name}"
        )


def test_binder_installs_the_same_versions_with_the_cpu_build(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "book" / "tools"))
    import binder_requirements

    kept = read(ROOT / ".binder" / "requirements.txt")
    assert kept == binder_requirements.requirements(), "run `make requirements`"
    assert os.access(ROOT / ".binder" / "postBuild", os.X_OK)


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load(read(ROOT / "CITATION.cff"))
    config = yaml.safe_load(read(ROOT / "_config.yml"))
    assert citation["version"] == lrlib.__version__
    assert f"## [{lrlib.__version__}]" in read(ROOT / "CHANGELOG.md")
    assert (citation["title"], citation["repository-code"]) == (config["title"], URL)
    assert citation["authors"] == [{"name": config["author"]}]


def test_one_address_everywhere() -> None:
    owner_and_name = URL.split("/", 3)[3]
    others = re.compile(r"github\.com/([\w.-]+/[\w.-]+?)(?=[\"'\s)/`]|\.git|$)", re.M)
    threads = re.compile(r"github\.com/([\w.-]+/[\w.-]+)/(?:issues/|pull/|blob/v?\d)")
    # The museum links to the threads about what it shows, chapter 6 to the replication.
    allowed = {owner_and_name, "pytorch/pytorch", "noahgolmant/pytorch-lr-dropout"}
    # Chapter 7 links to where its failures and starting values were published.
    allowed |= {"Lightning-AI/pytorch-lightning", "karpathy/nanoGPT", "karpathy/nanochat"}
    allowed |= {"microsoft/LoRA", "thinking-machines-lab/tinker-cookbook", "facebookresearch/moco"}
    allowed |= {"huggingface/pytorch-image-models", "google-research/tuning_playbook"}
    allowed |= {"google-research/bert", "google-research/vision_transformer", "microsoft/unilm"}
    allowed |= {"huggingface/transformers", "facebookresearch/mae", "facebookresearch/ConvNeXt"}
    # Chapter 6 links to the programs of Magma that it compares.
    allowed |= {"andrijdavid/magma-optimizer", "RhizomeResearch/rollfast"}
    # Chapter 2 links to the library that its coordinate check comes from.
    allowed |= {"microsoft/mup"}
    # Chapter 9 links to a program whose batch rule it quotes.
    allowed |= {"KellerJordan/modded-nanogpt"}
    # Chapter 10 links to the package that its schedule-free optimizers are compared with.
    allowed |= {"facebookresearch/schedule_free"}
    for path in tracked():
        if path.suffix in {".md", ".yml", ".ipynb", ".toml", ".cff"}:
            # Threads, and files of a version, are citations.
            found = set(others.findall(read(path))) - set(threads.findall(read(path)))
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


def test_recorded_results_say_how_they_were_made() -> None:
    wanted = {"notebook", "command", "seconds", "device", "machine", "python", "torch", "date"}
    for path in FOLDER.glob("*.json"):
        record = json.loads(read(path))
        assert set(record) - {"settings"} == wanted | {"data"}, path
        assert (ROOT / record["notebook"]).exists()
