"""Many trainings at once: every run is one row of a stacked model.

A step of a small network is mostly overhead: Python, autograd and kernel launches around very
little arithmetic. Stacking R runs pays that overhead once for all of them. Run i is what
`lrlib.lab.fit` does with the same seed and settings; the tests compare the weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from lrlib import _checks
from lrlib._checks import Checked, Factor, Seed, Share
from lrlib.lab.data import Dataset, Split
from lrlib.lab.models import seeded
from lrlib.lab.training import batch_order
from lrlib.lr_dropout import LRDropout, restore_dropped
from lrlib.param_groups import match_names
from lrlib.rates import set_lr
from lrlib.schedules import Constant, Schedule

__all__ = ["Run", "SweepResult", "fit_many", "grid"]

MakeOptimizer = Callable[[Iterable[Tensor]], Optimizer]
Floats = NDArray[np.float64]


def _scales(owner: str, name: str, value: Any) -> dict[str, float]:
    rule = "a dict from name patterns to factors, such as {'7.*': 1, '*': 0.1}"
    if not isinstance(value, Mapping) or not value:
        raise _checks.refuse(owner, name, value, rule, TypeError)
    return {
        pattern: _checks.number(owner, f"{name}: {pattern!r}", factor)
        for pattern, factor in value.items()
    }


@dataclass(frozen=True)
class Run(Checked):
    """One training of a sweep: its schedule, base rate and seed, and a label to find it by.

    `scales` gives layers their own rates: factors of the base rate by parameter name, as
    `param_groups.by_name` matches them, such as {"7.*": 1, "*": 0.1}; 0 freezes. `keep` below 1 is
    learning-rate dropout, with the masks of
    `LRDropout(…, keep, torch.Generator().manual_seed(seed))`.
    """

    schedule: Annotated[
        Schedule, partial(_checks.instance, kind=Schedule, rule="an lrlib schedule")
    ] = field(default_factory=Constant)
    base_lr: Factor = 0.1
    seed: Seed = 0
    label: Annotated[str, partial(_checks.instance, kind=str, rule="a string")] = ""
    scales: Annotated[Mapping[str, float] | None, _checks.optional(_scales)] = field(
        default=None, hash=False
    )
    keep: Share = 1.0


def grid(
    schedules: Mapping[str, Schedule], base_lrs: Iterable[float], seeds: Iterable[int]
) -> list[Run]:
    """Every schedule (by its label) with every base rate and every seed.

    >>> len(grid({"constant": Constant()}, base_lrs=[0.1, 0.2], seeds=range(16)))
    32
    """
    rule = "a dict from labels to schedules, such as {'constant': Constant()}"
    _checks.instance("grid", "schedules", schedules, kind=Mapping, rule=rule)
    rates = _checks.each(_checks.number)("grid", "base_lrs", base_lrs)
    numbers = _checks.items("grid", "seeds", seeds, "a sequence of seeds, such as range(16)")
    return [
        Run(schedule, rate, seed, label)
        for label, schedule in schedules.items()
        for rate in rates
        for seed in numbers
    ]


@dataclass(frozen=True)
class SweepResult:
    """What happened in a sweep; the first axis of every array counts the runs.

    train_loss, validation_loss, validation_accuracy: float64 [runs, epochs]; test_accuracy,
    test_loss: float64 [runs], NaN unless they were asked for; weights: float32 [runs, parameters],
    the final ones, in the order of `model.parameters()`. A run that diverged has NaN losses.
    """

    runs: tuple[Run, ...]
    train_loss: Floats
    validation_loss: Floats
    validation_accuracy: Floats
    test_loss: Floats
    test_accuracy: Floats
    weights: Tensor

    def __len__(self) -> int:
        return len(self.runs)

    def where(self, label: str | None = None, base_lr: float | None = None) -> SweepResult:
        """The runs with this label, or this base rate, or both, in their order."""
        chosen = [
            i
            for i, run in enumerate(self.runs)
            if label in (None, run.label) and base_lr in (None, run.base_lr)
        ]
        if not chosen:
            labels = ", ".join(repr(name) for name in dict.fromkeys(r.label for r in self.runs))
            raise ValueError(
                f"where(label={label!r}, base_lr={base_lr!r}): no such run; the labels are {labels}"
            )
        arrays = {one.name: getattr(self, one.name)[chosen] for one in fields(self)[1:]}
        return SweepResult(runs=tuple(self.runs[i] for i in chosen), **arrays)

    def scores(self, split: str) -> dict[str, Floats]:
        """What a contest compares: each run's final loss and accuracy on "validation" or "test"."""
        if _checks.one_of("validation", "test")("scores", "split", split) == "test":
            return {"loss": self.test_loss, "accuracy": self.test_accuracy}
        return {"loss": self.validation_loss[:, -1], "accuracy": self.validation_accuracy[:, -1]}


