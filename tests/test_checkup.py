"""The checkup sees the museum's exhibits, is silent on sound schedules, and changes nothing."""

from __future__ import annotations

import copy
import html
import io
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from test_schedules import SIMPLE
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim import lr_scheduler as S
from torch.optim.swa_utils import SWALR

from lrlib import Cosine, Exponential, Linear, LRDropout, Report, examine, to_torch, watch
from lrlib import schedules as sched
from lrlib._rules import RULES

ROOT = Path(__file__).resolve().parents[1]
MUSEUM = ROOT / "chapters" / "04-built-in-schedulers" / "bug-museum.ipynb"


def sgd(lr: float = 0.1, **options: Any) -> SGD:
    return SGD([torch.zeros(1, requires_grad=True)], lr=lr, **options)


def warmup(o: Optimizer, steps: int = 4) -> S.LRScheduler:
    return S.LinearLR(o, start_factor=0.1, total_iters=steps)


def run(scheduler: Any, steps: int) -> None:
    for _ in range(steps):
        scheduler.optimizer.step()
        scheduler.step()


def seen(report: Report) -> set[str]:
    return {one.rule for one in (*report.findings, *report.notes)}


# --- The museum: what is wrong, and the same repaired; each returns the reports of its checkups ---

Reports = list[Report]


def watched(loop: Callable[[Any], Any], make: Callable[[Any], Any], **options: Any) -> Reports:
    optimizer = sgd()
    scheduler = make(optimizer)
    with watch(optimizer, scheduler, **options) as report:
        loop(scheduler)
    return [report]


def step_first(scheduler: Any) -> None:
    for _ in range(3):
        scheduler.step()
        scheduler.optimizer.step()


def scaled(careful: bool) -> Reports:
    """Ten steps with a GradScaler, in the second of which the gradient overflows."""
    weight = torch.ones(1, requires_grad=True)
    optimizer = SGD([weight], lr=0.1)
    scheduler = S.ExponentialLR(optimizer, 0.9)
    scaler = torch.amp.GradScaler("cpu")
    with watch(optimizer, scheduler) as report:
        for step in range(5):
            optimizer.zero_grad()
            scaler.scale(weight.sum() * (float("inf") if step == 1 else 1.0)).backward()
            before = scaler.get_scale()
            scaler.step(optimizer)
            scaler.update()
            if not careful or scaler.get_scale() >= before:
                scheduler.step()
    return [report]


def per_batch(gamma: float) -> Reports:
    return [examine(lambda o: S.ExponentialLR(o, gamma), 3910, steps_per_epoch=391)]


def plotted(again: bool) -> Reports:
    def make(o: Optimizer) -> Any:
        scheduler = S.CosineAnnealingLR(o, T_max=100)
        run(scheduler, 100)
        return scheduler

    return [examine(make if again else lambda o: S.CosineAnnealingLR(o, T_max=100), 100)]


def after_a_cosine(reset: bool) -> Reports:
    optimizer = sgd()
    run(S.CosineAnnealingLR(optimizer, T_max=40), 40)
    for group in optimizer.param_groups:
        if reset:
            group["lr"] = group["initial_lr"] = 0.1
    return [examine(lambda o: S.CosineAnnealingLR(o, T_max=40), 40, optimizer)]


def one_cycle(last_call: bool, strategy: Any = "cos") -> Reports:
    def loop(scheduler: Any) -> None:
        for step in range(10):
            scheduler.optimizer.step()
            if last_call or step < 9:
                scheduler.step()

    def make(o: Optimizer) -> Any:
        options = dict(total_steps=10, anneal_strategy=strategy, cycle_momentum=False)
        return S.OneCycleLR(o, max_lr=0.1, **options)

    return watched(loop, make, steps=10)


def second_stage(forget: bool) -> Reports:
    optimizer = sgd()
    S.StepLR(optimizer, step_size=100)
    group = optimizer.param_groups[0]
    group["lr"] = 0.01
    if forget:
        del group["initial_lr"]
    return [examine(lambda o: S.LambdaLR(o, lambda t: 1 - t / 20), 20, optimizer)]


def raised_by_hand(by_hand: bool) -> Reports:
    def loop(scheduler: Any) -> None:
        run(scheduler, 2)
        if by_hand:
            scheduler.optimizer.param_groups[0]["lr"] *= 10
        run(scheduler, 3)

    return watched(loop, lambda o: S.LambdaLR(o, lambda t: 0.9**t * (10 if t >= 2 else 1)))


