"""Per-layer rates: every trainable parameter in exactly one group, and a table that shows it.

The functions return what a torch optimizer takes as its first argument: a list of parameter groups.
Each group carries its real `lr`, so every scheduler sees it. A group can be made by name, by depth
(`layerwise_decay`), or by the kind of parameter (`by_kind`): matrices, vectors, embeddings, ….
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from lrlib import _checks

__all__ = ["by_kind", "by_name", "kinds", "layerwise_decay", "split_weight_decay", "summary"]

Group = dict[str, Any]
Options = float | Mapping[str, Any]
Layers = list[tuple[str, list[nn.Parameter]]]  # names and parameters, from input to output

POSITIONS = re.compile(r"(.*_)?(pos(emb\w*|ition\w*)?|wpe)(_|$)")
KINDS = ("matrices", "kernels", "vectors", "embeddings", "positions", "head")


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


def by_name(model: nn.Module, patterns: Mapping[str, Options]) -> list[Group]:
    """One group for each pattern; a parameter goes to the first pattern that matches its name.

    A pattern's value is its rate, or a dict of optimizer options (`lr`, `weight_decay`, …).
    Parameters that don't require a gradient are left out.

    Raises ValueError for a parameter without a pattern, and for a pattern without a parameter.

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
    return _grouped("by_name", named, match_names("by_name", named, patterns), patterns)


def kinds(model: nn.Module, head: str | None = None) -> dict[str, str]:
    """The kind of each parameter, trainable or frozen, by its name (its first, if it is tied).

    "head": the weight of the output layer, whose name `head` gives. "embeddings": the table of an
    `nn.Embedding`. "positions": class tokens and positions, which are tensors [1, …, width]
    outside of convolutions, or tensors whose name has `pos`, `posemb`, `position…` or `wpe` between
    underscores.
    "vectors": biases, the scales of norms, and all others with at most one dimension. Of the rest,
    "matrices" have two dimensions, and "kernels" more (convolutions). An embedding that is tied to
    the head is an embedding. The parts of a parametrized weight count as weights of
    their layer.

    Raises ValueError if `head` is not the name of a layer that has a weight of its own.

    >>> model = nn.Sequential(nn.Embedding(7, 4), nn.LayerNorm(4), nn.Linear(4, 4), nn.Linear(4, 7))
    >>> [(name, kind) for name, kind in kinds(model, head="3").items() if kind != "vectors"]
    [('0.weight', 'embeddings'), ('2.weight', 'matrices'), ('3.weight', 'head')]
    """
    _checks.instance("kinds", "model", model, kind=nn.Module, rule="a torch.nn.Module")
    modules = dict(model.named_modules())
    if head is not None and not isinstance(getattr(modules.get(head), "weight", None), Tensor):
        rule = (
            "the name of the output layer, such as 'head', and this layer must have a weight: in a "
            "container, name the layer that makes the logits; see model.named_modules()"
        )
        raise _checks.refuse("kinds", "head", head, rule)
    found: dict[int, str] = {}
    for path, module in modules.items():
        # The parts of a parametrized weight are in a list that belongs to their layer.
        place = path.partition("parametrizations")[0].rstrip(".")
        layer = modules[place]
        table = isinstance(layer, nn.Embedding | nn.EmbeddingBag)
        plain = isinstance(layer, nn.modules.conv._ConvNd | nn.Bilinear)
        for own, weight in module.named_parameters(recurse=False):
            # The name that says what a table is for is the module's: `positions.weight`.
            word = place.rpartition(".")[2] if table else own
            vector = own.startswith("bias") or hasattr(layer, "normalized_shape")
            if weight.ndim < 2 or vector:
                kind = "vectors"
            elif POSITIONS.match(word) or (weight.ndim > 2 and len(weight) == 1 and not plain):
                kind = "positions"
            elif table:
                kind = "embeddings"
            elif place == head:
                kind = "head"
            else:
                kind = "matrices" if weight.ndim == 2 else "kernels"
            # A tied weight is what the table says, also if its other name comes first.
            found[id(weight)] = kind if table else found.get(id(weight), kind)
    return {name: found[id(weight)] for name, weight in model.named_parameters()}


