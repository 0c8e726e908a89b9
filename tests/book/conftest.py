"""A browser, and the built site as a host would serve it.

Needs an installed Chromium or Chrome (Debian: `apt install chromium`); LRBOOK_CHROMIUM names
another one. Without it the tests that ask for a browser are skipped, and say so.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright
from serving import serve

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = os.environ.get("LRBOOK_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), "")
    if not chromium:
        pytest.skip("no Chromium: apt install chromium")
    with sync_playwright() as playwright:
        # As root (in containers) Chromium runs only without its sandbox.
        found = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with serve(site) as url:
        yield url