def resumed(load: str, ending: int = 9) -> Reports:
    """A warmup of ten steps, stopped after nine, resumed with a part of its checkpoint."""
    old = warmup(sgd(), 10)
    run(old, ending)
    states = {"o": old.optimizer.state_dict(), "s": old.state_dict()}
    optimizer, scheduler = sgd(), None
    for letter in load:  # b: build the scheduler; o, s: load the optimizer, the scheduler
        if letter == "b":
            scheduler = warmup(optimizer, 10)
        elif letter == "o":
            optimizer.load_state_dict(states["o"])
        else:
            scheduler.load_state_dict(states["s"])
    with watch(optimizer, scheduler) as report:
        run(scheduler, 3)
    return [report]


def longer(mend: bool) -> Reports:
    def make(steps: int) -> S.LambdaLR:
        return S.LambdaLR(sgd(), lambda t: (1 + math.cos(math.pi * t / steps)) / 2)

    short, long = make(10), make(20)
    run(short, 5)
    long.optimizer.load_state_dict(short.optimizer.state_dict())
    long.load_state_dict(short.state_dict())
    if mend:
        group = long.optimizer.param_groups[0]
        group["lr"] = group["initial_lr"] * long.lr_lambdas[0](5)
        long._last_lr = [group["lr"]]
    with watch(long.optimizer, long) as report:
        run(long, 3)
    return [report]


def built_twice(make: Callable[[Any], Any]) -> Reports:
    optimizer = sgd()
    make(optimizer)
    return [examine(make, 20, optimizer)]


def late_group(make: Callable[[Any], Any], early: bool) -> Reports:
    def build(o: Optimizer) -> Any:
        group = {"params": [torch.zeros(1)], "lr": 0.01}
        if early:
            o.add_param_group(group)
            return make(o)
        scheduler = make(o)
        o.add_param_group(group)
        return scheduler

    return [examine(build, 20)]


def sequence(make: Callable[[Any], list[Any]], at: list[int], steps: int) -> Reports:
    return [examine(lambda o: S.SequentialLR(o, make(o), at), steps)]


def chain(make: Callable[[Any], list[Any]], steps: int) -> Reports:
    return [examine(lambda o: S.ChainedScheduler(make(o)), steps)]


def inner_sequence(o: Optimizer) -> Any:
    return S.SequentialLR(o, [warmup(o, 3), S.ExponentialLR(o, 0.9)], [3])


def inner_chain(o: Optimizer) -> Any:
    return S.ChainedScheduler([warmup(o, 3), S.ExponentialLR(o, 0.9)])


def flat(o: Optimizer) -> list[Any]:
    return [S.ConstantLR(o, 1.0), warmup(o, 3), S.ExponentialLR(o, 0.5)]


def constants(o: Optimizer) -> list[Any]:
    return [S.ConstantLR(o, f, total_iters=99) for f in (1, 0.5, 0.1)]


def warm_cosine(T_max: int) -> Reports:
    make = lambda o: [warmup(o, 5), S.CosineAnnealingLR(o, T_max)]
    return sequence(make, [5], 21)


def squared(lr: float) -> Reports:
    return [examine(lambda o: S.LambdaLR(o, lambda t: 0.1 * 0.9**t), 30, sgd(lr))]


def cycled(optimizer: Optimizer, **options: Any) -> Reports:
    return [examine(lambda o: S.OneCycleLR(o, 0.1, total_steps=10, **options), 9, optimizer)]


def adamw(lr: float = 0.1) -> AdamW:
    return AdamW([torch.zeros(1)], lr=lr, betas=(0.7, 0.99))


def line(steps: int) -> Callable[[int], float]:
    return lambda t: max(0.0, 1 - t / steps)


def twelve_updates(calls: int, length: int = 12) -> Reports:
    """Four small batches, or four processes: the scheduler is called so often per update."""

    def loop(scheduler: Any) -> None:
        for _ in range(12):
            scheduler.optimizer.step()
            for _ in range(calls):
                scheduler.step()

    return watched(loop, lambda o: S.LambdaLR(o, line(length)), steps=12)