def by_kind(
    model: nn.Module, options: Mapping[str, Options], head: str | None = None
) -> list[Group]:
    """One group for each kind of parameter (see `kinds`); "*" stands for all other kinds.

    The value for a kind is its rate, or a dict of optimizer options (`lr`, `weight_decay`, …).
    `head` is the name of the output layer; without it, the weight of the output layer is one of the
    matrices. Parameters that don't require a gradient are left out.

    Raises ValueError if the model has a kind that `options` doesn't have, or `options` one that the
    model doesn't have.

    >>> model = nn.Sequential(nn.Embedding(7, 4), nn.LayerNorm(4), nn.Linear(4, 4), nn.Linear(4, 7))
    >>> groups = by_kind(model, {"matrices": 0.02, "*": 3e-4}, head="3")
    >>> [(group["name"], group["lr"], len(group["params"])) for group in groups]
    [('matrices', 0.02, 1), ('*', 0.0003, 6)]
    """
    named = _trainable("by_kind", model)
    if not isinstance(options, Mapping) or not options or not {*options} <= {*KINDS, "*"}:
        rule = f"a dict to rates; its keys may be {', '.join(KINDS)}, and '*' for all the others"
        raise _checks.refuse("by_kind", "options", options, rule, TypeError)
    kind = {name: one for name, one in kinds(model, head).items() if name in named}
    chosen = {name: one if one in options else "*" for name, one in kind.items()}
    missing = [f"{name} ({kind[name]})" for name in kind if chosen[name] not in options]
    if missing:
        what = f"no option for {', '.join(missing)}"
        raise ValueError(f'by_kind: {what}; add the kind in brackets to options, or "*"')
    idle = [key for key in options if key not in chosen.values()]
    if idle:
        unnamed = '; give the name of the output layer: head="…"'
        tied = f"; the weight of {head} is frozen, or it is tied and counts among the embeddings"
        raise ValueError(
            f"by_kind: the model has no trainable {', '.join(map(repr, idle))}; it has "
            f"{', '.join(dict.fromkeys(kind.values()))}"
            f"{'' if 'head' not in idle else unnamed if head is None else tied}"
        )
    return _grouped("by_kind", named, chosen, options)


def _grouped(
    owner: str,
    named: Mapping[str, nn.Parameter],
    chosen: Mapping[str, str],
    options: Mapping[str, Options],
) -> list[Group]:
    """A group for each key of `options`, with the parameters that have chosen it."""
    groups = []
    for key, value in options.items():
        own = dict(value) if isinstance(value, Mapping) else {"lr": value}
        for option in own.keys() & {"lr", "weight_decay"}:
            own[option] = _checks.number(owner, f"{key!r}: {option}", own[option])
        params = [weight for name, weight in named.items() if chosen[name] == key]
        groups.append({"params": params, "name": key, **own})
    return groups


def layerwise_decay(
    model: nn.Module, lr: float, decay: float, layers: Sequence[str] | None = None
) -> list[Group]:
    """A group for each layer: the last has the rate `lr`, each other `decay` times the next one's.

    `layers` are name prefixes from input to output. By default they are the model's children that
    have trainable parameters, in their order. But if the model has one stack of equal blocks, as
    transformers have, each block is a layer. Then everything that is registered before the first
    block is the lowest layer (embeddings, class token, positions), and everything after the last
    block is the highest layer (norm and head). Howard and Ruder (2018) call this method
    discriminative rates.

    Raises ValueError if the default would find a single layer, or several stacks inside the
    children, or a head (by its name) that is registered before the blocks. Then give `layers`. A
    tied weight belongs to the layer of its first name.

    >>> model = nn.Sequential(nn.Linear(64, 32), nn.Linear(32, 16), nn.Linear(16, 10))
    >>> groups = layerwise_decay(model, lr=0.1, decay=0.5)
    >>> [(group["name"], group["lr"]) for group in groups]
    [('0', 0.025), ('1', 0.05), ('2', 0.1)]
    >>> block = nn.TransformerEncoderLayer(4, nhead=2, dim_feedforward=8, batch_first=True)
    >>> blocks = nn.TransformerEncoder(block, num_layers=2)
    >>> model = nn.Sequential(nn.Embedding(7, 4), blocks, nn.Linear(4, 7))
    >>> [(group["name"], group["lr"]) for group in layerwise_decay(model, lr=0.1, decay=0.5)]
    [('before', 0.0125), ('1.layers.0', 0.025), ('1.layers.1', 0.05), ('after', 0.1)]
    """
    lr = _checks.number("layerwise_decay", "lr", lr)
    decay = _checks.number("layerwise_decay", "decay", decay)
    named = _trainable("layerwise_decay", model)
    layered = _layers(model, named) if layers is None else _named_layers(named, layers)
    groups = [
        {"params": params, "name": layer, "lr": lr * decay**depth}
        for depth, (layer, params) in enumerate(reversed(layered))
    ]
    return groups[::-1]


