"""The checkup: what is wrong with a scheduler, before a run (`examine`) and during it (`watch`).

Both compare the rates that an optimizer uses, and the calls of `step`, with a list of rules. What
some sound runs also do is reported as a note, not as a finding. Nothing of the run is changed.
"""

from __future__ import annotations

import copy
import html
import warnings
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lrlib import _checks, _rules
from lrlib._rules import Seen
from lrlib.rates import current_lrs

__all__ = ["Finding", "Report", "examine", "watch"]


@dataclass(frozen=True)
class Finding:
    """What one rule saw: at which step (from 0, or None), what to do instead, and where to read."""

    rule: str
    step: int | None
    seen: str
    repair: str
    url: str

    def __str__(self) -> str:
        where = "" if self.step is None else f", step {self.step}"
        return f"{self.rule}{where}: {self.seen}\n    Instead: {self.repair}\n    {self.url}"


@dataclass
class Report:
    """The outcome of a checkup; `print` it, or read `findings`, which is empty if all is sound.

    notes: what is right in some runs, and worth a look. rates: those that were used, shape [steps,
    groups].
    """

    subject: str
    ignore: tuple[str, ...] = ()
    findings: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    rates: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)), repr=False)

    def __str__(self) -> str:
        count = len(self.findings)
        head = f"{self.subject}, {len(self.rates)} steps: {count} finding{'s' * (count != 1)}"
        marked = [f"✗ {one}" for one in self.findings] + [f"· {one}" for one in self.notes]
        return "\n".join([head, *marked])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def _add(self, seen: Iterable[Seen]) -> None:
        for rule, step, what in seen:
            store = self.notes if rule in _rules.NOTES else self.findings
            if rule not in self.ignore and all(one.rule != rule for one in store):
                place, repair = _rules.RULES[rule]
                page = f"{_rules.MUSEUM}{place}" if isinstance(place, int) else place
                store.append(Finding(rule, step, what, repair, _rules.SITE + page))


def examine(
    make_scheduler: Callable[[Optimizer], Any],
    steps: int,
    optimizer: Optimizer | None = None,
    *,
    metric: Callable[[int], float] | Sequence[float] | None = None,
    steps_per_epoch: int | None = None,
    model: nn.Module | None = None,
    ignore: Sequence[str] = (),
) -> Report:
    """Simulates `steps` steps of the usual loop, and reports what is wrong with the scheduler.

    `make_scheduler` gets a stand-in with the groups and options of `optimizer` (by default, a
    single group at 0.1), so that your optimizer isn't changed. `metric`, a value per step or a
    function of the step, is for `ReduceLROnPlateau`. `steps_per_epoch` and `model` add rules about
    epochs and about weights; `ignore` names rules that are not applied.

    >>> report = examine(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=50), 100)
    >>> [(finding.rule, finding.step) for finding in report.findings]
    [('rises-at-end', 90)]
    """
    kind, rule = Callable, "a function that makes a scheduler for an optimizer"
    _checks.instance("examine", "make_scheduler", make_scheduler, kind=kind, rule=rule)
    steps = _checks.count("examine", "steps", steps)
    given = _arguments("examine", optimizer, steps_per_epoch, model, ignore)
    stand_in = _StandIn(given)
    found = [dict(group) for group in stand_in.param_groups]
    scheduler = make_scheduler(stand_in)
    _belongs("examine", "make_scheduler", scheduler, stand_in)
    plateau = isinstance(scheduler, ReduceLROnPlateau)
    if plateau == (metric is None):
        rule = "a value per step or a function, for ReduceLROnPlateau" if plateau else "left out"
        raise _checks.refuse("examine", "metric", metric, rule)
    metrics = [metric(t) for t in range(steps)] if callable(metric) else list(metric or [])
    if plateau and len(metrics) < steps:
        raise _checks.refuse("examine", "metric", metric, f"{steps} values, one per step")
    report = Report(type(scheduler).__name__, tuple(ignore))
    report._add(_rules.weights(given, model))
    report._add(_rules.at_start(scheduler, stand_in))
    rates, whole = list[list[float]](), True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in range(steps):
            rates.append(current_lrs(stand_in))
            stand_in.step()
            try:
                scheduler.step(*metrics[step : step + 1])
            except Exception as error:
                report._add([("raises", step, f"the call of step() raises {error!r}")])
                whole = False
                break
    report.rates = np.array(rates)
    if given is not None:
        report._add(_rules.against_optimizer(scheduler, found, report.rates))
    report._add(_rules.chain(scheduler, report.rates))
    report._add(_rules.any_rates(report.rates, current_lrs(stand_in)))
    if whole:
        report._add(_rules.whole_run(report.rates, steps_per_epoch))
        report._add(_rules.length(scheduler, _rules.counter(scheduler).last_epoch))
    report._add(_rules.plateau(scheduler, metrics, report.rates))
    return report


