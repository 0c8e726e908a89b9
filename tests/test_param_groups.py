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

from lrlib import by_kind, by_name, kinds, layerwise_decay, split_weight_decay, summary
from lrlib.lab import cifar_resnet34, decoder, mlp, small_cnn


class Vision(nn.Module):
    """What a vision transformer holds, registered as timm does."""

    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.pos_embed = nn.Parameter(torch.zeros(1, 17, 8))
        self.patch_embed = nn.Conv2d(1, 8, 2, 2)
        self.blocks = nn.Sequential(
            *(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(blocks))
        )
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 10)


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


def test_class_tokens_and_positions_do_not_decay() -> None:
    model = Vision()
    decayed, spared = split_weight_decay(model, 0.1)
    matrices = {name for name, w in model.named_parameters() if w.ndim > 1}
    names = {id(weight): name for name, weight in model.named_parameters()}
    assert {names[i] for i in ids([decayed])} == matrices - {"cls_token", "pos_embed"}
    assert {"cls_token", "pos_embed"} <= {names[i] for i in ids([spared])}
    language = decoder(9, 8)
    assert id(language.positions.weight) in ids(split_weight_decay(language, 0.1)[1:])
    assert id(language.tokens.weight) in ids(split_weight_decay(language, 0.1)[:1])


# --- Kinds -------------------------------------------------------------------------------------


@given(st.sampled_from([*MODELS, Vision(), decoder(9, 8), cifar_resnet34()]), st.booleans())
def test_every_parameter_has_one_kind_and_by_kind_groups_by_it(model, frozen: bool) -> None:
    first = next(iter(model.parameters()))
    first.requires_grad_(not frozen)
    try:
        found = kinds(model)
        assert list(found) == [name for name, _ in model.named_parameters()]
        for name, weight in model.named_parameters():
            assert (found[name] == "vectors") == (weight.ndim < 2)
        trained = {name: found[name] for name, w in model.named_parameters() if w.requires_grad}
        rates = {kind: 0.1 * i for i, kind in enumerate(dict.fromkeys(trained.values()))}
        rows = summary(by_kind(model, rates), model)
        assert [(row.group, row.lr) for row in rows] == list(rates.items())
        assert {name: row.group for row in rows for name in row.parameters} == trained
    finally:
        first.requires_grad_(True)


def test_the_kinds_of_transformers() -> None:
    vision = kinds(Vision(1), head="head")
    assert {name: kind for name, kind in vision.items() if kind != "vectors"} == {
        "cls_token": "positions",
        "pos_embed": "positions",
        "patch_embed.weight": "kernels",
        "blocks.0.self_attn.in_proj_weight": "matrices",
        "blocks.0.self_attn.out_proj.weight": "matrices",
        "blocks.0.linear1.weight": "matrices",
        "blocks.0.linear2.weight": "matrices",
        "head.weight": "head",
    }
    language = kinds(decoder(9, 8, blocks=1))
    assert language["tokens.weight"] == "embeddings"
    assert language["positions.weight"] == "positions"
    assert language["head.weight"] == "matrices", "without its name, the head is like others"


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (nn.Linear(3, 1), "matrices"),
        (nn.Conv2d(3, 1, 2), "kernels"),
        (nn.Conv1d(3, 1, 1), "kernels"),
        (nn.Embedding(1, 3), "embeddings"),
        (nn.EmbeddingBag(4, 3), "embeddings"),
        (type("Ours", (nn.Conv2d,), {})(3, 1, 2), "kernels"),
        (nn.Bilinear(3, 4, 1), "kernels"),
    ],
)
def test_a_leading_dimension_of_one_makes_no_position(layer, kind: str) -> None:
    assert kinds(nn.Sequential(layer))["0.weight"] == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("pos_embed", "positions"),
        ("positional_embedding", "positions"),
        ("relative_position_bias_table", "positions"),
        ("rel_pos_h", "positions"),
        ("compose", "matrices"),
        ("pose", "matrices"),
        ("post_mix", "matrices"),
        ("positive", "matrices"),
        ("weight", "matrices"),
    ],
)
def test_the_name_of_a_table_of_positions(name: str, kind: str) -> None:
    model = nn.Module()
    model.register_parameter(name, nn.Parameter(torch.zeros(7, 4)))
    assert kinds(model)[name] == kind


