"""Per-layer rates: every trainable parameter in exactly one group, and a table that shows it.

The functions return what a torch optimizer takes as its first argument: a list of parameter groups.
Each group carries its real `lr`, so every scheduler sees it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.optim import Optimizer

from lrlib import _checks
from lrlib.claims import Table, table

Group = dict[str, Any]


def match_names(owner: str, names: Iterable[str], patterns: Mapping[str, Any]) -> dict[str, str]:
    """Each name's first matching pattern (`*` and `?` as in file names), in the order of names.

    Raises ValueError for a name that no pattern matches and for a pattern that is left with no
    name; both list what there is.
    """
    names = list(names)
    found: dict[str, str] = {}
    for name in names:
        for pattern in patterns:
            if fnmatchcase(name, pattern):
                found[name] = pattern
                break
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(
            f"{owner}: no pattern matches {', '.join(missing)}; "
            'add one, or end with "*" for all the rest'
        )
    idle = [pattern for pattern in patterns if pattern not in found.values()]
    if idle:
        raise ValueError(
            f"{owner}: {', '.join(map(repr, idle))} matches no parameter that an earlier pattern "
            f"left over; the parameters are {', '.join(names)}"
        )
    return found


def by_name(model: nn.Module, patterns: Mapping[str, float | Mapping[str, Any]]) -> list[Group]:
    """One group for each pattern on parameter names, in order: the first that matches wins.

    A pattern's value is its rate, or a dict of optimizer options (`lr`, `weight_decay`, …).
    Parameters that don't require a gradient are left out.

    Raises ValueError for a parameter that no pattern matches, and for a pattern that gets none.

    >>> from lrlib import mlp
    >>> groups = by_name(mlp(64, 32, 10), {"3.*": 1e-2, "*": 1e-3})
    >>> [(group["name"], group["lr"], len(group["params"])) for group in groups]
    [('3.*', 0.01, 2), ('*', 0.001, 2)]
    """
    named = _trainable("by_name", model)
    named_all = isinstance(patterns, Mapping) and all(isinstance(key, str) for key in patterns)
    if not named_all or not patterns:
        rule = "a dict from name patterns to rates, such as {'head.*': 1e-2, '*': 1e-3}"
        raise _checks.refuse_type("by_name", "patterns", patterns, rule)
    matched = match_names("by_name", named, patterns)
    groups = []
    for pattern, value in patterns.items():
        options = dict(value) if isinstance(value, Mapping) else {"lr": value}
        for option in ("lr", "weight_decay"):
            if option in options:
                options[option] = _checks.number(
                    "by_name", f"{pattern!r}: {option}", options[option]
                )
        params = [weight for name, weight in named.items() if matched[name] == pattern]
        groups.append({"params": params, "name": pattern, **options})
    return groups


def layerwise_decay(
    model: nn.Module, lr: float, decay: float, layers: Sequence[str] | None = None
) -> list[Group]:
    """A group per layer: `lr` for the last one, times `decay` for each layer below it.

    `layers` are name prefixes from input to output; by default the model's children that have
    trainable parameters, in their order. Howard and Ruder (2018) call it discriminative rates.

    >>> from lrlib import mlp
    >>> groups = layerwise_decay(mlp(64, 32, 16, 10), lr=0.1, decay=0.5)
    >>> [(group["name"], group["lr"]) for group in groups]
    [('1', 0.025), ('3', 0.05), ('5', 0.1)]
    """
    lr = _checks.number("layerwise_decay", "lr", lr)
    decay = _checks.number("layerwise_decay", "decay", decay)
    named = _trainable("layerwise_decay", model)
    if layers is None:
        layers = list(dict.fromkeys(name.split(".")[0] for name in named))
    prefixes = _checks.items("layerwise_decay", "layers", layers, "name prefixes, input to output")
    patterns = {name: prefix for prefix in prefixes for name in (prefix, f"{prefix}.*")}
    used = {
        pattern: None for pattern in patterns if any(fnmatchcase(name, pattern) for name in named)
    }
    idle = [prefix for prefix in prefixes if not {prefix, f"{prefix}.*"} & used.keys()]
    if idle:
        rule = (
            f"prefixes of parameters; {', '.join(map(repr, idle))} has none of {', '.join(named)}"
        )
        raise _checks.refuse("layerwise_decay", "layers", list(prefixes), rule)
    matched = match_names("layerwise_decay", named, used)
    depth = len(prefixes) - 1
    return [
        {
            "params": [w for name, w in named.items() if patterns[matched[name]] == prefix],
            "name": prefix,
            "lr": lr * decay ** (depth - i),
        }
        for i, prefix in enumerate(prefixes)
    ]


def split_weight_decay(
    model: nn.Module, weight_decay: float, groups: Sequence[Group] | None = None
) -> list[Group]:
    """Weight decay for matrices and kernels, none for biases and the scales of norms.

    Splits each of `groups` in two (by default, all trainable parameters are one): tensors of two
    and more dimensions decay, vectors and scalars don't. Empty halves are left out.

    >>> from lrlib import mlp
    >>> groups = split_weight_decay(mlp(64, 32, 10), weight_decay=0.01)
    >>> [(group["name"], group["weight_decay"], len(group["params"])) for group in groups]
    [('all, decayed', 0.01, 2), ('all, not decayed', 0.0, 2)]
    """
    weight_decay = _checks.number("split_weight_decay", "weight_decay", weight_decay)
    if groups is None:
        groups = [{"params": list(_trainable("split_weight_decay", model).values()), "name": "all"}]
    halves = []
    for i, group in enumerate(groups):
        for suffix, rate, wanted in (
            ("decayed", weight_decay, lambda w: w.ndim >= 2),
            ("not decayed", 0.0, lambda w: w.ndim < 2),
        ):
            params = [weight for weight in group["params"] if wanted(weight)]
            if params:
                name = f"{group.get('name', f'group {i}')}, {suffix}"
                halves.append({**group, "params": params, "name": name, "weight_decay": rate})
    return halves


def summary(groups: Optimizer | Sequence[Group], model: nn.Module) -> Table:
    """The audit: a row for each group, its parameters, their number, its rate and weight decay.

    Raises ValueError where a trainable parameter of the model is in no group, is in two, or where
    a group holds one that is not the model's: then the totals can't add up.

    >>> from lrlib import mlp
    >>> model = mlp(4, 3, 2)
    >>> summary(by_name(model, {"3.*": 0.1, "*": 0.01}), model)
    23 trainable parameters in 2 groups, each in exactly one.
    group | parameters | count | lr | weight decay
    3.* | 3.weight, 3.bias | 8 | 0.1 | –
    * | 1.weight, 1.bias | 15 | 0.01 | –
    """
    rule = "an optimizer, or a sequence of parameter groups (dicts with 'params')"
    listed: Sequence[Group] = (
        groups.param_groups
        if isinstance(groups, Optimizer)
        else _checks.items("summary", "groups", groups, rule)
    )
    for group in listed:
        if not isinstance(group, Mapping) or "params" not in group:
            raise _checks.refuse_type("summary", "groups", groups, rule)
    names = {id(weight): name for name, weight in _trainable("summary", model).items()}
    seen: dict[int, int] = {}
    for i, group in enumerate(listed):
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
    total = sum(weight.numel() for group in listed for weight in group["params"])
    return table(
        {
            "group": [str(group.get("name", i)) for i, group in enumerate(listed)],
            "parameters": [_shortened([names[id(w)] for w in group["params"]]) for group in listed],
            "count": [f"{sum(w.numel() for w in group['params']):,}" for group in listed],
            "lr": [_option(group, "lr") for group in listed],
            "weight decay": [_option(group, "weight_decay") for group in listed],
        },
        caption=f"{total:,} trainable parameters in {len(listed)} "
        f"group{'s' if len(listed) != 1 else ''}, each in exactly one.",
    )


def _option(group: Group, name: str) -> str:
    return f"{float(group[name]):g}" if name in group else "–"


def _shortened(names: list[str]) -> str:
    return ", ".join(names if len(names) <= 4 else [*names[:3], f"… {len(names) - 3} more"])


def _trainable(owner: str, model: Any) -> dict[str, nn.Parameter]:
    if not isinstance(model, nn.Module):
        raise _checks.refuse_type(owner, "model", model, "a torch.nn.Module")
    named = {name: w for name, w in model.named_parameters() if w.requires_grad}
    if not named:
        raise _checks.refuse(
            owner, "model", type(model).__name__, "a model with trainable parameters"
        )
    return named
