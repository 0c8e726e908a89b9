"""Atomic writes: write to a temporary file, then rename it into place."""

from __future__ import annotations

import glob
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_DAY = 24 * 60 * 60  # seconds


def remove_leftovers(folder: Path, pattern: str) -> None:
    """Deletes temporary files and folders that killed processes left behind.

    Only those that are over a day old, so that no process is still writing to them.
    """
    for path in folder.glob(pattern):
        try:
            if time.time() - path.stat().st_mtime > _DAY:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError:
            continue  # another user's file, or deleted by now: no reason to fail


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """An open temporary file, which replaces `path` if the block ends without an error."""
    remove_leftovers(path.parent, f".{glob.escape(path.name)}.*.partial")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        # The error of a full disk names no file.
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
