"""What all tests share: the repository, the built site, and examples that are always the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# The same examples every time, so that a green suite stays green.
settings.register_profile("same", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("same")


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