def fit_many(
    model_fn: Callable[[], nn.Module],
    data: Dataset,
    runs: Sequence[Run],
    *,
    epochs: int,
    batch_size: int = 32,
    optimizer: MakeOptimizer = torch.optim.SGD,
    initial: Tensor | None = None,
    validate: str = "epoch",
    test: bool = False,
    shard_size: int | None = None,
) -> SweepResult:
    """Trains all `runs` at once, as one stacked model.

    Each run has its own initial weights (`seeded(model_fn, seed)`), its own order of batches, and
    its own rate at every step (`base_lr` times its schedule). `optimizer` makes a torch optimizer
    from parameters, such as `functools.partial(torch.optim.SGD, momentum=0.9)`. It is given the
    weights of all runs as one tensor [runs, parameters], so each of its steps must be proportional
    to the rate, and treat every coordinate separately. The runs' rates replace its own rate.
    With `initial` the runs start from these weights, [runs, parameters].
    Each run is evaluated on the validation split after every epoch, or with `validate="end"` only
    after the last (NaN before), which saves time if epochs are short. With `test=True` the final
    models see the test split, once.

    `shard_size` cuts the sweep into stacks of that many runs, dispatched by joblib:
    `joblib.parallel_config` decides where they run, this process or a cluster.

    Raises ValueError if the model can't be stacked (batch-norm statistics, dropout) or the
    optimizer can't serve several runs, and says why.

    >>> from lrlib import Cosine
    >>> from lrlib.lab import load, mlp
    >>> data = load("digits", device="cpu")
    >>> sweep = grid({"cosine": Cosine(2 * data.steps_per_epoch(32))}, [0.1, 0.3], range(4))
    >>> result = fit_many(lambda: mlp(64, 32, 10), data, sweep, epochs=2)
    >>> result.validation_accuracy.shape
    (8, 2)
    """
    is_run = partial(_checks.instance, kind=Run, rule="a sequence of Run")
    checked: tuple[Run, ...] = _checks.each(is_run, least=1)("fit_many", "runs", runs)
    epochs = _checks.count("fit_many", "epochs", epochs)
    batch_size = _checks.count("fit_many", "batch_size", batch_size)
    _checks.one_of("epoch", "end")("fit_many", "validate", validate)
    if initial is not None and (not isinstance(initial, Tensor) or len(initial) != len(checked)):
        rule = f"a tensor with {len(checked)} rows"
        raise _checks.refuse("fit_many", "initial", initial, rule)
    _refuse_unsuitable(optimizer)
    train = partial(_fit_stack, model_fn, data, epochs, batch_size, optimizer, validate, test)
    if shard_size is None:
        return train(checked, initial)
    import joblib

    size = _checks.count("fit_many", "shard_size", shard_size)
    shards = [slice(start, start + size) for start in range(0, len(checked), size)]
    parts = joblib.Parallel()(
        joblib.delayed(train)(checked[shard], None if initial is None else initial[shard])
        for shard in shards
    )
    joined = {
        one.name: np.concatenate([getattr(part, one.name) for part in parts])
        for one in fields(SweepResult)[1:-1]
    }
    return SweepResult(checked, weights=torch.cat([part.weights for part in parts]), **joined)


