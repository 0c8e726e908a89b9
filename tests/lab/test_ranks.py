"""Real processes that train together: the same answer as one, and no failure that hangs."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import TensorDataset
from torch.utils.data.distributed import DistributedSampler

from lrlib.lab import RankError, run_ranks

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def nobody_is_left_behind() -> Any:
    yield
    assert not multiprocessing.active_children()


@pytest.fixture
def forks(monkeypatch) -> None:
    """Ranks that are forks of a process which has imported torch, and so start at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["joblib", "lrlib.lab", "pytest", "torch._dynamo"])
    monkeypatch.setattr(torch.multiprocessing, "get_context", lambda method: context)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def samples(count: int = 24) -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, 6, generator=generator, dtype=torch.float64)
    return TensorDataset(x, torch.randint(3, (count,), generator=generator))


def trained(ranks: int = 1, rank: int = 0, wrap: Any = lambda model: model) -> torch.Tensor:
    """The weights after six steps with batches of eight samples, shared by the ranks."""
    model, data = network(), samples()
    seen_by_all = wrap(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    sampler = DistributedSampler(data, ranks, rank)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        for batch in torch.tensor(list(sampler)).split(8 // ranks):
            x, y = data[batch]
            optimizer.zero_grad()
            F.cross_entropy(seen_by_all(x), y).backward()
            optimizer.step()
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def trained_together() -> torch.Tensor:
    return trained(dist.get_world_size(), dist.get_rank(), DistributedDataParallel)


@pytest.mark.parametrize("ranks", [1, 2])
def test_together_they_give_the_answer_of_one_process(ranks: int, request) -> None:
    if ranks == 1:
        request.getfixturevalue("forks")
    alone = trained()
    together = run_ranks(trained_together, ranks)
    assert len(together) == ranks
    for weights in together:
        assert torch.equal(weights, together[0])
        torch.testing.assert_close(weights, alone, rtol=0, atol=1e-14)
    start = nn.utils.parameters_to_vector(network().parameters())
    assert (start - alone).abs().max() > 0.1, "the training has moved the weights"


def dies(how: str) -> None:
    """Rank 1 ends, and rank 0 waits for it."""
    if dist.get_rank() == 0:
        dist.all_reduce(torch.ones(1))
    elif how == "raises":
        raise LookupError("no more images")
    elif how == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "exits":
        os._exit(7)
    elif how == "leaves":
        sys.exit()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raises", r"rank 1 of 2 failed; the others were stopped.*LookupError: no more images"),
        ("is killed", "rank 1 of 2 was ended by SIGKILL; the others were stopped"),
        ("exits", "rank 1 of 2 was ended with exit code 7; the others were stopped"),
        ("leaves", "rank 1 of 2 was ended with exit code 0; the others were stopped"),
    ],
)
def test_a_rank_that_dies_ends_all_at_once_and_is_named(forks, how: str, said: str) -> None:
    start = time.monotonic()
    with pytest.raises(RankError) as caught:
        run_ranks(partial(dies, how), timeout=300)
    assert re.search(said, str(caught.value), re.DOTALL), caught.value
    assert time.monotonic() - start < 120, "long before the time is up"


def waits_alone() -> None:
    """Rank 1 waits for ever, and rank 0 has finished."""
    if dist.get_rank() == 1:
        time.sleep(1000)


def test_a_rank_that_waits_for_ever_is_stopped_and_named(forks) -> None:
    with pytest.raises(TimeoutError, match=r"run_ranks\(timeout=10\): still running .*: rank 1\."):
        run_ranks(waits_alone, timeout=10)


def test_a_result_that_cannot_be_sent_is_an_error(forks) -> None:
    with pytest.raises(RankError, match="rank 0 of 1 failed"):
        run_ranks(lambda: (n for n in range(3)), ranks=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"function": 3}, r"run_ranks\(function=3\): function must be a function"),
        ({"ranks": 0}, r"run_ranks\(ranks=0\): ranks must be a positive integer"),
        ({"timeout": 0}, r"run_ranks\(timeout=0\): timeout must be a finite number above 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        run_ranks(**{"function": trained, **arguments})


def test_a_port_that_is_taken_is_an_error_at_once_that_names_it() -> None:
    """What torch says if another program, such as another training, has the port."""
    with contextlib.closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        start = time.monotonic()
        with pytest.raises(dist.DistNetworkError, match=f"port: {port}.*address already in use"):
            dist.init_process_group(
                "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=2
            )
        assert time.monotonic() - start < 60
    assert not dist.is_initialized()


def test_the_notebook_s_program_runs_as_a_script_with_torchrun(root: Path, tmp_path: Path) -> None:
    """The lines to add, and the command, are those that the notebook shows."""
    import nbformat

    path = root / "chapters" / "09-steps-batches-devices" / "which-step.ipynb"
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    (shown,) = re.findall(r"```python\n(dist\.init.*?)```", text, re.DOTALL)
    lines, command = shown.strip().split("\n# ")
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    needed = [s for s in code if "def network(" in s or "def line(" in s or "def ddp(" in s]
    assert len(needed) == 3
    script = [*needed, lines.replace("ddp()", "rates, weights = ddp()"), "print(rates[-1])"]
    (tmp_path / "train.py").write_text("\n\n".join(script), encoding="utf-8")
    assert command.startswith("torchrun ")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *command.split()[1:]],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    # The lines of two processes may run into each other.
    rates = re.findall(r"0\.\d+?(?=0\.|\s|$)", done.stdout)
    assert [float(rate) for rate in rates] == pytest.approx([0.1 / 45] * 2)
