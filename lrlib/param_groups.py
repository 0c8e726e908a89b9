"""Per-layer rates: every trainable parameter in exactly one group, and a table that shows it.

The functions return what a torch optimizer takes as its first argument: a list of parameter groups.
Each group carries its real `lr`, so every scheduler sees it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.optim import Optimizer

from lrlib import _checks

__all__ = ["by_name", "layerwise_decay", "split_weight_decay", "summary"]

Group = dict[str, Any]


def match_names(owner: str, names: Iterable[str], patterns: Mapping[str, Any]) -> dict[str, str]:
    """Each name's first matching pattern (`*` and `?` as in file names), in the order of names.

    Raises ValueError for a name that no pattern matches and for a pattern that is left with no
    name; both list what there is.
    """
    matches = {name: [p for p in patterns if fnmatchcase(name, p)] for name in names}
    missing = [name for name, found in matches.items() if not found]
    if missing:
        raise ValueError(
            f"{owner}: no pattern matches {', '.join(missing)}; "
            'add one, or end with "*" for all the rest'
        )
    first = {name: found[0] for name, found in matches.items()}
    idle = [pattern for pattern in patterns if pattern not in first.values()]
    if idle:
        raise ValueError(
            f"{owner}: {', '.join(map(repr, idle))} matches no parameter that an earlier pattern "
            f"left over; the parameters are {', '.join(first)}"
        )
    return first


def by_name(model: nn.Module, patterns: Mapping[str, float | Mapping[str, Any]]) -> list[Group]:
    """One group for each pattern on parameter names, in order: the first that matches wins.

    A pattern's value is its rate, or a dict of optimizer options (`lr`, `weight_decay`, …).
    Parameters that don't require a gradient are left out.

    Raises ValueError for a parameter that no pattern matches, and for a pattern that gets none.

    >>> model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    >>> groups = by_name(model, {"2.*": 1e-2, "*": 1e-3})
    >>> [(group["name"], group["lr"], len(group["params"])) for group in groups]
    [('2.*', 0.01, 2), ('*', 0.001, 2)]
    """
    named = _trainable("by_name", model)
    named_all = isinstance(patterns, Mapping) and all(isinstance(key, str) for key in patterns)
    if not named_all or not patterns:
        rule = "a dict from name patterns to rates, such as {'head.*': 1e-2, '*': 1e-3}"
        raise _checks.refuse("by_name", "patterns", patterns, rule, TypeError)
    matched = match_names("by_name", named, patterns)
    groups = []
    for pattern, value in patterns.items():
        options = dict(value) if isinstance(value, Mapping) else {"lr": value}
        for option in options.keys() & {"lr", "weight_decay"}:
            name = f"{pattern!r}: {option}"
            options[option] = _checks.number("by_name", name, options[option])
        params = [weight for name, weight in named.items() if matched[name] == pattern]
        groups.append({"params": params, "name": pattern, **options})
    return groups


def layerwise_decay(
    model: nn.Module, lr: float, decay: float, layers: Sequence[str] | None = None
) -> list[Group]:
    """A group per layer: `lr` for the last one, times `decay` for each layer below it.

    `layers` are name prefixes from input to output; by default the model's children that have
    trainable parameters, in their order. Blocks in one child, as in most transformers, get one
    rate: name them. Howard and Ruder (2018) call it discriminative rates.

    >>> model = nn.Sequential(nn.Linear(64, 32), nn.Linear(32, 16), nn.Linear(16, 10))
    >>> groups = layerwise_decay(model, lr=0.1, decay=0.5)
    >>> [(group["name"], group["lr"]) for group in groups]
    [('0', 0.025), ('1', 0.05), ('2', 0.1)]
    """
    lr = _checks.number("layerwise_decay", "lr", lr)
    decay = _checks.number("layerwise_decay", "decay", decay)
    named = _trainable("layerwise_decay", model)
    if layers is None:
        layers = list(dict.fromkeys(name.split(".")[0] for name in named))
    prefixes = _checks.items("layerwise_decay", "layers", layers, "name prefixes, input to output")
    groups: list[Group] = []
    left = dict(named)
    for depth, prefix in enumerate(reversed(prefixes)):
        mine = [name for name in left if f"{name}.".startswith(f"{prefix}.")]
        if not mine:
            rule = f"prefixes of parameters; {prefix!r} has none of {', '.join(left)}"
            raise _checks.refuse("layerwise_decay", "layers", list(prefixes), rule)
        params = [left.pop(name) for name in mine]
        groups.insert(0, {"params": params, "name": prefix, "lr": lr * decay**depth})
    if left:
        raise ValueError(f"layerwise_decay: no layer holds {', '.join(left)}; add one to `layers`")
    return groups


def split_weight_decay(
    model: nn.Module, weight_decay: float, groups: Sequence[Group] | None = None
) -> list[Group]:
    """Weight decay for tensors of two and more dimensions, none for vectors and scalars.

    Splits each of `groups` in two (by default, all trainable parameters are one). Biases and the
    scales of norms don't decay; embeddings and class tokens do, unless `by_name` puts them apart.

    >>> groups = split_weight_decay(nn.Linear(64, 10), weight_decay=0.01)
    >>> [(group["name"], group["weight_decay"], len(group["params"])) for group in groups]
    [('all, decayed', 0.01, 1), ('all, not decayed', 0.0, 1)]
    """
    weight_decay = _checks.number("split_weight_decay", "weight_decay", weight_decay)
    if groups is None:
        groups = [{"params": list(_trainable("split_weight_decay", model).values()), "name": "all"}]
    halves = []
    for i, group in enumerate(groups):
        for decayed, suffix in ((True, "decayed"), (False, "not decayed")):
            params = [weight for weight in group["params"] if (weight.ndim >= 2) == decayed]
            if params:
                name = f"{group.get('name', f'group {i}')}, {suffix}"
                rate = weight_decay if decayed else 0.0
                halves.append({**group, "params": params, "name": name, "weight_decay": rate})
    return halves


@dataclass(frozen=True)
class GroupSummary:
    """A row of the audit: one parameter group.

    group: its name, or its number where it has none; parameters: the names of its weights; count:
    how many numbers these hold; lr, weight_decay: None if the group has none of its own.
    """

    group: str
    parameters: tuple[str, ...]
    count: int
    lr: float | None = None
    weight_decay: float | None = None


def summary(groups: Optimizer | Sequence[Group], model: nn.Module) -> list[GroupSummary]:
    """The audit: one row per group, with its parameters, their number, its rate and weight decay.

    Raises ValueError if a trainable parameter of the model is in no group or in two, or if a group
    holds one that isn't the model's: then the totals can't add up.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> for row in summary(by_name(model, {"2.*": 0.1, "*": 0.01}), model):
    ...     print(row.group, row.parameters, row.count, row.lr)
    2.* ('2.weight', '2.bias') 8 0.1
    * ('0.weight', '0.bias') 15 0.01
    """
    rule = "an optimizer, or a sequence of parameter groups (dicts with 'params')"
    given = groups.param_groups if isinstance(groups, Optimizer) else groups
    listed: Sequence[Group] = _checks.items("summary", "groups", given, rule)
    names = {id(weight): name for name, weight in _trainable("summary", model).items()}
    seen: dict[int, int] = {}
    for i, group in enumerate(listed):
        if not isinstance(group, Mapping) or "params" not in group:
            raise _checks.refuse("summary", "groups", groups, rule, TypeError)
        for weight in group["params"]:
            if id(weight) not in names:
                raise ValueError(
                    f"summary: group {i} holds a tensor of shape {tuple(weight.shape)} that is no "
                    "trainable parameter of the model"
                )
            if id(weight) in seen:
                raise ValueError(
                    f"summary: {names[id(weight)]} is in group {seen[id(weight)]} and in group {i}"
                )
            seen[id(weight)] = i
    forgotten = [name for key, name in names.items() if key not in seen]
    if forgotten:
        raise ValueError(f"summary: in no group, so never trained: {', '.join(forgotten)}")
    return [
        GroupSummary(
            group=str(group.get("name", i)),
            parameters=tuple(names[id(weight)] for weight in group["params"]),
            count=sum(weight.numel() for weight in group["params"]),
            **{key: float(group[key]) for key in ("lr", "weight_decay") if key in group},
        )
        for i, group in enumerate(listed)
    ]


def _trainable(owner: str, model: Any) -> dict[str, nn.Parameter]:
    _checks.instance(owner, "model", model, kind=nn.Module, rule="a torch.nn.Module")
    named = {name: w for name, w in model.named_parameters() if w.requires_grad}
    if not named:
        rule = "a model with trainable parameters"
        raise _checks.refuse(owner, "model", type(model).__name__, rule)
    return named
