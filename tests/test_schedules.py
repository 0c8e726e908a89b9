"""Schedules are pure functions: vectorized, never negative, printable; bad input is named."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lrlib
from lrlib import schedules as module
from lrlib.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Custom,
    Cyclic,
    Exponential,
    InverseSqrt,
    InverseTime,
    Linear,
    MultiStep,
    OneCycle,
    Piecewise,
    Polynomial,
    Product,
    Recurrence,
    Scaled,
    Schedule,
    Sequential,
    StepDecay,
    WarmupStableDecay,
    sequence,
)

counts = st.integers(1, 60)
factors = st.floats(0, 3)
decays = st.floats(0, 1)
steps = st.integers(0, 300)

SIMPLE = {
    "Constant": st.builds(Constant, factors),
    "StepDecay": st.builds(StepDecay, counts, decays),
    "MultiStep": st.builds(MultiStep, st.lists(st.integers(0, 100), max_size=5), decays),
    "Exponential": st.builds(Exponential, decays),
    "InverseTime": st.builds(InverseTime, factors),
    "InverseSqrt": st.builds(InverseSqrt, st.floats(0.1, 100)),
    "Polynomial": st.builds(Polynomial, counts, st.floats(0.1, 4), factors),
    "Linear": st.builds(Linear, factors, factors, counts),
    "Cosine": st.builds(Cosine, counts, factors, st.booleans()),
    "CosineRestarts": st.builds(CosineRestarts, counts, st.integers(1, 3), factors),
    "Cyclic": st.builds(
        Cyclic,
        factors,
        factors,
        counts,
        st.one_of(st.none(), counts),
        st.sampled_from(["constant", "halving", "exponential"]),
        decays,
    ),
    "OneCycle": st.builds(
        OneCycle,
        st.integers(20, 100),
        st.floats(0.05, 0.5),
        factors,
        factors,
        st.sampled_from(["cosine", "linear"]),
        st.booleans(),
    ),
    "WarmupStableDecay": st.builds(
        WarmupStableDecay,
        st.integers(0, 50),
        st.integers(0, 50),
        counts,
        factors,
        st.sampled_from(["linear", "cosine", "sqrt"]),
    ),
    "Piecewise": st.builds(Piecewise, st.lists(st.tuples(counts, factors), min_size=1, max_size=4)),
}
simple = st.one_of(*SIMPLE.values())
any_schedule = st.recursive(
    simple,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a * b, inner, inner),
        st.builds(lambda x, a: x * a, factors, inner),
        st.builds(lambda a, b, at: a.then(b, at=at), simple, inner, counts),
    ),
    max_leaves=4,
)


def test_every_class_is_drawn() -> None:
    own = {
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Schedule) and value is not Schedule
    }
    assert own == {*SIMPLE, "Custom", "Recurrence", "Scaled", "Product", "Sequential"}


@pytest.mark.parametrize("name", [*SIMPLE, "composites"])
def test_pure_vectorized_never_negative_printable(name: str) -> None:
    @given(SIMPLE.get(name, any_schedule), st.lists(steps, min_size=1, max_size=6))
    def check(schedule: Schedule, ts: list[int]) -> None:
        array = schedule(np.array(ts))
        assert array.dtype == np.float64
        assert array.shape == (len(ts),)
        assert [schedule(t) for t in ts] == array.tolist(), "one at a time, in any order"
        assert schedule(np.array(ts).reshape(1, -1)).shape == (1, len(ts))
        assert (array >= 0).all()
        assert np.isfinite(array).all()
        assert isinstance(schedule(ts[0]), float)
        again = eval(repr(schedule), vars(module))
        assert again == schedule
        assert hash(again) == hash(schedule)
        np.testing.assert_array_equal(again(np.array(ts)), array)
        assert schedule.describe(0.1)

    check()


# The formulas once more, in plain Python and as they stand in the literature.
def restarts(t: int, period: int, mult: int, end: float) -> float:
    while t >= period:
        t, period = t - period, period * mult
    return end + (1 - end) * (1 + math.cos(math.pi * t / period)) / 2


@given(steps, counts, decays, factors, factors, st.integers(1, 3))
def test_formulas(t: int, n: int, gamma: float, a: float, b: float, mult: int) -> None:
    done = min(t / n, 1)
    expected = {
        StepDecay(n, gamma): gamma ** (t // n),
        MultiStep([n, 2 * n, 2 * n], gamma): gamma ** ((t >= n) + 2 * (t >= 2 * n)),
        Exponential(gamma): gamma**t,
        InverseTime(a): 1 / (1 + a * t),
        InverseSqrt(n): 1 / math.sqrt(1 + t / n),
        Polynomial(n, 2, a): a + (1 - a) * (1 - done) ** 2,
        Linear(a, b, n): a + (b - a) * done,
        Cosine(n, a): a + (1 - a) * (1 + math.cos(math.pi * done)) / 2,
        Cosine(n, a, periodic=True): a + (1 - a) * (1 + math.cos(math.pi * t / n)) / 2,
        CosineRestarts(n, mult, a): restarts(t, n, mult, a),
        Piecewise([(n, a), (n, b), (1, 1)]): a if t < n else b if t < 2 * n else 1.0,
        WarmupStableDecay(n, n, n, a): (
            (t + 1) / n if t < n else 1 - (1 - a) * min(max(t - 2 * n, 0) / n, 1)
        ),
    }
    for schedule, value in expected.items():
        assert schedule(t) == pytest.approx(value, rel=1e-10, abs=1e-12), schedule


@given(simple, simple, simple, steps, counts, counts, factors)
def test_algebra(a, b, c, t: int, n: int, m: int, x: float) -> None:
    assert (a * b)(t) == pytest.approx(a(t) * b(t), rel=1e-12)
    assert (x * a)(t) == (a * x)(t) == pytest.approx(x * a(t), rel=1e-12)
    joined = sequence([a, b, c], at=[n, n + m])
    expected = a(t) if t < n else b(t - n) if t < n + m else c(t - n - m)
    assert joined(t) == expected, "each part restarts its own clock at 0"
    assert a.then(b, at=n).then(c, at=n + m) == joined


@given(any_schedule, st.floats(0, 2), st.integers(0, 50))
def test_lrs_is_the_base_rate_times_the_factors(schedule, base_lr: float, n: int) -> None:
    curve = schedule.lrs(base_lr, n)
    assert curve.shape == (n,)
    assert curve.tolist() == [base_lr * schedule(t) for t in range(n)]


@pytest.mark.parametrize(
    "schedule",
    [
        Polynomial(10, end=0.2),
        Linear(1, 0.2, 10),
        Cosine(10, 0.2),
        OneCycle(11, end=0.2),
        WarmupStableDecay(3, 3, 4, 0.2),
        Piecewise([(10, 1.0), (1, 0.2)]),
    ],
)
def test_the_last_value_is_held(schedule: Schedule) -> None:
    assert schedule([10, 11, 1000, 10**12]) == pytest.approx([0.2] * 4)


def test_the_transformer_schedule_is_a_warmup_and_an_inverse_square_root() -> None:
    w, t = 4000, np.arange(1, 20_000)
    ours = Linear(0, 1, w).then(InverseSqrt(w), at=w)
    np.testing.assert_allclose(ours(t), math.sqrt(w) * np.minimum(t**-0.5, t * w**-1.5), rtol=1e-12)


def test_resuming_is_calling_later() -> None:
    schedule = Linear(0.1, 1, 20).then(Cosine(80), at=20) * Exponential(0.99)
    whole = schedule(np.arange(100))
    np.testing.assert_array_equal(schedule(np.arange(60, 100)), whole[60:])


def test_recurrence_gives_the_same_in_any_order() -> None:
    schedule = Recurrence(lambda t, f: f * 0.9 if t else f)
    assert schedule(30) == pytest.approx(0.9**30)
    assert schedule(2) == pytest.approx(0.81)


BAD = {
    "Constant(value=": [lambda x: Constant(x), -1, math.nan, math.inf, "1", None, True],
    "StepDecay(step_size=": [lambda x: StepDecay(x), 0, -1, 2.5, "3", None, True],
    "StepDecay(gamma=": [lambda x: StepDecay(3, x), -0.1, math.nan, "0.1"],
    "MultiStep(milestones=": [lambda x: MultiStep(x), [2.5], [-1], 5, "12", None],
    "Exponential(gamma=": [lambda x: Exponential(x), -1, math.inf],
    "InverseTime(decay=": [lambda x: InverseTime(x), -1],
    "InverseSqrt(timescale=": [lambda x: InverseSqrt(x), 0, -1],
    "Polynomial(power=": [lambda x: Polynomial(3, x), 0, -1],
    "Linear(steps=": [lambda x: Linear(0, 1, x), 0, 1.0],
    "Cosine(steps=": [lambda x: Cosine(x), 0, -5, 10.0],
    "Cosine(periodic=": [lambda x: Cosine(3, 0, x), 1, "yes"],
    "CosineRestarts(mult=": [lambda x: CosineRestarts(3, x), 0, 1.5],
    "Cyclic(scale=": [lambda x: Cyclic(0, 1, 3, scale=x), "triangular2", None],
    "OneCycle(peak_at=": [lambda x: OneCycle(20, x), 0, 0.01, 1.5],
    "WarmupStableDecay(shape=": [lambda x: WarmupStableDecay(1, 1, 1, shape=x), "exp"],
    "Piecewise(pieces=": [lambda x: Piecewise(x), [], 3, [(1, 2, 3)], [5], "ab"],
    "Piecewise(pieces: steps=": [lambda x: Piecewise([(x, 1.0)]), 0, 1.5],
    "Custom(function=": [lambda x: Custom(x), 3, None],
    "Scaled(scale=": [lambda x: x * Constant(), -1, math.nan],
    "Product(parts=": [lambda x: Product(x), [], 3, [1.0]],
    "Sequential(at=": [
        lambda x: sequence([Constant()] * 3, x),
        [5],
        [5, 5],
        [5, 3],
        [0, 3],
        [1.5, 2],
    ],
}


@pytest.mark.parametrize(
    ("start", "make", "value"),
    [(start, make, value) for start, (make, *values) in BAD.items() for value in values],
)
def test_a_bad_argument_is_named_with_its_value(start: str, make, value) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        make(value)
    message = str(caught.value)
    assert message.startswith(start), message
    assert "must be" in message


@pytest.mark.parametrize("t", [-1, 1.0, "3", None, [1, -2], [0.5], True, [[1], [2.5]]])
def test_a_step_is_an_integer_from_0(t) -> None:
    with pytest.raises((ValueError, TypeError), match=r"Cosine\(t="):
        Cosine(10)(t)


def test_a_factor_that_overflows_is_refused_not_returned() -> None:
    with pytest.raises(ValueError, match="at step 1024 is inf"):
        Exponential(2.0)(np.arange(2000))
    with pytest.raises(ValueError, match="at step 3 is -1"):
        Custom(lambda t: 2.0 - t)(3)


def test_two_times_a_schedule_is_scaled_and_other_products_are_type_errors() -> None:
    assert 2 * Constant(0.5) == Scaled(2, Constant(0.5))
    with pytest.raises(TypeError):
        Constant() * "2"  # type: ignore[operator]


def test_sequential_is_shown_as_one() -> None:
    joined = Constant(0.1).then(Constant(), at=2)
    assert joined == Sequential((Constant(0.1), Constant()), (2,))
    assert joined.describe(0.5) == "0.05 throughout; from step 2: 0.5 throughout"


def test_importing_lrlib_loads_nothing_heavy() -> None:
    import subprocess
    import sys

    heavy = ["matplotlib", "pandas", "sklearn", "torchvision", "joblib", "scipy", "IPython"]
    code = f"import sys, lrlib; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert lrlib.__all__ == sorted(lrlib.__all__)
