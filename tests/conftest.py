"""What all tests share: where the repository is, and examples that are the same on every run."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# The same examples every time, so that a green suite stays green.
settings.register_profile("same", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("same")


@pytest.fixture
def root() -> Path:
    return ROOT