def five_epochs(per_step: bool) -> Reports:
    """Five epochs of twenty steps, with a schedule of 100 steps."""

    def loop(scheduler: Any) -> None:
        for step in range(1, 101):
            scheduler.optimizer.step()
            if per_step or step % 20 == 0:
                scheduler.step()

    make = lambda o: S.PolynomialLR(o, total_iters=100)
    return watched(loop, make, steps=100, steps_per_epoch=20)


def after_a_finder(scheduler_first: bool) -> Reports:
    optimizer = sgd()
    scheduler = S.LambdaLR(optimizer, line(100)) if scheduler_first else None
    saved = copy.deepcopy(optimizer.state_dict())
    for i in range(60):
        optimizer.param_groups[0]["lr"] = 1e-5 * 1.2**i
        optimizer.step()
        if scheduler:
            scheduler.step()
    optimizer.load_state_dict(saved)
    scheduler = scheduler or S.LambdaLR(optimizer, line(100))
    with watch(optimizer, scheduler) as report:
        run(scheduler, 3)
    return [report]


def plateau(metrics: list[float], lr: float = 0.1, **options: Any) -> Reports:
    make = lambda o: S.ReduceLROnPlateau(o, **options)
    return [examine(make, len(metrics), sgd(lr), metric=metrics)]


OBJECT = Linear(0.1, 1.0, steps=5).then(Cosine(15), at=5)
ACCURACY = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95]

