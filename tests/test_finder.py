"""The range test draws the curve that an ordinary loop draws, and leaves no trace of itself."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from lrlib import (
    LRDropout,
    RangeTest,
    current_lrs,
    last_clear_fall,
    minimum_over_ten,
    range_test,
    set_lr,
    steepest,
    valley,
)

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]

# --- A program of a reader's kind, with everything in it that a test could leave changed ---------


class Counter(nn.Module):
    """A buffer that is not in the state_dict, and one that forward replaces."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()), persistent=False)
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen += len(x)
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean()
        return x


def sgd(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9)


def adamw(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, amsgrad=True)


def tensor_lr(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    rates = [{**group, "lr": torch.tensor(group["lr"])} for group in groups]
    return torch.optim.AdamW(rates, foreach=False)


def dropout(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    return LRDropout(sgd(groups), keep=0.5)


class Program:
    """A model, an optimizer with momentum and two groups, a loader that shuffles, three steps."""

    def __init__(self, optimizer: Callable[[Any], Any] = sgd, device: str = "cpu") -> None:
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        random.seed(0)
        self.device = device
        body = [nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Dropout(0.2), nn.ReLU(), Counter()]
        self.model = nn.Sequential(*body, nn.Linear(16, 3)).to(device)
        head = list(self.model[-1].parameters())
        rest = [w for w in self.model.parameters() if not any(w is one for one in head)]
        self.optimizer = optimizer([{"params": rest, "lr": 0.01}, {"params": head, "lr": 0.03}])
        x, generator = torch.randn(120, 6), torch.Generator().manual_seed(1)
        data = TensorDataset(x, (x @ torch.randn(6, 3)).argmax(1))
        self.loader = DataLoader(data, batch_size=16, shuffle=True, generator=generator)
        self.train(3)
        # A layer that its owner froze, in a model that trains.
        self.model[1].eval()

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        x, y = (part.to(self.device) for part in batch)
        noise = np.random.normal() + random.random()  # noqa: NPY002
        return F.cross_entropy(model(x + 0.01 * noise), y)

    def train(self, steps: int) -> None:
        for batch, _ in zip(self.loader, range(steps), strict=False):
            self.optimizer.zero_grad()
            self.loss(self.model, batch).backward()
            self.optimizer.step()

    def trace(self) -> dict[str, Any]:
        """All that training changes, as objects that compare."""
        state = self.optimizer.state_dict()
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        found = {
            "weights": {name: w.detach() for name, w in self.model.named_parameters()},
            "buffers": dict(self.model.named_buffers()),
            "gradients": {name: w.grad for name, w in self.model.named_parameters()},
            "modes": [module.training for module in self.model.modules()],
            "state": state["state"],
            "groups": state["param_groups"],
            "masks": state.get("lr_dropout"),
            "torch": torch.get_rng_state(),
            "cuda": cuda,
            "loader": self.loader.generator.get_state(),
            "numpy": np.random.get_state()[1:],  # noqa: NPY002
            "python": random.getstate(),
        }
        return {name: plain(value) for name, value in found.items()}


def plain(value: Any) -> Any:
    """The value with bytes in place of tensors and arrays."""
    if isinstance(value, Tensor | np.ndarray):
        value = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        return value.shape, str(value.dtype), value.tobytes()
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list | tuple) else value


def run(program: Program, loss: Any = None, **options: Any) -> RangeTest:
    loader, optimizer = program.loader, program.optimizer
    return range_test(
        program.model, loader, optimizer, loss or program.loss, **{"steps": 60} | options
    )


def to_the_end(program: Program) -> None:
    assert run(program, highest=1e-3).stop == "end"


def until_it_diverges(program: Program) -> None:
    assert run(program, highest=1e6).stop == "diverged"


def until_it_is_not_finite(program: Program) -> None:
    loss = lambda model, batch: program.loss(model, batch).exp().exp()
    assert run(program, loss, highest=1e30, diverged=1e300, smoothing=0).stop == "not finite"


def until_ctrl_c(program: Program, error: type[BaseException] = KeyboardInterrupt) -> None:
    calls = iter([None] * 11)

    def loss(model: nn.Module, batch: Any) -> Tensor:
        if next(calls, error) is error:
            raise error
        return program.loss(model, batch)

    with pytest.raises(error):
        run(program, loss)


def until_an_error(program: Program) -> None:
    until_ctrl_c(program, ZeroDivisionError)


ENDINGS = [to_the_end, until_it_diverges, until_it_is_not_finite, until_ctrl_c, until_an_error]
OPTIMIZERS = [sgd, adamw, tensor_lr, dropout]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_everything_is_put_back_bit_for_bit(ending, optimizer, device) -> None:
    program = Program(optimizer, device)
    before = program.trace()
    ending(program)
    after = program.trace()
    for name in before:
        assert after[name] == before[name], name
    # So training goes on as if there had been no test.
    program.train(5)
    ours = program.trace()
    same = Program(optimizer, device)
    same.train(5)
    assert ours == same.trace()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_fresh_optimizer_stays_fresh(optimizer) -> None:
    program = Program(optimizer)
    fresh = optimizer([{"params": [w], "lr": 0.1} for w in program.model.parameters()])
    before = plain(fresh.state_dict())
    range_test(program.model, program.loader, fresh, program.loss, steps=20)
    assert plain(fresh.state_dict()) == before
    assert not fresh.state


def test_what_others_hold_stays_what_it_was() -> None:
    program = Program(tensor_lr)
    weights = list(program.model.parameters())
    group, state = program.optimizer.param_groups[0], program.optimizer.state[weights[0]]
    held = [*weights, *program.model.buffers(), group["lr"], *state.values()]
    run(program)
    again = [*program.model.parameters(), *program.model.buffers()]
    again += [program.optimizer.param_groups[0]["lr"]]
    again += program.optimizer.state[weights[0]].values()
    assert program.optimizer.param_groups[0] is group
    assert all(one is other for one, other in zip(again, held, strict=True))


def test_gradients_that_were_there_take_no_part_and_come_back() -> None:
    program, other = Program(), Program()
    for weight in program.model.parameters():
        weight.grad.fill_(100.0)
    before = program.trace()

    def step(batch: Any) -> Tensor:  # without zero_grad at its start
        loss = program.loss(program.model, batch)
        loss.backward()
        program.optimizer.step()
        program.optimizer.zero_grad(set_to_none=False)
        return loss

    ours = range_test(program.model, program.loader, program.optimizer, step=step, steps=20)
    assert program.trace() == before
    assert ours.losses.tolist() == run(other, steps=20).losses.tolist()


def test_what_restore_names_is_put_back() -> None:
    program = Program()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8, growth_interval=2)
    average = torch.optim.swa_utils.AveragedModel(program.model)
    seen = []

    def step(batch: Any) -> float:
        """Two micro-batches, scaled, clipped, and averaged: a practitioner's step."""
        program.optimizer.zero_grad()
        total = 0.0
        for x, y in zip(batch[0].chunk(2), batch[1].chunk(2), strict=True):
            loss = program.loss(program.model, (x, y)) / 2
            scaler.scale(loss).backward()
            total += loss.item()
        scaler.unscale_(program.optimizer)
        nn.utils.clip_grad_norm_(program.model.parameters(), 1.0)
        scaler.step(program.optimizer)
        scaler.update()
        average.update_parameters(program.model)
        seen.append(scaler.get_scale())
        return total

    before = program.trace(), plain(scaler.state_dict()), plain(average.state_dict())
    options = {"step": step, "restore": [scaler, average], "steps": 30, "highest": 0.1}
    test = range_test(program.model, program.loader, program.optimizer, **options)
    assert max(seen) > 2.0**8
    assert len(seen) == len(test.losses) == 30
    after = program.trace(), plain(scaler.state_dict()), plain(average.state_dict())
    assert after == before