def _fit_stack(
    model_fn: Callable[[], nn.Module],
    data: Dataset,
    epochs: int,
    batch_size: int,
    optimizer: MakeOptimizer,
    validate: str,
    test: bool,
    runs: tuple[Run, ...],
    initial: Tensor | None,
) -> SweepResult:
    x, y = data.train
    stack = _Stack(model_fn, [run.seed for run in runs], y.device, initial)
    update = _Update(optimizer, stack.weights)
    scales = stack.scales([run.scales for run in runs])
    # Learning-rate dropout, for the runs that have it: each with its own random numbers.
    masked = [
        (row, run.keep, torch.Generator(y.device).manual_seed(run.seed))
        for row, run in enumerate(runs)
        if run.keep < 1
    ]
    per_epoch = data.steps_per_epoch(batch_size)
    planned = np.stack([run.schedule.lrs(run.base_lr, epochs * per_epoch) for run in runs], axis=1)
    lrs = torch.from_numpy(planned).float().to(y.device).unsqueeze(2)  # [steps, runs, 1]
    train_loss, validation_loss, validation_accuracy = np.full((3, len(runs), epochs), np.nan)
    for epoch, rates in enumerate(lrs.split(per_epoch)):
        total = torch.zeros(len(runs), device=y.device)
        indices = _batches(runs, len(y), batch_size, epoch, y.device)
        for rate, batch in zip(rates, indices, strict=True):
            flat = batch.reshape(-1)
            inputs = x.index_select(0, flat).unflatten(0, batch.shape)
            loss = _cross_entropy(stack(inputs), y.index_select(0, flat).view(batch.shape))
            update.step(stack.gradients(loss), rate * scales)
            for row, keep, generator in masked:
                restore_dropped(stack.parameters(row), update.old[row], keep, generator)
            total += loss.detach() * batch.shape[1]
        train_loss[:, epoch] = (total / len(y)).cpu().numpy()
        if validate == "epoch" or epoch == epochs - 1:
            metrics = stack.evaluate(data.validation)
            validation_loss[:, epoch], validation_accuracy[:, epoch] = metrics
    unseen = np.full((2, len(runs)), np.nan)
    test_loss, test_accuracy = stack.evaluate(data.test) if test else unseen
    curves = (train_loss, validation_loss, validation_accuracy)
    return SweepResult(runs, *curves, test_loss, test_accuracy, stack.weights)


def _batches(
    runs: Sequence[Run], samples: int, batch_size: int, epoch: int, device: torch.device
) -> Iterator[Tensor]:
    """The epoch's batches of all runs, as indices of shape [runs, batch]."""
    seeds = list(dict.fromkeys(run.seed for run in runs))
    orders = torch.stack([batch_order(samples, seed, epoch) for seed in seeds]).to(device)
    row = torch.tensor([seeds.index(run.seed) for run in runs], device=device)
    return (part[row] for part in orders.split(batch_size, dim=1))


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Each run's mean cross-entropy, [runs], from logits [runs, batch, classes]."""
    return F.cross_entropy(logits.mT, labels, reduction="none").mean(dim=1)


# --- One optimizer for all runs ----------------------------------------------------------------


class _Update:
    """A torch optimizer on the weights of all runs [R, P], with a rate for each run.

    It steps at rate 1, and each row goes its run's rate of that way. `old` holds the weights before
    the step.
    """

    def __init__(self, make: MakeOptimizer, weights: Tensor) -> None:
        self.weights, self.old = weights, torch.empty_like(weights)
        self.optimizer = make([weights])
        set_lr(self.optimizer, 1.0)

    @torch.no_grad()
    def step(self, gradients: Tensor, lrs: Tensor) -> None:
        """The weights change in place; `lrs` is [R, 1], or [R, P] if layers have their own."""
        self.old.copy_(self.weights)
        self.weights.grad = gradients
        self.optimizer.step()
        torch.lerp(self.old, self.weights, lrs, out=self.weights)


def _refuse_unsuitable(make: MakeOptimizer) -> None:
    """Tries the optimizer on two small runs: together they must move as each does alone."""
    start, *gradients = torch.randn((4, 2, 64), generator=torch.Generator().manual_seed(0))
    rates = [torch.tensor([[0.5], [0.125]]) * factor for factor in (1.0, 0.5, 0.25)]

    def together(rows: list[int]) -> Tensor:
        weights = start[rows]
        update = _Update(make, weights)
        for gradient, lrs in zip(gradients, rates, strict=True):
            update.step(gradient[rows], lrs[rows])
        return weights

    def alone(row: int) -> Tensor:
        weight = start[row].clone()
        optimizer = make([weight])
        for gradient, lrs in zip(gradients, rates, strict=True):
            set_lr(optimizer, float(lrs[row]))
            weight.grad = gradient[row]
            optimizer.step()
        return weight

    try:
        both, twins = together([0, 1]), together([0, 0])
        apart = torch.stack([alone(0), alone(1)])
        optimizer = make([start])
    except Exception as error:
        raise ValueError(
            "fit_many(optimizer): must make a torch optimizer when it is called with parameters, "
            f"such as functools.partial(torch.optim.SGD, momentum=0.9); trying it gave: {error}"
        ) from error
    # One that moves the same run in two ways draws random numbers of its own: not comparable.
    comparable = torch.allclose(twins[0], twins[1], 1e-4, 1e-6)
    different = comparable and not torch.allclose(both, apart, 1e-4, 1e-6)
    if different or isinstance(optimizer, LRDropout):
        raise ValueError(
            f"fit_many(optimizer): {type(optimizer).__name__} must take steps that are "
            "proportional to the rate and treat every coordinate alone, or runs can't share it; "
            "use `fit` for each run (learning-rate dropout is Run(keep=…))"
        )


