"""The built site, built once for all tests of a run, whichever of their processes comes first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def site(tmp_path_factory, worker_id: str) -> Path:
    """The site's folder; the build runs now, and a warning is an error."""
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