# --- The curve -----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_curve_is_an_ordinary_loop_s(optimizer) -> None:
    lowest, highest, steps, smoothing = 1e-5, 1e-1, 50, 0.8
    test = run(Program(optimizer), lowest=lowest, highest=highest, steps=steps, smoothing=smoothing)
    program = Program(optimizer)
    rates, losses, batches = [], [], iter(program.loader)
    for step in range(steps):
        rate = lowest * (highest / lowest) ** (step / (steps - 1))
        program.optimizer.param_groups[0]["lr"] = rate
        program.optimizer.param_groups[1]["lr"] = 3 * rate  # as 0.03 is to 0.01
        try:
            batch = next(batches)
        except StopIteration:
            batches = iter(program.loader)
            batch = next(batches)
        loss = program.loss(program.model, batch)
        program.optimizer.zero_grad()
        loss.backward()
        program.optimizer.step()
        rates.append(rate)
        losses.append(loss.item())
    np.testing.assert_allclose(test.rates, rates, rtol=1e-12)
    np.testing.assert_allclose(test.losses, losses, rtol=1e-4)
    # The weighted average of all losses so far.
    for now in range(steps):
        weights = smoothing ** np.arange(now, -1, -1)
        average = np.average(losses[: now + 1], weights=weights)
        assert test.smoothed[now] == pytest.approx(average, rel=1e-4)


