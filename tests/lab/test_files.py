"""What killed processes leave is removed when it is a day old, and nothing else is."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lrlib.lab.files import atomic_write, remove_leftovers

YESTERDAY = time.time() - 25 * 60 * 60


def aged(path: Path) -> Path:
    os.utime(path, (YESTERDAY, YESTERDAY))
    return path


def test_old_leftovers_go_and_recent_ones_stay(tmp_path: Path) -> None:
    old, recent, other = (tmp_path / name for name in (".fetching-a", ".fetching-b", "fetched"))
    for folder in (old, recent, other):
        folder.mkdir()
        (folder / "part").write_text("half", encoding="utf-8")
    aged(old), aged(other)
    remove_leftovers(tmp_path, ".fetching-*")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".fetching-b", "fetched"]


def test_writing_a_file_clears_up_after_its_killed_writers(tmp_path: Path) -> None:
    path = tmp_path / "run[1].pt"  # a name that means something to a pattern
    mine, others = tmp_path / ".run[1].pt.1.partial", tmp_path / ".run1.pt.1.partial"
    for partial in (mine, others):
        partial.write_text("half", encoding="utf-8")
        aged(partial)
    with atomic_write(path) as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole"
    assert not mine.exists()
    assert others.exists()


def test_an_error_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"before")
    with atomic_write(path) as file:
        file.write(b"after")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    with pytest.raises(ZeroDivisionError):
        fail_while_writing(path)
    assert path.read_bytes() == b"after"
    assert list(tmp_path.iterdir()) == [path]


def fail_while_writing(path: Path) -> None:
    with atomic_write(path) as file:
        file.write(b"half")
        _ = 1 / 0
