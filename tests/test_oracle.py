"""lrlib's schedules against optax's, which were written independently, over random arguments.

Where the two differ, a test says where and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrlib import (
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    Linear,
    MultiStep,
    OneCycle,
    Polynomial,
    Schedule,
    StepDecay,
    sequence,
)

jax = pytest.importorskip("jax", reason="optax is a test-only extra: pip install optax")
optax = pytest.importorskip("optax")

STEPS = np.arange(200)
rates = st.floats(1e-4, 10)
shares = st.floats(0, 1)
counts = st.integers(1, 150)


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def theirs(schedule: Callable[[Any], Any]) -> np.ndarray:
    return np.asarray(jax.vmap(lambda t: jax.numpy.asarray(schedule(t)))(jax.numpy.asarray(STEPS)))


def assert_equal(ours: Schedule, base: float, schedule: Callable[[Any], Any]) -> None:
    with jax.enable_x64(True):
        np.testing.assert_allclose(base * ours(STEPS), theirs(schedule), rtol=1e-6, atol=1e-9)


@given(base=rates)
def test_constant(base: float) -> None:
    assert_equal(Constant(), base, optax.constant_schedule(base))


@given(base=rates, start=shares, end=shares, steps=counts)
def test_linear(base: float, start: float, end: float, steps: int) -> None:
    assert_equal(
        Linear(start, end, steps), base, optax.linear_schedule(base * start, base * end, steps)
    )


@given(base=rates, end=shares, steps=counts, power=st.floats(0.5, 4))
def test_polynomial(base: float, end: float, steps: int, power: float) -> None:
    assert_equal(
        Polynomial(steps, power, end),
        base,
        optax.polynomial_schedule(base, base * end, power, steps),
    )


@given(base=rates, end=shares, steps=counts)
def test_cosine(base: float, end: float, steps: int) -> None:
    assert_equal(Cosine(steps, end), base, optax.cosine_decay_schedule(base, steps, alpha=end))


gammas = st.floats(0.05, 1.0, exclude_min=True)


@given(base=rates, gamma=gammas)
def test_exponential(base: float, gamma: float) -> None:
    assert_equal(Exponential(gamma), base, optax.exponential_decay(base, 1, gamma))


@given(base=rates, gamma=gammas, every=counts)
def test_stairs_agree_but_for_steps_where_a_quotient_is_rounded(
    base: float, gamma: float, every: int
) -> None:
    """Compiled, optax's step / 49 is step times a rounded 1/49, a hair below 1 at step 49: there
    its stair comes a step late. lrlib and torch divide integers."""
    ours = base * StepDecay(every, gamma)(STEPS)
    with jax.enable_x64(True):
        got = theirs(optax.exponential_decay(base, every, gamma, staircase=True))
    late = ~np.isclose(ours, got, rtol=1e-6, atol=1e-12)
    assert (STEPS[late] % every == 0).all()
    np.testing.assert_allclose(got[late], ours[np.flatnonzero(late) - 1], rtol=1e-6)


@given(base=rates, gamma=shares, milestones=st.lists(st.integers(1, 190), unique=True, max_size=4))
def test_milestones(base: float, gamma: float, milestones: list[int]) -> None:
    table = dict.fromkeys(sorted(milestones), gamma)
    assert_equal(MultiStep(milestones, gamma), base, optax.piecewise_constant_schedule(base, table))


@given(base=rates, start=shares, end=shares, warmup=st.integers(1, 60), rest=counts)
def test_warmup_and_cosine(base: float, start: float, end: float, warmup: int, rest: int) -> None:
    ours = Linear(start, 1.0, warmup).then(Cosine(rest, end), at=warmup)
    schedule = optax.warmup_cosine_decay_schedule(
        base * start, base, warmup, warmup + rest, base * end
    )
    assert_equal(ours, base, schedule)


@given(base=rates, parts=st.lists(st.tuples(shares, st.integers(1, 60)), min_size=2, max_size=4))
def test_joined(base: float, parts: list[tuple[float, int]]) -> None:
    at = np.cumsum([length for _, length in parts])[:-1].tolist()
    ours = sequence([Cosine(length, end) for end, length in parts], at=at)
    cosines = [optax.cosine_decay_schedule(base, length, end) for end, length in parts]
    assert_equal(ours, base, optax.join_schedules(cosines, at))


@given(base=rates, end=shares, period=st.integers(1, 40), mult=st.integers(1, 3))
def test_restarts(base: float, end: float, period: int, mult: int) -> None:
    periods = [period * mult**i for i in range(8)]
    arguments = [
        {"init_value": base, "peak_value": base, "warmup_steps": 0, "decay_steps": length}
        | {"end_value": base * end}
        for length in periods
    ]
    total = sum(periods)
    with jax.enable_x64(True):
        got = theirs(optax.sgdr_schedule(arguments))
    ours = base * CosineRestarts(period, mult, end)(STEPS)
    np.testing.assert_allclose(ours[:total], got[:total], rtol=1e-6, atol=1e-9)


def test_one_cycle_differs_by_a_step_for_a_reason() -> None:
    """torch's peak is at step pct · total − 1 and its end at total − 1, so that the last of `total`
    steps uses the lowest rate; optax's are at pct · total and total, one step later."""
    ours = OneCycle(100, peak_at=0.3, start=1 / 25, end=1 / 25e4)(STEPS)
    got = theirs(optax.cosine_onecycle_schedule(100, 1.0, 0.3, 25.0, 1e4))
    assert int(ours.argmax()) == 29
    assert int(got.argmax()) == 30
    assert ours[99] == pytest.approx(1 / 25e4)
    assert got[100] == pytest.approx(1 / 25e4, rel=1e-3)
    # Each leg has the same shape, over one step more or less.
    longer = OneCycle(101, peak_at=31 / 101, start=1 / 25, end=1 / 25e4)(STEPS)
    np.testing.assert_allclose(longer[:101], got[:101], rtol=1e-6)


def test_a_cosine_past_its_end_is_held_by_both_but_not_by_torch() -> None:
    got = theirs(optax.cosine_decay_schedule(1.0, 50, alpha=0.1))
    np.testing.assert_allclose(got[50:], 0.1)
    np.testing.assert_allclose(Cosine(50, 0.1)(STEPS)[50:], 0.1)
    assert Cosine(50, 0.1, periodic=True)(STEPS)[100] == 1.0  # as torch's CosineAnnealingLR