# exhibit: the rule that sees it, the wrong program, the repaired one.
EXHIBITS: dict[int, tuple[str, Callable[[], Reports], Callable[[], Reports]]] = {
    1: (
        "stepped-first",
        lambda: watched(step_first, lambda o: S.ExponentialLR(o, 0.5)),
        lambda: watched(lambda s: run(s, 3), lambda o: S.ExponentialLR(o, 0.5)),
    ),
    2: ("stepped-too-often", lambda: scaled(careful=False), lambda: scaled(careful=True)),
    3: ("decays-in-first-epoch", lambda: per_batch(0.95), lambda: per_batch(0.7 ** (1 / 391))),
    4: ("not-at-start", lambda: plotted(again=True), lambda: plotted(again=False)),
    6: (
        "rises-at-end",
        lambda: [examine(lambda o: S.CosineAnnealingLR(o, T_max=4), 9)],
        lambda: [examine(lambda o: S.CosineAnnealingLR(o, T_max=9), 9)],
    ),
    7: ("starts-at-zero", lambda: after_a_cosine(False), lambda: after_a_cosine(True)),
    8: ("past-the-end", lambda: one_cycle(last_call=True), lambda: one_cycle(last_call=False)),
    9: ("used-before", lambda: second_stage(forget=False), lambda: second_stage(forget=True)),
    10: ("last-lr-differs", lambda: raised_by_hand(True), lambda: raised_by_hand(False)),
    12: ("last-lr-differs", lambda: resumed("bs") + resumed("bo"), lambda: resumed("bos")),
    13: ("last-lr-differs", lambda: resumed("obs"), lambda: resumed("bos")),
    14: (
        "used-before",
        lambda: built_twice(lambda o: S.LinearLR(o, 0.5)),
        lambda: built_twice(lambda o: S.LambdaLR(o, lambda t: min(0.5 + 0.1 * t, 1.0))),
    ),
    17: (
        "raises",
        lambda: late_group(lambda o: S.LambdaLR(o, lambda t: 0.9**t), early=False),
        lambda: late_group(lambda o: S.LambdaLR(o, lambda t: 0.9**t), early=True),
    ),
    18: (
        "nested",
        lambda: sequence(lambda o: [inner_sequence(o), S.ConstantLR(o, 0.5)], [6], 8),
        lambda: sequence(flat, [2, 5], 15),
    ),
    19: (
        "raises",
        lambda: sequence(lambda o: [S.ConstantLR(o), inner_chain(o)], [2], 8),
        lambda: sequence(flat, [2, 5], 15),
    ),
    20: (
        "milestones-unsorted",
        lambda: sequence(constants, [4, 2], 6),
        lambda: sequence(constants, [2, 4], 6),
    ),
    21: ("unfinished", lambda: warm_cosine(T_max=20), lambda: warm_cosine(T_max=15)),
    23: (
        "chain-not-a-product",
        lambda: chain(lambda o: [S.ExponentialLR(o, 0.9), S.CosineAnnealingLR(o, 10, 0.01)], 10),
        lambda: [examine(lambda o: to_torch(Exponential(0.9) * Cosine(10, 0.1), o), 10)],
    ),
    24: (
        "chain-not-a-product",
        lambda: chain(lambda o: [S.ExponentialLR(o, 0.5), S.LambdaLR(o, lambda t: 0.9**t)], 10),
        lambda: [examine(lambda o: to_torch(Exponential(0.9) * Exponential(0.5), o), 10)],
    ),
    26: ("rate-squared", lambda: squared(0.1), lambda: squared(1.0)),
    27: (
        "lr-overwritten",
        lambda: cycled(sgd(5.0, momentum=0.0)),
        lambda: cycled(sgd(0.1, momentum=0.9), cycle_momentum=False),
    ),
    29: (
        "negative-rate",
        lambda: [examine(lambda o: S.StepLR(o, 1, gamma=-1), 30)],
        lambda: [examine(lambda o: S.StepLR(o, 10, gamma=0.1), 30)],
    ),
    30: (
        "plateau-negative",
        lambda: plateau([-100.0] * 8, patience=1),
        lambda: plateau([-100.0] * 8, patience=1, threshold_mode="abs"),
    ),
    31: (
        "plateau-mode",
        lambda: plateau(ACCURACY, patience=1),
        lambda: plateau(ACCURACY, patience=1, mode="max"),
    ),
    32: (
        "plateau-nan",
        lambda: plateau([1.0, 0.9] + [math.nan] * 4, patience=1),
        lambda: plateau([1.0, 0.9], patience=1),
    ),
    33: (
        "plateau-frozen",
        lambda: plateau([1.0] * 6, 1e-6, patience=0),
        lambda: plateau([1.0] * 6, 1e-6, patience=0, eps=0, min_lr=1e-9),
    ),
    34: (
        "zero-early",
        lambda: plateau([1.0] * 30, patience=0, factor=-1),
        lambda: plateau([1.0] * 30, patience=9, factor=0.5),
    ),
    35: ("negative-rate", lambda: one_cycle(True, "linear"), lambda: one_cycle(False, "linear")),
    36: ("last-lr-differs", lambda: resumed("bs"), lambda: resumed("bos")),
    37: ("off-schedule", lambda: longer(mend=False), lambda: longer(mend=True)),
    38: (
        "saves-an-object",
        lambda: [examine(lambda o: S.LambdaLR(o, OBJECT), 20)],
        lambda: [examine(lambda o: S.LambdaLR(o, lambda t: OBJECT(t)), 20)],
    ),
    39: (
        "group-not-scheduled",
        lambda: late_group(lambda o: S.LinearLR(o, 0.1, total_iters=10), early=False),
        lambda: late_group(lambda o: S.LinearLR(o, 0.1, total_iters=10), early=True),
    ),
    40: (
        "nested",
        lambda: sequence(lambda o: [inner_chain(o), S.ConstantLR(o, 0.5)], [6], 8),
        lambda: sequence(flat, [2, 5], 15),
    ),
    41: (
        "momentum-overwritten",
        lambda: cycled(adamw()),
        lambda: cycled(adamw(), cycle_momentum=False),
    ),
    42: ("stepped-too-often", lambda: twelve_updates(calls=4), lambda: twelve_updates(calls=1)),
    43: (
        "rises-at-end",
        lambda: [examine(lambda o: S.CosineAnnealingLR(o, T_max=10), 15)],
        lambda: [examine(lambda o: S.CosineAnnealingLR(o, T_max=15), 15)],
    ),
    44: ("stepped-too-often", lambda: twelve_updates(calls=4), lambda: twelve_updates(calls=1)),
    45: ("unfinished", lambda: five_epochs(per_step=False), lambda: five_epochs(per_step=True)),
    46: ("last-lr-differs", lambda: after_a_finder(True), lambda: after_a_finder(False)),
}

AT_ONCE = "torch refuses it when the scheduler is built"
# exhibit: why no checkup can see it.
NOT_VISIBLE = {
    5: "the rates are right; only your log is wrong",
    11: AT_ONCE,
    15: "the old settings also give a sound schedule",
    16: "both formulas give a sound schedule; torch warns",
    22: AT_ONCE,
    25: "the function gives a sound schedule in both classes",
    28: AT_ONCE,
    47: "the rates are right; the gradients are too large",
}


def table() -> str:
    """The table of the page of symptoms."""
    rows = {n: f"`{rule}`" for n, (rule, _, _) in EXHIBITS.items()} | NOT_VISIBLE
    lines = ["| exhibit | the rule that reports it, or why no rule can |", "| --- | --- |"]
    return "\n".join(lines + [f"| {{ref}}`exhibit-{n}` | {rows[n]} |" for n in sorted(rows)])


