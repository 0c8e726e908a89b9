"""Dropped coordinates don't move, kept ones move as without dropout, and the state sees it all."""

from __future__ import annotations

import copy
import pickle
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD, Adagrad, Adam, AdamW, RMSprop

from lrlib import Cosine, LRDropout, to_torch
from lrlib.lab import load, mlp

OPTIMIZERS = {
    "SGD": partial(SGD, lr=0.1),
    "momentum": partial(SGD, lr=0.1, momentum=0.9),
    "Nesterov": partial(SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "foreach": partial(SGD, lr=0.1, momentum=0.9, foreach=True),
    "fused": partial(SGD, lr=0.1, momentum=0.9, fused=True),
    "RMSprop": partial(RMSprop, lr=0.01, momentum=0.9, centered=True),
    "Adam": partial(Adam, lr=0.01, weight_decay=0.01),
    "AdamW": partial(AdamW, lr=0.01, weight_decay=0.1),
    "Adagrad": partial(Adagrad, lr=0.1),
}


def weights(*shapes: tuple[int, ...], **options) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(shape, **options).requires_grad_() for shape in shapes]


def moved(optimizer: torch.optim.Optimizer, *given: torch.Tensor, gradient=1.0) -> Any:
    """Which coordinates of the weights a step moves; dropped ones must stay to the last bit."""
    before = [w.detach().clone() for w in given]
    for w in given:
        w.grad = torch.full_like(w, gradient)
    optimizer.step()
    masks = [w.detach() != b for w, b in zip(given, before, strict=True)]
    return masks if len(given) > 1 else masks[0]


def share(mask: torch.Tensor) -> float:
    return mask.double().mean().item()


