"""`from_torch` equals `trace`: the pure schedule is what torch's scheduler does, at every step."""

from __future__ import annotations

import math
import re
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler as ts
from torch.optim.swa_utils import SWALR

import lrlib
from lrlib.schedules import Cosine, Exponential, Linear, Schedule

STEPS = 60

counts = st.integers(1, 40)
gammas = st.floats(0.05, 1.0)
factors = st.floats(0.01, 1.0)
etas = st.just(0.0) | st.floats(1e-4, 0.3)
functions = st.sampled_from([lambda t: 1 / (1 + 0.1 * t), lambda t: 1 + 0.5 * math.sin(t)])

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
        lambda low, up, down, options: (
            lambda o: ts.CyclicLR(o, low, 0.5, up, down, **options, cycle_momentum=False)
        ),
        st.floats(0.01, 0.5),
        counts,
        st.none() | counts,
        st.fixed_dictionaries(
            {
                "mode": st.sampled_from(["triangular", "triangular2", "exp_range"]),
                "gamma": st.floats(0.9, 1.0),
            }
        )
        | st.fixed_dictionaries(
            {"scale_fn": functions, "scale_mode": st.sampled_from(["cycle", "iterations"])}
        ),
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
        st.booleans(),
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
base_rates = st.lists(st.floats(0.01, 2.0), min_size=1, max_size=3)


def sgd(lrs: list[float]) -> torch.optim.Optimizer:
    groups = [{"params": [torch.zeros(1)], "lr": lr} for lr in lrs]
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9)


def assert_equal_to_torch(make, steps: int, lrs: list[float]) -> None:
    with warnings.catch_warnings():
        # torch's own deprecation of the epoch argument, and its false alarms about the order.
        warnings.simplefilter("ignore", UserWarning)
        expected = lrlib.trace(make, steps, lrs)
    optimizer = sgd(lrs)
    schedules = lrlib.from_torch(make(optimizer))
    for i, schedule in enumerate(schedules):
        ours = schedule.lrs(float(optimizer.param_groups[i]["initial_lr"]), steps)
        # If the exact value is 0, torch's chain of ratios leaves rounding of the base rate.
        np.testing.assert_allclose(
            ours, expected[:, i], rtol=1e-10, atol=1e-14, err_msg=repr(schedule)
        )


@pytest.mark.parametrize("name", SIMPLE)
def test_from_torch_equals_trace(name: str) -> None:
    @given(SIMPLE[name], base_rates)
    def check(make, lrs) -> None:
        assert_equal_to_torch(make, STEPS, lrs)

    check()


def sequence(optimizer, makers) -> ts.LRScheduler:
    at = [7 * i for i in range(1, len(makers))]
    return ts.SequentialLR(optimizer, [make(optimizer) for make in makers], at)


def chain(optimizer, makers) -> ts.LRScheduler:
    return ts.ChainedScheduler([make(optimizer) for make in makers])


MULTIPLIES = {"StepLR", "MultiStepLR", "ExponentialLR", "MultiplicativeLR"}
MULTIPLIES |= {"ConstantLR", "LinearLR", "PolynomialLR"}
# How to compose, and the parts that don't interfere there.
COMPOSITES = {
    "SequentialLR": (sequence, SIMPLE.keys() - {"MultiplicativeLR", "SWALR"}),
    "ChainedScheduler": (chain, MULTIPLIES),
}


@pytest.mark.parametrize("name", COMPOSITES)
def test_a_composite_equals_trace_or_names_the_part_that_interferes(name: str) -> None:
    compose, sound = COMPOSITES[name]

    def composed(names: list[str]) -> st.SearchStrategy:
        return st.tuples(*(SIMPLE[part] for part in names)).map(
            lambda makers: (set(names), lambda o: compose(o, makers))
        )

    def parts(allowed) -> st.SearchStrategy:
        names = st.lists(st.sampled_from(sorted(allowed)), min_size=1, max_size=4)
        return names.flatmap(composed)

    @settings(max_examples=100)
    @given(parts(sound) | parts(SIMPLE), base_rates)
    def check(drawn, lrs) -> None:
        names, make = drawn
        optimizer = sgd(lrs)
        scheduler = make(optimizer)
        # OneCycleLR and CyclicLR overwrite the base rates of those that were made before them.
        initial = [group["initial_lr"] for group in optimizer.param_groups]
        moved = {type(part).__name__ for part in scheduler._schedulers if part.base_lrs != initial}
        interfering = moved | names - sound
        if not interfering:
            assert_equal_to_torch(make, STEPS, lrs)
            return
        named = "|".join(interfering)
        start = rf"from_torch\(scheduler\): ({named}) interferes with the other parts of the {name}"
        with pytest.raises(TypeError, match=rf"^{start}.*`trace`"):
            lrlib.from_torch(scheduler)

    check()


