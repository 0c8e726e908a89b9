"""`from_torch` equals `trace`: the pure schedule is what torch's scheduler does, at every step."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler as ts
from torch.optim.swa_utils import SWALR

import lrlib
from lrlib.schedules import Cosine, Exponential, Linear, Schedule

RELATIVE = 1e-10
STEPS = 60

counts = st.integers(1, 40)
gammas = st.floats(0.05, 1.0)
factors = st.floats(0.01, 1.0)
etas = st.one_of(st.just(0.0), st.floats(1e-4, 0.3))
bools = st.booleans()


def shrinking(t: int) -> float:
    return 1 / (1 + 0.1 * t)


def wavy(t: int) -> float:
    return 1 + 0.5 * math.sin(t)


functions = st.sampled_from([shrinking, wavy])

# Each strategy draws a function that makes a scheduler for an optimizer.
SIMPLE = {
    "LambdaLR": functions.map(lambda f: lambda o: ts.LambdaLR(o, f)),
    "MultiplicativeLR": functions.map(lambda f: lambda o: ts.MultiplicativeLR(o, f)),
    "StepLR": st.builds(lambda s, g: lambda o: ts.StepLR(o, s, g), counts, gammas),
    "MultiStepLR": st.builds(
        lambda m, g: lambda o: ts.MultiStepLR(o, m, g),
        st.lists(st.integers(0, 50), max_size=4),
        gammas,
    ),
    "ConstantLR": st.builds(lambda f, n: lambda o: ts.ConstantLR(o, f, n), factors, counts),
    "LinearLR": st.builds(
        lambda a, b, n: lambda o: ts.LinearLR(o, a, b, n), factors, st.floats(0, 1), counts
    ),
    "ExponentialLR": gammas.map(lambda g: lambda o: ts.ExponentialLR(o, g)),
    "PolynomialLR": st.builds(
        lambda n, p: lambda o: ts.PolynomialLR(o, n, p), counts, st.floats(0.3, 3)
    ),
    "CosineAnnealingLR": st.builds(
        lambda n, e: lambda o: ts.CosineAnnealingLR(o, n, e), counts, etas
    ),
    "CosineAnnealingWarmRestarts": st.builds(
        lambda n, m, e: lambda o: ts.CosineAnnealingWarmRestarts(o, n, m, e),
        st.integers(1, 20),
        st.integers(1, 3),
        etas,
    ),
    "CyclicLR": st.builds(
        lambda low, up, down, mode, g: (
            lambda o: ts.CyclicLR(o, low, 0.5, up, down, mode, g, cycle_momentum=False)
        ),
        st.floats(0.01, 0.5),
        counts,
        st.one_of(st.none(), counts),
        st.sampled_from(["triangular", "triangular2", "exp_range"]),
        st.floats(0.9, 1.0),
    ),
    "CyclicLR with its own scale": st.builds(
        lambda f, mode, up: (
            lambda o: ts.CyclicLR(
                o, 0.01, 0.5, up, scale_fn=f, scale_mode=mode, cycle_momentum=False
            )
        ),
        functions,
        st.sampled_from(["cycle", "iterations"]),
        counts,
    ),
    "OneCycleLR": st.builds(
        lambda peak, pct, shape, three, div, final: (
            lambda o: ts.OneCycleLR(
                o,
                peak,
                total_steps=STEPS,
                pct_start=pct,
                anneal_strategy=shape,
                three_phase=three,
                div_factor=div,
                final_div_factor=final,
            )
        ),
        st.floats(0.01, 1),
        st.floats(0.05, 0.5),
        st.sampled_from(["cos", "linear"]),
        bools,
        st.floats(1, 50),
        st.floats(1, 1e5),
    ),
    "SWALR": st.builds(
        lambda lr, n, shape: lambda o: SWALR(o, lr, n, shape),
        factors,
        st.integers(0, 40),
        st.sampled_from(["cos", "linear"]),
    ),
}
# OneCycleLR and CyclicLR overwrite the base rates of their neighbors, so they come last in a chain.
CHAINABLE = [name for name in SIMPLE if name != "OneCycleLR" and not name.startswith("CyclicLR")]


@st.composite
def sequentials(draw: st.DrawFn):
    names = draw(st.lists(st.sampled_from(list(SIMPLE)), min_size=1, max_size=4))
    makers = [draw(SIMPLE[name]) for name in names]
    joints = st.integers(1, STEPS)
    at = sorted(
        draw(st.lists(joints, min_size=len(names) - 1, max_size=len(names) - 1, unique=True))
    )
    return lambda o: ts.SequentialLR(o, [make(o) for make in makers], at)


@st.composite
def chains(draw: st.DrawFn, names=CHAINABLE):
    makers = [
        draw(SIMPLE[name])
        for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))
    ]
    return lambda o: ts.ChainedScheduler([make(o) for make in makers])


@st.composite
def nested(draw: st.DrawFn):
    inner = [draw(st.one_of(chains(), sequentials_in_chain())) for _ in range(2)]
    return lambda o: ts.ChainedScheduler([make(o) for make in inner])


@st.composite
def sequentials_in_chain(draw: st.DrawFn):
    names = draw(st.lists(st.sampled_from(CHAINABLE), min_size=2, max_size=2))
    makers, at = [draw(SIMPLE[name]) for name in names], draw(st.integers(1, STEPS))
    return lambda o: ts.SequentialLR(o, [make(o) for make in makers], [at])


STRATEGIES = {
    **SIMPLE,
    "SequentialLR": sequentials(),
    "ChainedScheduler": chains(),
    "nested ChainedScheduler": nested(),
}


def assert_equal_to_torch(make, steps: int, base_lrs) -> None:
    with warnings.catch_warnings():
        # torch's own deprecation of the epoch argument, and its false alarms about the order.
        warnings.simplefilter("ignore", UserWarning)
        expected = lrlib.trace(make, steps, base_lrs)
        optimizer = torch.optim.SGD(
            [{"params": [torch.zeros(1)], "lr": lr} for lr in base_lrs], lr=0.1, momentum=0.9
        )
        schedules = lrlib.from_torch(make(optimizer))
    for i, schedule in enumerate(schedules):
        initial = float(optimizer.param_groups[i]["initial_lr"])
        if (
            expected[:, i].min() < -1e-12
        ):  # as a chained cosine whose eta_min is above the rate makes it
            with pytest.raises(ValueError, match="at least 0"):
                schedule.lrs(initial, steps)
            continue
        ours = schedule.lrs(initial, steps)
        # Where the exact value is 0, torch's chain of ratios leaves rounding of the base rate.
        np.testing.assert_allclose(
            ours, expected[:, i], rtol=RELATIVE, atol=1e-14, err_msg=repr(schedule)
        )


@pytest.mark.parametrize("name", STRATEGIES)
def test_from_torch_equals_trace(name: str) -> None:
    @given(STRATEGIES[name], st.lists(st.floats(0.01, 2.0), min_size=1, max_size=3))
    def check(make, base_lrs) -> None:
        assert_equal_to_torch(make, STEPS, base_lrs)

    check()


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda o: ts.CosineAnnealingLR(o, 100_000, 1e-4),
        lambda o: ts.LinearLR(o, 0.01, 1.0, 90_000),
        lambda o: ts.OneCycleLR(o, 0.3, total_steps=100_000),
        lambda o: ts.SequentialLR(
            o, [ts.LinearLR(o, 0.01, 1.0, 5_000), ts.CosineAnnealingLR(o, 95_000)], [5_000]
        ),
        lambda o: ts.ChainedScheduler([ts.ExponentialLR(o, 0.9999), ts.StepLR(o, 10_000, 0.5)]),
    ],
    ids=["cosine", "linear", "one cycle", "warmup and cosine", "chain"],
)
def test_equal_for_100_000_steps(make) -> None:
    assert_equal_to_torch(make, 100_000, [0.1])


def test_every_scheduler_of_torch_is_covered_or_refused() -> None:
    named = {name.split(" ")[0] for name in STRATEGIES} | {"ReduceLROnPlateau"}
    offered = {name for name in ts.__all__ if name != "LRScheduler"}
    assert offered <= named, "torch has a scheduler that from_torch is not tested with"


def test_trace_is_what_the_optimizer_did() -> None:
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.3)
    scheduler = ts.CosineAnnealingLR(optimizer, 10)
    moved = []
    for _ in range(15):
        weight.grad = torch.ones_like(weight)
        before = weight.item()
        optimizer.step()
        scheduler.step()
        moved.append(before - weight.item())
    traced = lrlib.trace(lambda o: ts.CosineAnnealingLR(o, 10), 15, 0.3)[:, 0]
    np.testing.assert_allclose(traced, moved, atol=1e-15)


def test_plateau_and_strangers_are_refused() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    with pytest.raises(TypeError, match="depends on the metric"):
        lrlib.from_torch(ts.ReduceLROnPlateau(optimizer))  # type: ignore[arg-type]

    class Mine(ts.StepLR):
        pass

    with pytest.raises(TypeError, match="torch's own classes"):
        lrlib.from_torch(Mine(optimizer, 3))
    inner = ts.ChainedScheduler([ts.ExponentialLR(optimizer, 0.9)])
    outer = ts.SequentialLR(optimizer, [ts.StepLR(optimizer, 3), inner], [5])
    with pytest.raises(TypeError, match="196243"):
        lrlib.from_torch(outer)


def test_one_group_may_follow_another_schedule() -> None:
    groups = [{"params": [torch.zeros(1)], "lr": lr} for lr in (0.1, 0.5)]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    per_group: list[Schedule] = [Cosine(10), Exponential(0.9)]
    scheduler = lrlib.to_torch(per_group, optimizer)
    assert lrlib.from_torch(scheduler) == per_group
    for step in range(12):
        expected = [0.1 * per_group[0](step), 0.5 * per_group[1](step)]
        assert lrlib.current_lrs(optimizer) == pytest.approx(expected, rel=1e-12)
        optimizer.step()
        scheduler.step()


def test_a_checkpoint_of_to_torch_does_not_overwrite_the_schedule() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    saved = lrlib.to_torch(Linear(0.5, 1.0, 10), optimizer).state_dict()
    fresh = lrlib.to_torch(Cosine(5), torch.optim.SGD([torch.zeros(1)], lr=0.1))
    fresh.load_state_dict(saved)
    assert lrlib.from_torch(fresh) == [Cosine(5)]


def test_set_lr_reaches_every_group() -> None:
    groups = [{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)]}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    lrlib.set_lr(optimizer, 0.2)
    assert lrlib.current_lrs(optimizer) == [0.2, 0.2]
    lrlib.set_lr(optimizer, [0.2, 0.3])
    assert lrlib.current_lrs(optimizer) == [0.2, 0.3]


def test_set_lr_fills_a_tensor_rate_in_place() -> None:
    optimizer = torch.optim.Adam([torch.zeros(1)], lr=torch.tensor(0.1), foreach=False)
    tensor = optimizer.param_groups[0]["lr"]
    lrlib.set_lr(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] is tensor
    assert tensor.item() == 0.25


@pytest.mark.parametrize("lr", [-0.1, math.nan, math.inf, "0.1", True, [0.1], [0.1, -1.0], None])
def test_a_refused_rate_changes_nothing(lr) -> None:
    groups = [{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)]}]
    optimizer = torch.optim.SGD(groups, lr=0.5)
    with pytest.raises((TypeError, ValueError), match=r"set_lr\(lr="):
        lrlib.set_lr(optimizer, lr)
    assert lrlib.current_lrs(optimizer) == [0.5, 0.5]