def test_the_page_of_symptoms_has_the_table() -> None:
    assert table() in (ROOT / "book" / "symptoms.md").read_text(encoding="utf-8")


def test_every_exhibit_is_seen_or_it_is_said_why_not() -> None:
    cells = json.loads(MUSEUM.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells)
    numbers = {int(n) for n in re.findall(r"^### (\d+)\. ", text, re.M)}
    assert EXHIBITS.keys() | NOT_VISIBLE.keys() == numbers
    assert not EXHIBITS.keys() & NOT_VISIBLE.keys()


@pytest.mark.parametrize("number", EXHIBITS)
def test_an_exhibit_is_seen_and_its_repaired_version_is_silent(number: int) -> None:
    rule, wrong, repaired = EXHIBITS[number]
    for report in wrong():
        assert rule in seen(report), report
    for report in repaired():
        assert not report.findings, report
        assert rule not in seen(report), report


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def twice_in_a_group() -> Report:
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    optimizer.param_groups[0]["params"].append(next(model.parameters()))
    return examine(lambda o: S.CosineAnnealingLR(o, 9), 9, optimizer, model=model)


def in_no_group() -> Report:
    model = network()
    optimizer = SGD(model[0].parameters(), lr=0.1)
    return examine(lambda o: S.CosineAnnealingLR(o, 9), 9, optimizer, model=model)


def two_groups() -> SGD:
    return SGD([{"params": [torch.zeros(1)], "lr": lr} for lr in (0.1, 0.01)], momentum=0.9)


def flattened(**options: Any) -> Report:
    options = {"max_lr": 0.1, "total_steps": 30, "cycle_momentum": False, **options}
    return examine(lambda o: S.OneCycleLR(o, **options), 30, two_groups())


def factors(function: Callable[[int], float], steps: int = 40) -> Report:
    return examine(lambda o: S.LambdaLR(o, function), steps)


def every(count: int) -> Report:
    """100 epochs of 10 steps; the scheduler is stepped after every `count` steps."""

    def loop(scheduler: Any) -> None:
        for step in range(1, 1001):
            scheduler.optimizer.step()
            if step % count == 0:
                scheduler.step()

    return watched(loop, lambda o: S.ExponentialLR(o, 0.99), steps_per_epoch=10)[0]


# What has no exhibit: the rule, a program that it is for, and the nearest one that is sound.
OTHERS: dict[str, tuple[Callable[[], Report], Callable[[], Report]]] = {
    "nested": (
        lambda: sequence(lambda o: [S.ConstantLR(o, 1.0), inner_chain(o)], [9], 8)[0],
        lambda: chain(lambda o: [inner_chain(o), S.ExponentialLR(o, 0.9)], 8)[0],
    ),
    "not-finite": (lambda: factors(lambda t: 1 / t if t else math.inf), lambda: factors(abs)),
    "restarts-at-end": (
        lambda: examine(lambda o: S.CosineAnnealingWarmRestarts(o, 19), 40),
        lambda: examine(lambda o: S.CosineAnnealingWarmRestarts(o, 20), 40),
    ),
    "zero-early": (
        lambda: examine(lambda o: to_torch(Cosine(30), o), 40),
        lambda: examine(lambda o: to_torch(Cosine(37), o), 40),
    ),
    "flattened": (flattened, lambda: flattened(max_lr=[0.1, 0.01])),
    "weight-in-no-group": (in_no_group, twice_in_a_group),
    "weight-in-two-groups": (twice_in_a_group, in_no_group),
    "never-stepped": (
        lambda: watched(lambda s: [s.optimizer.step() for _ in range(5)], warmup)[0],
        lambda: watched(
            lambda s: [s.optimizer.step() for _ in range(5)], warmup, steps_per_epoch=5
        )[0],
    ),
    "stepped-too-seldom": (lambda: every(70), lambda: every(10)),
    "unfinished": (
        lambda: examine(lambda o: S.PolynomialLR(o, total_iters=41), 39),
        lambda: examine(lambda o: S.PolynomialLR(o, total_iters=40), 39),
    ),
    "ends-high": (
        lambda: factors(lambda t: 0.95**t),
        lambda: factors(lambda t: 0.94**t),
    ),
    "never-changes": (lambda: factors(lambda t: 1.0), lambda: factors(lambda t: 0.9**t)),
    "first-rate-zero": (
        lambda: factors(lambda t: min(t / 10, 1.0)),
        lambda: factors(lambda t: min((t + 1) / 10, 1.0)),
    ),
    "starts-at-zero": (
        lambda: factors(lambda t: max(0.0, 1 - abs(t - 11) / 10)),
        lambda: factors(lambda t: max(0.0, 1 - abs(t - 10) / 10)),
    ),
    "constant-group": (
        lambda: examine(
            lambda o: S.LambdaLR(o, [lambda t: 0.9**t, lambda t: 1.0]), 9, two_groups()
        ),
        # A frozen group isn't meant.
        lambda: examine(
            lambda o: S.LambdaLR(o, [lambda t: 0.9**t, lambda t: 0.0]), 9, two_groups()
        ),
    ),
}