# Quarters, so that no threshold is rounded; at the end perhaps one that isn't finite, and more.
FINITE = st.lists(st.integers(-20, 20).map(lambda n: n / 4), min_size=2, max_size=20)
LOSSES = st.tuples(FINITE, st.sampled_from([[], [math.nan, 1.0], [math.inf, 1.0]])).map(
    lambda two: [*two[0], *two[1]]
)


@given(LOSSES, st.sampled_from([1.5, 4.0]))
def test_it_stops_where_it_says(losses, diverged) -> None:
    script = iter(losses)
    weight = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(weight.parameters(), lr=0.1)
    options = {"steps": len(losses), "smoothing": 0, "diverged": diverged}
    kept, stop = [], "end"
    for loss in losses:
        if not math.isfinite(loss):
            stop = "not finite"
            break
        kept.append(loss)
        low = min(kept)
        above = low * diverged if low > 0 else low + (diverged - 1) * -low
        if loss > losses[0] and loss > above:
            stop = "diverged"
            break
    test = range_test(weight, [0], optimizer, step=lambda _: next(script), **options)
    assert (test.stop, test.losses.tolist()) == (stop, kept)
    assert len(test.rates) == len(test.smoothed) == len(kept)


def test_a_model_in_evaluation_mode_is_trained_and_frozen_layers_stay_frozen() -> None:
    program, modes = Program(), []

    def loss(model: nn.Module, batch: Any) -> Tensor:
        modes.append([module.training for module in model.modules()])
        return program.loss(model, batch)

    run(program, loss, steps=2)
    assert modes[0] == [True, True, False, True, True, True, True]
    program.model.eval()
    run(program, loss, steps=2)
    assert all(modes[-1])
    assert not any(module.training for module in program.model.modules())


# --- Readings ------------------------------------------------------------------------------------


def drawn(smoothed: Any, lowest: float = 1e-6, highest: float = 1.0) -> RangeTest:
    """A test whose smoothed losses are these."""
    smoothed = np.asarray(smoothed, dtype=float)
    return RangeTest(np.geomspace(lowest, highest, len(smoothed)), smoothed, smoothed, "diverged")


# 121 steps over six decades: index i is at the rate 10^(i/20 − 6).
DECADES = np.linspace(-6, 0, 121)


@pytest.mark.parametrize("bottom", [-3.0, -2.0, -1.0])
def test_minimum_over_ten_is_a_decade_below_the_bottom(bottom) -> None:
    assert minimum_over_ten(drawn((DECADES - bottom) ** 2)) == pytest.approx(10 ** (bottom - 1))


@pytest.mark.parametrize("middle", [-4.0, -3.0, -2.0])
def test_steepest_is_the_middle_of_a_smooth_fall(middle) -> None:
    falling = 1 / (1 + np.exp(4 * (DECADES - middle)))
    assert steepest(drawn(falling)) == pytest.approx(10**middle)


