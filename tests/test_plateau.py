"""PlateauRule is torch's ReduceLROnPlateau, metric by metric; decisions says why."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lrlib import PlateauRule, decisions

# Few values, so that ties, exact thresholds and long plateaus happen; and all that floats can be.
METRICS = st.lists(
    st.one_of(
        st.sampled_from([0.0, 1.0, 0.9999, 0.99, -1.0, -0.9999, -1.01, 5.0]),
        st.floats(allow_nan=True, allow_infinity=True, width=32),
    ),
    max_size=60,
)
RULES = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["min", "max"]),
        "factor": st.floats(0, 0.999),
        "patience": st.integers(0, 5),
        "threshold": st.one_of(st.sampled_from([0.0, 1e-4, 0.01, 1.0]), st.floats(0, 3)),
        "threshold_mode": st.sampled_from(["rel", "abs"]),
        "cooldown": st.integers(0, 4),
        "eps": st.sampled_from([0.0, 1e-8, 1e-3]),
    }
)


def by_torch(metrics: list[float], lrs: list[float], **rule: object) -> list[list[float]]:
    groups = [{"params": [torch.zeros(1)], "lr": lr} for lr in lrs]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    scheduler = ReduceLROnPlateau(optimizer, **rule)  # type: ignore[arg-type]
    used = []
    for metric in metrics:
        scheduler.step(metric)
        used.append([group["lr"] for group in optimizer.param_groups])
    return used


@given(METRICS, RULES, st.lists(st.floats(0, 10), min_size=1, max_size=3), st.data())
@settings(max_examples=300)
def test_rates_are_torch_s_after_every_metric(metrics, rule, lrs, data):
    one = data.draw(st.floats(0, 0.1))
    each = data.draw(st.lists(st.floats(0, 0.1), min_size=len(lrs), max_size=len(lrs)))
    for min_lr in (one, each):
        expected = by_torch(metrics, lrs, **rule, min_lr=min_lr)
        ours = decisions(metrics, lrs, **rule, min_lr=min_lr)
        assert [list(decision.lr) for decision in ours] == expected


@given(
    st.lists(st.lists(st.floats(-2, 2), min_size=20, max_size=20), min_size=1, max_size=6), RULES
)
def test_many_runs_at_once_are_each_run_alone(sequences, rule):
    together = PlateauRule(**rule)
    state = together.start(np.full(len(sequences), 0.1))
    history = []
    for metrics in zip(*sequences, strict=True):
        state = together.step(state, metrics)
        history.append(state.lr)
    for run, metrics in enumerate(sequences):
        alone = [decision.lr for decision in decisions(metrics, 0.1, **rule)]
        assert [lrs[run] for lrs in history] == alone


# Multiples of 0.0173: no two have the ratio 1 − threshold, where rounding would decide.
@given(st.lists(st.integers(1, 1000), min_size=1), st.integers(0, 3))
def test_by_magnitude_is_relative_for_positive_metrics(numbers, patience):
    metrics = [0.0173 * number for number in numbers]
    rule = {"patience": patience, "threshold": 0.0123456}
    relative = decisions(metrics, **rule)
    by_size = decisions(metrics, **rule, threshold_mode="magnitude")
    assert [d.lr for d in relative] == [d.lr for d in by_size]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_by_magnitude_sees_a_negative_plateau_that_relative_does_not(mode):
    flat = [-100.0] * 8
    assert decisions(flat, mode=mode, patience=2, threshold_mode="magnitude")[-1].lr < 0.1
    relative = decisions(flat, mode=mode, patience=2)[-1].lr
    assert relative == 0.1


def test_a_change_of_exactly_eps_is_not_made() -> None:
    rule = {"factor": 0.5, "patience": 0, "eps": 0.25}
    assert by_torch([1.0, 1.0], [0.5], **rule) == [[0.5], [0.5]]
    assert [decision.lr for decision in decisions([1.0, 1.0], 0.5, **rule)] == [0.5, 0.5]


def test_the_log_says_why():
    log = decisions(
        [1.0, math.nan, 1.0, 1.0, 1.0, 1.0, 1.0],
        base_lr=1e-2,
        patience=0,
        cooldown=1,
        min_lr=1e-3,
    )
    assert [str(decision).split(", ", 1)[1] for decision in log] == [
        "the best so far",
        "1 bad, more than 0: reduced 0.01 → 0.001",
        "not better, but not counted: the last of the cooldown",
        "1 bad, more than 0: stays at 0.001, which is min_lr",
        "not better, but not counted: the last of the cooldown",
        "1 bad, more than 0: stays at 0.001, which is min_lr",
        "not better, but not counted: the last of the cooldown",
    ]
    frozen = decisions([1.0, 1.0], base_lr=1e-9, patience=0)
    assert "no more than eps" in frozen[1].verdict


@pytest.mark.parametrize(
    ("name", "value", "error", "rule"),
    [
        ("mode", "up", ValueError, "'min' or 'max'"),
        ("factor", 1.0, ValueError, "below 1, or nothing is reduced"),
        ("factor", -1.0, ValueError, "a finite number of at least 0"),
        ("patience", -1, ValueError, "a non-negative integer"),
        ("threshold", math.nan, ValueError, "a finite number of at least 0"),
        ("threshold_mode", "relative", ValueError, "'rel' or 'abs' or 'magnitude'"),
        ("cooldown", 1.5, TypeError, "a non-negative integer"),
        ("min_lr", -0.1, ValueError, "a finite number of at least 0"),
        ("min_lr", "0.1", TypeError, "a rate, or one for each group"),
        ("eps", "small", TypeError, "a finite number of at least 0"),
    ],
)
def test_a_bad_field_is_named_with_its_value_and_its_rule(name, value, error, rule) -> None:
    with pytest.raises(error) as caught:
        PlateauRule(**{name: value})
    assert str(caught.value) == f"PlateauRule({name}={value!r}): {name} must be {rule}"


BAD = {
    "PlateauRule().start(-1)": "ValueError: start(lr=-1): lr must be finite numbers of at least 0",
    "PlateauRule(min_lr=[-0.2])": (
        "ValueError: PlateauRule(min_lr=-0.2): min_lr must be a finite number of at least 0"
    ),
    "decisions([1.0], 0.1, min_lr=(0.1, 0.2))": (
        "ValueError: start(lr=0.1): lr must be 2 rates, as min_lr has"
    ),
    "decisions([1.0], -1)": (
        "ValueError: decisions(base_lr=-1): base_lr must be a finite number of at least 0"
    ),
    "decisions([1.0], 'x')": (
        "TypeError: decisions(base_lr='x'): base_lr must be a rate, or one for each group"
    ),
    "decisions([1.0], [[0.1]])": (
        "TypeError: decisions(base_lr=[0.1]): base_lr must be a finite number of at least 0"
    ),
    "decisions(3)": "TypeError: decisions(metrics=3): metrics must be a sequence of numbers",
    "decisions([[1]])": "TypeError: decisions(metrics=[1]): metrics must be a sequence of numbers",
    # A loss that still has its graph.
    "decisions([torch.tensor(1.0, requires_grad=True)])": (
        "TypeError: decisions(metrics=tensor(1., requires_grad=True)): metrics must be a sequence "
        "of numbers"
    ),
}


@pytest.mark.parametrize("call", BAD)
def test_so_is_an_argument_of_decisions(call: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        eval(call)
    assert f"{type(caught.value).__name__}: {caught.value}" == BAD[call]