def _named_layers(named: Mapping[str, nn.Parameter], layers: Any) -> Layers:
    """The layers with these prefixes; if two fit, a parameter belongs to the later one."""
    due = "name prefixes from input to output"
    prefixes = _checks.items("layerwise_decay", "layers", layers, due)
    left, found = dict(named), []
    for prefix in reversed(prefixes):
        mine = [name for name in left if _inside(name, prefix)]
        if not mine:
            rule = f"prefixes of parameter names; {prefix!r} is none of {', '.join(left)}"
            raise _checks.refuse("layerwise_decay", "layers", list(prefixes), rule)
        found.append((prefix, [left.pop(name) for name in mine]))
    if left:
        raise ValueError(f"layerwise_decay: no layer holds {', '.join(left)}; add one to `layers`")
    return found[::-1]


def _layers(model: nn.Module, named: Mapping[str, nn.Parameter]) -> Layers:
    """The default layers: the blocks of the only stack and what is around it, or the children."""
    stacks = [path for path in _stacks(model) if any(_inside(name, path) for name in named)]
    inner = [path for path in stacks if "." in path]
    place = {name: name.partition(".")[0] for name in named}
    if len(stacks) == 1:
        (stack,) = stacks
        before = True
        for name, _ in model.named_parameters():
            inside = _inside(name, stack)
            before = before and not inside
            if name in place:
                block = name[len(stack) + 1 :].partition(".")[0]
                place[name] = f"{stack}.{block}" if inside else "before" if before else "after"
    layers = list(dict.fromkeys(place.values()))
    due = f"layerwise_decay: `layers` must be given for this {type(model).__name__}, which"
    how = "Write name prefixes from input to output, as in model.named_parameters()"
    if len(layers) < 2 or (len(stacks) > 1 and inner):
        seen = f"stacks of blocks: {', '.join(stacks)}" if inner else f"one layer: {layers[0]!r}"
        raise ValueError(f"{due} has {seen}. {how}")
    kind = kinds(model)  # a head that is tied to the embedding is in its place there
    below = [name for name in named if place[name] == "before" and kind[name] != "embeddings"]
    early = [name for name in below if re.search("head|classif", name)]
    if len(stacks) == 1 and early:
        seen = f"{', '.join(early)} before the blocks: the head would get the lowest rate"
        raise ValueError(f"{due} registers {seen}. {how}")
    return [(layer, [named[name] for name in named if place[name] == layer]) for layer in layers]


def _stacks(module: nn.Module, path: str = "") -> list[str]:
    """The paths below `module` of the outermost lists of at least two blocks of one class."""
    found = []
    for name, child in module.named_children():
        inside = f"{path}{name}"
        blocks = list(child.children()) if isinstance(child, nn.ModuleList | nn.Sequential) else []
        equal = len({type(block) for block in blocks}) == 1 < len(blocks)
        if equal and all(any(block.children()) for block in blocks):
            found.append(inside)
        else:
            found += _stacks(child, f"{inside}.")
    return found


def _inside(name: str, prefix: str) -> bool:
    return f"{name}.".startswith(f"{prefix}.")


def split_weight_decay(
    model: nn.Module, weight_decay: float, groups: Sequence[Group] | None = None
) -> list[Group]:
    """Weight decay for all parameters except vectors and positions (see `kinds`).

    Splits each group in two, one with and one without decay. `groups` are by default one group of
    all trainable parameters. Biases, the
    scales of norms, class tokens and positions don't decay. Embeddings of tokens decay; with
    `by_kind` you can give them a group of their own. Raises ValueError for a tensor that is no
    parameter of the model.

    >>> groups = split_weight_decay(nn.Linear(64, 10), weight_decay=0.01)
    >>> [(group["name"], group["weight_decay"], len(group["params"])) for group in groups]
    [('all, decayed', 0.01, 1), ('all, not decayed', 0.0, 1)]
    """
    weight_decay = _checks.number("split_weight_decay", "weight_decay", weight_decay)
    if groups is None:
        groups = [{"params": list(_trainable("split_weight_decay", model).values()), "name": "all"}]
    kind = kinds(model)
    spared = {
        id(weight): kind[name] in ("vectors", "positions")
        for name, weight in model.named_parameters()
    }
    halves = []
    for i, group in enumerate(groups):
        for weight in group["params"]:
            if id(weight) not in spared:
                raise _stranger("split_weight_decay", i, weight)
        for decayed, suffix in ((True, "decayed"), (False, "not decayed")):
            params = [weight for weight in group["params"] if spared[id(weight)] != decayed]
            if params:
                name = f"{group.get('name', f'group {i}')}, {suffix}"
                rate = weight_decay if decayed else 0.0
                halves.append({**group, "params": params, "name": name, "weight_decay": rate})
    return halves


