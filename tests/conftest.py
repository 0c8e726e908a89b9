"""What all tests share: the repository, the built site, and examples that are always the same."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import settings

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ROOT = Path(__file__).resolve().parents[1]

# The same examples every time, so that a green suite stays green.
settings.register_profile("same", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("same")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Imports no file for nothing: each of the two test runs has only some of them to run."""
    if collection_path.suffix != ".py":
        return None
    text = collection_path.read_text(encoding="utf-8")
    for_nothing = {
        "not slow and not long": re.search(r"^pytestmark = .*mark\.(slow|long)\b", text, re.M),
        "slow and not long": "mark.slow" not in text,
    }
    return bool(for_nothing.get(config.option.markexpr)) or None


@pytest.fixture
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def site(tmp_path_factory, worker_id: str) -> Path:
    """The site's folder; built once, by whichever process comes first. A warning is an error."""
    html = ROOT / "_build" / "html"
    shared = tmp_path_factory.getbasetemp()
    shared = shared if worker_id == "master" else shared.parent
    outcome = shared / "site-build.txt"
    with FileLock(shared / "site-build.lock"):
        if not outcome.exists():
            done = subprocess.run(
                [sys.executable, ROOT / "book" / "tools" / "build.py"],
                capture_output=True,
                text=True,
                timeout=600,
            )
            output = done.stdout + done.stderr
            warnings = [line for line in output.splitlines() if "WARNING" in line]
            report = "\n".join(warnings) or output
            outcome.write_text(report if done.returncode else "", encoding="utf-8")
    failure = outcome.read_text(encoding="utf-8")
    if failure:
        pytest.fail("the site was not built:\n" + failure, pytrace=False)
    return html


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """An installed Chromium or Chrome; LRBOOK_CHROMIUM names another one. Without it: skipped."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("LRBOOK_CHROMIUM") or next(
        filter(None, map(shutil.which, BROWSERS)), ""
    )
    if not chromium:
        pytest.skip("no Chromium: apt install chromium")
    with sync_playwright() as playwright:
        # As root (in containers) Chromium runs only without its sandbox.
        found = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The built site as a host would serve it."""
    from serving import serve  # beside the tests of the book

    with serve(site) as url:
        yield url
