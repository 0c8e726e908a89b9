"""Run i of a stack is what an ordinary loop with the same seed and settings gives."""

from __future__ import annotations

import dataclasses
import itertools
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from lrlib import Constant, Cosine, Linear, LRDropout
from lrlib.lab import History, Run, fit, fit_many, grid, load, mlp, seeded, small_cnn
from lrlib.lab.data import Split
from lrlib.lab.training import evaluate
from lrlib.param_groups import by_name

DATA = load("digits")
SMALL = dataclasses.replace(DATA, train=Split(DATA.train.x[:200], DATA.train.y[:200]))
EPOCHS, BATCH = 3, 48  # 200 samples: the last batch has 8
STEPS = EPOCHS * SMALL.steps_per_epoch(BATCH)


class SignDescent(torch.optim.Optimizer):
    """An optimizer that torch doesn't have; with a mask of random numbers, if it is given any."""

    def __init__(self, weights, lr: float = 0.1, generator: torch.Generator | None = None) -> None:
        super().__init__(weights, {"lr": lr})
        self.generator = generator

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                step = weight.grad.sign()
                if self.generator is not None:
                    step = step * (torch.rand(step.shape, generator=self.generator) < 0.5)
                weight.sub_(group["lr"] * step)


OPTIMIZERS = {
    "SGD": torch.optim.SGD,
    "momentum": partial(torch.optim.SGD, momentum=0.9),
    "Nesterov": partial(torch.optim.SGD, momentum=0.9, nesterov=True, weight_decay=5e-4),
    "weight decay": partial(torch.optim.SGD, weight_decay=0.01),
    "Adam": torch.optim.Adam,
    "Adam, weight decay": partial(torch.optim.Adam, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.01),
    "AdamW": partial(torch.optim.AdamW, weight_decay=0.1),
    "RMSprop": partial(torch.optim.RMSprop, alpha=0.9, weight_decay=0.01, momentum=0.5),
    "AMSGrad": partial(torch.optim.Adam, amsgrad=True),
    "Adagrad": torch.optim.Adagrad,
    "sign descent": SignDescent,
}


