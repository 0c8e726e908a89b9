"""Kinds, blocks, the coordinate check, LoRA and Muon on models of timm and transformers.

The models are built from a configuration; nothing is downloaded. LoRA is the code of the notebook.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lrlib import by_kind, coordinate_check, kinds, layerwise_decay, split_weight_decay, summary

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "chapters" / "02-per-layer-rates" / "kinds-of-parameters.ipynb"
HEAD = {"timm": "head", "transformers": "lm_head"}
STACK = {"timm": "blocks", "transformers": "transformer.h"}


def vision(width: int = 32) -> nn.Module:
    timm = pytest.importorskip("timm.models.vision_transformer")
    return timm.VisionTransformer(
        img_size=8, patch_size=2, in_chans=1, num_classes=10, embed_dim=width, depth=3, num_heads=2
    )


def language(width: int = 32) -> nn.Module:
    hub = pytest.importorskip("transformers")
    config = hub.GPT2Config(
        vocab_size=40, n_positions=16, n_embd=width, n_layer=3, n_head=2,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return hub.GPT2LMHeadModel(config)


MAKE = {"timm": vision, "transformers": language}
GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(32, 1, 8, 8, generator=GENERATOR), torch.arange(32) % 10
TOKENS = torch.randint(0, 40, (16, 16), generator=GENERATOR)
BATCH: dict[str, Any] = {"timm": IMAGES, "transformers": TOKENS}


def loss(model: nn.Module, batch: Any) -> torch.Tensor:
    if isinstance(batch, torch.Tensor):
        return model(input_ids=batch, labels=batch).loss
    return F.cross_entropy(model(batch[0]), batch[1])


def train(model: nn.Module, optimizers: list, batch: Any, steps: int) -> list[float]:
    torch.manual_seed(0)  # for the dropout
    losses = []
    for _ in range(steps):
        value = loss(model, batch)
        model.zero_grad()
        value.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(value.item())
    return losses


@pytest.mark.parametrize("where", MAKE)
def test_kinds_and_blocks(where: str) -> None:
    model = MAKE[where]()
    found = kinds(model, HEAD[where])
    assert {name for name, kind in found.items() if kind == "positions"} == (
        {"cls_token", "pos_embed"} if where == "timm" else {"transformer.wpe.weight"}
    )
    assert all(
        found[n] == "matrices" for n, w in model.named_parameters() if ".mlp.c" in n and w.ndim > 1
    )
    groups = layerwise_decay(model, lr=1.0, decay=0.5)
    names = ["before", *(f"{STACK[where]}.{i}" for i in range(3)), "after"]
    assert [group["name"] for group in groups] == names
    rows = summary(groups, model)
    assert sum(row.count for row in rows) == sum(weight.numel() for weight in model.parameters())
    tied = [name for row in rows for name in row.parameters if " = " in name]
    assert tied == ([] if where == "timm" else ["transformer.wte.weight = lm_head.weight"])


def test_timms_own_groups_are_the_same() -> None:
    """timm's layer decay writes `lr_scale`, and its list of what isn't decayed names tokens."""
    timm = pytest.importorskip("timm.optim")
    model = vision()
    theirs = timm.param_groups_layer_decay(model, 0.1, model.no_weight_decay(), layer_decay=0.5)
    ours = split_weight_decay(model, 0.1, layerwise_decay(model, lr=1.0, decay=0.5))

    def rates(groups: list, key: str) -> dict[int, tuple[float, float]]:
        return {id(w): (g[key], g["weight_decay"]) for g in groups for w in g["params"]}

    mine, their = rates(ours, "lr"), rates(theirs, "lr_scale")
    differs = {name for name, w in model.named_parameters() if mine[id(w)] != their[id(w)]}
    # timm counts the last norm to the last block; here it has the rate of the head.
    assert differs == {"norm.weight", "norm.bias"}
    assert their[id(model.norm.weight)][0] == their[id(model.blocks[2].norm1.weight)][0] == 0.5


@pytest.mark.parametrize("where", MAKE)
def test_the_coordinate_check_tells_one_rate_from_a_rate_for_each_kind(where: str) -> None:
    def make(power: float, drawn: float, width: int):
        model = MAKE[where](width)
        share = (width / 32) ** power
        with torch.no_grad():
            for name, kind in kinds(model, HEAD[where]).items():
                if kind in ("matrices", "head"):
                    model.get_parameter(name).mul_((width / 32) ** drawn)
        # A tied head can't have a rate of its own: it is an embedding.
        rates = {"matrices": 1e-3 * share, "*": 1e-3}
        if where == "timm":
            rates["head"] = 1e-3 * share
        return model, torch.optim.AdamW(by_kind(model, rates, head=HEAD[where]))

    def slopes(power: float, drawn: float = 0) -> dict[str, float]:
        rows = coordinate_check(
            partial(make, power, drawn), [32, 64, 128], 4 * [BATCH[where]], loss, seeds=[0, 1]
        )
        return {row.layer: row.slope for row in rows if row.layer.startswith(STACK[where])}

    usual, by_width = slopes(0), slopes(-1)
    assert usual.keys() == by_width.keys()
    matrices = [layer for layer in usual if ".mlp." in layer or ".attn." in layer]
    assert len(matrices) >= 12
    assert all(usual[layer] > 0.5 for layer in matrices)
    # Both start from weights of one size at every width, which μP doesn't: so a rate for each kind
    # makes every slope smaller, but not every one 0.
    assert all(by_width[layer] < usual[layer] - 0.1 for layer in matrices)
    assert 0.25 < max(by_width[layer] for layer in matrices) < 1
    # With smaller first weights in a wider model, as μP has them, none of them grows.
    as_mup = slopes(-1, -0.5)
    assert all(-0.4 < as_mup[layer] < 0.25 for layer in matrices)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon is in torch 2.9")
@pytest.mark.parametrize("where", MAKE)
def test_muon_for_the_matrices_and_adamw_for_the_rest(where: str) -> None:
    torch.manual_seed(0)
    model = MAKE[where]()
    matrices, rest = by_kind(model, {"matrices": 0.02, "*": 0.003}, head=HEAD[where])
    muon = torch.optim.Muon([matrices], adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW([rest])
    summary([*muon.param_groups, *adamw.param_groups], model)
    losses = train(model, [muon, adamw], BATCH[where], steps=30)
    assert losses[-1] < losses[0] - 1


@pytest.mark.parametrize("where", MAKE)
def test_lora_trains_a_and_b_and_nothing_else(where: str) -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    (source,) = ["".join(c["source"]) for c in cells if c["id"] == "lora-class"]
    names: dict[str, Any] = {"nn": nn}
    exec(source, names)
    torch.manual_seed(0)
    model = MAKE[where]()
    model.eval()
    before = loss(model, BATCH[where]).item()
    if where == "transformers":
        # GPT-2 of transformers has a layer of its own for x @ W; a linear layer does the same.
        for block in model.transformer.h:
            block.mlp.c_fc, block.mlp.c_proj = map(linear, (block.mlp.c_fc, block.mlp.c_proj))
    names["add_lora"](model, rank=4, skip=("head", "lm_head"))
    assert loss(model, BATCH[where]).item() == pytest.approx(before, rel=1e-5)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.02)
    (row,) = summary(optimizer, model)
    assert {name.split(".")[-2] for name in row.parameters} == {"A", "B"}
    frozen = {n: w.clone() for n, w in model.named_parameters() if not w.requires_grad}
    losses = train(model, [optimizer], BATCH[where], steps=40)
    assert losses[-1] < losses[0] - 0.1
    assert all(model.get_parameter(name).equal(weight) for name, weight in frozen.items())


def test_lora_refuses_torchs_attention() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    (source,) = ["".join(c["source"]) for c in cells if c["id"] == "lora-class"]
    names: dict[str, Any] = {"nn": nn}
    exec(source, names)
    model = nn.Sequential(nn.Linear(3, 4), nn.TransformerEncoderLayer(4, 2, 8))
    with pytest.raises(ValueError, match=r"add_lora: 1.self_attn is torch's attention.*nn.Linear"):
        names["add_lora"](model, rank=1)
    assert all(weight.requires_grad for weight in model.parameters()), "nothing has changed"


def linear(layer: Any) -> nn.Linear:
    """The same map as a Conv1D of transformers."""
    made = nn.Linear(*layer.weight.shape)
    with torch.no_grad():
        made.weight.copy_(layer.weight.T)
        made.bias.copy_(layer.bias)
    return made
