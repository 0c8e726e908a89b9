"""Every trainable parameter is in exactly one group, or the error lists names."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler

from lrlib import by_name, layerwise_decay, split_weight_decay, summary
from lrlib.lab import cifar_resnet34, mlp, small_cnn

MODELS = [mlp(8, 7, 6, 5), small_cnn(), nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))]


def ids(groups) -> list[int]:
    return [id(weight) for group in groups for weight in group["params"]]


@given(
    st.sampled_from(MODELS),
    st.lists(st.sampled_from(["*.bias", "*.weight", "1.*", "3.*", "0.*"]), unique=True),
)
def test_every_parameter_is_in_exactly_one_group_the_first_that_matches(model, patterns) -> None:
    try:
        groups = by_name(model, {pattern: 0.1 * i for i, pattern in enumerate([*patterns, "*"])})
    except ValueError as error:
        if "matches no parameter" not in str(error):
            raise
        return
    assert sorted(ids(groups)) == sorted(id(weight) for weight in model.parameters())
    summary(groups, model)


def test_options_beside_the_rate() -> None:
    model = mlp(4, 3, 2)
    groups = by_name(model, {"*.bias": {"lr": 0.2, "weight_decay": 0.0}, "*": 0.1})
    optimizer = torch.optim.AdamW(groups, lr=1.0, weight_decay=0.5)
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [
        (0.2, 0.0),
        (0.1, 0.5),
    ]


@pytest.mark.parametrize(
    ("patterns", "reason"),
    [
        ({"1.*": 0.1}, r"no pattern matches 3\.weight, 3\.bias"),
        (
            {"head.*": 0.1, "*": 0.2},
            r"'head\.\*' matches no parameter.*1\.weight, 1\.bias, 3\.weight",
        ),
        ({"*": 0.1, "1.*": 0.2}, r"'1\.\*' matches no parameter that an earlier pattern left"),
        ({"*": -0.1}, r"by_name\('\*': lr=-0\.1\)"),
        ({"*": {"lr": 0.1, "weight_decay": "no"}}, r"weight_decay='no'"),
        ({}, r"by_name\(patterns="),
        (0.1, r"by_name\(patterns="),
    ],
)
def test_what_is_wrong_is_named(patterns, reason: str) -> None:
    with pytest.raises((ValueError, TypeError), match=reason):
        by_name(mlp(4, 3, 2), patterns)


def test_what_is_frozen_is_left_out() -> None:
    model = mlp(4, 3, 2)
    model[1].requires_grad_(False)
    groups = by_name(model, {"*": 0.1})
    assert ids(groups) == [id(model[3].weight), id(model[3].bias)]
    with pytest.raises(ValueError, match="trainable parameters"):
        by_name(model.requires_grad_(False), {"*": 0.1})


@given(st.floats(0.01, 1), st.floats(0.1, 1), st.integers(2, 6))
def test_layerwise_decay_multiplies_from_the_output_down(lr: float, decay: float, n: int) -> None:
    model = mlp(*range(n + 2, 1, -1))
    groups = layerwise_decay(model, lr, decay)
    rates = [group["lr"] for group in groups]
    assert rates == pytest.approx([lr * decay**i for i in reversed(range(n))])
    assert sorted(ids(groups)) == sorted(id(weight) for weight in model.parameters())


def test_layers_can_be_named_and_must_cover_the_model() -> None:
    network = cifar_resnet34()
    layers = ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"]
    groups = layerwise_decay(network, 0.1, 0.5, layers)
    assert [group["name"] for group in groups] == layers
    summary(groups, network)
    with pytest.raises(ValueError, match=r"no pattern matches bn1\.weight"):
        layerwise_decay(network, 0.1, 0.5, [name for name in layers if name != "bn1"])
    with pytest.raises(ValueError, match=r"'head' has none of"):
        layerwise_decay(network, 0.1, 0.5, [*layers, "head"])


def test_every_scheduler_sees_the_decayed_rates() -> None:
    optimizer = torch.optim.SGD(layerwise_decay(mlp(4, 3, 2), 0.1, 0.5))
    scheduler = lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
    optimizer.step()
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.005, 0.01])


def test_biases_and_norms_do_not_decay() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2), nn.Flatten(), nn.Linear(8, 2))
    decayed, spared = split_weight_decay(model, 0.1)
    assert ids([decayed]) == [id(model[0].weight), id(model[3].weight)]
    assert len(spared["params"]) == 4
    halves = split_weight_decay(model, 0.1, layerwise_decay(model, 0.1, 0.5))
    summary(halves, model)
    assert [half["name"] for half in halves] == [
        "0, decayed", "0, not decayed", "1, not decayed", "3, decayed", "3, not decayed"
    ]  # fmt: skip


def test_the_audit_finds_what_is_forgotten_double_or_foreign() -> None:
    model, other = mlp(4, 3, 2), mlp(4, 2)
    first, last = list(model[1].parameters()), list(model[3].parameters())
    with pytest.raises(ValueError, match=r"never trained: 3\.weight, 3\.bias"):
        summary([{"params": first, "lr": 0.1}], model)
    with pytest.raises(ValueError, match=r"1\.weight is in group 0 and in group 1"):
        summary([{"params": first}, {"params": [*last, first[0]]}], model)
    with pytest.raises(ValueError, match="no trainable parameter of the model"):
        summary([{"params": [*first, *last, *other.parameters()]}], model)
    table = summary(torch.optim.SGD(by_name(model, {"3.*": 0.1, "*": 0.01}), lr=1), model)
    counts = [int(row[2]) for row in table.frame.to_numpy()]
    assert sum(counts) == sum(weight.numel() for weight in model.parameters())