@contextmanager
def watch(
    optimizer: Optimizer,
    scheduler: Any,
    steps: int | None = None,
    *,
    steps_per_epoch: int | None = None,
    model: nn.Module | None = None,
    ignore: Sequence[str] = (),
) -> Iterator[Report]:
    """Watches a real run inside `with`; the report is complete when the block ends.

    `scheduler` is one scheduler, or a list if several change the same optimizer. With `steps`, the
    length of the whole run, the rules about its end apply as well. Watch at least an epoch if the
    scheduler steps once per epoch. Nothing is wrapped: a hook reads the rates before each optimizer
    step.

    >>> sgd = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    >>> decay = torch.optim.lr_scheduler.ExponentialLR(sgd, 0.9)
    >>> with watch(sgd, decay) as report:
    ...     for _ in range(3):
    ...         sgd.step()
    >>> [finding.rule for finding in report.findings]
    ['never-stepped']
    """
    given = _arguments("watch", optimizer, steps_per_epoch, model, ignore)
    _checks.instance("watch", "optimizer", optimizer, kind=Optimizer, rule="a torch optimizer")
    steps = _checks.optional(_checks.count)("watch", "steps", steps)
    several = scheduler if isinstance(scheduler, list | tuple) else [scheduler]
    # Accelerate wraps a scheduler.
    schedulers: list[Any] = [getattr(one, "scheduler", one) for one in several]
    for one in schedulers:
        _belongs("watch", "scheduler", one, given)
    first, width = _rules.counter(schedulers[0]), len(given.param_groups)
    start, lasts = first.last_epoch, [one.get_last_lr for one in schedulers]
    rates, positions = array("d"), array("d")
    report = Report(type(schedulers[0]).__name__, tuple(ignore))
    report._add(_rules.weights(given, model))
    if len(schedulers) == 1:
        report._add(_rules.at_start(schedulers[0], given))
    if width == 1 and start == 0:
        report._add(_rules.momentum([given.defaults], given.param_groups))

    def before_step(stepped: Optimizer, *_: Any) -> None:
        used = [float(group["lr"]) for group in stepped.param_groups]
        positions.append(first.last_epoch)
        rates.extend(used[:width])
        for last in lasts:
            if last() == used:
                return
        said = f"get_last_lr() says {lasts[0]()}, the optimizer uses {used}"
        report._add([("last-lr-differs", len(positions) - 1, said)])

    handle = given.register_step_pre_hook(before_step)
    try:
        yield report
    finally:
        handle.remove()
        report.rates = np.array(rates).reshape(-1, width)
        whole = steps is not None and len(positions) >= steps
        report._add(_rules.calls(np.array(positions), start, first.last_epoch, steps_per_epoch))
        report._add(_rules.any_rates(report.rates, current_lrs(given)))
        if whole:
            report._add(_rules.whole_run(report.rates, steps_per_epoch))
        for one in schedulers:
            report._add(_rules.plateau(one, [], report.rates))
            report._add(_rules.length(one, _rules.counter(one).last_epoch if whole else None))


class _StandIn(Optimizer):
    """An optimizer with another one's groups and options, whose step does nothing."""

    def __init__(self, like: Optimizer | None) -> None:
        plain = {"lr": 0.1, "momentum": 0.9}
        groups = [dict(group) for group in (like.param_groups if like else [plain])]
        for group in groups:
            group.pop("param_names", None)
            group.update(copy.deepcopy({**group, "params": [torch.zeros(1)]}))
        super().__init__(groups, dict(like.defaults if like else plain))

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        pass


def _arguments(
    owner: str, optimizer: Any, per_epoch: Any, model: Any, ignore: Sequence[str]
) -> Any:
    """The optimizer that takes the steps; all that is common to both functions is checked."""
    rule = "a torch optimizer"
    _checks.instance(owner, "optimizer", optimizer, kind=Optimizer | None, rule=rule)
    # Accelerate's wrapper hands the step on to the one inside.
    inner = getattr(optimizer, "optimizer", optimizer)
    if optimizer is not None and not inner.param_groups:
        raise _checks.refuse(owner, "optimizer", type(inner).__name__, "one with parameter groups")
    _checks.optional(_checks.count)(owner, "steps_per_epoch", per_epoch)
    rule = "a torch module, not its parameters"
    _checks.instance(owner, "model", model, kind=nn.Module | None, rule=rule)
    if model is not None and optimizer is None:
        raise _checks.refuse(owner, "model", type(model).__name__, "given with its optimizer")
    for rule in _checks.items(owner, "ignore", ignore, "a sequence of rules"):
        if rule not in _rules.RULES:
            raise _checks.refuse(owner, "ignore", rule, f"one of {', '.join(_rules.RULES)}")
    return inner


def _belongs(owner: str, name: str, scheduler: Any, optimizer: Any) -> None:
    """Refuses what isn't a scheduler for this optimizer."""
    made = "a function that returns " * (name == "make_scheduler")
    _checks.instance(owner, name, scheduler, kind=LRScheduler, rule=f"{made}a torch scheduler")
    own = getattr(scheduler.optimizer, "optimizer", scheduler.optimizer)
    if own.param_groups is not optimizer.param_groups:
        due = "for the optimizer that the function is given" if made else "for this optimizer"
        raise _checks.refuse(owner, name, f"{type(scheduler).__name__} of another optimizer", due)
