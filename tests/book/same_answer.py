"""Every notebook executed five times: 1, 2 and 4 threads, random order, alone and two at a time.

Part of `make test-long`. Each round is nbval's comparison with the stored outputs, cell by cell;
what isn't compared (figures, live figures, progress) is tagged, and counted here.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from alone import ALONE, INSTALLED, ROOT, main

ROUNDS = ((1, 2), (2, 2), (4, 2), (2, 1), (4, 1))  # threads, notebooks at a time


def tagged() -> tuple[int, int]:
    """Code cells that aren't compared, and all code cells."""
    cells = [
        cell
        for path in (ALONE / "notebooks").glob("*/*/*.ipynb")
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
    ]
    ignored = [c for c in cells if "nbval-ignore-output" in c["metadata"].get("tags", [])]
    return len(ignored), len(cells)


def run(seed: int, threads: int, jobs: int) -> int:
    notebooks = sorted(str(path) for path in (ALONE / "notebooks").glob("*/*/*.ipynb"))
    random.Random(seed).shuffle(notebooks)
    path = os.pathsep.join([str(ROOT / "tests" / "book"), str(INSTALLED)])
    command = [Path(sys.executable).with_name("pytest"), "-q", "-p", "kernels_over_ipc", "--nbval"]
    command += ["--nbval-current-env", "--nbval-sanitize-with", "tests/book/nbval.cfg"]
    command += ["--nbval-cell-timeout", "300", "-o", "addopts=", *notebooks]
    command += ["--numprocesses", str(jobs), "--dist", "loadfile"]
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}
    if threads * jobs > (os.cpu_count() or 1):
        # Threads that wait by spinning keep a core from those that they wait for.
        environment |= {"OMP_WAIT_POLICY": "PASSIVE"}
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    last = (done.stdout.strip().splitlines() or ["no output"])[-1].strip("= ")
    seconds = time.perf_counter() - began
    print(
        f"threads {threads}, {jobs} at a time, order {seed}: {last} ({seconds:.0f} s)", flush=True
    )
    if done.returncode:
        print(done.stdout[-8000:])
    return done.returncode


if __name__ == "__main__":
    main()
    ignored, cells = tagged()
    print(f"{cells} code cells, {ignored} of them not compared")
    sys.exit(max(run(seed, *how) for seed, how in enumerate(ROUNDS)))