def states(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    per_weight = optimizer.state_dict()["state"].values()
    return [v for state in per_weight for v in state.values() if isinstance(v, torch.Tensor)]


@pytest.mark.parametrize("block", [2**20, 1000])  # words a draw: one draw does, and several
@pytest.mark.parametrize("keep", [0.5, 0.3, 1.0])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_coordinate_stays_or_moves_as_without_dropout_and_the_state_is_the_same(
    name: str, keep: float, block: int, monkeypatch
) -> None:
    monkeypatch.setattr("lrlib.lr_dropout._BLOCK", block)
    shapes = ((600, 300), (300, 70), (70,), ())  # the first is masked bit by bit
    ours, theirs = weights(*shapes), weights(*shapes)
    dropout, plain = LRDropout(OPTIMIZERS[name](ours), keep), OPTIMIZERS[name](theirs)
    changed = total = 0
    for _ in range(5):
        before = [w.detach().clone() for w in ours]
        for w, v in zip(ours, theirs, strict=True):
            v.data.copy_(w.data)  # the step itself starts from the same weights
            w.grad = torch.randn(w.shape)
            v.grad = w.grad.clone()
        dropout.step()
        plain.step()
        for w, v, b in zip(ours, theirs, before, strict=True):
            stays, moves = w == b, w == v
            assert (stays & (keep < 1) | moves).all(), "to the last bit"
            changed += int((moves & ~stays).sum())
            total += w.numel()
        for a, b in zip(states(dropout), states(plain), strict=True):
            assert torch.equal(a, b)
    # A step may be too small to change a weight.
    spread = (keep * (1 - keep) / total) ** 0.5
    assert changed / total == pytest.approx(keep, abs=5 * spread + 1e-5)


@pytest.mark.parametrize("size", [100_000, 4_000_000])
@pytest.mark.parametrize(
    "keep", [1e-9, 1 / 256, 0.1, 0.25, 1 / 3, 0.5, 0.9, 255 / 256, 0.9999, 1 - 1e-9]
)
def test_the_share_that_moves_is_keep(keep: float, size: int) -> None:
    (weight,) = weights((size,))
    optimizer = LRDropout(SGD([weight], lr=1.0), keep, torch.Generator().manual_seed(1))
    spread = (keep * (1 - keep) / size) ** 0.5
    assert share(moved(optimizer, weight)) == pytest.approx(keep, abs=5 * spread + 1e-8)


@pytest.mark.parametrize("block", [2**20, 31_250 // 4])  # one draw a step, and five
def test_masks_of_neighbors_and_of_steps_are_independent(block: int, monkeypatch) -> None:
    monkeypatch.setattr("lrlib.lr_dropout._BLOCK", block)
    (weight,) = weights((2, 500_000))
    optimizer = LRDropout(SGD([weight], lr=1.0), 0.5, torch.Generator().manual_seed(2))
    masks = [moved(optimizer, weight).double().flatten() - 0.5 for _ in range(3)]
    bound = 5 * 0.25 / 1e6**0.5
    for lag in (1, 2, 7, 8, 6_250, 31_250, 62_500, 200_000, 250_000, 500_000):  # stretches, draws
        assert abs((masks[0][lag:] * masks[0][:-lag]).mean()) < 2 * bound
    assert abs((masks[0] * masks[1]).mean()) < bound
    assert abs((masks[1] * masks[2]).mean()) < bound


def test_groups_have_their_own_keep_also_those_that_come_later() -> None:
    a, b, c, d = weights(*[(1000,)] * 4)
    for keep in (0.25, 1.0):  # of all groups that have none of their own
        groups = [{"params": [a], "keep": 0.5}, {"params": [b]}]
        optimizer = LRDropout(SGD(groups, lr=1.0), keep=keep)
        optimizer.add_param_group({"params": [c], "keep": 0.75, "lr": 0.5})
        optimizer.add_param_group({"params": [d]})
        assert len(optimizer.inner.param_groups) == 4
        shares = [share(mask) for mask in moved(optimizer, a, b, c, d)]
        assert shares == pytest.approx([0.5, keep, 0.75, keep], abs=0.08)
        assert keep < 1 or shares[1] == shares[3] == 1


def test_it_neither_uses_nor_disturbs_other_random_numbers() -> None:
    def run(disturb: bool) -> tuple[torch.Tensor, torch.Tensor]:
        (weight,) = weights((1000,))
        optimizer = LRDropout(SGD([weight], lr=1.0), generator=torch.Generator().manual_seed(3))
        torch.manual_seed(7)
        for _ in range(3):
            if disturb:
                torch.rand(5)
            moved(optimizer, weight)
        return weight.detach(), torch.rand(3)

    torch.manual_seed(7)
    untouched = torch.rand(3)
    plain, after = run(disturb=False)
    disturbed, _ = run(disturb=True)
    assert torch.equal(after, untouched)
    assert torch.equal(plain, disturbed)


def test_the_seed_decides_the_masks() -> None:
    def run(seed: int | None, ambient: int = 0) -> torch.Tensor:
        (weight,) = weights((1000,))
        torch.manual_seed(ambient)
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        optimizer = LRDropout(SGD([weight], lr=1.0), generator=generator)
        return moved(optimizer, weight)

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
    assert torch.equal(run(None, ambient=5), run(None, ambient=5))
    assert not torch.equal(run(None, ambient=5), run(None, ambient=6))


def test_a_state_without_masks_is_refused_with_advice() -> None:
    (weight,) = weights((3,))
    inner = SGD([weight], lr=0.1)
    with pytest.raises(ValueError, match=r"optimizer\.inner\.load_state_dict"):
        LRDropout(SGD([weight], lr=0.1)).load_state_dict(inner.state_dict())


@pytest.mark.parametrize(
    "make",
    [
        lambda o: torch.optim.lr_scheduler.StepLR(o, 2),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=0.1, total_steps=10),
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0),
        lambda o: to_torch(Cosine(8), o),
    ],
)
def test_schedulers_work_on_it_as_on_the_inner_one(make) -> None:
    def loaded(inner: SGD) -> LRDropout:
        optimizer = LRDropout(inner)
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        return optimizer

    used = []
    for wrap in (LRDropout, loaded, lambda o: o):
        (weight,) = weights((10,))
        optimizer = wrap(SGD([weight], lr=0.1, momentum=0.9))
        scheduler = make(optimizer)
        trail = []
        for _ in range(6):
            weight.grad = torch.ones_like(weight)
            optimizer.step()
            (group,) = getattr(optimizer, "inner", optimizer).param_groups
            trail.append((group["lr"], group["momentum"]))
            needs_metric = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
            scheduler.step(1.0) if needs_metric else scheduler.step()
        used.append(trail)
    assert used[0] == used[1] == used[2]


def test_gradient_scaling_skips_and_takes_steps() -> None:
    (weight,) = weights((1000,))
    optimizer = LRDropout(SGD([weight], lr=0.1))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    before = weight.detach().clone()
    scaler.scale((weight * float("inf")).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(weight, before), "an overflow: no step"
    optimizer.zero_grad()
    scaler.scale(weight.sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    step = (before - weight.detach()).unique()
    assert 300 < int((weight != before).sum()) < 700
    assert step.max() == pytest.approx(0.1, rel=1e-4), "unscaled before the step"


def test_a_closure_is_called_once_and_its_loss_returned() -> None:
    (weight,) = weights((1000,))
    optimizer = LRDropout(SGD([weight], lr=0.1))
    before, calls = weight.detach().clone(), []

    def closure() -> torch.Tensor:
        calls.append(1)
        optimizer.zero_grad()
        loss = (weight**2).sum()
        loss.backward()
        return loss

    loss = optimizer.step(closure)
    assert len(calls) == 1
    assert loss.item() == pytest.approx((before**2).sum().item())
    assert 300 < int((weight != before).sum()) < 700


def test_parameters_without_gradients_are_left_alone() -> None:
    a, b = weights((100,), (100,))
    optimizer = LRDropout(AdamW([a, b], lr=0.1))
    before = b.detach().clone()
    a.grad = torch.ones_like(a)
    optimizer.step()
    assert torch.equal(b, before)
    optimizer.zero_grad()
    optimizer.step()  # none at all


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.float16, torch.bfloat16, torch.complex64],
)
def test_other_types(dtype: torch.dtype) -> None:
    for size in (1000, 200_001):
        (weight,) = weights((size,), dtype=dtype)
        optimizer = LRDropout(SGD([weight], lr=1.0), keep=0.75)
        before = weight.detach().clone()
        mask = moved(optimizer, weight)
        assert share(mask) == pytest.approx(0.75, abs=3 / size**0.5)
        assert torch.equal(weight[mask], (before - 1)[mask])


@pytest.mark.parametrize("size", [131_072, 200_001, 4_300_000])
def test_what_is_not_a_number_is_put_back_too(size: int) -> None:
    (weight,) = weights((size,))
    optimizer = LRDropout(SGD([weight], lr=1.0))
    mask = moved(optimizer, weight, gradient=float("nan"))
    assert share(mask) == pytest.approx(0.5, abs=3 / size**0.5)
    assert torch.equal(mask, weight.isnan())


@pytest.mark.parametrize(
    "layout",
    [
        lambda w: w.t(),
        lambda w: w.view(20, 5, 3, 10).contiguous(memory_format=torch.channels_last),
        lambda w: w[::2, 1:],
    ],
)
def test_memory_in_another_order(layout) -> None:
    (base,) = weights((100, 30))
    weight = layout(base.detach()).requires_grad_()
    optimizer = LRDropout(SGD([weight], lr=1.0))
    before = weight.detach().clone()
    mask = moved(optimizer, weight)
    assert torch.equal(weight[mask], (before - 1)[mask])
    assert 0.4 < share(mask) < 0.6


@pytest.mark.parametrize("make", [partial(SGD, lr=1.0), partial(torch.optim.SparseAdam, lr=0.1)])
def test_sparse_gradients(make) -> None:
    table = nn.Embedding(50, 40, sparse=True)
    optimizer = LRDropout(make(list(table.parameters())))
    before = table.weight.detach().clone()
    table(torch.tensor([3, 7])).sum().backward()
    optimizer.step()
    mask = table.weight != before
    assert set(mask.any(dim=1).nonzero().flatten().tolist()) == {3, 7}
    assert 10 < int(mask.sum()) < 70


def test_a_compiled_model_trains() -> None:
    data = load("digits", device="cpu")
    torch.manual_seed(0)
    model = mlp(64, 16, 10)
    compiled = torch.compile(model, backend="eager")
    optimizer = LRDropout(SGD(compiled.parameters(), lr=0.3))
    losses = []
    for _ in range(60):
        loss = F.cross_entropy(compiled(data.train.x), data.train.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("keep", [0.0, -0.5, 1.5, float("nan"), "half", None, True])
def test_keep_is_a_probability_above_zero(keep) -> None:
    (weight,) = weights((3,))
    message = r"LRDropout\(keep=.*\): keep must be a finite number above 0 and at most 1"
    with pytest.raises((ValueError, TypeError), match=message):
        LRDropout(SGD([weight], lr=0.1), keep=keep)
    with pytest.raises((ValueError, TypeError), match=message):
        LRDropout(SGD([{"params": [weight], "keep": keep}], lr=0.1))
    optimizer = LRDropout(SGD([weight], lr=0.1))
    with pytest.raises((ValueError, TypeError), match=message):
        optimizer.add_param_group({"params": weights((2,)), "keep": keep})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_goes_on_with_the_same_masks(copied) -> None:
    model = torch.nn.Linear(40, 40)
    optimizer = LRDropout(SGD(model.parameters(), lr=0.1, momentum=0.9), keep=0.3)

    moved(optimizer, *model.parameters())
    twin, other = copied((model, optimizer))
    assert other.param_groups is other.inner.param_groups
    for _ in range(3):
        moved(optimizer, *model.parameters()), moved(other, *twin.parameters())
    assert torch.equal(model.weight, twin.weight)


def test_what_it_cannot_wrap_says_why() -> None:
    (weight,) = weights((3,))
    with pytest.raises(TypeError, match="LBFGS, whose line search needs"):
        LRDropout(torch.optim.LBFGS([weight]))
    with pytest.raises(TypeError, match="one mask is enough"):
        LRDropout(LRDropout(SGD([weight], lr=0.1)))
    with pytest.raises(TypeError, match="optimizer must be a torch optimizer"):
        LRDropout([weight])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator"):
        LRDropout(SGD([weight], lr=0.1), generator=3)  # type: ignore[arg-type]


def test_it_refuses_before_it_touches_the_optimizer() -> None:
    (weight,) = weights((3,))
    inner = SGD([weight], lr=0.1)
    with pytest.raises(ValueError, match="keep"):
        LRDropout(inner, keep=2.0)
    assert "keep" not in inner.param_groups[0]


# --- Masks of blocks, and rescaling ---------------------------------------------------------------


@pytest.mark.parametrize("keep", [0.5, 0.3, 1.0])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_block_stays_or_moves_as_a_whole_and_the_state_is_the_same(
    name: str, keep: float
) -> None:
    shapes = ((600, 300), (70,), *[(5, 3), ()] * 30)
    ours, theirs = weights(*shapes), weights(*shapes)
    dropout = LRDropout(OPTIMIZERS[name](ours), keep, blocks=True)
    plain = OPTIMIZERS[name](theirs)
    kept = 0
    for _ in range(5):
        before = [w.detach().clone() for w in ours]
        for w, v in zip(ours, theirs, strict=True):
            v.data.copy_(w.data)  # the step itself starts from the same weights
            w.grad = torch.randn(w.shape)
            v.grad = w.grad.clone()
        dropout.step()
        plain.step()
        for w, v, b in zip(ours, theirs, before, strict=True):
            assert torch.equal(w, v) or (torch.equal(w, b) and keep < 1), "to the last bit"
            kept += torch.equal(w, v)
        for a, b in zip(states(dropout), states(plain), strict=True):
            assert torch.equal(a, b)
    total = 5 * len(shapes)
    assert kept / total == pytest.approx(keep, abs=5 * (keep * (1 - keep) / total) ** 0.5)


@pytest.mark.parametrize("blocks", [True, False])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_rescaled_step_is_one_over_keep_times_as_long(name: str, blocks: bool) -> None:
    shapes = ((600, 300), *[(7,)] * 20)
    ours, theirs, keep = weights(*shapes), weights(*shapes), 0.3
    dropout = LRDropout(OPTIMIZERS[name](ours), keep, blocks=blocks, rescale=True)
    plain = OPTIMIZERS[name](theirs)
    for _ in range(3):
        before = [w.detach().clone() for w in ours]
        for w, v in zip(ours, theirs, strict=True):
            v.data.copy_(w.data)
            w.grad = torch.randn(w.shape)
            v.grad = w.grad.clone()
        dropout.step()
        plain.step()
        for w, v, b in zip(ours, theirs, before, strict=True):
            stays = w == b
            longer = b + (v - b) / keep
            torch.testing.assert_close(w[~stays], longer[~stays], rtol=1e-5, atol=1e-6)
            assert not blocks or stays.all() or not stays.any()
        for a, b in zip(states(dropout), states(plain), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("blocks", [True, False])
def test_rescaling_is_a_rate(blocks: bool) -> None:
    paths = []
    for lr, rescale in ((0.1, True), (0.1 / 0.3, False)):
        given = weights(*[(40, 3)] * 9)
        masks = torch.Generator().manual_seed(5)
        inner = AdamW(given, lr=lr, weight_decay=0.1)
        optimizer = LRDropout(inner, 0.3, masks, blocks=blocks, rescale=rescale)
        for step in range(20):
            for w in given:
                w.grad = torch.sin(w.detach() + step)
            optimizer.step()
        paths.append(torch.cat([w.detach().flatten() for w in given]))
    torch.testing.assert_close(*paths, rtol=1e-4, atol=1e-5)


def test_the_coins_of_blocks_and_of_steps_are_independent() -> None:
    given = weights(*[(2,)] * 2000)
    optimizer = LRDropout(SGD(given, lr=1.0), 0.25, torch.Generator().manual_seed(2), blocks=True)
    coins = torch.stack(
        [
            torch.tensor([bool(mask.all()) for mask in moved(optimizer, *given)]).double()
            for _ in range(4)
        ]
    )
    bound = 5 * (0.25 * 0.75) ** 0.5 / 2000**0.5
    assert coins.mean().item() == pytest.approx(0.25, abs=bound)
    coins -= 0.25
    assert abs((coins[:, 1:] * coins[:, :-1]).mean()) < bound
    assert abs((coins[1:] * coins[:-1]).mean()) < bound


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.complex64])
def test_blocks_of_other_types_and_layouts_and_groups_without_a_mask(dtype: torch.dtype) -> None:
    given = weights(*[(4, 3)] * 30, dtype=dtype)
    given[0] = given[0].detach().t().requires_grad_()
    dense = weights((5,), dtype=dtype)
    groups = [{"params": given}, {"params": dense, "keep": 1.0}]
    optimizer = LRDropout(SGD(groups, lr=1.0), blocks=True, rescale=True)
    before = [w.detach().clone() for w in given + dense]
    masks = moved(optimizer, *given, *dense)
    assert 0 < sum(bool(mask.all()) for mask in masks[:-1]) < 30
    for w, b, mask in zip(given, before, masks, strict=False):
        assert mask.all() or not mask.any()
        torch.testing.assert_close(w.detach(), b - 2 if mask.any() else b)
    assert torch.equal(dense[0], before[-1] - 1), "neither masked nor rescaled"


@pytest.mark.parametrize(
    "copied",
    [
        lambda optimizer, given: copy.deepcopy((optimizer, given)),
        lambda optimizer, given: pickle.loads(pickle.dumps((optimizer, given))),
        lambda optimizer, given: reloaded(optimizer, given),
    ],
)
def test_a_copy_and_a_resumed_run_go_on_with_the_same_coins(copied) -> None:
    given = weights(*[(3,)] * 40)
    optimizer = LRDropout(SGD(given, lr=0.1, momentum=0.9), 0.3, blocks=True, rescale=True)
    moved(optimizer, *given)
    other, twins = copied(optimizer, given)
    for _ in range(3):
        moved(optimizer, *given), moved(other, *twins)
    for w, v in zip(given, twins, strict=True):
        assert torch.equal(w, v)


def reloaded(optimizer: LRDropout, given: list[torch.Tensor]) -> tuple[LRDropout, Any]:
    """A new optimizer for new tensors, with the state of the old one."""
    twins = [w.detach().clone().requires_grad_() for w in given]
    other = LRDropout(SGD(twins, lr=1.0), blocks=True, rescale=True)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    return other, twins


@pytest.mark.parametrize("name", ["blocks", "rescale"])
def test_blocks_and_rescale_are_true_or_false(name: str) -> None:
    (weight,) = weights((3,))
    with pytest.raises(TypeError, match=rf"LRDropout\({name}=1\): {name} must be True or False"):
        LRDropout(SGD([weight], lr=0.1), **{name: 1})
