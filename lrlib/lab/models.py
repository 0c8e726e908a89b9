"""The networks that the book trains, and initial weights from a seed."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrlib import _checks

__all__ = ["Decoder", "cifar_resnet34", "decoder", "mlp", "seeded", "small_cnn"]


def mlp(*widths: int) -> nn.Sequential:
    """A fully connected ReLU network, such as `mlp(64, 32, 10)`: 64 inputs, 10 classes.

    >>> mlp(64, 32, 10)(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """
    if len(widths) < 2:
        raise _checks.refuse(
            "mlp", "widths", widths, "at least two: the numbers of inputs and of classes"
        )
    checked = [_checks.count("mlp", "widths", width) for width in widths]
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(checked):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def small_cnn(channels: int = 1, size: int = 8, classes: int = 10, width: int = 8) -> nn.Sequential:
    """Two convolutions, each followed by 2×2 pooling, and a linear head.

    `size` is the images' height and width in pixels, a multiple of 4. `width` is the number of
    channels of the first convolution; the second has twice as many.

    >>> small_cnn(channels=1, size=8, classes=10)(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """
    channels = _checks.count("small_cnn", "channels", channels)
    classes = _checks.count("small_cnn", "classes", classes)
    width = _checks.count("small_cnn", "width", width)
    if _checks.integer("small_cnn", "size", size, low=4) % 4:
        raise _checks.refuse("small_cnn", "size", size, "a multiple of 4")
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * (size // 4) ** 2, classes),
    )


def cifar_resnet34(classes: int = 10) -> nn.Module:
    """ResNet-34 for 32×32 images: torchvision's, with a 3×3 first convolution and no pooling.

    21.3 million parameters; the network of the learning-rate dropout papers (He et al., 2016).

    >>> sum(weight.numel() for weight in cifar_resnet34().parameters())
    21282122
    """
    from torchvision.models import resnet34

    network = resnet34(num_classes=_checks.count("cifar_resnet34", "classes", classes))
    network.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()
    return network


class _Block(nn.Module):
    """Attention, then two linear layers; each adds to the stream x, [batch, positions, width].

    With "pre", the input of each part is normalized; with "post", the stream after each part is.
    """

    def __init__(self, width: int, heads: int, norm: str) -> None:
        super().__init__()
        self.heads, self.norm = heads, norm
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.feedforward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width)
        )

    def attention(self, x: Tensor) -> Tensor:
        heads = self.queries_keys_values(x).unflatten(2, (3, self.heads, -1))
        queries, keys, values = heads.permute(2, 0, 3, 1, 4)  # each [batch, heads, positions, …]
        mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return self.projection(mixed.transpose(1, 2).flatten(2))

    def forward(self, x: Tensor) -> Tensor:
        if self.norm == "pre":
            x = x + self.attention(self.norm1(x))
            return x + self.feedforward(self.norm2(x))
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.feedforward(x))


class Decoder(nn.Module):
    """A transformer that predicts the next token; `decoder` makes one."""

    def __init__(
        self, vocabulary: int, width: int, blocks: int, heads: int, context: int, norm: str
    ) -> None:
        super().__init__()
        self.context = context
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(_Block(width, heads, norm) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """The logits of each next token, [batch, positions, vocabulary]."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.tokens(tokens) + self.positions(positions)
        return self.head(self.norm(self.blocks(x)))


def decoder(
    vocabulary: int,
    width: int = 32,
    blocks: int = 2,
    heads: int = 2,
    context: int = 32,
    norm: str = "pre",
) -> Decoder:
    """A small transformer (decoder only) for tokens below `vocabulary`, at most `context` of them.

    `norm` is "pre" (a layer norm before each part, as in GPT-2) or "post" (after each part, as in
    Vaswani et al., 2017).

    >>> decoder(vocabulary=76)(torch.zeros(5, 32, dtype=torch.int64)).shape
    torch.Size([5, 32, 76])
    """
    sizes = (vocabulary, width, blocks, heads, context)
    names = ("vocabulary", "width", "blocks", "heads", "context")
    for name, size in zip(names, sizes, strict=True):
        _checks.count("decoder", name, size)
    if width % heads:
        raise _checks.refuse("decoder", "width", width, f"a multiple of heads, {heads}")
    return Decoder(*sizes, norm=_checks.one_of("pre", "post")("decoder", "norm", norm))


def seeded(model_fn: Callable[[], nn.Module], seed: int) -> nn.Module:
    """`model_fn()` with initial weights that depend on `seed` alone.

    The global random state is left unchanged.

    >>> one, same = (seeded(lambda: mlp(4, 2), seed=7) for _ in range(2))
    >>> bool((one[1].weight == same[1].weight).all())
    True
    """
    rule = "a function without arguments that makes a model"
    _checks.instance("seeded", "model_fn", model_fn, kind=Callable, rule=rule)
    seed = _checks.seed("seeded", "seed", seed)
    # The weights are drawn on the CPU, so that they are the same on every device.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return model_fn()
