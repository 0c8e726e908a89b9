"""The program for fine-tuning that a reader pastes: its groups, its rates and its updates."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torchvision.models import convnext_tiny, resnet18, vision_transformer

PAGE = Path(__file__).resolve().parents[2] / "chapters" / "07-finding-a-rate" / "start-here.md"
PROGRAMS = re.findall(
    r"```\{code-block\} python\n(.*?)\n```", PAGE.read_text(encoding="utf-8"), re.DOTALL
)
(PROGRAM,) = [program for program in PROGRAMS if "head_lr" in program]


class Pretrained(nn.Module):
    """A body with a frozen layer and two kinds of norm, and a new head."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(6, 6).requires_grad_(False)
        self.body = nn.Sequential(
            nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(16, 8), nn.LayerNorm(8)
        )
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.frozen(x)))


def pasted(program: str, batches: int) -> tuple[dict[str, Any], list[list[float]]]:
    """The names that the program leaves, and the rates of its groups at each update."""
    torch.manual_seed(0)
    loader = [(torch.randn(4, 1, 6), torch.randint(3, (4,))) for _ in range(batches)]
    names: dict[str, Any] = {"model": Pretrained(), "loader": loader}
    used: list[list[float]] = []
    hook = register_optimizer_step_post_hook(
        lambda optimizer, *_: used.append([float(g["lr"]) for g in optimizer.param_groups])
    )
    try:
        exec(program, names)
    finally:
        hook.remove()
    return names, used


@pytest.mark.parametrize(("head_lr", "rates"), [("2e-5", {2e-5}), ("1e-3", {2e-5, 1e-3})])
def test_each_trainable_weight_is_in_one_group_and_vectors_do_not_decay(
    head_lr: str, rates: set[float]
) -> None:
    program = PROGRAM.replace("= 2e-5, 2e-5,", f"= 2e-5, {head_lr},")
    names, _ = pasted(program, 1)
    model, groups = names["model"], names["optimizer"].param_groups
    assert len(groups) == 2 * len(rates)
    assert {group["initial_lr"] for group in groups} == rates
    found = Counter(id(weight) for group in groups for weight in group["params"])
    trainable = {id(w): name for name, w in model.named_parameters() if w.requires_grad}
    assert found == Counter(list(trainable))
    vectors = re.compile(r"\.bias$|^body\.[14]\.weight$")
    for group in groups:
        for weight in group["params"]:
            name = trainable[id(weight)]
            assert group["weight_decay"] == (0.0 if vectors.search(name) else 0.01), name
            assert group["initial_lr"] == (float(head_lr) if name.startswith("head.") else 2e-5)


@pytest.mark.parametrize("batches", [1, 4, 30])
def test_the_rate_rises_to_its_peak_and_falls_in_a_line_to_zero(batches: int) -> None:
    names, used = pasted(PROGRAM.replace("= 2e-5, 2e-5,", "= 2e-5, 1e-3,"), batches)
    steps = 5 * batches
    warm = max(1, steps // 10)
    assert len(used) == steps
    assert {round(rates[-1] / rates[0], 6) for rates in used} == {50.0}
    body = [rates[0] / 2e-5 for rates in used]
    assert body[0] == pytest.approx(1 / warm)
    assert [i for i, rate in enumerate(body) if rate == max(body)] == [warm - 1]
    assert max(body) == pytest.approx(1.0)
    fall = torch.tensor(body[warm - 1 :]).diff()
    assert fall.numpy() == pytest.approx(-1 / (steps - warm + 1), rel=1e-3)
    assert body[-1] == pytest.approx(1 / (steps - warm + 1))
    assert names["scheduler"].get_last_lr() == [0.0] * 4


def test_it_trains_all_but_the_frozen_layer() -> None:
    torch.manual_seed(0)
    names, _ = pasted(
        "before = {k: v.clone() for k, v in model.state_dict().items()}\n" + PROGRAM, 4
    )
    for name, weight in names["model"].named_parameters():
        assert torch.equal(weight, names["before"][name]) == name.startswith("frozen."), name


# --- With a layer decay -------------------------------------------------------------------------

(LAYERED,) = [program for program in PROGRAMS if "layerwise_decay" in program]


def vit() -> nn.Module:
    return vision_transformer.VisionTransformer(
        image_size=8, patch_size=4, num_layers=3, num_heads=2, hidden_dim=32, mlp_dim=64
    )


def test_with_a_layer_decay_each_block_of_a_vit_has_its_rate_and_vectors_do_not_decay() -> None:
    names: dict[str, Any] = {"model": vit()}
    exec("import torch\n" + LAYERED, names)
    name_of = {id(weight): name for name, weight in names["model"].named_parameters()}
    found = Counter(
        id(weight) for group in names["optimizer"].param_groups for weight in group["params"]
    )
    assert found == Counter(list(name_of))
    for group in names["optimizer"].param_groups:
        for weight in group["params"]:
            name = name_of[id(weight)]
            block = re.search(r"encoder_layer_(\d)", name)
            above = bool(re.match(r"heads\.|encoder\.ln\.", name))
            below = 0 if above else 3 - int(block[1]) if block else 4
            assert group["lr"] == pytest.approx(1e-3 * 0.75**below), name
            spared = weight.ndim == 1 or name in ("class_token", "encoder.pos_embedding")
            assert group["weight_decay"] == (0.0 if spared else 0.05), name


def test_a_convnext_needs_its_layers_by_name() -> None:
    with torch.device("meta"):
        names: dict[str, Any] = {"model": convnext_tiny()}
    with pytest.raises(ValueError, match="`layers` must be given for this ConvNeXt"):
        exec("import torch\n" + LAYERED, names)
    prefixes = [f"features.{i}" for i in range(8)] + ["classifier"]
    exec("import torch\n" + LAYERED.replace("0.75", f"0.75, layers={prefixes}"), names)
    rates = {group["lr"] for group in names["optimizer"].param_groups}
    assert rates == {1e-3 * 0.75**depth for depth in range(9)}


@pytest.mark.parametrize(("make", "head"), [(vit, "heads."), (resnet18, "fc.")])
def test_the_names_of_torchvisions_heads_are_those_of_the_page(make: Any, head: str) -> None:
    assert f"`{head}` in torchvision's" in PAGE.read_text(encoding="utf-8")
    program = PROGRAM.replace('"head."', f'"{head}"').replace("= 2e-5, 2e-5,", "= 2e-5, 1e-3,")
    names: dict[str, Any] = {"model": make(), "loader": []}
    assert program.count(f'"{head}"') == 1
    exec(program.split("steps = ")[0], names)
    name_of = {id(weight): name for name, weight in names["model"].named_parameters()}
    high = {
        name_of[id(weight)]
        for group in names["optimizer"].param_groups
        for weight in group["params"]
        if group["lr"] == 1e-3
    }
    assert high == {name for name in name_of.values() if name.split(".")[0] == head[:-1]}
    assert len(high) == 2
