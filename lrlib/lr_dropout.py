"""Learning-rate dropout: at every step a random mask leaves some of the coordinates unchanged.

The inner optimizer takes its step as always, so that its state sees the whole gradient. Then the
dropped coordinates are restored to their old values, to the last bit. Nothing is rescaled, unless
it is asked for. With masks of blocks, one random draw decides for a whole parameter tensor.

Step hooks on the inner optimizer would be shorter. But `copy.deepcopy` and `pickle` silently
drop an optimizer's hooks, and the copy would train without dropout.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import LBFGS, Optimizer

from lrlib import _checks

__all__ = ["LRDropout"]

# At most this many words of random bits are drawn at a time: they and the weights that they mask
# should stay in the cache, and still be enough to hide the cost of a call.
_BLOCK = 2**20

# Below this number of weights, masks of bits are no faster.
_LARGE = 2**17

# Integers as wide as a weight: its bits are restored, whatever they mean.
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}

# What weights must have in common to be masked together: keep, device, dtype.
_Batch = tuple[float, torch.device, torch.dtype]


class LRDropout(Optimizer):
    """Any torch optimizer, with learning-rate dropout (Lin et al., 2019).

    Each coordinate keeps its update with probability `keep`, drawn anew at every step; a parameter
    group may have its own `keep`. This is an optimizer itself: schedulers, closures, `GradScaler`,
    `state_dict`, `copy` and `pickle` work on it. `inner` is the optimizer that it was given. A
    weight decay that the inner optimizer applies to the weights is a part of the update.

    With `blocks`, one random draw for each parameter tensor and step decides about the whole
    tensor. With `rescale`, the updates that are kept are multiplied by 1/keep, so that the mean
    step is that of the inner optimizer. Both together are SkipUpdate (Joo et al., 2026). A group
    that must not be masked, such as the embeddings, has a `keep` of 1.

    The masks come from `generator`, or from a generator of this optimizer that is seeded with
    `torch.initial_seed()`. So the masks don't change any other random numbers. The generator's
    state is in the `state_dict`.

    Raises TypeError for LBFGS, which needs the weights to be where its line search has put them.

    >>> weight = torch.zeros(1000, requires_grad=True)
    >>> optimizer = LRDropout(torch.optim.SGD([weight], lr=0.1, momentum=0.9), keep=0.5)
    >>> weight.grad = torch.ones(1000)
    >>> optimizer.step()
    >>> 400 < int((weight != 0).sum()) < 600
    True

    SkipUpdate moves the whole tensor, twice as far, or not at all:

    >>> weight = torch.zeros(1000, requires_grad=True)
    >>> sgd = torch.optim.SGD([weight], lr=0.1)
    >>> optimizer = LRDropout(sgd, keep=0.5, blocks=True, rescale=True)
    >>> weight.grad = torch.ones(1000)
    >>> optimizer.step()
    >>> weight.unique().item() in (0, torch.tensor(-0.2))
    True
    """

    def __init__(
        self,
        optimizer: Optimizer,
        keep: float = 0.5,
        generator: torch.Generator | None = None,
        *,
        blocks: bool = False,
        rescale: bool = False,
    ) -> None:
        if not isinstance(optimizer, Optimizer) or isinstance(optimizer, LBFGS | LRDropout):
            rule = "a torch optimizer; not LBFGS, whose line search needs the weights where it put "
            rule += "them, and not LRDropout again, since one mask is enough"
            raise _checks.refuse("LRDropout", "optimizer", type(optimizer), rule, TypeError)
        kind, rule = torch.Generator | None, "a torch.Generator"
        _checks.instance("LRDropout", "generator", generator, kind=kind, rule=rule)
        self.blocks = _checks.flag("LRDropout", "blocks", blocks)
        self.rescale = _checks.flag("LRDropout", "rescale", rescale)
        # The base class gives what torch expects of an optimizer (hooks, profiling); groups and
        # state are those of the inner one, not copies.
        super().__init__(optimizer.param_groups, {**optimizer.defaults, "keep": _share(keep)})
        self.inner = optimizer
        self._adopt()
        self._seed = (generator or torch.default_generator).initial_seed() % 2**63
        self._generators = {} if generator is None else {str(generator.device): generator}
        self._old: dict[_Batch, Tensor] = {}

    def _adopt(self) -> None:
        self.param_groups = self.inner.param_groups
        self.state = self.inner.state
        for group in self.param_groups:
            group["keep"] = _share(group.setdefault("keep", self.defaults["keep"]))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group to the inner optimizer; `keep` may be among its options."""
        if "inner" not in self.__dict__:  # the base class is collecting the groups
            super().add_param_group(param_group)
            return
        param_group["keep"] = _share(param_group.get("keep", self.defaults["keep"]))
        self.inner.add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of the inner optimizer, after which the dropped coordinates are restored."""
        batches: dict[_Batch, list[Tensor]] = {}
        for group in self.param_groups:
            for weight in group["params"]:
                # A closure makes the gradients only during the step.
                if group["keep"] < 1 and (weight.grad is not None or closure is not None):
                    batch = (group["keep"], weight.device, weight.dtype)
                    batches.setdefault(batch, []).append(weight.detach())
        olds = [self._remember(batch, weights) for batch, weights in batches.items()]
        loss = self.inner.step() if closure is None else self.inner.step(closure)
        restore = restore_dropped_blocks if self.blocks else restore_dropped
        for (batch, weights), old in zip(batches.items(), olds, strict=True):
            if self.rescale:
                # From old to new is the step; 1/keep times as far is the rescaled step.
                torch._foreach_lerp_(weights, _pieces(old, weights), 1 - 1 / batch[0])
            restore(weights, old, batch[0], self._generator(batch[1]))
        return loss

    def _remember(self, batch: _Batch, weights: list[Tensor]) -> Tensor:
        """The weights' values in one row."""
        # The same memory at every step: fresh memory costs more than the copy.
        old, count = self._old.get(batch), sum(weight.numel() for weight in weights)
        if old is None or len(old) != count:
            _, device, dtype = batch
            old = self._old[batch] = torch.empty(count, device=device, dtype=dtype)
        return torch.cat([weight.reshape(-1) for weight in weights], out=old)

    def _generator(self, device: torch.device) -> torch.Generator:
        name = str(device)
        if name not in self._generators:
            self._generators[name] = torch.Generator(device).manual_seed(self._seed)
        return self._generators[name]

    def state_dict(self) -> dict[str, Any]:
        """The inner optimizer's, with the state of the masks' generators as "lr_dropout"."""
        masks = {name: generator.get_state() for name, generator in self._generators.items()}
        return {**self.inner.state_dict(), "lr_dropout": {"seed": self._seed, "masks": masks}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the inner optimizer and the generators, so that the same masks follow.

        Raises ValueError if the state comes from an optimizer without learning-rate dropout; load
        that into `inner`.
        """
        if "lr_dropout" not in state_dict:
            raise ValueError(
                "LRDropout.load_state_dict: this is the state of an optimizer without "
                "learning-rate dropout; load it with `optimizer.inner.load_state_dict(…)`"
            )
        rest = {key: value for key, value in state_dict.items() if key != "lr_dropout"}
        self.inner.load_state_dict(rest)
        self._adopt()
        self._seed = int(state_dict["lr_dropout"]["seed"])
        for name, state in state_dict["lr_dropout"]["masks"].items():
            self._generator(torch.device(name)).set_state(state.cpu())

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle needs."""
        own = {"inner": self.inner, "_seed": self._seed, "_generators": self._generators}
        own |= {"blocks": self.blocks, "rescale": self.rescale}
        return {**super().__getstate__(), **own, "_old": {}}


_share = partial(_checks.share, "LRDropout", "keep")


def _random(count: int, kind: torch.dtype, generator: torch.Generator) -> Tensor:
    """Integers whose bits are all random, [count]."""
    words = torch.empty(-(-count * kind.itemsize // 8), dtype=torch.int64, device=generator.device)
    # From the whole range of the type: the default leaves out the sign.
    return words.random_(-(2**63), None, generator=generator).view(kind)[:count]


def _pieces(row: Tensor, weights: list[Tensor]) -> list[Tensor]:
    """The row of numbers, cut into tensors with the shapes of the weights."""
    pieces = row.split([weight.numel() for weight in weights])
    return [piece.view(weight.shape) for piece, weight in zip(pieces, weights, strict=True)]


def restore_dropped_blocks(
    weights: list[Tensor], old: Tensor, keep: float, generator: torch.Generator
) -> None:
    """Gives whole weights their values in `old`, each with the probability 1 - keep."""
    coins = torch.rand(len(weights), device=old.device, generator=generator) < keep
    for weight, piece, kept in zip(weights, _pieces(old, weights), coins.tolist(), strict=True):
        if not kept:
            weight.copy_(piece)


def restore_dropped(
    weights: list[Tensor], old: Tensor, keep: float, generator: torch.Generator
) -> None:
    """Gives the dropped coordinates of all weights their values in `old`, which has them in a row.

    Weights of one device and dtype; `old` has as many numbers as they have together.
    """
    plain = all(weight.is_contiguous() and weight.is_floating_point() for weight in weights)
    if plain and old.device.type == "cpu" and old.itemsize > 1 and len(old) >= _LARGE:
        _restore_by_bits(weights, old, keep, generator)
        return
    new = torch.cat([weight.reshape(-1) for weight in weights])
    kept = _random(len(new), torch.int32, generator) < min(round(keep * 2**32) - 2**31, 2**31 - 1)
    torch.where(kept, new, old, out=new)
    torch._foreach_copy_(weights, _pieces(new, weights))


def _restore_by_bits(
    weights: list[Tensor], old: Tensor, keep: float, generator: torch.Generator
) -> None:
    """The same with one random *bit* per coordinate, if keep is ½, and without gathering.

    Random numbers and `torch.where` each cost more than the step itself. So the row of weights is
    seen as 32 stretches, and bit i of a random word is the mask of one coordinate of stretch i:
    shifted to the sign and back, it fills the word with 0 (kept) or -1 (dropped). As integers,
    which wrap around, new + (new - old) · mask is then new or old.
    """
    kind = _INTEGERS[old.itemsize]
    width = 8 * old.itemsize
    old = old.view(kind)
    draws = -(-len(old) // (width * _BLOCK))
    block = -(-len(old) // (width * draws))
    mask, change = torch.empty((2, block), dtype=kind)
    done = 0
    for weight in weights:
        new = weight.view(-1).view(kind)
        start = 0
        while start < len(new):
            bit, at = divmod(done % (block * width), block)
            if at == 0:
                if bit == 0:
                    dropped = _bernoulli(block, 1 - keep, kind, generator)
                torch.bitwise_left_shift(dropped, width - 1 - bit, out=mask)
                mask.bitwise_right_shift_(width - 1)
            count = min(len(new) - start, block - at)
            piece = new[start : start + count]
            changed = torch.sub(piece, old[done : done + count], out=change[:count])
            piece.addcmul_(changed, mask[at : at + count])
            start, done = start + count, done + count


def _bernoulli(count: int, share: float, kind: torch.dtype, generator: torch.Generator) -> Tensor:
    """Words in which every bit is set with this probability, to within 2⁻²⁵.

    From the least digit of the share, written in binary, to the first: OR with random bits takes
    the probability p to (1 + p)/2, AND to p/2. A half needs one draw, a quarter two.
    """
    digits, length = round(share * 2**24), 24
    while length and digits % 2 == 0:
        digits, length = digits // 2, length - 1
    if length == 0:
        return torch.full((count,), -digits, dtype=kind)
    words = torch.zeros(count, dtype=kind)
    for place in range(length):
        drawn = _random(count, kind, generator)
        if digits >> place & 1:
            words |= drawn
        else:
            words &= drawn
    return words