@given(st.lists(st.integers(1, 3), min_size=1, max_size=3))
def test_norms_and_biases_of_any_shape_are_vectors_and_do_not_decay(shape: list[int]) -> None:
    attention = nn.MultiheadAttention(4, 2, add_bias_kv=True)
    model = nn.ModuleDict({"norm": nn.LayerNorm(shape), "attention": attention})
    found = kinds(model)
    matrices = {"attention.in_proj_weight", "attention.out_proj.weight"}
    assert {name for name, kind in found.items() if kind != "vectors"} == matrices
    decayed = split_weight_decay(model, 0.1)[0]
    assert ids([decayed]) == [id(model.get_parameter(name)) for name in found if name in matrices]


@pytest.mark.parametrize("head_first", [False, True])
def test_a_tied_weight_is_an_embedding_in_any_order(head_first: bool) -> None:
    tokens, head = nn.Embedding(7, 4), nn.Linear(4, 7)
    head.weight = tokens.weight
    parts = {"tokens": tokens, "head": head}
    model = nn.ModuleDict(dict(reversed(parts.items())) if head_first else parts)
    (tied,) = (name for name in kinds(model) if "weight" in name)
    assert tied.startswith("head") == head_first
    assert kinds(model, head="head")[tied] == "embeddings"
    with pytest.raises(ValueError, match=r"weight of head is frozen, or it is tied"):
        by_kind(model, {"head": 0.1, "*": 0.1}, head="head")


def test_the_parts_of_a_parametrized_weight_have_its_kind() -> None:
    parametrized = nn.utils.parametrizations.weight_norm
    made = [parametrized(nn.Embedding(7, 4)), nn.Linear(4, 4), parametrized(nn.Linear(4, 7))]
    found = kinds(nn.Sequential(*made), head="2")
    parts = [kind for name, kind in found.items() if "parametrizations" in name]
    assert parts == ["embeddings", "embeddings", "head", "head"]


# --- Layers of a model with blocks --------------------------------------------------------------


@given(st.integers(2, 5), st.floats(0.1, 0.9))
def test_blocks_are_layers_and_what_is_around_them_is_two_more(blocks: int, decay: float) -> None:
    for model, around in ((Vision(blocks), "cls_token"), (decoder(9, 8, blocks), "tokens.weight")):
        groups = layerwise_decay(model, 0.1, decay)
        names = ["before", *(f"blocks.{i}" for i in range(blocks)), "after"]
        assert [group["name"] for group in groups] == names
        rates = [group["lr"] for group in groups]
        assert rates == pytest.approx([0.1 * decay**i for i in reversed(range(blocks + 2))])
        rows = summary(groups, model)
        assert around in rows[0].parameters
        assert "head.weight" in rows[-1].parameters
        for i, row in enumerate(rows[1:-1]):
            assert all(name.startswith(f"blocks.{i}.") for name in row.parameters)


def test_a_wrapped_transformer_has_the_same_layers() -> None:
    model = nn.ModuleDict({"model": Vision()})
    assert [group["name"] for group in layerwise_decay(model, 0.1, 0.5)] == [
        "before", "model.blocks.0", "model.blocks.1", "model.blocks.2", "after"
    ]  # fmt: skip


class HeadFirst(Vision):
    """The same, but the head is registered before all others."""

    def __init__(self) -> None:
        super().__init__()
        own = dict(self._modules)
        self._modules.clear()
        self._modules.update({"head": own.pop("head"), **own})


def test_a_head_before_the_blocks_must_be_placed_by_the_reader() -> None:
    model = HeadFirst()
    with pytest.raises(ValueError, match=r"`layers` must .* head.weight, head.bias before the bl"):
        layerwise_decay(model, 0.1, 0.5)
    layers = ["cls_token", "pos_embed", "patch_embed", "blocks", "norm", "head"]
    assert layerwise_decay(model, 0.1, 0.5, layers)[-1]["lr"] == 0.1
    language = decoder(9, 8)
    own = dict(language._modules)
    language._modules.clear()
    language.add_module("head", nn.Linear(8, 9, bias=False))
    language._modules.update({name: own[name] for name in own if name != "head"})
    language.head.weight = language.tokens.weight  # an embedding: its place is the lowest layer
    groups = layerwise_decay(language, 0.1, 0.5)
    assert id(language.tokens.weight) in ids(groups[:1])


def test_stages_that_are_children_are_layers() -> None:
    names = [group["name"] for group in layerwise_decay(cifar_resnet34(), 0.1, 0.5)]
    assert names == ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"]


def test_frozen_blocks_get_no_group() -> None:
    model = Vision()
    model.blocks[0].requires_grad_(False)
    groups = layerwise_decay(model, 0.1, 0.5)
    assert [group["name"] for group in groups] == ["before", "blocks.1", "blocks.2", "after"]


# --- The audit ----------------------------------------------------------------------------------


