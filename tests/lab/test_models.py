"""The networks have the shapes that the book says, and the same seed gives the same weights."""

from __future__ import annotations

import pytest
import torch

from lrlib.lab import cifar_resnet34, mlp, seeded, small_cnn


@pytest.mark.parametrize(
    ("model", "image"),
    [
        (lambda: mlp(64, 32, 10), (1, 8, 8)),
        (lambda: mlp(784, 64, 32, 10), (1, 28, 28)),
        (lambda: small_cnn(), (1, 8, 8)),
        (lambda: small_cnn(channels=3, size=32), (3, 32, 32)),
        (lambda: cifar_resnet34(), (3, 32, 32)),
    ],
)
def test_images_in_ten_logits_out(model, image) -> None:
    network = model().eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, *image)).shape == (2, 10)


def test_resnet34_keeps_the_resolution_that_small_images_need() -> None:
    network = cifar_resnet34()
    sizes = []
    network.layer4.register_forward_hook(lambda module, x, y: sizes.append(y.shape[-2:]))
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 3, 32, 32))
    assert sizes == [(4, 4)], "32 → 16 → 8 → 4: only the three strided stages shrink it"


def test_seeded_depends_on_the_seed_alone_and_disturbs_nothing() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    one = seeded(lambda: mlp(8, 4, 2), 5)
    assert torch.equal(torch.rand(3), expected), "the global random state is as before"
    torch.manual_seed(2)
    two, other = seeded(lambda: mlp(8, 4, 2), 5), seeded(lambda: mlp(8, 4, 2), 6)
    assert torch.equal(one[1].weight, two[1].weight)
    assert not torch.equal(one[1].weight, other[1].weight)


@pytest.mark.parametrize(
    ("make", "start"),
    [
        (lambda: mlp(10), r"mlp\(widths="),
        (lambda: mlp(10, 0), r"mlp\(widths=0\)"),
        (lambda: small_cnn(size=10), r"small_cnn\(size=10\).*multiple of 4"),
        (lambda: small_cnn(width=-1), r"small_cnn\(width=-1\)"),
        (lambda: cifar_resnet34(0), r"cifar_resnet34\(classes=0\)"),
        (lambda: seeded(lambda: mlp(4, 2), -1), r"seeded\(seed=-1\)"),
    ],
)
def test_bad_arguments_are_named(make, start: str) -> None:
    with pytest.raises(ValueError, match=start):
        make()
