"""The wheel that is published: what it promises beside torch and numpy alone, and its version."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from alone import ROOT, build_wheel, unpack

import lrlib


@pytest.mark.slow
def test_torch_and_numpy_are_enough(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path)
    assert wheel.name.startswith(f"lrlib-{lrlib.__version__}-")
    unpack(wheel, tmp_path / "installed")
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "book" / "wheel_alone.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) in done.stdout, "it tried another lrlib"