@pytest.mark.parametrize("rule", OTHERS)
def test_a_rule_sees_what_it_is_for_and_no_more(rule: str) -> None:
    wrong, sound = OTHERS[rule]
    assert rule in seen(wrong()), wrong()
    assert rule not in seen(sound()), sound()


def test_every_rule_is_tried() -> None:
    assert {rule for rule, _, _ in EXHIBITS.values()} | OTHERS.keys() == RULES.keys()


# --- Sound schedules are silent ----------------------------------------------------------------


@given(st.one_of(*SIMPLE.values()), st.integers(0, 20), st.integers(10, 120))
@settings(max_examples=200, suppress_health_check=[HealthCheck.filter_too_much])
def test_sound_schedules_are_silent(decay: sched.Schedule, warm: int, steps: int) -> None:
    """Sound: it starts above 0, doesn't rise once it has fallen, and doesn't vanish too early."""
    schedule = Linear(0.1, 1.0, warm).then(decay, at=warm) if warm else decay
    values = schedule(np.arange(steps))
    peak = int(values.argmax())
    assume(values[0] > 0)
    assume(peak < 0.9 * steps - 1)
    assume((np.diff(values[peak:]) <= 0).all())
    assume(values[: steps - steps // 10].min() > 1e-5 * values.max())
    report = examine(lambda o: to_torch(schedule, o), steps, sgd(0.3, momentum=0.9))
    assert not report.findings, report


TORCH: dict[str, Callable[[Optimizer, int], Any]] = {
    "LambdaLR": lambda o, n: S.LambdaLR(o, lambda t: 1 - t / n),
    "MultiplicativeLR": lambda o, n: S.MultiplicativeLR(o, lambda t: 0.01 ** (1 / n)),
    "StepLR": lambda o, n: S.StepLR(o, max(1, n // 3)),
    "MultiStepLR": lambda o, n: S.MultiStepLR(o, [n // 2, 3 * n // 4]),
    "ConstantLR": lambda o, n: S.ConstantLR(o, 1.0),
    "LinearLR": lambda o, n: S.LinearLR(o, 1.0, 0.0, total_iters=n),
    "ExponentialLR": lambda o, n: S.ExponentialLR(o, 0.01 ** (1 / n)),
    "PolynomialLR": lambda o, n: S.PolynomialLR(o, n),
    "CosineAnnealingLR": lambda o, n: S.CosineAnnealingLR(o, n),
    "CosineAnnealingWarmRestarts": lambda o, n: S.CosineAnnealingWarmRestarts(o, n),
    "CyclicLR": lambda o, n: S.CyclicLR(o, 0.001, 0.1, n // 4, n - n // 4, cycle_momentum=False),
    "OneCycleLR": lambda o, n: S.OneCycleLR(o, 0.1, total_steps=n, cycle_momentum=False),
    "SWALR": lambda o, n: SWALR(o, swa_lr=0.05, anneal_epochs=n),
    "SequentialLR": lambda o, n: S.SequentialLR(
        o, [warmup(o, n // 5), S.CosineAnnealingLR(o, n - n // 5)], [n // 5]
    ),
    "ChainedScheduler": lambda o, n: S.ChainedScheduler(
        [warmup(o, n // 5), S.ExponentialLR(o, 0.01 ** (1 / n))]
    ),
}


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("make", [sgd, adamw, lambda: LRDropout(sgd(momentum=0.9))])
def test_each_class_of_torch_is_silent_when_it_fits_the_run(name: str, make: Any) -> None:
    for steps in (20, 57, 300):
        optimizer = make()
        report = examine(lambda o: TORCH[name](o, steps), steps, optimizer)
        assert not report.findings, report
        scheduler = TORCH[name](optimizer, steps)
        with watch(optimizer, scheduler, steps) as report:
            run(scheduler, steps)
        assert not report.findings, report
        # Once per epoch is as sound as once per step.
        optimizer = make()
        scheduler = TORCH[name](optimizer, 20)
        with watch(optimizer, scheduler, 100, steps_per_epoch=5) as report:
            for _ in range(20):
                for _ in range(5):
                    optimizer.step()
                scheduler.step()
        assert not report.findings, report


@pytest.mark.parametrize("mode", ["min", "max"])
def test_with_a_threshold_of_0_the_sign_of_the_metric_does_not_matter(mode: str) -> None:
    for threshold, noticed in ((1e-4, True), (0.0, False)):
        (report,) = plateau([-100.0] * 8, patience=1, mode=mode, threshold=threshold)
        assert ("plateau-negative" in seen(report)) == noticed


def test_warmup_per_batch_and_plateau_per_epoch_are_watched_together() -> None:
    optimizer = sgd()
    warm, reducer = warmup(optimizer), S.ReduceLROnPlateau(optimizer, patience=0)
    with watch(optimizer, [warm, reducer]) as report:
        for _ in range(5):
            run(warm, 3)
            reducer.step(1.0)
    assert not report.findings, report


# --- Nothing is changed ------------------------------------------------------------------------

OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "SGD": lambda w: SGD(w, lr=0.1, momentum=0.9),
    "Adam, tensor lr": lambda w: Adam(w, lr=torch.tensor(0.01), foreach=False),
    "AdamW": lambda w: AdamW(w, lr=0.01),
    "LRDropout": lambda w: LRDropout(SGD(w, lr=0.1), keep=0.5),
}


def trained(make: Callable[[Any], Optimizer], name: str, looked_at: bool) -> list[Any]:
    """All that a run leaves behind, after 20 steps."""
    torch.manual_seed(0)
    model, x, y = network(), torch.randn(20, 16, 6), torch.randint(3, (20, 16))
    optimizer = make(model.parameters())
    if looked_at:
        examine(lambda o: TORCH[name](o, 20), 20, optimizer, model=model)
    scheduler = TORCH[name](optimizer, 20)
    watching = watch(optimizer, scheduler, 20, model=model) if looked_at else nullcontext()
    with watching:
        for inputs, labels in zip(x, y, strict=True):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs), labels)
            loss.backward()
            optimizer.step()
            scheduler.step()
        saved = io.BytesIO()
        states = [optimizer.state_dict(), {**scheduler.state_dict(), "_schedulers": None}]
        states[1] = {k: v for k, v in states[1].items() if not callable(v)}
        torch.save([model.state_dict(), *states], saved)
    return [saved.getvalue(), torch.get_rng_state().tolist(), sorted(vars(scheduler))]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["LambdaLR", "OneCycleLR", "SequentialLR", "ChainedScheduler"])
def test_a_run_is_the_same_to_the_last_bit(optimizer: str, name: str) -> None:
    make = OPTIMIZERS[optimizer]
    assert trained(make, name, looked_at=True) == trained(make, name, looked_at=False)


def test_examine_leaves_the_optimizer_as_it_was() -> None:
    optimizer = sgd(momentum=0.9)
    before = copy.deepcopy(optimizer.state_dict()), set(vars(optimizer))
    examine(lambda o: S.OneCycleLR(o, 0.5, total_steps=9), 9, optimizer)
    assert (optimizer.state_dict(), set(vars(optimizer))) == before


def test_the_hook_is_gone_afterwards_and_an_error_keeps_the_report() -> None:
    optimizer = sgd()
    scheduler = S.ExponentialLR(optimizer, 0.9)
    with suppress(ZeroDivisionError), watch(optimizer, scheduler) as report:
        optimizer.step()
        optimizer.step()
        raise ZeroDivisionError
    assert [one.rule for one in report.findings] == ["never-stepped"]
    assert not optimizer._optimizer_step_pre_hooks
    assert report.rates.tolist() == [[0.1], [0.1]]


# --- The report, the errors, the command line --------------------------------------------------


def cosine(o: Optimizer) -> Any:
    return S.CosineAnnealingLR(o, T_max=50)


def test_the_report_says_what_where_and_what_to_do() -> None:
    report = examine(cosine, 100)
    lines = str(report).splitlines()
    assert lines[0] == "CosineAnnealingLR, 100 steps: 1 finding"
    assert lines[1] == "✗ rises-at-end, step 90: the rate goes up from 0.08853 to 0.0999"
    assert lines[2].strip().startswith("Instead: ")
    assert lines[3].strip().endswith("/bug-museum.html#exhibit-6")
    assert report.rates.shape == (100, 1)
    assert report._repr_html_() == f"<pre>{html.escape(str(report))}</pre>"
    assert examine(cosine, 100, ignore=["rises-at-end"]).findings == []


ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: examine(3, 10),
        TypeError,
        "examine(make_scheduler=3): make_scheduler must be a function that makes a scheduler for "
        "an optimizer",
    ),
    (
        lambda: examine(cosine, 9, steps_per_epoch=0),
        ValueError,
        "examine(steps_per_epoch=0): steps_per_epoch must be a positive integer",
    ),
    (lambda: examine(cosine, 0), ValueError, "examine(steps=0): steps must be a positive integer"),
    (
        lambda: examine(lambda o: None, 5),
        TypeError,
        "examine(make_scheduler=None): make_scheduler must be a function that returns a torch "
        "scheduler",
    ),
    (
        lambda: examine(lambda o: cosine(sgd()), 5),
        ValueError,
        "examine(make_scheduler='CosineAnnealingLR of another optimizer'): make_scheduler must be "
        "for the optimizer that the function is given",
    ),
    (
        lambda: watch(sgd(), cosine(sgd())).__enter__(),
        ValueError,
        "watch(scheduler='CosineAnnealingLR of another optimizer'): scheduler must be for this "
        "optimizer",
    ),
    (
        lambda: watch(None, cosine(sgd())).__enter__(),
        TypeError,
        "watch(optimizer=None): optimizer must be a torch optimizer",
    ),
    (
        lambda: examine(cosine, 5, empty()),
        ValueError,
        "examine(optimizer='SGD'): optimizer must be one with parameter groups",
    ),
    (
        lambda: examine(cosine, 5, sgd(), model=[1.0]),
        TypeError,
        "examine(model=[1.0]): model must be a torch module, not its parameters",
    ),
    (
        lambda: examine(cosine, 5, model=nn.ReLU()),
        ValueError,
        "examine(model='ReLU'): model must be given with its optimizer",
    ),
    (
        lambda: examine(S.ReduceLROnPlateau, 5),
        ValueError,
        "examine(metric=None): metric must be a value per step or a function, for "
        "ReduceLROnPlateau",
    ),
    (
        lambda: examine(S.ReduceLROnPlateau, 5, metric=[1.0]),
        ValueError,
        "examine(metric=[1.0]): metric must be 5 values, one per step",
    ),
]


def empty() -> SGD:
    optimizer = sgd()
    optimizer.param_groups.clear()
    return optimizer


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_an_argument_that_is_wrong_is_named(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message


def test_a_generator_as_model_and_an_unknown_rule_are_named() -> None:
    with pytest.raises(TypeError, match=r"model=<generator .*: model must be a torch module, not"):
        examine(cosine, 5, sgd(), model=network().parameters())
    with pytest.raises(ValueError, match=r"ignore='ends_high'\): ignore must be one of raises, "):
        examine(cosine, 5, ignore=["ends_high"])


@pytest.mark.slow
def test_the_command_examines_a_function_of_a_script(tmp_path: Path) -> None:
    script = "from torch.optim.lr_scheduler import CosineAnnealingLR\n"
    script += "def make(o): return CosineAnnealingLR(o, 50)\n"
    (tmp_path / "train.py").write_text(script)

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "lrlib", "examine", *words]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)

    done = command("train:make", "--steps", "100")
    assert done.stdout.startswith("CosineAnnealingLR, 100 steps: 1 finding\n✗ rises-at-end")
    assert done.returncode == 1
    done = command("train:make", "--steps", "50", "--lr", "0.1", "0.01")
    assert (done.returncode, done.stdout) == (0, "CosineAnnealingLR, 50 steps: 0 findings\n")
    done = command("train:mak", "--steps", "50")
    assert done.returncode == 2
    assert "train:mak: module 'train' has no attribute 'mak'" in done.stderr