@pytest.mark.parametrize(("start", "end"), [(-5.0, -1.0), (-5.0, -0.3), (-3.0, -1.5)])
def test_last_clear_fall_has_a_tenth_of_the_fall_before_it(start, end) -> None:
    line = np.clip((DECADES - start) / (end - start), 0, 1)
    at = start + 0.9 * (end - start)
    rate = last_clear_fall(drawn(5 - 3 * line))
    # The first step at or after that point.
    assert at - 1e-9 <= math.log10(rate) < at + 1 / 20


def fastai_s_valley(losses: list[float]) -> int:
    """The rule by its definition, in plain Python: an index."""
    longest = []
    for loss, before in ((loss, losses[:i]) for i, loss in enumerate(losses)):
        longest.append(1 + max((n for n, old in zip(longest, before) if old > loss), default=0))  # noqa: B905
    n = max(longest)
    return longest.index(n) - n + int(n / 3) + int(n / 6)


@given(st.lists(st.integers(0, 40), min_size=20, max_size=60))
def test_valley_is_fastai_s(numbers) -> None:
    losses = [99, *numbers]  # so that something falls
    test = drawn([99] * 4 + losses + [0] * 5)
    first = len(test.rates) // 10
    inside = test.smoothed[first:-5].tolist()
    if inside.index(min(inside)) > 0:
        index = max(fastai_s_valley(inside), 0)
        assert valley(test) == test.rates[first + index]


def test_valley_of_a_single_fall_is_its_start_and_not_the_last_rate_as_in_fastai() -> None:
    rising = np.linspace(1, 2, 40)
    rising[4] = 5.0  # the first that is read
    assert fastai_s_valley(rising[4:-5].tolist()) == -1
    test = drawn(rising)
    assert valley(test) == test.rates[4]


READINGS = [minimum_over_ten, steepest, valley, last_clear_fall]


@pytest.mark.parametrize("reading", READINGS)
def test_the_first_tenth_and_the_last_five_are_not_read(reading) -> None:
    curve = np.concatenate([np.linspace(3, 1, 91), np.linspace(1, 2, 30)])
    spoiled = curve.copy()
    spoiled[:12] = np.linspace(100, 90, 12)
    spoiled[-5:] = [-5, 80, -90, 7, 0]
    assert reading(drawn(spoiled)) == reading(drawn(curve))