def test_a_tied_weight_has_two_names_and_counts_once() -> None:
    model = decoder(9, 8)
    model.head.weight = model.tokens.weight
    rows = summary(by_kind(model, {"*": 0.1}, head="head"), model)
    assert "tokens.weight = head.weight" in rows[0].parameters
    assert rows[0].count == sum(weight.numel() for weight in model.parameters())
    assert kinds(model, head="head")["tokens.weight"] == "embeddings"
    with pytest.raises(ValueError, match=r"never trained: tokens.weight = head.weight$"):
        summary([{"params": [w for w in model.parameters() if w is not model.head.weight]}], model)


def test_a_frozen_weight_may_be_in_a_group_or_in_none() -> None:
    model = mlp(4, 3, 2)
    model[1].requires_grad_(False)
    inside = summary([{"params": list(model.parameters())}], model)
    outside = summary(by_name(model, {"*": 0.1}), model)
    assert [row.parameters for row in inside] == [row.parameters for row in outside]
    assert inside[0].count == outside[0].count == 8
    assert inside[0].frozen == ("1.weight", "1.bias")
    assert outside[0].frozen == ()
    with pytest.raises(ValueError, match=r"1.weight is in group 0 and in group 1"):
        summary(
            [{"params": list(model.parameters())}, {"params": list(model[1].parameters())}], model
        )


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
        "TypeError: layerwise_decay(layers='ab'): layers must be name prefixes from input to output"
    ),
    "layerwise_decay(model, 1, 0.5, ['3'])": (
        "ValueError: layerwise_decay: no layer holds 1.weight, 1.bias; add one to `layers`"
    ),
    "layerwise_decay(nn.Sequential(model), 1, 0.5)": (
        "ValueError: layerwise_decay: `layers` must be given for this Sequential, which has one "
        "layer: '0'. Write name prefixes"
    ),
    "layerwise_decay(nn.Transformer(4, 2, 2, 2, 4, batch_first=True), 1, 0.5)": (
        "ValueError: layerwise_decay: `layers` must be given for this Transformer, which has "
        "stacks of blocks: encoder.layers, decoder.layers. Write name prefixes from input to output"
    ),
    "kinds(3)": "TypeError: kinds(model=3): model must be a torch.nn.Module",
    "kinds(model, head='fc')": "ValueError: kinds(head='fc'): head must be the name of the output",
    "kinds(nn.Sequential(model, nn.Linear(4, 2)), head='0')": (
        "ValueError: kinds(head='0'): head must be the name of the output layer, such as 'head', "
        "and this layer must have a weight: in a container, name the layer that makes the logits"
    ),
    "by_kind(model, {'head': 1, '*': 2})": (
        "ValueError: by_kind: the model has no trainable 'head'; it has matrices, vectors; give "
        "the name of the output layer: head="
    ),
    "by_kind(model, {'matrix': 1})": (
        "TypeError: by_kind(options={'matrix': 1}): options must be a dict to rates; its keys"
    ),
    "by_kind(model, {})": "TypeError: by_kind(options={}): options must be a dict to rates",
    "by_kind(model, 0.1)": "TypeError: by_kind(options=0.1): options must be a dict to rates",
    "by_kind(model, {'matrices': 1})": (
        "ValueError: by_kind: no option for 1.bias (vectors), 3.bias (vectors); add the kind in"
    ),
    "by_kind(model, {'embeddings': 1, '*': 2})": (
        "ValueError: by_kind: the model has no trainable 'embeddings'; it has matrices, vectors"
    ),
    "by_kind(model, {'*': -1})": (
        "ValueError: by_kind('*': lr=-1): '*': lr must be a finite number of at least 0"
    ),
    "by_kind(frozen, {'*': 1})": (
        "ValueError: by_kind(model='Sequential'): model must be a model with trainable parameters"
    ),
    "split_weight_decay(model, 0, [{'params': [torch.zeros(2)]}])": (
        "ValueError: split_weight_decay: group 0 holds a tensor of shape (2,) that is no parameter"
    ),
    "layerwise_decay(model, 1, 0.5, ['1', '3', 'a'])": (
        "ValueError: layerwise_decay(layers=['1', '3', 'a']): layers must be prefixes of "
        f"parameter names; 'a' is none of {NAMES}"
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
        "ValueError: summary: group 0 holds a tensor of shape (2,) that is no parameter"
    ),
}


@pytest.mark.parametrize("call", BAD)
def test_what_is_wrong_is_named(call: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        eval(call)
    assert f"{type(caught.value).__name__}: {caught.value}".startswith(BAD[call])