class Residual(nn.Module):
    """Not a plain chain of layers, so it goes through torch.func; with a tied weight and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 24)
        self.norm = nn.LayerNorm(24)
        self.mix = nn.Linear(24, 24, bias=False)
        self.scale = nn.Parameter(torch.ones(()))
        self.head = nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(torch.tanh(self.first(x.flatten(1))))
        return self.head(h + self.scale * self.mix(self.mix(h)))


MODELS = {
    "mlp": lambda: mlp(64, 24, 16, 10),
    "no bias": lambda: nn.Sequential(
        nn.Flatten(2), nn.Flatten(), nn.Linear(64, 8, bias=False), nn.Tanh(), nn.Linear(8, 10)
    ),
    "cnn": lambda: small_cnn(width=4),
    "residual": Residual,
}


def runs_for(name: str) -> list[Run]:
    scale = 0.02 if name.startswith(("A", "RMS", "sign")) else 1.0
    return [
        Run(Constant(), 0.1 * scale, seed=0),
        Run(Cosine(STEPS), 0.2 * scale, seed=0),
        Run(Cosine(STEPS), 0.2 * scale, seed=7),
        Run(Linear(0.1, 1.0, 10), 0.05 * scale, seed=3),
    ]


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def alone(run: Run, model_fn, make, epochs: int = EPOCHS) -> tuple[nn.Module, History]:
    """What the ordinary loop makes of the run; `make` is given the model and its rate."""
    model = seeded(model_fn, run.seed).to(SMALL.train.y.device)
    given = {"schedule": run.schedule, "seed": run.seed}
    history = fit(model, SMALL, make(model, run.base_lr), epochs=epochs, batch_size=BATCH, **given)
    return model, history


def assert_same(weights: torch.Tensor, model: nn.Module) -> None:
    # Two orders of the same float32 sums; 50 steps let the difference grow a little.
    torch.testing.assert_close(weights, flat(model), rtol=2e-3, atol=2e-4)


# The optimizer sees one tensor of weights, whatever the model, so not every optimizer is tried with
# every model.
@pytest.mark.parametrize(
    ("name", "model"),
    [(name, "mlp") for name in OPTIMIZERS]
    + [(name, model) for name in ("momentum", "AdamW") for model in MODELS if model != "mlp"],
)
def test_equals_fit_run_by_run(name: str, model: str) -> None:
    model_fn, optimizer, runs = MODELS[model], OPTIMIZERS[name], runs_for(name)
    many = fit_many(
        model_fn, SMALL, runs, epochs=EPOCHS, batch_size=BATCH, optimizer=optimizer, test=True
    )
    for i, run in enumerate(runs):
        single, history = alone(run, model_fn, lambda m, lr: optimizer(m.parameters(), lr=lr))
        assert_same(many.weights[i], single)
        assert many.train_loss[i] == pytest.approx(history.train_loss, rel=1e-3)
        assert many.validation_loss[i] == pytest.approx(history.validation_loss, rel=1e-3)
        accuracy = evaluate(single, SMALL.test).accuracy
        assert many.test_accuracy[i] == pytest.approx(accuracy, abs=1.5 / len(SMALL.test.y))


@pytest.mark.parametrize("name", ["momentum", "AdamW"])
def test_per_layer_rates_and_given_weights_equal_fit(name: str) -> None:
    optimizer, scale = OPTIMIZERS[name], 0.02 if name == "AdamW" else 1.0
    scales = {"1.*": 0.0, "*.bias": 2.0, "*": 0.5}
    runs = [Run(Cosine(STEPS), 0.1 * scale, seed, scales=scales) for seed in (0, 1)]
    runs.append(Run(Cosine(STEPS), 0.1 * scale, 1))
    start = lambda i: seeded(MODELS["mlp"], 10 + i)
    initial = torch.stack([flat(start(i)) for i in range(3)])
    many = fit_many(
        MODELS["mlp"],
        SMALL,
        runs,
        epochs=EPOCHS,
        batch_size=BATCH,
        optimizer=optimizer,
        initial=initial,
        shard_size=2,
    )
    for i, run in enumerate(runs):
        patterns = lambda lr: {k: v * lr for k, v in (run.scales or {"*": 1.0}).items()}
        single, _ = alone(run, lambda: start(i), lambda m, lr: optimizer(by_name(m, patterns(lr))))
        assert_same(many.weights[i], single)
    frozen = slice(0, 64 * 24 + 24)
    assert torch.equal(many.weights[0, frozen].cpu(), initial[0, frozen]), "a rate of 0 freezes"


@pytest.mark.parametrize("seeds", [itertools.count(), itertools.repeat(0)])
def test_an_optimizer_with_random_numbers_of_its_own_is_taken(seeds) -> None:
    make = lambda w: SignDescent(w, generator=torch.Generator().manual_seed(next(seeds)))
    result = fit_many(MODELS["mlp"], SMALL, [Run(base_lr=0.01)], epochs=1, optimizer=make)
    assert np.isfinite(result.train_loss).all()


def wide() -> nn.Module:
    return mlp(64, 512, 256, 10)  # enough weights to be masked bit by bit


@pytest.mark.parametrize("model_fn", [MODELS["mlp"], wide])
@pytest.mark.parametrize("name", ["momentum", "Adam", "RMSprop"])
def test_learning_rate_dropout_has_the_masks_of_the_optimizer(name: str, model_fn) -> None:
    scale = 1.0 if name == "momentum" else 0.02
    keeps = [0.5, 1.0, 0.3]
    runs = [Run(Cosine(10), 0.1 * scale, 3 + i, keep=keep) for i, keep in enumerate(keeps)]
    many = fit_many(model_fn, SMALL, runs, epochs=2, batch_size=BATCH, optimizer=OPTIMIZERS[name])
    for i, run in enumerate(runs):

        def make(model: nn.Module, lr: float) -> LRDropout:
            masks = torch.Generator().manual_seed(run.seed)
            return LRDropout(OPTIMIZERS[name](model.parameters(), lr=lr), run.keep, masks)

        single, _ = alone(run, model_fn, make, epochs=2)
        assert_same(many.weights[i], single)


def test_a_run_that_diverges_does_not_disturb_the_others() -> None:
    calm = [Run(base_lr=0.1, seed=seed) for seed in range(3)]
    wild = Run(base_lr=1e6, seed=9)
    alone = fit_many(MODELS["mlp"], SMALL, [*calm, Run(base_lr=0.1, seed=9)], epochs=4)
    beside = fit_many(MODELS["mlp"], SMALL, [*calm, wild], epochs=4)
    assert not np.isfinite(beside.train_loss[3, -1]) or beside.train_loss[3, -1] > 2
    assert torch.equal(alone.weights[:3], beside.weights[:3])


SWEEP = grid({"constant": Constant(), "cosine": Cosine(STEPS)}, [0.05, 0.2], range(3))


def test_shards_give_the_same_as_one_stack() -> None:
    whole = fit_many(MODELS["mlp"], SMALL, SWEEP, epochs=EPOCHS, batch_size=BATCH)
    cut = fit_many(MODELS["mlp"], SMALL, SWEEP, epochs=EPOCHS, batch_size=BATCH, shard_size=5)
    assert cut.runs == whole.runs
    torch.testing.assert_close(cut.weights, whole.weights, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(cut.validation_loss, whole.validation_loss, rtol=1e-4)


@pytest.mark.slow
def test_a_cluster_gives_the_same_as_this_process() -> None:
    joblib = pytest.importorskip("joblib")
    distributed = pytest.importorskip("distributed")
    settings = dict(epochs=EPOCHS, batch_size=BATCH, shard_size=5)
    data = load("digits", device="cpu")
    here = fit_many(MODELS["mlp"], data, SWEEP, **settings)
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            env={"OMP_NUM_THREADS": str(torch.get_num_threads())},
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        there = fit_many(MODELS["mlp"], data, SWEEP, **settings)
    assert torch.equal(here.weights, there.weights)
    np.testing.assert_array_equal(here.validation_accuracy, there.validation_accuracy)


def test_validation_at_the_end_only_changes_nothing_else() -> None:
    runs = grid({"constant": Constant()}, [0.1], range(2))
    often, once = (
        fit_many(MODELS["mlp"], SMALL, runs, epochs=3, validate=validate)
        for validate in ("epoch", "end")
    )
    assert torch.equal(often.weights, once.weights)
    assert np.isnan(once.validation_loss[:, :-1]).all()
    assert (once.validation_loss[:, -1] == often.validation_loss[:, -1]).all()
    assert (once.train_loss == often.train_loss).all()


def test_where_chooses_runs() -> None:
    result = fit_many(MODELS["mlp"], SMALL, SWEEP, epochs=2)
    part = result.where("cosine", 0.2)
    assert len(part) == 3
    assert {(run.label, run.base_lr) for run in part.runs} == {("cosine", 0.2)}
    assert np.isnan(result.test_accuracy).all(), "the test split is not looked at unasked"
    with pytest.raises(ValueError, match="the labels are 'constant', 'cosine'"):
        result.where("linear")


UNSTACKABLE = {
    "BatchNorm2d.*GroupNorm": lambda: nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 10)
    ),
    "Dropout.*random": lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(64, 10)),
    "float32": lambda: mlp(64, 10).double(),
    "require a gradient": lambda: mlp(64, 10).requires_grad_(False),
}


@pytest.mark.parametrize("reason", UNSTACKABLE)
def test_what_cannot_be_stacked_says_why(reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        fit_many(UNSTACKABLE[reason], SMALL, [Run()], epochs=1)


@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [
        (torch.optim.Rprop, "Rprop must take steps that are proportional to the rate"),
        (torch.optim.Adafactor, "Adafactor must take steps .* every coordinate alone"),
        (torch.optim.LBFGS, "closure"),
        (lambda w: LRDropout(torch.optim.SGD(w), 0.5), r"LRDropout must .*Run\(keep"),
        (partial(torch.optim.SGD, speed=9), "speed"),
        ("sgd", "must make a torch optimizer"),
    ],
)
def test_an_optimizer_that_is_not_supported_says_what(optimizer, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        fit_many(MODELS["mlp"], SMALL, [Run()], epochs=1, optimizer=optimizer)


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (dict(runs=[]), r"fit_many\(runs="),
        (dict(runs=[0.1]), r"fit_many\(runs="),
        (dict(epochs=0), r"fit_many\(epochs="),
        (dict(batch_size=0), r"fit_many\(batch_size="),
        (dict(shard_size=0), r"fit_many\(shard_size="),
        (dict(initial=torch.zeros(3, 5)), r"fit_many\(initial="),
        (dict(initial=torch.zeros(1, 5)), r"fit_many\(initial="),
        (dict(runs=[Run(scales={"9.*": 1, "*": 1})]), r"Run\(scales\): '9\.\*' matches no"),
        (dict(runs=[Run(scales={"1.*": 1})]), r"Run\(scales\): no pattern matches 3\.weight"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, start: str) -> None:
    with pytest.raises((ValueError, TypeError), match=start):
        fit_many(MODELS["mlp"], SMALL, **{"runs": [Run()], "epochs": 1, **arguments})


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (dict(schedule=0.1), r"Run\(schedule="),
        (dict(base_lr=-1), r"Run\(base_lr="),
        (dict(seed=1.5), r"Run\(seed="),
        (dict(label=3), r"Run\(label="),
        (dict(scales={"*": -1}), r"Run\(scales"),
        (dict(scales=[0.1]), r"Run\(scales="),
    ],
)
def test_a_bad_run_is_named(arguments: dict, start: str) -> None:
    with pytest.raises((ValueError, TypeError), match=start):
        Run(**arguments)
