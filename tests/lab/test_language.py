"""The transformer looks back only, its loop is the ordinary one, and processes change nothing."""

from __future__ import annotations

from functools import partial

import joblib
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from lrlib import Constant, Linear
from lrlib.lab import Run, decoder, device, fit_text, fit_texts, load_text, seeded, text_loss

TEXT = load_text(device="cpu")
NETWORK = partial(decoder, len(TEXT.characters), width=16, blocks=1, heads=2, context=16)
ADAMW = partial(torch.optim.AdamW, betas=(0.9, 0.99), weight_decay=0.1)
NORMS = pytest.mark.parametrize("norm", ["pre", "post"])


def tokens(count: int, length: int) -> torch.Tensor:
    return torch.randint(76, (count, length), generator=torch.Generator().manual_seed(0))


@NORMS
def test_a_logit_for_each_token_and_its_successor(norm: str) -> None:
    model = decoder(76, width=24, blocks=3, heads=3, context=20, norm=norm)
    assert model(tokens(5, 20)).shape == (5, 20, 76)
    assert model(tokens(5, 7)).shape == (5, 7, 76), "a piece may be shorter than the context"


@NORMS
def test_a_later_character_changes_nothing_before_it_and_something_after(norm: str) -> None:
    model = seeded(partial(NETWORK, norm=norm), 0)
    here = tokens(4, 16)
    for place in (0, 7, 15):
        other = here.clone()
        other[:, place] = (other[:, place] + 1) % 76
        change = (model(here) - model(other)).abs().amax(dim=(0, 2))
        assert (change[:place] == 0).all()
        assert (change[place:] > 0).all(), "every later position sees it"


@NORMS
def test_a_block_is_torchs_encoder_layer_with_a_causal_mask(norm: str) -> None:
    block = seeded(partial(NETWORK, norm=norm), 1).blocks[0]
    twin = nn.TransformerEncoderLayer(16, 2, 64, 0.0, batch_first=True, norm_first=norm == "pre")
    weights = {
        "self_attn.in_proj": block.queries_keys_values,
        "self_attn.out_proj": block.projection,
        "linear1": block.feedforward[0],
        "linear2": block.feedforward[2],
        "norm1": block.norm1,
        "norm2": block.norm2,
    }
    joint = {"self_attn.in_proj": "_"}
    twin.load_state_dict(
        {
            f"{name}{joint.get(name, '.')}{kind}": getattr(module, kind)
            for name, module in weights.items()
            for kind in ("weight", "bias")
        }
    )
    x = torch.randn(3, 12, 16, generator=torch.Generator().manual_seed(2))
    mask = nn.Transformer.generate_square_subsequent_mask(12)
    torch.testing.assert_close(block(x), twin(x, src_mask=mask, is_causal=True))


def test_fit_text_is_the_ordinary_loop() -> None:
    schedule = Linear(0.1, 1.0, 3).then(Linear(1.0, 0.0, 9), at=3)
    model = seeded(NETWORK, 3)
    losses = fit_text(
        model, TEXT, ADAMW(model.parameters(), lr=0.02), steps=12, schedule=schedule, seed=5
    )
    twin = seeded(NETWORK, 3)
    adamw = ADAMW(twin.parameters(), lr=0.02)
    scheduler = torch.optim.lr_scheduler.LambdaLR(adamw, lambda t: schedule(t))
    for step in range(12):
        x, y = TEXT.batch(16, 16, seed=5, step=step)
        loss = F.cross_entropy(twin(x).movedim(2, 1), y)
        assert loss.item() == pytest.approx(losses[step], rel=1e-5)
        adamw.zero_grad()
        loss.backward()
        adamw.step()
        scheduler.step()
    # Not the weights: a bias of the keys has no gradient but rounding, which Adam makes large.
    assert text_loss(twin, TEXT.test) == pytest.approx(text_loss(model, TEXT.test), rel=1e-5)


def test_it_learns_a_tiny_text_by_heart() -> None:
    few = TEXT.train[:200]
    tiny = type(TEXT)("tiny", TEXT.characters, few, few, few)
    model = seeded(partial(decoder, len(TEXT.characters), context=16), 0)
    losses = fit_text(model, tiny, ADAMW(model.parameters(), lr=0.01), steps=200)
    assert losses[0] > 4
    assert text_loss(model, few) < 0.3, "far below what a text that isn't known allows"