@dataclass(frozen=True)
class GroupSummary:
    """A row of the audit: one parameter group.

    group: its name, or its number if it has no name; parameters: the names of its trainable
    weights, "a = b" for a weight that two layers share; count: how many numbers these weights hold;
    lr, weight_decay: None if the group has none of its own; frozen: the names of its frozen
    weights, which you may unfreeze later.
    """

    group: str
    parameters: tuple[str, ...]
    count: int
    lr: float | None = None
    weight_decay: float | None = None
    frozen: tuple[str, ...] = ()


def summary(groups: Optimizer | Sequence[Group], model: nn.Module) -> list[GroupSummary]:
    """The audit: one row per group, with its parameters, their number, its rate and weight decay.

    A frozen parameter may be in a group or in none. A parameter that two layers share (tied) has
    both names, and counts once.

    Raises ValueError if a trainable parameter of the model is in no group, if one is in two groups
    or twice in one, or if a group holds a tensor that isn't the model's: then the totals can't add
    up.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> for row in summary(by_name(model, {"2.*": 0.1, "*": 0.01}), model):
    ...     print(row.group, row.parameters, row.count, row.lr)
    2.* ('2.weight', '2.bias') 8 0.1
    * ('0.weight', '0.bias') 15 0.01
    """
    rule = "an optimizer, or a sequence of parameter groups (dicts with 'params')"
    given = groups.param_groups if isinstance(groups, Optimizer) else groups
    listed: Sequence[Group] = _checks.items("summary", "groups", given, rule)
    trainable = _trainable("summary", model)
    names: dict[int, str] = {}
    for name, weight in model.named_parameters(remove_duplicate=False):
        names[id(weight)] = f"{names[id(weight)]} = {name}" if id(weight) in names else name
    seen: dict[int, int] = {}
    rows = []
    for i, group in enumerate(listed):
        if not isinstance(group, Mapping) or "params" not in group:
            raise _checks.refuse("summary", "groups", groups, rule, TypeError)
        for weight in group["params"]:
            if id(weight) not in names:
                raise _stranger("summary", i, weight)
            if id(weight) in seen:
                raise ValueError(
                    f"summary: {names[id(weight)]} is in group {seen[id(weight)]} and in group {i}"
                    "; leave it in one group, once"
                )
            seen[id(weight)] = i
        own = [weight for weight in group["params"] if weight.requires_grad]
        row = GroupSummary(
            group=str(group.get("name", i)),
            parameters=tuple(names[id(weight)] for weight in own),
            count=sum(weight.numel() for weight in own),
            **{key: float(group[key]) for key in ("lr", "weight_decay") if key in group},
            frozen=tuple(names[id(w)] for w in group["params"] if not w.requires_grad),
        )
        rows.append(row)
    forgotten = [names[id(weight)] for weight in trainable.values() if id(weight) not in seen]
    if forgotten:
        raise ValueError(f"summary: in no group, so never trained: {', '.join(forgotten)}")
    return rows


def _stranger(owner: str, group: int, weight: Any) -> Exception:
    return ValueError(
        f"{owner}: group {group} holds a tensor of shape {tuple(weight.shape)} that is no "
        "parameter of the model; build the groups from the parameters of this model"
    )


def _trainable(owner: str, model: Any) -> dict[str, nn.Parameter]:
    _checks.instance(owner, "model", model, kind=nn.Module, rule="a torch.nn.Module")
    named = {name: w for name, w in model.named_parameters() if w.requires_grad}
    if not named:
        rule = "a model with trainable parameters"
        raise _checks.refuse(owner, "model", type(model).__name__, rule)
    return named
