"""The chapters' quizzes: nothing but knowledge finds the right option, and what they say is so."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.optim import SGD, lr_scheduler

import lrlib

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted(ROOT.glob("chapters/*/index.md"))


def quizzes(path: Path) -> list[list[tuple[bool, int]]]:
    """Of each option of each quiz: whether it is right, and how many characters a reader sees."""
    blocks = re.findall(r"```\{quiz\}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    options = [re.findall(r"^- \[([ x])\] (.+?) :: ", block, re.M) for block in blocks]
    seen = lambda text: len(re.sub(r"\\\w+|[$`{}_*]", "", text))
    return [[(mark == "x", seen(text)) for mark, text in found] for found in options]


ALL = [quiz for path in CHAPTERS for quiz in quizzes(path)]


def test_the_right_option_stands_at_each_place_as_often() -> None:
    places = Counter(next(i for i, (right, _) in enumerate(quiz) if right) for quiz in ALL)
    assert len(ALL) >= 18
    assert {len(quiz) for quiz in ALL} == {3}
    assert max(places.values()) - min(places[i] for i in range(3)) <= 1
    for path in CHAPTERS:
        within = {next(i for i, (right, _) in enumerate(q) if right) for q in quizzes(path)}
        assert len(within) == 3, f"{path.parent.name}: no place is always wrong"


def test_the_length_of_an_option_gives_nothing_away() -> None:
    ranks = Counter()
    for quiz in ALL:
        (right,) = [length for is_right, length in quiz if is_right]
        wrong = [length for is_right, length in quiz if not is_right]
        ranks["longest"] += right > max(wrong)
        ranks["shortest"] += right < min(wrong)
        assert max(right, *wrong) <= 2 * min(right, *wrong)
    # By chance, a third of all.
    assert ranks["longest"] <= 0.4 * len(ALL)
    assert ranks["shortest"] <= 0.4 * len(ALL)


# --- What the options say of torch --------------------------------------------------------------


def rates(scheduler: lr_scheduler.LRScheduler, count: int) -> list[float]:
    """The first group's rate at each of the first steps."""
    used = []
    for _ in range(count):
        used.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return used


def sgd(*lrs: float) -> SGD:
    return SGD([{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in lrs])


def test_chapter_2_a_layer_without_gradients_keeps_its_weights_but_not_its_statistics() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    x = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    (model(x) ** 3).mean().backward()
    optimizer.step()
    for weight in model.parameters():
        weight.requires_grad = False
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def moved() -> set[str]:
        model(x + 1)
        optimizer.step()
        now = model.state_dict().items()
        return {name.split(".")[1] for name, value in now if not value.equal(before[name])}

    optimizer.zero_grad(set_to_none=True)
    assert moved() == {"running_mean", "running_var", "num_batches_tracked"}
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    assert moved() >= {"weight", "bias"}, "with a gradient of zero, momentum moves them on"


def test_chapter_2_a_factor_acts_on_each_groups_own_rate() -> None:
    optimizer = sgd(0.1, 0.01)
    rates(lr_scheduler.ExponentialLR(optimizer, gamma=0.5), 1)
    assert lrlib.current_lrs(optimizer) == pytest.approx([0.05, 0.005])


def test_chapter_3_the_product_starts_like_the_sequence_and_has_a_lower_peak() -> None:
    warmup, cosine = lrlib.Linear(0.1, 1, 20), lrlib.Cosine(100)
    product, joined = (warmup * cosine).lrs(1, 100), warmup.then(cosine, at=20).lrs(1, 100)
    assert product[0] == joined[0]
    assert product.max() < joined.max() == 1


def test_chapter_4_past_t_max_the_cosine_rises() -> None:
    used = rates(lr_scheduler.CosineAnnealingLR(sgd(0.1), T_max=100), 201)
    assert used[150] == pytest.approx(0.05)
    assert used[149] < used[150] < used[151]
    assert used[200] == pytest.approx(0.1)


def test_chapter_4_a_sequence_needs_the_steps_that_remain_and_a_chain_acts_at_once() -> None:
    def joined(t_max: int) -> list[float]:
        optimizer = sgd(0.1)
        warmup = lr_scheduler.LinearLR(optimizer, 0.1, total_iters=10)
        cosine = lr_scheduler.CosineAnnealingLR(optimizer, t_max)
        return rates(lr_scheduler.SequentialLR(optimizer, [warmup, cosine], [10]), 101)

    assert joined(90)[100] == pytest.approx(0, abs=1e-12)
    assert joined(100)[100] > 0.001
    optimizer = sgd(0.1)
    parts = [
        lr_scheduler.LinearLR(optimizer, 0.1, total_iters=10),
        lr_scheduler.CosineAnnealingLR(optimizer, 100),
    ]
    assert max(rates(lr_scheduler.ChainedScheduler(parts), 100)) < 0.1


def test_chapter_5_the_third_bad_epoch_reduces_and_a_negative_best_is_easy_to_beat() -> None:
    optimizer = sgd(0.1)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=2)
    after = []
    for loss in (0.90, 0.70, 0.80, 0.75, 0.72, 0.60):
        scheduler.step(loss)
        after += lrlib.current_lrs(optimizer)
    assert after == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.01, 0.01])
    likelihood = lr_scheduler.ReduceLROnPlateau(optimizer, mode="max")
    likelihood.step(-1.0)
    likelihood.step(-1.00005)
    assert (likelihood.best, likelihood.num_bad_epochs) == (-1.00005, 0)
