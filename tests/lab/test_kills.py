"""kill -9 at random moments: what is left is whole, and the next run continues from it."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_data import idx

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]


class Training:
    """A run that is resumed after every kill, beside one that is never interrupted."""

    seconds = 0.12  # a kill comes within so many seconds after `busy`

    def __init__(self, folder: Path) -> None:
        self.whole, self.broken = folder / "whole", folder / "broken"
        self.settings = ["--epochs", "100", "--schedule", "cosine", "--keep", "0.5", "--seed", "3"]
        self.last = 0
        train = [sys.executable, "-m", "lrlib", "train", *self.settings, "--out", self.whole]
        subprocess.run(train, check=True, capture_output=True)

    def command(self) -> list[Any]:
        started = (self.broken / "checkpoint.pt").exists()
        how = ["--resume", self.broken] if started else [*self.settings, "--out", self.broken]
        return ["-m", "lrlib", "train", *how]

    def busy(self) -> bool:
        path = self.broken / "checkpoint.pt"
        before, self.last = self.last, path.stat().st_mtime_ns if path.exists() else 0
        return self.last > before

    def check(self) -> None:
        assert self.weights(self.broken), "a checkpoint that opens"
        assert all(self.log(self.broken))

    def check_the_end(self) -> None:
        assert self.log(self.broken) == self.log(self.whole)
        for ours, theirs in zip(self.weights(self.broken), self.weights(self.whole), strict=True):
            assert torch.equal(ours, theirs)

    def weights(self, folder: Path) -> list[torch.Tensor]:
        return list(torch.load(folder / "checkpoint.pt", weights_only=True)["model"].values())

    def log(self, folder: Path) -> list[dict]:
        path = folder / "log.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]


class Execution:
    """`make execute` of one notebook, in a copy of the repository's folders that it needs."""

    seconds = 14.0

    def __init__(self, folder: Path) -> None:
        for part in ("book/tools", "book/results"):
            shutil.copytree(ROOT / part, folder / part)
        name = "chapters/03-manual-schedules/by-hand.ipynb"
        self.notebook = folder / name
        self.notebook.parent.mkdir(parents=True)
        shutil.copy(ROOT / name, self.notebook)
        self.folder = folder

    def command(self) -> list[Any]:
        return [self.folder / "book/tools/execute.py", self.notebook]

    def busy(self) -> bool:
        return True

    def check(self) -> None:
        cells = json.loads(self.notebook.read_bytes())["cells"]
        ran = [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"]
        assert ran == list(range(1, len(ran) + 1)), "all of its cells ran, or it is the old one"
        assert json.loads((self.folder / "book/results/notebooks.json").read_bytes())

    check_the_end = check


FETCH = """
import json, sys
from torchvision.datasets import MNIST
from lrlib.lab import load
MNIST.mirrors, MNIST.resources = json.loads(sys.argv[1])
assert len(load("mnist", device="cpu").test.y) == 100
"""


class Slow(SimpleHTTPRequestHandler):
    """Sends a file in small pieces, so that there is time to be interrupted."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        while piece := source.read(4096):
            outputfile.write(piece)
            time.sleep(0.02)


class Download:
    """A small data set in MNIST's format, from a server that sends it slowly."""

    seconds = 1.5

    def __init__(self, folder: Path) -> None:
        self.folder, self.served = folder, folder / "served"
        self.served.mkdir()
        rng, resources = np.random.default_rng(0), []
        for prefix, count in (("train", 400), ("t10k", 100)):
            images, labels = rng.integers(0, 255, (count, 28, 28)), np.arange(count) % 10
            for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
                packed, name = idx(array), f"{prefix}-{kind}-ubyte"
                (self.served / name).write_bytes(gzip.decompress(packed))
                (self.served / f"{name}.gz").write_bytes(packed)
                resources.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Slow, directory=self.served))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.given = json.dumps([[f"http://127.0.0.1:{server.server_port}/"], resources])

    def command(self) -> list[Any]:
        return ["-c", FETCH, self.given]

    def busy(self) -> bool:
        return bool(list(self.folder.glob(".fetching-*")))

    def check(self) -> None:
        for path in self.folder.glob("MNIST/raw/*"):
            whole = (self.served / path.name).read_bytes()
            assert path.read_bytes() == whole, "whole, or not there"
        for path in (*self.folder.glob("MNIST"), *self.folder.glob(".fetching-*")):
            shutil.rmtree(path)  # the next one downloads again

    def check_the_end(self) -> None:
        assert len(list(self.folder.glob("MNIST/raw/*"))) == 8


def start(command: list[Any]) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        [sys.executable, *command], start_new_session=True, stdout=quiet, stderr=quiet
    )


@pytest.mark.parametrize("kind", [Training, Execution, Download])
def test_kill_9_twelve_times(kind: Any, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("LRLIB_DATA", str(tmp_path))
    work, chance, kills = kind(tmp_path), random.Random(0), 0
    for _ in range(12):
        process = start(work.command())
        while process.poll() is None and not work.busy():
            time.sleep(0.005)
        time.sleep(chance.uniform(0, work.seconds))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        work.check()
    assert start(work.command()).wait(300) == 0
    work.check_the_end()
    assert kills >= 6, f"{kind.__name__}: only {kills} of 12 were killed at work"
