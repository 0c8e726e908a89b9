"""Every trainable parameter is in exactly one group, or the error lists names."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

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
    names = [name for name, _ in model.named_parameters()]
    first = {name: next(p for p in [*patterns, "*"] if fnmatchcase(name, p)) for name in names}
    table = {pattern: 0.1 * i for i, pattern in enumerate([*patterns, "*"])}
    idle = [pattern for pattern in table if pattern not in first.values()]
    if idle:
        with pytest.raises(ValueError, match=f"by_name: {re.escape(repr(idle[0]))}.* matches no"):
            by_name(model, table)
        return
    rows = summary(by_name(model, table), model)
    assert [(row.group, row.lr) for row in rows] == list(table.items())
    assert {name: row.group for row in rows for name in row.parameters} == first


def test_options_beside_the_rate() -> None:
    model = mlp(4, 3, 2)
    groups = by_name(model, {"*.bias": {"lr": 0.2, "weight_decay": 0.0}, "*": 0.1})
    optimizer = torch.optim.AdamW(groups, lr=1.0, weight_decay=0.5)
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [
        (0.2, 0.0),
        (0.1, 0.5),
    ]


def test_what_is_frozen_is_left_out() -> None:
    model = mlp(4, 3, 2)
    model[1].requires_grad_(False)
    groups = by_name(model, {"*": 0.1})
    assert ids(groups) == [id(model[3].weight), id(model[3].bias)]


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


def test_the_audit_counts_every_weight_once() -> None:
    model = mlp(4, 3, 2)
    rows = summary(torch.optim.SGD(by_name(model, {"3.*": 0.1, "*": 0.01}), lr=1), model)
    assert [(row.group, row.parameters, row.count, row.lr, row.weight_decay) for row in rows] == [
        ("3.*", ("3.weight", "3.bias"), 8, 0.1, 0.0),
        ("*", ("1.weight", "1.bias"), 15, 0.01, 0.0),
    ]
    assert summary([{"params": list(model.parameters())}], model)[0].lr is None


# --- Bad arguments -----------------------------------------------------------------------------

model = mlp(4, 3, 2)
first, last = list(model[1].parameters()), list(model[3].parameters())
frozen = mlp(4, 3, 2).requires_grad_(False)
NAMES = "1.weight, 1.bias, 3.weight, 3.bias"
BAD = {
    "by_name(model, {'1.*': 1})": "ValueError: by_name: no pattern matches 3.weight, 3.bias; add",
    "by_name(model, {'head.*': 1, '*': 2})": (
        "ValueError: by_name: 'head.*' matches no parameter that an earlier pattern left over; the "
        f"parameters are {NAMES}"
    ),
    "by_name(model, {'*': -1})": (
        "ValueError: by_name('*': lr=-1): '*': lr must be a finite number of at least 0"
    ),
    "by_name(model, {'*': {'weight_decay': 'no'}})": (
        "TypeError: by_name('*': weight_decay='no'): '*': weight_decay must be a finite number"
    ),
    "by_name(model, {})": "TypeError: by_name(patterns={}): patterns must be a dict from name",
    "by_name(model, 0.1)": "TypeError: by_name(patterns=0.1): patterns must be a dict from name",
    "by_name(3, {'*': 1})": "TypeError: by_name(model=3): model must be a torch.nn.Module",
    "by_name(frozen, {'*': 1})": (
        "ValueError: by_name(model='Sequential'): model must be a model with trainable parameters"
    ),
    "layerwise_decay(model, -1, 0.5)": (
        "ValueError: layerwise_decay(lr=-1): lr must be a finite number of at least 0"
    ),
    "layerwise_decay(model, 1, None)": (
        "TypeError: layerwise_decay(decay=None): decay must be a finite number of at least 0"
    ),
    "layerwise_decay(model, 1, 0.5, 'ab')": (
        "TypeError: layerwise_decay(layers='ab'): layers must be name prefixes, input to output"
    ),
    "layerwise_decay(model, 1, 0.5, ['3'])": (
        "ValueError: layerwise_decay: no layer holds 1.weight, 1.bias; add one to `layers`"
    ),
    "layerwise_decay(model, 1, 0.5, ['1', '3', 'a'])": (
        "ValueError: layerwise_decay(layers=['1', '3', 'a']): layers must be prefixes of "
        f"parameters; 'a' has none of {NAMES}"
    ),
    "split_weight_decay(model, -1)": (
        "ValueError: split_weight_decay(weight_decay=-1): weight_decay must be a finite number"
    ),
    "summary(3, model)": "TypeError: summary(groups=3): groups must be an optimizer, or a sequence",
    "summary([3], model)": "TypeError: summary(groups=[3]): groups must be an optimizer, or a",
    "summary([{'params': first}], model)": (
        "ValueError: summary: in no group, so never trained: 3.weight, 3.bias"
    ),
    "summary([{'params': first}, {'params': [*last, first[0]]}], model)": (
        "ValueError: summary: 1.weight is in group 0 and in group 1"
    ),
    "summary([{'params': [*first, *last, torch.zeros(2)]}], model)": (
        "ValueError: summary: group 0 holds a tensor of shape (2,) that is no trainable parameter"
    ),
}


@pytest.mark.parametrize("call", BAD)
def test_what_is_wrong_is_named(call: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        eval(call)
    assert f"{type(caught.value).__name__}: {caught.value}".startswith(BAD[call])
