"""The coordinate check: its sizes are those of an ordinary loop, and its slopes those of theory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lrlib import coordinate_check
from lrlib.lab import decoder

BATCHES = torch.randn(6, 32, 8, generator=torch.Generator().manual_seed(0))
WIDTHS = [16, 64, 256]


def net(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
    )


def loss(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    return (model(batch).squeeze(1) - batch.mean(1)).square().mean()


def make(power: float, factor: float = 1.0):
    """Adam whose rate for the matrices that grow goes as the width to this power."""

    def made(width: int):
        model = net(width)
        with torch.no_grad():  # as μP: the head starts smaller in a wide network
            model[4].weight *= (16 / width) ** 0.5
        growing = [model[2].weight, model[4].weight]
        others = [w for w in model.parameters() if all(w is not one for one in growing)]
        lr = 1e-3 * factor
        groups = [{"params": growing, "lr": lr * (width / 16) ** power}, {"params": others}]
        return model, torch.optim.Adam(groups, lr=lr)

    return made


def verdicts(rows) -> dict[str, str]:
    return {row.layer: row.verdict for row in rows}


def test_one_rate_grows_and_mup_is_steady() -> None:
    usual = verdicts(coordinate_check(make(0), WIDTHS, BATCHES, loss))
    assert usual["0"] == "steady"
    assert usual["2"] == usual["4"] == "grows"
    assert set(verdicts(coordinate_check(make(-1), WIDTHS, BATCHES, loss)).values()) == {"steady"}


def test_a_rate_that_falls_too_fast_shrinks() -> None:
    assert verdicts(coordinate_check(make(-2), WIDTHS, BATCHES, loss))["4"] == "shrinks"


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 100), st.integers(1, 4))
def test_a_change_is_that_of_the_ordinary_loop(seed: int, steps: int) -> None:
    rows = coordinate_check(make(0), [16, 32], BATCHES, loss, steps=steps, seeds=[seed])
    for place, width in enumerate((16, 32)):
        torch.manual_seed(seed)
        model, adam = make(0)(width)
        with torch.no_grad():
            first = model(BATCHES[0])
        for batch in BATCHES[:steps]:
            adam.zero_grad()
            loss(model, batch).backward()
            adam.step()
        with torch.no_grad():
            change = (model(BATCHES[0]) - first).square().mean().sqrt().item()
        (head,) = [row for row in rows if row.layer == "4"]
        assert head.changes[place] == pytest.approx(change, rel=1e-5)


def test_the_mean_over_seeds_is_geometric_and_the_slope_is_that_of_a_line() -> None:
    alone = [
        coordinate_check(make(0), [16, 64], BATCHES, loss, seeds=[seed])[1].changes
        for seed in (3, 4)
    ]
    row = coordinate_check(make(0), [16, 64], BATCHES, loss, seeds=[3, 4])[1]
    a, b = torch.tensor(alone, dtype=torch.float64).log2().mean(0).tolist()
    assert [a, b] == pytest.approx(torch.tensor(row.changes).log2().tolist(), abs=1e-5)
    assert row.slope == pytest.approx((b - a) / 2)


def test_the_random_state_is_put_back() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    coordinate_check(make(0), [16, 32], BATCHES, loss)
    assert torch.equal(torch.rand(3), expected)


def test_frozen_layers_have_no_row_and_layers_after_them_do() -> None:
    def frozen(width: int):
        model = net(width)
        model[0].requires_grad_(False)
        return model, torch.optim.Adam([w for w in model.parameters() if w.requires_grad], 1e-3)

    assert [row.layer for row in coordinate_check(frozen, WIDTHS, BATCHES, loss)] == ["2", "4"]


def test_several_optimizers_and_dropout() -> None:
    def two(width: int):
        model = nn.Sequential(nn.Linear(8, width), nn.Dropout(0.5), nn.Linear(width, 1))
        first, last = model[0].parameters(), model[2].parameters()
        return model, torch.optim.SGD(first, lr=0.0), torch.optim.Adam(last, lr=1e-3)

    # The first layer's rate is 0, and dropout is off when the change is measured: no row for it.
    assert [row.layer for row in coordinate_check(two, WIDTHS, BATCHES, loss)] == ["2"]


def test_torchs_encoder_shows_its_layers() -> None:
    def encoder(width: int):
        block = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.1, batch_first=True)
        model = nn.Sequential(nn.Linear(8, width), nn.TransformerEncoder(block, 2))
        return model, torch.optim.AdamW(model.parameters(), lr=1e-3)

    rows = coordinate_check(
        encoder, [16, 32], BATCHES[:, None].transpose(1, 2), lambda m, x: m(x).square().mean()
    )
    assert {"1.layers.0.linear1", "1.layers.1.linear2"} <= {row.layer for row in rows}


def test_every_matrix_of_a_decoder_has_a_row() -> None:
    tokens = torch.randint(0, 9, (4, 3, 8), generator=torch.Generator().manual_seed(0))

    def made(width: int):
        model = decoder(9, width, context=8)
        return model, torch.optim.AdamW(model.parameters(), lr=1e-3)

    rows = coordinate_check(made, [16, 32], tokens, lambda m, x: m(x).square().mean(), seeds=[0])
    layers = {name for name, one in decoder(9, 16).named_modules() if list(one.parameters(False))}
    assert {row.layer for row in rows} == layers


@pytest.mark.parametrize("part", ["model", "in place", "layer", "no modules"])
def test_a_model_that_hides_its_layers_is_refused(part: str) -> None:
    def hidden(width: int):
        model = net(width)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        if part == "model":
            model = torch.compile(model, backend="eager")
        elif part == "in place":
            model.compile(backend="eager")
        elif part == "layer":
            model[2] = torch.compile(model[2], backend="eager")
        else:
            whole, model = model, nn.Identity()
            model.forward = lambda x: whole(x)
        return model, optimizer

    with pytest.raises(ValueError, match=r"can't be seen.* return the model before torch.compile"):
        coordinate_check(hidden, [16, 32], BATCHES, loss)


# --- Bad arguments -----------------------------------------------------------------------------

BAD = {
    "coordinate_check(3, [8, 16], BATCHES, loss)": (
        "TypeError: coordinate_check(make=3): make must be a function of the width"
    ),
    "coordinate_check(make(0), [16, 8], BATCHES, loss)": (
        "ValueError: coordinate_check(widths=[16, 8]): widths must be at least two widths in incr"
    ),
    "coordinate_check(make(0), [8], BATCHES, loss)": (
        "ValueError: coordinate_check(widths=[8]): widths must be a sequence of at least 2"
    ),
    "coordinate_check(make(0), [8, 16], BATCHES[:2], loss)": (
        "ValueError: coordinate_check(batches='2 batches'): batches must be at least steps=4"
    ),
    "coordinate_check(make(0), [8, 16], BATCHES, loss, steps=0)": (
        "ValueError: coordinate_check(steps=0): steps must be a positive integer"
    ),
    "coordinate_check(make(0), [8, 16], BATCHES, loss, tolerance=-1)": (
        "ValueError: coordinate_check(tolerance=-1): tolerance must be a finite number"
    ),
    "coordinate_check(lambda width: net(width), [8, 16], BATCHES, loss)": (
        "TypeError: coordinate_check(make=<function <lambda> at"
    ),
    "coordinate_check(make(0, 0.0), [8, 16], BATCHES, loss)": (
        "ValueError: coordinate_check: no layer's output changed at every width; is the rate 0?"
    ),
    "coordinate_check(make(0, 1e40), [8, 16], BATCHES, loss)": "ValueError: coordinate_check: the",
}


@pytest.mark.parametrize("call", BAD)
def test_what_is_wrong_is_named(call: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        eval(call)
    assert f"{type(caught.value).__name__}: {caught.value}".startswith(BAD[call])
