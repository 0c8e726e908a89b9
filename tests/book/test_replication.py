"""The script of the published experiment: its bug is the bug, and an interruption costs one run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def replication(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "book" / "tools"))
    import replication

    return replication


@pytest.mark.parametrize(
    ("way", "expected"), [("SGD", 10), ("LR dropout", 5), ("masked buffer", 0.5 / 0.55)]
)
def test_the_mean_step_is_the_formula(replication, way: str, expected: float) -> None:
    weight = torch.zeros(50_000, requires_grad=True)
    weight.grad = torch.ones_like(weight)
    make, share = replication.WAYS[way]
    optimizer = make([weight], share * 1e-6, 0)
    for _ in range(100):
        optimizer.step()
    before = weight.detach().clone()
    for _ in range(20):
        optimizer.step()
    step = (before - weight.detach()).mean().item() / 20 / 1e-6
    assert step == pytest.approx(expected, rel=0.02)


def test_the_controls_share_the_masked_buffers_mean_and_its_spread(replication) -> None:
    """One unit of gradient, then none: how far each of many weights moves in the end."""
    moved = {}
    for way in list(replication.WAYS)[3:]:
        weight = torch.zeros(200_000, requires_grad=True)
        make, share = replication.WAYS[way]
        optimizer = make([weight], share * 1e-6, 0)
        for step in range(150):
            weight.grad = torch.full_like(weight, float(step == 0))
            optimizer.step()
        moved[way] = -weight.detach().double() / 1e-6
    means = {way: distances.mean().item() for way, distances in moved.items()}
    assert means == pytest.approx(dict.fromkeys(means, 0.5 / 0.55), rel=0.02)
    spreads = [(distances.std() / distances.mean()).item() for distances in moved.values()]
    assert spreads[0] == pytest.approx(spreads[3], rel=0.02)
    assert spreads[0] > 1
    assert spreads[1:3] == pytest.approx([0, 0], abs=1e-3)


def test_it_goes_on_where_it_ended(replication, tmp_path: Path, capsys) -> None:
    rng, data, out = np.random.default_rng(0), tmp_path / "small.npz", tmp_path / "out.json"
    images, tested = (rng.integers(0, 255, (n, 8, 8), dtype=np.uint8) for n in (100, 40))
    np.savez(
        data,
        images=images,
        labels=np.arange(100) % 4,
        test_images=tested,
        test_labels=np.arange(40) % 4,
    )
    given = ["--data", str(data), "--model", "cnn", "--epochs", "2", "--out", str(out)]
    assert replication.main([*given, "--seeds", "1"]) == 0
    first = json.loads(out.read_text(encoding="utf-8"))
    assert {way: len(runs) for way, runs in first["data"].items()} == dict.fromkeys(
        replication.WAYS, 1
    )
    assert replication.main([*given, "--seeds", "2"]) == 0
    both = json.loads(out.read_text(encoding="utf-8"))
    assert all(both["data"][way][0] == first["data"][way][0] for way in replication.WAYS)
    assert all(len(runs) == 2 for runs in both["data"].values())
    assert "masked buffer: " in capsys.readouterr().out
    written = out.stat().st_mtime_ns
    assert replication.main([*given, "--seeds", "2"]) == 0
    assert out.stat().st_mtime_ns == written, "there was nothing left to do"
    assert 0 <= replication.run("SGD", 0, str(data), "cnn-norm", 1, None) <= 1
    with pytest.raises(ValueError, match="color images of 32×32"):
        replication.run("SGD", 0, str(data), "resnet34", 1, None)
    assert replication.main([*given, "--epochs", "3"]) == 1
    assert "holds another experiment" in capsys.readouterr().err
