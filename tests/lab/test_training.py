"""The loop is what it seems to be, and a resumed run ends where the uninterrupted one does."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lrlib
from lrlib import Cosine, lab
from lrlib.lab import load, mlp, seeded
from lrlib.lab.training import History, batch_order, evaluate, fit, resume, save

DATA = load("digits")
MAKERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
    "adam": lambda p: torch.optim.Adam(p, lr=3e-3),
    "adamw": lambda p: torch.optim.AdamW(p, lr=3e-3),
}


def model_with_dropout() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Dropout(0.2), nn.Linear(32, 10))


def test_fit_is_the_ordinary_loop() -> None:
    schedule = Cosine(3 * DATA.steps_per_epoch(50))
    model = seeded(lambda: mlp(64, 16, 10), 1).to(DATA.train.y.device)
    twin = copy.deepcopy(model)
    history = fit(
        model,
        DATA,
        torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.5),
        epochs=3,
        schedule=schedule,
        batch_size=50,
        seed=4,
    )
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.2, momentum=0.5)
    step = 0
    for epoch in range(3):
        for batch in batch_order(len(DATA.train.y), 4, epoch).split(50):
            optimizer.param_groups[0]["lr"] = 0.2 * schedule(step)
            optimizer.zero_grad()
            F.cross_entropy(twin(DATA.train.x[batch]), DATA.train.y[batch]).backward()
            optimizer.step()
            step += 1
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert history.lrs == schedule.lrs(0.2, step).tolist(), "the logged rates are the formula's"


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_plateau_rule_lowers_the_rate_as_torch_s_scheduler_does(
    mode: str, tmp_path: Path
) -> None:
    rule = {"mode": mode, "factor": 0.3, "patience": 0, "threshold": 0.02}
    model = seeded(lambda: mlp(64, 16, 10), 1).to(DATA.train.y.device)
    twin = copy.deepcopy(model)
    sgd = torch.optim.SGD(model.parameters(), lr=0.3)
    plateau = lrlib.PlateauRule(**rule)
    # In two parts, the second from a checkpoint: the history is all that the rule remembers.
    history = fit(model, DATA, sgd, epochs=3, plateau=plateau)
    save(tmp_path / "run.pt", model, sgd, history)
    history = resume(tmp_path / "run.pt", model, sgd)
    history = fit(model, DATA, sgd, epochs=8, plateau=plateau, history=history)

    optimizer = torch.optim.SGD(twin.parameters(), lr=0.3)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **rule)
    used = []
    for epoch in range(8):
        for batch in batch_order(len(DATA.train.y), 0, epoch).split(32):
            optimizer.zero_grad()
            F.cross_entropy(twin(DATA.train.x[batch]), DATA.train.y[batch]).backward()
            optimizer.step()
            used.append(optimizer.param_groups[0]["lr"])
        result = evaluate(twin, DATA.validation)
        scheduler.step(result.loss if mode == "min" else result.accuracy)
    assert history.lrs == used
    assert len(set(used)) >= 3, "it was reduced at least twice, or this shows nothing"
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_it_learns() -> None:
    model = seeded(lambda: mlp(64, 32, 10), 0).to(DATA.train.y.device)
    history = fit(model, DATA, MAKERS["sgd"](model.parameters()), epochs=5)
    assert history.train_loss == sorted(history.train_loss, reverse=True)
    assert evaluate(model, DATA.test).accuracy > 0.93
    frame = history.frame()
    assert list(frame.index) == [1, 2, 3, 4, 5]
    assert frame["lr"].tolist() == [0.1] * 5


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("make_model", [lambda: mlp(64, 16, 10), model_with_dropout])
def test_a_resumed_run_ends_bit_identical(name: str, make_model, tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    settings = dict(schedule=Cosine(4 * DATA.steps_per_epoch(64)), batch_size=64, seed=2)

    def fresh():
        model = seeded(make_model, 3).to(DATA.train.y.device)
        return model, MAKERS[name](model.parameters())

    torch.manual_seed(0)
    whole, optimizer = fresh()
    expected = fit(whole, DATA, optimizer, epochs=4, **settings)

    torch.manual_seed(0)
    model, optimizer = fresh()
    history = fit(model, DATA, optimizer, epochs=1, **_planned_for(4, settings))
    save(path, model, optimizer, history)

    torch.manual_seed(99)  # another process, another random state
    model, optimizer = fresh()
    history = resume(path, model, optimizer)
    history = fit(model, DATA, optimizer, epochs=4, history=history, **settings)
    assert history == expected
    for ours, theirs in zip(model.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def _planned_for(epochs: int, settings: dict) -> dict:
    # The schedule knows the whole run; stopping early doesn't change it.
    assert settings["schedule"].steps == epochs * DATA.steps_per_epoch(settings["batch_size"])
    return settings


def test_the_order_of_batches_is_a_function_of_seed_and_epoch() -> None:
    orders = {(s, e): tuple(batch_order(40, s, e).tolist()) for s in range(3) for e in range(3)}
    assert len(set(orders.values())) == 9
    assert all(sorted(order) == list(range(40)) for order in orders.values())
    torch.manual_seed(5)
    assert tuple(batch_order(40, 1, 2).tolist()) == orders[1, 2]


def test_evaluate_leaves_the_mode_alone_and_sums_over_batches() -> None:
    model = seeded(model_with_dropout, 0).to(DATA.train.y.device)
    model.train()
    whole, parts = evaluate(model, DATA.test), evaluate(model, DATA.test, batch_size=7)
    assert model.training
    assert whole.loss == pytest.approx(parts.loss, rel=1e-5)
    assert whole.accuracy == parts.accuracy


def test_a_failed_save_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "run.pt"
    model = mlp(64, 10)
    optimizer = MAKERS["sgd"](model.parameters())
    save(path, model, optimizer, History())
    before = path.read_bytes()

    def dies_halfway(obj, file) -> None:
        file.write(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", dies_halfway)
    with pytest.raises(OSError, match="No space left"):
        save(path, model, optimizer, History())
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.pt"]


class Malicious:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


@pytest.mark.parametrize("content", [b"", b"no checkpoint", pickle.dumps(Malicious(), protocol=2)])
def test_what_is_no_checkpoint_is_refused_and_not_executed(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    path.write_bytes(content)
    model = mlp(64, 10)
    with pytest.raises(ValueError, match=r"run\.pt.*not a checkpoint"):
        resume(path, model, MAKERS["sgd"](model.parameters()))


@pytest.mark.parametrize(
    ("argument", "value"),
    [("epochs", -1), ("epochs", 2.0), ("batch_size", 0), ("seed", -1), ("schedule", 0.1)],
)
def test_bad_arguments_are_named(argument: str, value) -> None:
    model = mlp(64, 10)
    with pytest.raises((ValueError, TypeError), match=rf"fit\({argument}="):
        fit(model, DATA, MAKERS["sgd"](model.parameters()), **{"epochs": 1, argument: value})


def test_the_device_can_be_chosen(monkeypatch) -> None:
    monkeypatch.setenv("LRLIB_DEVICE", "cpu")
    assert lab.device() == torch.device("cpu")
    monkeypatch.setenv("LRLIB_DEVICE", "gpu please")
    with pytest.raises(ValueError, match="LRLIB_DEVICE='gpu please'"):
        lab.device()
    if not torch.cuda.is_available():
        monkeypatch.setenv("LRLIB_DEVICE", "cuda")
        with pytest.raises(ValueError, match="no CUDA device"):
            lab.device()
