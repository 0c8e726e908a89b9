"""Several real processes on the CPU that train together, as `torchrun` starts them for GPUs.

In PyTorch's words: a *rank* is one process of a group, and gloo is the backend for the CPU. The
processes find each other by a file, so no port is needed.
"""

from __future__ import annotations

import pickle
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist

from lrlib import _checks

__all__ = ["RankError", "run_ranks"]


class RankError(RuntimeError):
    """A process of the group failed or died; the message says which one, and why."""


def run_ranks(function: Callable[[], Any], ranks: int = 2, timeout: float = 60.0) -> list[Any]:
    """Calls `function()` in `ranks` new processes at once; returns the results in rank order.

    In each process `torch.distributed` is initialized with gloo, and torch uses one thread, so
    `function` can call `dist.get_rank()`, `dist.all_reduce` and `DistributedDataParallel`. It may
    be a function of a notebook. Results must be picklable. timeout: in seconds, for the whole call.
    In a script, call `run_ranks` below `if __name__ == "__main__":`.

    Raises RankError as soon as a process raises an exception or dies, and TimeoutError when time is
    up. No process is left behind.

    >>> run_ranks(lambda: torch.distributed.get_rank(), ranks=2)
    [0, 1]
    """
    import joblib

    if not callable(function):
        raise _checks.refuse("run_ranks", "function", function, "a function", TypeError)
    ranks = _checks.integer("run_ranks", "ranks", ranks, low=1)
    timeout = _checks.number("run_ranks", "timeout", timeout, above=True)
    call = joblib.wrap_non_picklable_objects(function)  # pickles a notebook's functions too
    context = torch.multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        processes = [
            context.Process(target=_rank, args=(call, rank, ranks, timeout, folder), daemon=True)
            for rank in range(ranks)
        ]
        end = time.monotonic() + timeout
        try:
            for process in processes:
                process.start()
            while running := [p for p in processes if p.exitcode is None]:
                _raise_the_first_failure([p.exitcode for p in processes], folder)
                if not wait([p.sentinel for p in running], max(0.0, end - time.monotonic())):
                    named = ", ".join(str(i) for i, p in enumerate(processes) if p in running)
                    raise TimeoutError(
                        f"run_ranks(timeout={timeout:g}): still running after {timeout:g} seconds, "
                        f"and stopped: rank {named}. Raise timeout, or look for a rank that waits "
                        "for a call which another rank never makes"
                    )
            _raise_the_first_failure([p.exitcode for p in processes], folder)
        finally:
            for process in processes:
                if process.pid is not None:
                    process.kill()
                    process.join()
        return [pickle.loads((folder / f"{rank}.result").read_bytes()) for rank in range(ranks)]


def _rank(call: Callable[[], Any], rank: int, ranks: int, timeout: float, folder: Path) -> None:
    """What a process does: it joins the group, calls the function, and writes what came out."""
    try:
        torch.set_num_threads(1)
        dist.init_process_group(
            "gloo",
            init_method=f"file://{folder / 'store'}",
            rank=rank,
            world_size=ranks,
            timeout=timedelta(seconds=timeout),
        )
        result = pickle.dumps(call())
        dist.destroy_process_group()
        (folder / f"{rank}.result").write_bytes(result)
    except Exception:
        (folder / f"{rank}.error").write_text(traceback.format_exc(), encoding="utf-8")
        raise SystemExit(1) from None


def _raise_the_first_failure(codes: list[int | None], folder: Path) -> None:
    """A rank that was killed is the cause; what the others then raised is a consequence."""
    ended = [rank for rank, code in enumerate(codes) if code is not None]
    failed = [rank for rank in ended if not (folder / f"{rank}.result").exists()]
    if not failed:
        return
    errors = {rank: folder / f"{rank}.error" for rank in failed}
    for rank, path in errors.items():
        if not path.exists():
            code = codes[rank] or 0
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            raise RankError(f"rank {rank} of {len(codes)} was ended {how}; the others were stopped")
    rank = min(errors, key=lambda rank: errors[rank].stat().st_mtime_ns)
    said = errors[rank].read_text(encoding="utf-8")
    raise RankError(f"rank {rank} of {len(codes)} failed; the others were stopped.\n\n{said}")