@pytest.mark.parametrize("reading", READINGS)
def test_a_reading_does_not_depend_on_the_unit_of_the_loss(reading) -> None:
    noise = np.random.default_rng(0).normal(size=121)
    curve = (DECADES + 1.5) ** 2 + 0.1 * noise
    assert reading(drawn(curve)) == reading(drawn(7 * curve + 3))


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("curve", [np.linspace(1, 2, 100), np.ones(100), np.linspace(2, 1, 15)])
def test_a_curve_without_a_fall_is_refused(reading, curve) -> None:
    message = (
        f"{reading.__name__}(test): there is no fall to read in {len(curve)} steps from 1e-06 to "
        "1; set `lowest` lower, or take more `steps`"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        reading(drawn(curve))


# --- What is refused -----------------------------------------------------------------------------


def refused(message: str, program: Program, error: type[Exception] = ValueError, **options) -> None:
    before = program.trace()
    call = {"batches": program.loader, "loss": program.loss, "steps": 20, **options}
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        range_test(program.model, optimizer=program.optimizer, **call)
    after = program.trace()
    # What an iterator drew from the loader's generator before the call is its own.
    assert {**after, "loader": before["loader"]} == before


SCHEDULERS = [
    (lr_scheduler.LambdaLR, float),
    (lr_scheduler.MultiplicativeLR, float),
    (lr_scheduler.StepLR, 5),
    (lr_scheduler.MultiStepLR, [5]),
    (lr_scheduler.ConstantLR,),
    (lr_scheduler.LinearLR,),
    (lr_scheduler.ExponentialLR, 0.9),
    (lr_scheduler.PolynomialLR,),
    (lr_scheduler.CosineAnnealingLR, 5),
    (lr_scheduler.CosineAnnealingWarmRestarts, 5),
    (lr_scheduler.CyclicLR, 0.1, 1.0),
    (lr_scheduler.OneCycleLR, 1.0, 5),
    (torch.optim.swa_utils.SWALR, 0.1),
]


@pytest.mark.parametrize(("kind", "arguments"), [(kind, rest) for kind, *rest in SCHEDULERS])
def test_a_scheduler_is_noticed(kind, arguments) -> None:
    program = Program()
    scheduler = kind(program.optimizer, *arguments)
    message = (
        "range_test(optimizer): a scheduler was made for this optimizer. It noted the rates that "
        "it found, as `initial_lr`, and may go back to them. Make a new optimizer, run the test, "
        "set the rate, and make the scheduler last"
    )
    refused(message, program)
    del scheduler
    refused(message, program)


def test_plateau_reduction_takes_the_rate_that_it_finds_and_may_be_there() -> None:
    program = Program()
    scheduler = lr_scheduler.ReduceLROnPlateau(program.optimizer, factor=0.5, patience=0)
    run(program)
    set_lr(program.optimizer, 0.8)
    scheduler.step(1.0)
    scheduler.step(1.0)
    assert current_lrs(program.optimizer) == [0.4, 0.4]


def test_a_scheduler_inside_the_step_is_noticed() -> None:
    program = Program()
    scheduler = lr_scheduler.ReduceLROnPlateau(program.optimizer, factor=0.5, patience=0)

    def step(batch: Any) -> float:
        scheduler.step(1.0)
        return 1.0

    message = (
        "range_test(step): step changed the rates from [0.002, 0.006] to [0.001, 0.003]; don't "
        "step a scheduler in it"
    )
    refused(message, program, loss=None, step=step, lowest=0.001, highest=0.002, steps=2)


def test_the_first_loss_must_be_finite() -> None:
    rule = "loss must be finite at the first step, before any update"
    for value in ("nan", "inf"):
        loss = lambda model, batch: model(batch[0]).square().sum() * float(value)
        refused(f"range_test(loss={value}): {rule}", Program(), loss=loss)


@pytest.mark.parametrize(("batches", "count"), [(iter, 8), (lambda loader: [], 0)])
def test_batches_that_cannot_start_again_must_be_enough(batches, count) -> None:
    program = Program()
    message = (
        f"range_test(batches): batches ended after {count} of 20 and can't start again; "
        "pass the loader itself, not an iterator over it, or take fewer `steps`"
    )
    refused(message, program, batches=batches(program.loader))


def test_an_iterator_that_has_enough_will_do() -> None:
    program = Program()
    test = range_test(program.model, iter(program.loader), program.optimizer, program.loss, steps=8)
    assert len(test.losses) == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lowest": 0}, "range_test(lowest=0): lowest must be a finite number above 0"),
        ({"highest": 1e-7}, "range_test(highest=1e-07): highest must be above lowest=1e-06"),
        ({"steps": 1}, "range_test(steps=1): steps must be an integer of at least 2"),
        (
            {"smoothing": 1},
            "range_test(smoothing=1): smoothing must be a finite number of at least 0 and at most "
            "0.999",
        ),
        (
            {"diverged": math.nan},
            "range_test(diverged=nan): diverged must be a finite number of at least 0",
        ),
    ],
)
def test_wrong_values_are_refused(options, message) -> None:
    refused(message, Program(), **options)


def test_wrong_kinds_are_refused() -> None:
    program = Program()
    either = "range_test: give one function, either loss(model, batch) or step(batch)"
    refused(either, program, TypeError, loss=None)
    refused(either, program, TypeError, step=lambda batch: 1.0)
    with pytest.raises(TypeError, match=r"model must be a torch module$"):
        range_test(len, program.loader, program.optimizer, program.loss)
    with pytest.raises(TypeError, match=r"optimizer must be a torch optimizer$"):
        range_test(program.model, program.loader, 0.1, program.loss)
    set_lr(program.optimizer, [0.0, 0.1])
    refused("range_test(optimizer): the first group's rate is 0; give it a rate above 0", program)
