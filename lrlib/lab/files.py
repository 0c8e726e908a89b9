"""Files that are whole or not there: written under another name, then renamed."""

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
    """Removes what killed processes left under temporary names; a day old, so none's at work."""
    for path in folder.glob(pattern):
        try:
            if time.time() - path.stat().st_mtime > _DAY:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError:
            continue  # somebody else's, or gone by now: never a reason to fail


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """An open file that takes the place of `path` when the block ends without an error."""
    remove_leftovers(path.parent, f".{glob.escape(path.name)}.*.partial")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        # A disk that is full says so without a name.
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
