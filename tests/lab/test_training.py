"""`fit` is the ordinary loop, and a resumed run ends where the uninterrupted one ends."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lrlib import Cosine, LRDropout, PlateauRule
from lrlib.lab import (
    History,
    device,
    evaluate,
    fit,
    load,
    load_checkpoint,
    mlp,
    save_checkpoint,
    seeded,
)
from lrlib.lab.training import batch_order

DATA = load("digits")


def small() -> nn.Module:
    return mlp(64, 16, 10)


def with_dropout() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Dropout(0.2), nn.Linear(32, 10))


def fresh(make_model, optimizer=torch.optim.SGD, **options):
    model = seeded(make_model, 1).to(DATA.train.y.device)
    return model, optimizer(model.parameters(), **{"lr": 0.1} | options)


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    for ours, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_fit_is_the_ordinary_loop() -> None:
    schedule = Cosine(3 * DATA.steps_per_epoch(50))
    model, sgd = fresh(small, lr=0.2, momentum=0.5)
    history = fit(model, DATA, sgd, epochs=3, schedule=schedule, batch_size=50, seed=4)
    twin, sgd = fresh(small, lr=0.2, momentum=0.5)
    step = 0
    for epoch in range(3):
        for batch in batch_order(len(DATA.train.y), 4, epoch).split(50):
            sgd.param_groups[0]["lr"] = 0.2 * schedule(step)
            sgd.zero_grad()
            F.cross_entropy(twin(DATA.train.x[batch]), DATA.train.y[batch]).backward()
            sgd.step()
            step += 1
    assert_same_weights(model, twin)
    assert history.lrs == schedule.lrs(0.2, step).tolist(), "to the last bit the formula's"


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_plateau_rule_does_what_torch_s_scheduler_does(mode: str, tmp_path: Path) -> None:
    rule = {"mode": mode, "factor": 0.3, "patience": 0, "threshold": 0.02}
    model, sgd = fresh(small, lr=0.3)
    # In two parts, the second from a checkpoint: the history is all that the rule remembers.
    history = fit(model, DATA, sgd, epochs=3, plateau=PlateauRule(**rule))
    save_checkpoint(tmp_path / "run.pt", model, sgd, history)
    history = load_checkpoint(tmp_path / "run.pt", model, sgd)
    history = fit(model, DATA, sgd, epochs=8, plateau=PlateauRule(**rule), history=history)

    twin, sgd = fresh(small, lr=0.3)
    scheduler = ReduceLROnPlateau(sgd, **rule)
    used = []
    for epoch in range(8):
        for batch in batch_order(len(DATA.train.y), 0, epoch).split(32):
            sgd.zero_grad()
            F.cross_entropy(twin(DATA.train.x[batch]), DATA.train.y[batch]).backward()
            sgd.step()
            used.append(sgd.param_groups[0]["lr"])
        result = evaluate(twin, DATA.validation)
        scheduler.step(result.loss if mode == "min" else result.accuracy)
    assert history.lrs == used
    assert len(set(used)) >= 3, "it was reduced at least twice, or this shows nothing"
    assert_same_weights(model, twin)


@pytest.mark.parametrize(
    ("make_model", "options"),
    [
        (small, {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}),
        (small, {"optimizer": torch.optim.Adam, "lr": 3e-3}),
        # Its masks come from random numbers whose state is in the checkpoint.
        (small, {"optimizer": lambda weights, lr: LRDropout(torch.optim.SGD(weights, lr))}),
        (with_dropout, {"momentum": 0.9}),
    ],
)
def test_a_resumed_run_ends_bit_identical(make_model, options, tmp_path: Path) -> None:
    settings = dict(schedule=Cosine(4 * DATA.steps_per_epoch(64)), batch_size=64, seed=2)
    torch.manual_seed(0)
    whole, optimizer = fresh(make_model, **options)
    expected = fit(whole, DATA, optimizer, epochs=4, **settings)

    torch.manual_seed(0)
    model, optimizer = fresh(make_model, **options)
    history = fit(model, DATA, optimizer, epochs=1, **settings)
    save_checkpoint(tmp_path / "run.pt", model, optimizer, history)

    torch.manual_seed(99)  # another process, another random state
    model, optimizer = fresh(make_model, **options)
    history = load_checkpoint(tmp_path / "run.pt", model, optimizer)
    assert fit(model, DATA, optimizer, epochs=4, history=history, **settings) == expected
    assert_same_weights(model, whole)


def test_the_order_of_batches_is_a_function_of_seed_and_epoch() -> None:
    orders = {(s, e): tuple(batch_order(40, s, e).tolist()) for s in range(3) for e in range(3)}
    assert len(set(orders.values())) == 9
    assert all(sorted(order) == list(range(40)) for order in orders.values())
    torch.manual_seed(5)
    assert tuple(batch_order(40, 1, 2).tolist()) == orders[1, 2]


def test_evaluate_leaves_the_mode_alone_and_sums_over_batches() -> None:
    model, _ = fresh(with_dropout)
    model.train()
    whole, parts = evaluate(model, DATA.test), evaluate(model, DATA.test, batch_size=7)
    assert model.training
    assert whole.loss == pytest.approx(parts.loss, rel=1e-5)
    assert whole.accuracy == parts.accuracy


def test_a_failed_save_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    model, sgd = fresh(small)
    save_checkpoint(tmp_path / "run.pt", model, sgd, History())
    before = (tmp_path / "run.pt").read_bytes()
    history = History(lrs=[lambda: "what can't be pickled"])
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_checkpoint(tmp_path / "run.pt", model, sgd, history)
    assert (tmp_path / "run.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]


class Malicious:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


@pytest.mark.parametrize("content", [b"", b"no checkpoint", pickle.dumps(Malicious(), protocol=2)])
def test_what_is_no_checkpoint_is_refused_and_not_executed(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.pt'\): path must be a file that save_checkpoint"):
        load_checkpoint(path, *fresh(small))


@pytest.mark.parametrize(
    ("argument", "value"),
    [("epochs", -1), ("epochs", 2.0), ("batch_size", 0), ("seed", -1), ("schedule", 0.1)],
)
def test_bad_arguments_are_named(argument: str, value) -> None:
    model, sgd = fresh(small)
    with pytest.raises((ValueError, TypeError), match=rf"fit\({argument}=.*{argument} must be"):
        fit(model, DATA, sgd, **{"epochs": 1, argument: value})


def test_the_device_can_be_chosen(monkeypatch) -> None:
    monkeypatch.setenv("LRLIB_DEVICE", "cpu")
    assert device() == torch.device("cpu")
    for absent in ("gpu please", "cuda:99"):
        monkeypatch.setenv("LRLIB_DEVICE", absent)
        with pytest.raises(ValueError, match=f"LRLIB_DEVICE='{absent}'.*this machine has"):
            device()