# --- The stacked model -------------------------------------------------------------------------


class _Stack:
    """R copies of a network: `weights` [R, P] holds one run a row; the layers see views of it."""

    def __init__(
        self,
        model_fn: Callable[[], nn.Module],
        seeds: Sequence[int],
        device: torch.device,
        initial: Tensor | None,
    ) -> None:
        rows: dict[int, Tensor] = {}
        for seed in dict.fromkeys(seeds):
            model = seeded(model_fn, seed)
            _refuse_unstackable(model)
            rows[seed] = nn.utils.parameters_to_vector(model.parameters()).detach()
            shapes = {name: weight.shape for name, weight in model.named_parameters()}
            if seed == seeds[0]:
                self._shapes = shapes
            elif shapes != self._shapes:
                raise ValueError(
                    "fit_many(model_fn): model_fn must return the same layers at every call"
                )
        self.weights = torch.stack([rows[seed] for seed in seeds]).to(device)
        if initial is not None:
            if initial.shape != self.weights.shape:
                rule = f"of shape {tuple(self.weights.shape)}"
                raise _checks.refuse("fit_many", "initial", tuple(initial.shape), rule)
            self.weights.copy_(initial.detach())
        self._views = {name: w.requires_grad_() for name, w in self._split(self.weights).items()}
        self._gradients = torch.empty_like(self.weights)
        self._gradient_views = list(self._split(self._gradients).values())
        self._forward = _stacked_forward(model)

    def _split(self, flat: Tensor) -> dict[str, Tensor]:
        """Views of [R, P] by the parameters' names, each [R, *shape]."""
        parts = flat.split([shape.numel() for shape in self._shapes.values()], dim=1)
        return {
            name: part.view(len(flat), *shape).detach()
            for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }

    def scales(self, wanted: Sequence[Mapping[str, float] | None]) -> Tensor | float:
        """Each weight's factor of its run's rate, [R, P]; just 1 if no run has scales."""
        if not any(wanted):
            return 1.0
        factors = torch.ones_like(self.weights)
        views = self._split(factors)
        for row, scales in enumerate(wanted):
            for name, pattern in match_names("Run(scales)", views, scales or {"*": 1}).items():
                views[name][row] = scales[pattern] if scales else 1.0
        return factors

    def parameters(self, row: int) -> list[Tensor]:
        """The weights of one run, as its network has them."""
        return [view[row].detach() for view in self._views.values()]

    def __call__(self, x: Tensor, shared: bool = False) -> Tensor:
        """Logits [R, batch, classes] of inputs [R, batch, …], or of [batch, …] that all share."""
        return self._forward(self._views, x, shared)

    def gradients(self, losses: Tensor) -> Tensor:
        """The gradient of each run's loss with respect to its own weights, [R, P].

        The same memory at every call: copied once, into the rows that the update reads.
        """
        gradients = torch.autograd.grad(losses.sum(), list(self._views.values()))
        torch._foreach_copy_(self._gradient_views, gradients)
        return self._gradients

    @torch.no_grad()
    def evaluate(self, split: Split) -> tuple[Floats, Floats]:
        """Each run's mean loss and accuracy on a split."""
        runs, device = len(self.weights), split.y.device
        loss, correct = torch.zeros(2, runs, device=device)
        # A chunk whose stacked inputs would take 1 MB, so that the layers stay near the cache.
        chunk = max(64, 2**18 // (runs * split.x[0].numel()))
        for x, y in zip(split.x.split(chunk), split.y.split(chunk), strict=True):
            logits = self(x, shared=True)
            labels = y.expand(runs, -1)
            loss += _cross_entropy(logits, labels) * len(y)
            correct += (logits.argmax(dim=2) == labels).sum(dim=1)
        samples = len(split.y)
        return (loss / samples).double().cpu().numpy(), (correct.double() / samples).cpu().numpy()


def _refuse_unstackable(model: nn.Module) -> None:
    for name, module in model.named_modules():
        kind, reason = type(module).__name__, ""
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats:
            reason = "its running statistics are not weights; use GroupNorm or LayerNorm"
        elif isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            reason = "its random numbers would differ from those of a single run"
        elif next(module.buffers(recurse=False), None) is not None:
            reason = "its buffers are not weights"
        if reason:
            layer = f"{name or 'the model'} ({kind})"
            raise ValueError(f"fit_many(model_fn): {layer} can't be stacked: {reason}")
    for name, weight in model.named_parameters():
        if weight.dtype != torch.float32 or not weight.requires_grad:
            rule = "must be float32 and require a gradient"
            raise ValueError(f"fit_many(model_fn): parameter {name} {rule}")


Forward = Callable[[dict[str, Tensor], Tensor, bool], Tensor]


def _stacked_forward(model: nn.Module) -> Forward:
    """The forward pass of all runs: by layers if every layer is known, else by `torch.func`."""
    if isinstance(model, nn.Sequential) and all(type(layer) in _STACKED for layer in model):
        layers = [(name, layer, _STACKED[type(layer)]) for name, layer in model.named_children()]

        def layerwise(weights: dict[str, Tensor], x: Tensor, shared: bool) -> Tensor:
            runs = len(next(iter(weights.values())))
            h = x.unsqueeze(0).expand(runs, *x.shape) if shared else x
            for name, layer, stacked in layers:
                h = stacked(layer, h, weights.get(f"{name}.weight"), weights.get(f"{name}.bias"))
            return h

        return layerwise
    skeleton = copy.deepcopy(model).to("meta")

    def call(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        output: Tensor = torch.func.functional_call(skeleton, weights, (x,))
        return output

    def mapped(weights: dict[str, Tensor], x: Tensor, shared: bool) -> Tensor:
        try:
            return torch.func.vmap(call, in_dims=(0, None if shared else 0))(weights, x)
        except (RuntimeError, NotImplementedError) as error:
            raise ValueError(
                f"fit_many(model_fn): torch.func.vmap can't stack the model: {error}"
            ) from error

    return mapped


# What the common layers do for [runs, batch, …]. `vmap` gives the same, with more overhead.


class _Linear(torch.autograd.Function):
    """h W^T + b for every run. Autograd's own way finds the gradient of W as its transpose.

    That is a product that MKL does up to 7 times slower (for 10 classes), and then a strided copy.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(h, weight)
        if bias is None:
            return torch.bmm(h, weight.mT)
        return torch.baddbmm(bias.unsqueeze(1), h, weight.mT)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        h, weight = ctx.saved_tensors
        wants_h, _, wants_bias = ctx.needs_input_grad
        return (
            torch.bmm(gradient, weight) if wants_h else None,
            torch.bmm(gradient.mT, h),
            gradient.sum(dim=1) if wants_bias else None,
        )


def _linear(layer: Any, h: Tensor, weight: Any, bias: Any) -> Tensor:
    if h.stride(0) == 0 and not torch.is_grad_enabled():  # every run sees the same: one product
        shared = torch.mm(weight.flatten(0, 1), h[0].mT).view(*weight.shape[:2], -1)
        return (shared if bias is None else shared.add_(bias.unsqueeze(2))).mT
    output: Tensor = _Linear.apply(h, weight, bias)
    return output


def _flatten(layer: Any, h: Tensor, weight: Any, bias: Any) -> Tensor:
    return h.flatten(layer.start_dim + 1, layer.end_dim if layer.end_dim < 0 else layer.end_dim + 1)


def _elementwise(layer: Any, h: Tensor, weight: Any, bias: Any) -> Tensor:
    return layer(h)


_ELEMENTWISE = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.ELU, nn.Identity)
_STACKED: dict[type, Callable[[Any, Tensor, Any, Any], Tensor]] = {
    nn.Linear: _linear,
    nn.Flatten: _flatten,
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
}
