"""The notebook's Magma is the package's, step by step, over random settings."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from magma import Magma
from torch.nn.functional import cosine_similarity
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "chapters" / "06-lr-dropout" / "masks-again.ipynb"

OPTIMIZERS = [
    partial(SGD, lr=0.3),
    partial(SGD, lr=0.1, momentum=0.9, nesterov=True),
    partial(RMSprop, lr=0.02, alpha=0.99),
    partial(Adam, lr=0.05, betas=(0.8, 0.95), weight_decay=0.1),
    partial(AdamW, lr=0.05, weight_decay=0.2),
]


@pytest.fixture(scope="module")
def magma():
    """The function of the notebook's cell."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    sources = ("".join(cell["source"]) for cell in cells)
    (source,) = (source for source in sources if source.startswith("def magma("))
    namespace = {"torch": torch, "cosine_similarity": cosine_similarity}
    exec(source, namespace)
    return namespace["magma"]


def paths(magma, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The weights after each step, ours and the package's, [2][steps, all weights]."""
    draw = np.random.default_rng(seed)
    shapes = [tuple(draw.integers(1, 6, size=draw.integers(1, 4))) for _ in range(6)]
    make = OPTIMIZERS[draw.integers(len(OPTIMIZERS))]
    keep, tau = float(draw.uniform(0.1, 1.0)), float(draw.uniform(0.2, 5.0))
    begin = [torch.from_numpy(draw.normal(size=shape)).float() for shape in shapes]
    # A mean and noise, so that gradient and momentum agree more or less.
    mean = [torch.from_numpy(draw.normal(size=shape)).float() for shape in shapes]
    noise = draw.uniform(0.0, 3.0)
    ours, theirs = ([w.clone().requires_grad_() for w in begin] for _ in range(2))
    coins = torch.Generator().manual_seed(seed)
    # What our function leaves without a mask, the package excludes.
    groups = [{"params": ours[:5]}, {"params": ours[5:], "keep": 1.0}]
    mine: Optimizer = magma(make(groups), keep=keep, tau=tau, generator=coins)
    package = Magma(make(theirs), mask_prob=keep, tau=tau, exclude=set(theirs[5:]))
    seen: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # the package draws its coins from the global generator
        for _ in range(30):
            for w, v, m in zip(ours, theirs, mean, strict=True):
                w.grad = m + torch.from_numpy(noise * draw.normal(size=m.shape)).float()
                v.grad = w.grad.clone()
            mine.step()
            package.step()
            for steps, given in zip(seen, (ours, theirs), strict=True):
                steps.append(torch.cat([w.detach().flatten() for w in given]))
    return torch.stack(seen[0]), torch.stack(seen[1])


@pytest.mark.parametrize("seed", range(40))
def test_it_is_the_package_step_by_step(magma, seed: int) -> None:
    mine, package = paths(magma, seed)
    torch.testing.assert_close(mine, package, rtol=1e-5, atol=1e-5)
    moves = mine.diff(dim=0) != 0
    assert moves.any()
    # A tensor that isn't masked moves at every step; the masked ones stay at the same steps.
    assert torch.equal(moves, package.diff(dim=0) != 0)


def test_a_dropped_block_stays_to_the_last_bit(magma) -> None:
    given = [torch.randn(4, 3).requires_grad_() for _ in range(50)]
    optimizer = magma(AdamW(given, lr=0.1), generator=torch.Generator().manual_seed(1))
    before = [w.detach().clone() for w in given]
    for w in given:
        w.grad = torch.randn(w.shape)
    optimizer.step()
    moved = [w.detach() != b for w, b in zip(given, before, strict=True)]
    assert all(mask.all() or not mask.any() for mask in moved)
    assert 10 < sum(bool(mask.all()) for mask in moved) < 40