def test_the_loss_is_the_mean_over_the_characters() -> None:
    model = seeded(NETWORK, 0)
    part = TEXT.validation[:1000]
    pieces = [part[i : i + 17] for i in range(0, 62 * 16, 16)]
    expected = np.mean(
        [F.cross_entropy(model(p[None, :-1])[0], p[1:]).item() for p in pieces if len(p) == 17]
    )
    assert text_loss(model, part) == pytest.approx(expected, rel=1e-5)
    assert text_loss(model, TEXT.validation) == pytest.approx(np.log(76), abs=0.5)


SWEEP = [Run(Linear(1.0, 0.0, 8), 0.01, 1), Run(Constant(), 0.03, 2), Run(base_lr=0.01, seed=1)]


def test_run_i_is_fit_text_with_the_same_seed() -> None:
    result = fit_texts(NETWORK, TEXT, SWEEP, steps=8, optimizer=ADAMW, test=True)
    for i, run in enumerate(SWEEP):
        model = seeded(NETWORK, run.seed)
        made = ADAMW(model.parameters(), lr=run.base_lr)
        losses = fit_text(model, TEXT, made, steps=8, schedule=run.schedule, seed=run.seed)
        np.testing.assert_allclose(result.train_loss[i], losses, rtol=1e-5)
        assert result.validation_loss[i] == pytest.approx(text_loss(model, TEXT.validation))
        assert result.test_loss[i] == pytest.approx(text_loss(model, TEXT.test))
    again = fit_texts(NETWORK, TEXT, SWEEP, steps=8, optimizer=ADAMW)
    np.testing.assert_array_equal(again.train_loss, result.train_loss)
    assert np.isnan(again.test_loss).all(), "the test part is seen only if that is asked for"
    assert result.train_loss[0, -1] != result.train_loss[2, -1], "the schedule matters"


@pytest.mark.slow
def test_processes_change_nothing() -> None:
    settings = dict(steps=6, optimizer=ADAMW, average=0.9)
    here = fit_texts(NETWORK, TEXT, SWEEP, **settings)
    threads = torch.get_num_threads()
    with joblib.parallel_config("loky", n_jobs=2):
        there = fit_texts(NETWORK, TEXT, SWEEP, **settings)
    np.testing.assert_array_equal(here.train_loss, there.train_loss)
    np.testing.assert_array_equal(here.validation_loss, there.validation_loss)
    assert torch.get_num_threads() == threads


def test_the_average_is_what_is_evaluated() -> None:
    run, decay = Run(base_lr=0.03), 0.8
    model = seeded(NETWORK, run.seed)
    mean = AveragedModel(model, avg_fn=lambda old, new, _: decay * old + (1 - decay) * new)
    adamw = ADAMW(model.parameters(), lr=run.base_lr)
    for step in range(7):
        x, y = TEXT.batch(16, 16, seed=0, step=step)
        adamw.zero_grad()
        F.cross_entropy(model(x).movedim(2, 1), y).backward()
        adamw.step()
        mean.update_parameters(model)
    expected = text_loss(mean.module, TEXT.validation)
    result = fit_texts(NETWORK, TEXT, [run], steps=7, optimizer=ADAMW, average=decay)
    assert result.validation_loss[0] == pytest.approx(expected, rel=1e-5)
    assert text_loss(model, TEXT.validation) != pytest.approx(expected, rel=1e-3)


def test_it_trains_where_the_text_is() -> None:
    text = load_text()
    result = fit_texts(NETWORK, text, [Run(base_lr=0.01)], steps=3)
    assert text.train.device.type == device().type
    assert np.isfinite(result.train_loss).all()


@pytest.mark.parametrize(
    ("make", "start"),
    [
        (lambda: decoder(76, width=30, heads=4), r"decoder\(width=30\): .* multiple of heads, 4"),
        (lambda: decoder(76, blocks=0), r"decoder\(blocks=0\)"),
        (lambda: decoder(76, norm="none"), r"decoder\(norm='none'\): norm must be 'pre' or 'post'"),
        (lambda: fit_texts(NETWORK, TEXT, [], steps=1), r"fit_texts\(runs="),
        (lambda: fit_texts(NETWORK, TEXT, [Run(keep=0.5)], steps=1), "only fit_many has"),
        (lambda: fit_texts(NETWORK, TEXT, SWEEP, steps=1, average=1.5), r"fit_texts\(average=1.5"),
        (lambda: fit_texts(NETWORK, TEXT, SWEEP, steps=0), r"fit_text\(steps=0\)"),
        (lambda: text_loss(NETWORK(), TEXT.test[:16]), r"text_loss\(part='16 characters'\)"),
    ],
)
def test_bad_arguments_are_named(make, start: str) -> None:
    with pytest.raises(ValueError, match=start):
        make()
