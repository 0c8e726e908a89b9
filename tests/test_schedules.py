"""Schedules are pure functions: vectorized, never negative, printable; bad input is named."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    Multiplicative,
    MultiStep,
    OneCycle,
    Piecewise,
    Polynomial,
    Product,
    Schedule,
    Sequential,
    StepDecay,
    WarmupStableDecay,
)

counts = st.integers(1, 60)
factors = st.floats(0, 3)
decays = st.floats(0, 1)
steps = st.integers(0, 300)
functions = st.sampled_from([lambda t: 1 / (1 + t), lambda t: 0.9])

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
        st.none() | counts,
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
# Parts that are composites themselves.
parts = st.recursive(
    simple,
    lambda inner: (
        st.builds(lambda a, b: a * b, inner, inner)
        | st.builds(lambda x, a: x * a, factors, inner)
        | st.builds(lambda a, b, at: a.then(b, at=at), inner, inner, counts)
    ),
    max_leaves=3,
)
DRAWN = SIMPLE | {
    "Custom": st.builds(Custom, functions),
    "Multiplicative": st.builds(Multiplicative, functions),
    "Product": st.lists(parts, min_size=1, max_size=3).map(Product),
    "Sequential": st.lists(st.tuples(parts, counts), min_size=1, max_size=3).map(
        lambda drawn: Sequential(
            [part for part, _ in drawn], np.cumsum([n for _, n in drawn[1:]], dtype=int).tolist()
        )
    ),
}


@pytest.mark.parametrize("name", [name for name in module.__all__ if name != "Schedule"])
def test_pure_vectorized_never_negative_printable(name: str) -> None:
    @given(DRAWN[name], st.lists(steps, min_size=1, max_size=6))
    def check(schedule: Schedule, ts: list[int]) -> None:
        array = schedule(np.array(ts))
        assert array.dtype == np.float64
        assert array.shape == (len(ts),)
        assert [schedule(t) for t in ts] == array.tolist(), "one at a time, in any order"
        assert isinstance(schedule(ts[0]), float)
        assert schedule(np.array(ts).reshape(1, -1)).tolist() == [array.tolist()]
        assert (array >= 0).all()
        assert np.isfinite(array).all()
        if name not in ("Custom", "Multiplicative"):
            again = eval(repr(schedule), vars(module))
            assert again == schedule
            assert hash(again) == hash(schedule)

    check()


# What torch lacks, in plain Python; the other formulas are compared with torch's in test_rates.
@given(steps, counts, factors, factors, st.floats(0.1, 4))
def test_formulas(t: int, n: int, a: float, b: float, power: float) -> None:
    done = min(t / n, 1)
    wave = (1 - math.cos(math.pi * done)) / 2
    over = min(max(t - 2 * n, 0) / n, 1)
    fall = {"linear": over, "cosine": (1 - math.cos(math.pi * over)) / 2, "sqrt": math.sqrt(over)}
    expected = {
        Constant(a): a,
        InverseTime(a): 1 / (1 + a * t),
        InverseSqrt(n): 1 / math.sqrt(1 + t / n),
        Polynomial(n, power, a): a + (1 - a) * (1 - done) ** power,
        Cosine(n, a): 1 + (a - 1) * wave,
        Piecewise([(n, a), (n, b), (1, 1)]): a if t < n else b if t < 2 * n else 1.0,
        **{
            WarmupStableDecay(n, n, n, a, shape): min((t + 1) / n, 1) * (1 + (a - 1) * share)
            for shape, share in fall.items()
        },
    }
    for schedule, value in expected.items():
        assert schedule(t) == pytest.approx(value, rel=1e-10, abs=1e-12), schedule


@given(simple, simple, simple, steps, counts, counts, factors)
def test_algebra(a, b, c, t: int, n: int, m: int, x: float) -> None:
    assert (a * b)(t) == pytest.approx(a(t) * b(t), rel=1e-12)
    assert (x * a)(t) == (a * x)(t) == pytest.approx(x * a(t), rel=1e-12)
    expected = a(t) if t < n else b(t - n) if t < n + m else c(t - n - m)
    assert Sequential([a, b, c], at=[n, n + m])(t) == expected, "each part's clock starts at 0"
    assert a.then(b, at=n).then(c, at=n + m)(t) == a.then(b.then(c, at=m), at=n)(t) == expected


@given(parts, st.floats(0, 2), st.integers(0, 50))
def test_lrs_is_the_base_rate_times_the_factors(schedule, base_lr: float, n: int) -> None:
    assert schedule.lrs(base_lr, n).tolist() == [base_lr * schedule(t) for t in range(n)]


def test_one_cycle_holds_its_last_value_where_torch_stops() -> None:
    assert OneCycle(11, end=0.2)([10, 11, 1000, 10**12]) == pytest.approx([0.2] * 4)


def test_the_transformer_schedule_is_a_warmup_and_an_inverse_square_root() -> None:
    w, t = 4000, np.arange(1, 20_000)
    ours = Linear(1 / w, 1, w - 1).then(InverseSqrt(w), at=w - 1)
    theirs = math.sqrt(w) * np.minimum(t**-0.5, t * w**-1.5)
    np.testing.assert_allclose(ours(t - 1), theirs, rtol=1e-12)


# --- Bad arguments -----------------------------------------------------------------------------

SOUND = [
    Constant(),
    StepDecay(3),
    MultiStep([2, 5]),
    Exponential(0.9),
    InverseTime(0.1),
    InverseSqrt(10),
    Polynomial(10),
    Linear(0, 1, 10),
    Cosine(10),
    CosineRestarts(5),
    Cyclic(0, 1, 3),
    OneCycle(20),
    WarmupStableDecay(2, 3, 4),
    Piecewise([(2, 1.0)]),
    Custom(abs),
    Multiplicative(abs),
    Product([Constant()]),
    Sequential([Constant()] * 3, [2, 4]),
]
COUNT, FACTOR = [2.5, "3", None, True], ["0.1", None, True, 1j]
NOT_FINITE = [math.nan, math.inf]
# The rule, the fields that it is for, and what breaks it: by its value, by its type.
BAD: list[tuple[str, str, list[Any], list[Any]]] = [
    (
        "a positive integer",
        "StepDecay.step_size Polynomial.steps Linear.steps Cosine.steps CosineRestarts.period "
        "CosineRestarts.mult Cyclic.up WarmupStableDecay.decay",
        [0, -1],
        COUNT,
    ),
    ("a positive integer", "Cyclic.down", [0], [2.5, "3", True]),
    (
        "a non-negative integer",
        "WarmupStableDecay.warmup WarmupStableDecay.stable",
        [-1],
        COUNT,
    ),
    ("a positive integer and at most 9007199254740992", "Cosine.steps", [2**53 + 1], []),
    ("an integer of at least 2", "OneCycle.steps", [1], COUNT),
    (
        "a finite number of at least 0",
        "Constant.value StepDecay.gamma MultiStep.gamma Exponential.gamma InverseTime.decay "
        "Polynomial.end Linear.start Linear.end Cosine.end CosineRestarts.end Cyclic.low "
        "Cyclic.high Cyclic.gamma OneCycle.start OneCycle.end WarmupStableDecay.end",
        [-0.1, *NOT_FINITE],
        FACTOR,
    ),
    (
        "a finite number above 0",
        "InverseSqrt.timescale Polynomial.power",
        [0, -1, *NOT_FINITE],
        FACTOR,
    ),
    ("a finite number above 0 and at most 1", "OneCycle.peak_at", [0, 1.5, math.nan], FACTOR),
    ("at least 1/steps = 0.05, or there is no rise", "OneCycle.peak_at", [0.01], []),
    ("True or False", "Cosine.periodic OneCycle.three_phase", [], [1, "yes", None]),
    ("'constant' or 'halving' or 'exponential'", "Cyclic.scale", ["triangular2", None], []),
    ("'cosine' or 'linear'", "OneCycle.shape", ["cos", None], []),
    ("'linear' or 'cosine' or 'sqrt'", "WarmupStableDecay.shape", ["exp", None], []),
    (
        "a sequence",
        "MultiStep.milestones Piecewise.pieces Product.parts Sequential.parts Sequential.at",
        [],
        [5, "12", None],
    ),
    ("a sequence of at least 1 item", "Piecewise.pieces Product.parts Sequential.parts", [[]], []),
    (
        "a function of the step (an int) that returns a factor",
        "Custom.function Multiplicative.function",
        [],
        [3, None],
    ),
    ("2 steps, one for each part after the first", "Sequential.at", [(5,)], []),
    ("in increasing order", "Sequential.at", [(5, 5), (5, 3)], []),
]


@pytest.mark.parametrize(
    ("where", "value", "error", "rule"),
    [
        (where, value, error, rule)
        for rule, everywhere, values, types in BAD
        for where in everywhere.split()
        for error, wrong in ((ValueError, values), (TypeError, types))
        for value in wrong
    ],
)
def test_a_bad_argument_is_named_with_its_value_and_its_rule(where, value, error, rule) -> None:
    name, field = where.split(".")
    (sound,) = (schedule for schedule in SOUND if type(schedule).__name__ == name)
    with pytest.raises(error) as caught:
        replace(sound, **{field: value})
    assert str(caught.value) == f"{name}({field}={value!r}): {field} must be {rule}"


CALLS = {
    "MultiStep([2.5])": (
        "TypeError: MultiStep(milestones=2.5): milestones must be a non-negative integer"
    ),
    "Sequential([Constant()] * 2, [0])": (
        "ValueError: Sequential(at=0): at must be a positive integer"
    ),
    "Piecewise([5])": "TypeError: Piecewise(pieces=5): pieces must be pairs (how many steps, fact",
    "Piecewise([(1, 2, 3)])": "ValueError: Piecewise(pieces=(1, 2, 3)): pieces must be pairs (how",
    "Piecewise([(0, 1.0)])": (
        "ValueError: Piecewise(pieces: steps=0): pieces: steps must be a positive integer"
    ),
    "Product([1.0])": "TypeError: Product(parts=1.0): parts must be schedules, such as Cosine(",
    "Constant() * '2'": "TypeError: Constant(value='2'): value must be a finite number of",
    "-1 * Constant()": "ValueError: Constant(value=-1): value must be a finite number of",
    "OneCycle(20, 0.6, three_phase=True)": (
        "ValueError: OneCycle(peak_at=0.6): peak_at must be at most 0.5 with three_phase"
    ),
    "Cosine(3).lrs(-1, 3)": "ValueError: lrs(base_lr=-1): base_lr must be a finite number of",
    "Cosine(3).lrs(1, 2.5)": "TypeError: lrs(steps=2.5): steps must be a non-negative integer",
    "Cosine(3)(1.0)": "TypeError: Cosine(t=1.0): t must be an integer step or an array of them",
    "Cosine(3)(None)": "TypeError: Cosine(t=None): t must be an integer step or an array of them",
    "Cosine(3)([True])": "TypeError: Cosine(t=[True]): t must be an integer step or an array of",
    "Cosine(3)([1, -2])": "ValueError: Cosine(t=[1, -2]): t must be a step of at least 0",
    "Exponential(2.0)(np.arange(2000))": (
        "ValueError: Exponential(gamma=2.0): the factor at step 1024 is inf, but a learning rate's"
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_so_is_one_inside_a_sequence_or_of_a_call(call: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        eval(call)
    assert f"{type(caught.value).__name__}: {caught.value}".startswith(CALLS[call])


@pytest.mark.parametrize("kind", [Custom, Multiplicative])
@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (-1.0, ValueError, r"\(function=.*\): the factor at step 3 is -1, but a learning rate's"),
        (math.nan, ValueError, r"\(function=.*\): the factor at step 3 is nan, but a learning"),
        ("x", TypeError, r"\(function=.*'x'\]\): function must be a function of the step that ret"),
    ],
)
def test_what_a_function_returns_is_checked(kind, value, error, message: str) -> None:
    with pytest.raises(error, match=f"^{kind.__name__}{message}"):
        kind(lambda t: value if t == 3 else 1.0)(3)


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.fractions()
)
anything = st.recursive(
    scalars | simple,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@settings(max_examples=150)
@given(st.one_of(*DRAWN.values()), st.data())
def test_any_value_for_any_field_is_named_or_gives_a_sound_schedule(schedule, data) -> None:
    names = [field.name for field in fields(schedule)]
    name = data.draw(st.sampled_from(names))
    value = data.draw(anything)
    try:
        factors = replace(schedule, **{name: value})(np.arange(60))
    except (TypeError, ValueError) as error:
        refused = str(error)
    else:
        refused = ""
        assert (np.isfinite(factors) & (factors >= 0)).all()
    starts = tuple(f"{type(schedule).__name__}({name}{end}" for name in names for end in "=:")
    assert not refused or refused.startswith(starts)


@pytest.mark.slow
def test_importing_lrlib_loads_nothing_heavy() -> None:
    heavy = ["matplotlib", "pandas", "sklearn", "torchvision", "joblib", "scipy", "IPython"]
    code = f"import sys, lrlib; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
