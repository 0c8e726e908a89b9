"""kill -9 at random moments: what is left is whole, and the next run goes on from it."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]


def start(*command: str | Path, **options: Any) -> subprocess.Popen[bytes]:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, *command], start_new_session=True, **quiet | options)


def kill(process: subprocess.Popen[bytes]) -> bool:
    """kill -9 of the process and of all that it started; whether it was still running."""
    running = process.poll() is None
    if running:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return running


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoint.pt", weights_only=True)["model"]


def test_training_thirty_times(tmp_path: Path) -> None:
    settings = ["--epochs", "100", "--schedule", "cosine", "--keep", "0.5", "--seed", "3"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    process = start("-m", "lrlib", "train", *settings, "--out", whole)
    assert process.wait(300) == 0
    chance, kills = random.Random(0), 0
    arguments = [*settings, "--out", str(broken)]
    while kills < 30:
        process = start("-m", "lrlib", "train", *arguments)
        deadline = time.monotonic() + 60
        before = (broken / "checkpoint.pt").stat().st_mtime_ns if kills else None
        while time.monotonic() < deadline and process.poll() is None:
            path = broken / "checkpoint.pt"
            if path.exists() and path.stat().st_mtime_ns != before:
                break
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.12))
        if not kill(process):
            break  # the run came to its end
        kills += 1
        arguments = ["--resume", str(broken)]
        assert weights(broken), "a checkpoint that opens"
        for line in (broken / "log.jsonl").read_text(encoding="utf-8").splitlines():
            json.loads(line)
    process = start("-m", "lrlib", "train", *arguments)
    assert process.wait(300) == 0
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(broken)[name]), name
    logs = [(f / "log.jsonl").read_text(encoding="utf-8").splitlines() for f in (whole, broken)]
    assert [json.loads(x)["epoch"] for x in logs[0]] == [json.loads(x)["epoch"] for x in logs[1]]
    print(f"\ntraining: {kills} kills, then bit-identical to the uninterrupted run")
    assert kills >= 25


def test_make_execute_twelve_times(tmp_path: Path) -> None:
    for part in ("book/tools", "book/results"):
        shutil.copytree(ROOT / part, tmp_path / part)
    name = "chapters/03-manual-schedules/by-hand.ipynb"
    notebook = tmp_path / name
    notebook.parent.mkdir(parents=True)
    shutil.copy(ROOT / name, notebook)
    original = notebook.read_bytes()
    results = tmp_path / "book/results/notebooks.json"
    chance, kills = random.Random(1), 0
    for _ in range(12):
        process = start(tmp_path / "book/tools/execute.py", notebook)
        time.sleep(chance.uniform(0.5, 14))
        kills += kill(process)
        left = json.loads(notebook.read_bytes())
        ran = [cell["execution_count"] for cell in left["cells"] if cell["cell_type"] == "code"]
        assert ran == list(range(1, len(ran) + 1)), "all of its cells ran, or it is the old one"
        assert json.loads(results.read_text(encoding="utf-8"))
    assert len(original) > 1000
    print(f"\nmake execute: {kills} kills, each time a whole notebook and a whole record")
    assert kills >= 6


FETCH = """
import json, sys
from torchvision import datasets as vision
from lrlib.lab import load
mirror, resources = sys.argv[1], json.loads(sys.argv[2])
vision.MNIST.mirrors = [mirror]
vision.MNIST.resources = [tuple(pair) for pair in resources]
print(len(load("mnist", device="cpu").test.y))
"""


def idx(array: np.ndarray) -> bytes:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(head + array.astype(np.uint8).tobytes(), mtime=0)


class Slow(BaseHTTPRequestHandler):
    """Sends a file in small pieces, so that there is time to be interrupted."""

    files: dict[str, bytes] = {}  # noqa: RUF012

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        body = self.files[self.path.lstrip("/")]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for at in range(0, len(body), 4096):
            try:
                self.wfile.write(body[at : at + 4096])
            except OSError:
                return
            time.sleep(0.02)


def test_a_download_twelve_times(tmp_path: Path) -> None:
    rng, resources = np.random.default_rng(0), []
    for prefix, count in (("train", 400), ("t10k", 100)):
        images, labels = rng.integers(0, 255, (count, 28, 28)), np.arange(count) % 10
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content, file = idx(array), f"{prefix}-{kind}-ubyte.gz"
            Slow.files[file] = content
            resources.append((file, hashlib.md5(content).hexdigest()))
    data = tmp_path / "data"
    chance, kills = random.Random(2), 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        mirror = f"http://127.0.0.1:{server.server_port}/"
        given = ["-c", FETCH, mirror, json.dumps(resources)]
        environment = os.environ | {"LRLIB_DATA": str(data)}
        for _ in range(12):
            process = start(*given, env=environment)
            deadline = time.monotonic() + 60
            while not list(data.glob(".fetching-*")) and time.monotonic() < deadline:
                if process.poll() is not None:
                    break
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 1.5))
            kills += kill(process)
            for path in data.glob("MNIST/raw/*.gz"):
                wanted = dict(resources)[path.name]
                assert hashlib.md5(path.read_bytes()).hexdigest() == wanted, "whole, or not there"
            if len(list(data.glob("MNIST/raw/*.gz"))) == 4:
                shutil.rmtree(data / "MNIST")  # it was faster: once more
            for left in data.glob(".fetching-*"):  # a later run would, when they are a day old
                shutil.rmtree(left)
        done = subprocess.run(
            [sys.executable, *given], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.stdout.strip() == "100", done.stderr
        server.shutdown()
    print(f"\na download: {kills} kills, then a whole one")
    assert kills >= 6