@pytest.mark.parametrize("outer", COMPOSITES)
@pytest.mark.parametrize("inner", COMPOSITES)
def test_a_composite_in_a_composite_interferes(outer: str, inner: str) -> None:
    optimizer = sgd([0.1])
    nested = COMPOSITES[inner][0](optimizer, [lambda o: ts.ExponentialLR(o, 0.9)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        both = COMPOSITES[outer][0](optimizer, [lambda o: nested])
    with pytest.raises(TypeError, match=f"{inner} interferes with the other parts of the {outer}"):
        lrlib.from_torch(both)


@pytest.mark.parametrize(
    "make",
    [
        lambda o: ts.SequentialLR(
            o, [ts.LinearLR(o, 0.01, 1.0, 500), ts.CosineAnnealingLR(o, 9_500, 1e-4)], [500]
        ),
        lambda o: ts.ChainedScheduler([ts.ExponentialLR(o, 0.999), ts.StepLR(o, 1_000, 0.5)]),
    ],
    ids=["warmup and cosine", "chain"],
)
def test_equal_for_10_000_steps(make) -> None:
    assert_equal_to_torch(make, 10_000, [0.1])


def test_every_scheduler_of_torch_is_converted_or_refused() -> None:
    offered = {name for name in ts.__all__ if name != "LRScheduler"}
    assert offered <= {*SIMPLE, *COMPOSITES, "ReduceLROnPlateau"}


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


def test_one_group_may_follow_another_schedule() -> None:
    optimizer = sgd([0.1, 0.5])
    per_group: list[Schedule] = [Cosine(10), Exponential(0.9)]
    scheduler = lrlib.to_torch(per_group, optimizer)
    assert lrlib.from_torch(scheduler) == per_group
    for step in range(12):
        expected = [0.1 * per_group[0](step), 0.5 * per_group[1](step)]
        assert lrlib.current_lrs(optimizer) == pytest.approx(expected, rel=1e-12)
        optimizer.step()
        scheduler.step()


def test_a_checkpoint_of_to_torch_does_not_overwrite_the_schedule() -> None:
    saved = lrlib.to_torch(Linear(0.5, 1.0, 10), sgd([0.1])).state_dict()
    fresh = lrlib.to_torch(Cosine(5), sgd([0.1]))
    fresh.load_state_dict(saved)
    assert lrlib.from_torch(fresh) == [Cosine(5)]


def test_set_lr_reaches_every_group() -> None:
    optimizer = sgd([0.1, 0.1])
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


# --- Bad arguments -----------------------------------------------------------------------------


class Mine(ts.StepLR):
    def __repr__(self) -> str:
        return "Mine()"


two = sgd([0.5, 0.5])
BAD = {
    "set_lr(two, -0.1)": "ValueError: set_lr(lr=-0.1): lr must be a finite number of at least 0",
    "set_lr(two, math.nan)": "ValueError: set_lr(lr=nan): lr must be a finite number of at least 0",
    "set_lr(two, True)": "TypeError: set_lr(lr=True): lr must be a finite number of at least 0",
    "set_lr(two, [1, -1])": "ValueError: set_lr(lr=-1): lr must be a finite number of at least 0",
    "set_lr(two, [0.1])": (
        "ValueError: set_lr(lr=[0.1]): lr must be one for all groups, or a sequence of 2, one for "
        "each"
    ),
    "set_lr(two, '1')": "TypeError: set_lr(lr='1'): lr must be one for all groups, or a seq",
    "set_lr(two, torch.tensor(2))": "TypeError: set_lr(lr=tensor(2)): lr must be one for all",
    "set_lr(3, 0.1)": "TypeError: set_lr(optimizer=3): optimizer must be a torch optimizer",
    "current_lrs(3)": "TypeError: current_lrs(optimizer=3): optimizer must be a torch optimizer",
    "trace(Mine, 2.5)": "TypeError: trace(steps=2.5): steps must be a non-negative integer",
    "trace(3, 2)": "TypeError: trace(make_scheduler=3): make_scheduler must be a function that",
    "trace(id, 2)": "TypeError: trace(scheduler=",
    "trace(Mine, 2, -1)": "ValueError: trace(base_lrs=-1): base_lrs must be a finite number of",
    "trace(Mine, 2, [])": "ValueError: trace(base_lrs=[]): base_lrs must be a sequence of at least",
    "to_torch(0.5, two)": "TypeError: to_torch(schedule=0.5): schedule must be a schedule, or one",
    "to_torch([Linear(0, 1, 3), 0.5], two)": (
        "TypeError: to_torch(schedule=0.5): schedule must be a schedule, or one for each"
    ),
    "to_torch([Exponential(1.0)], two)": (
        "ValueError: to_torch(schedule=[Exponential(gamma=1.0)]): schedule must be one for "
        "all groups, or a sequence of 2, one for each"
    ),
    "from_torch(3)": "TypeError: from_torch(scheduler=3): scheduler must be a torch learning-rate",
    "from_torch(Mine(sgd([1.0]), 3))": (
        "TypeError: from_torch(scheduler=Mine()): scheduler must be one of torch's own classes"
    ),
    "from_torch(ts.CosineAnnealingLR(sgd([0.0]), 10, eta_min=0.1))": (
        "ValueError: from_torch(scheduler=…): scheduler must be built at a rate above 0, because"
    ),
    "from_torch(ts.ReduceLROnPlateau(sgd([0.1])))": (
        "TypeError: from_torch(scheduler=…): scheduler must be a torch learning-rate scheduler "
        "that needs no metric; the rate of ReduceLROnPlateau"
    ),
}


@pytest.mark.parametrize("call", BAD)
def test_a_bad_argument_is_named_and_changes_nothing(call: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        eval(call, globals() | vars(lrlib))
    # The address of a scheduler, as torch prints it, differs from run to run.
    message = re.sub(r"=<torch\S*.*?\): ", "=…): ", str(caught.value))
    assert f"{type(caught.value).__name__}: {message}".startswith(BAD[call])
    assert lrlib.current_lrs(two) == [0.5, 0.5]
