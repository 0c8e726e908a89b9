"""Answers to assignment 2, right and wrong, and the marks that each must lose.

An answer's first line names the cell and says what is unusual or wrong. The
second names the test cells that give no marks; "nothing" stands for a right
answer. Then comes the whole cell, or what changes in the solution's cell: a
line "# - before", and one or more lines "# + after".
"""


# %% two: tuples, the head first
# loses: nothing
def two_groups(model, body_lr, head_lr):
    trained = [p for p in model.named_parameters() if p[1].requires_grad]
    head = tuple(w for n, w in trained if n.split(".")[0] == "head")
    body = tuple(w for n, w in trained if n.split(".")[0] != "head")
    pairs = ((head, head_lr), (body, body_lr))
    return tuple({"lr": lr, "params": held} for held, lr in pairs if held)


# %% two: generators of generators
# loses: nothing
def two_groups(model, body_lr, head_lr):
    from itertools import groupby

    trained = [(n, w) for n, w in model.named_parameters() if w.requires_grad]

    def is_head(pair):
        return pair[0].startswith("head.")

    for in_head, pairs in groupby(sorted(trained, key=is_head), is_head):
        lr = head_lr if in_head else body_lr
        yield {"params": (w for _, w in list(pairs)), "lr": lr}


# %% two: names beside the weights, tensors for rates
# loses: nothing
def two_groups(model, body_lr, head_lr):
    both = {"body": [], "head": []}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            key = "head" if name.startswith("head.") else "body"
            both[key].append((name, weight))
    lrs = {"body": torch.tensor(body_lr), "head": torch.tensor(head_lr)}
    return [{"params": held, "lr": lrs[k]} for k, held in both.items() if held]


# %% two: the head by identity
# loses: nothing
def two_groups(model, body_lr, head_lr):
    body, head = {}, {}
    for child_name, child in [("", model), *model.named_children()]:
        recurse = child is not model
        for weight in child.parameters(recurse=recurse):
            if weight.requires_grad and weight not in {**body, **head}:
                (head if child_name == "head" else body)[weight] = None
    groups = [
        {"params": head.keys(), "lr": head_lr},
        {"params": body.keys(), "lr": body_lr},
    ]
    return [group for group in groups if len(group["params"])]


# %% layerwise: from the end, and turned round
# loses: nothing
def layerwise(model, layers, lr, decay):
    groups, rate = [], lr
    for name in reversed(layers):
        weights = list(
            filter(
                lambda w: w.requires_grad,
                model.get_submodule(name).parameters(),
            )
        )
        if weights:
            groups.insert(0, dict(params=weights, lr=max(rate, 0.05 * lr)))
        rate *= decay
    return groups


# %% layerwise: NumPy's rates, iterators
# loses: nothing
import numpy as np


def layerwise(model, layers, lr, decay):
    powers = np.arange(len(layers))[::-1]
    all_rates = lr * np.maximum(float(decay) ** powers, 0.05)
    for name, rate in zip(layers, all_rates):
        weights = [
            w
            for n, w in model.named_parameters()
            if n.startswith(name + ".") and w.requires_grad
        ]
        if weights:
            yield {"params": iter(weights), "lr": rate}


# %% layerwise: recursion
# loses: nothing
def layerwise(model, layers, lr, decay, floor=None):
    if not layers:
        return []
    floor = 0.05 * lr if floor is None else floor
    *before, last = layers
    weights = [w for w in getattr(model, last).parameters() if w.requires_grad]
    own = [{"params": weights, "lr": max(lr, floor)}] if weights else []
    return layerwise(model, before, lr * decay, decay, floor) + own


# %% split: iterators
# loses: nothing
def split_decay(model, weight_decay):
    trained = [w for w in model.parameters() if w.requires_grad]
    return (
        {
            "params": filter(lambda w: w.dim() > 1, trained),
            "weight_decay": weight_decay,
        },
        {"params": (w for w in trained if w.dim() <= 1), "weight_decay": 0},
    )


# %% split: by the shape, a dict of both
# loses: nothing
def split_decay(model, weight_decay):
    found = {True: [], False: []}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            found[len(weight.shape) >= 2].append((name, weight))
    return [
        {"params": found[True], "weight_decay": weight_decay},
        {"params": found[False], "weight_decay": 0.0},
    ]


# %% unfreeze: the module's own method, weights compared by "is"
# loses: nothing
def unfreeze(optimizer, part, lr):
    part.requires_grad_(True)
    held = [w for g in optimizer.param_groups for w in g["params"]]
    new = [w for w in part.parameters() if not any(w is h for h in held)]
    if len(new) > 0:
        optimizer.add_param_group(dict(params=new, lr=lr))


# %% unfreeze: a set of tensors, a progress bar on stderr
# loses: nothing
import sys


def unfreeze(optimizer, part, lr):
    held = set().union(*(g["params"] for g in optimizer.param_groups))
    new = [w for w in part.requires_grad_().parameters() if w not in held]
    print("unfreezing", len(new), "weights", file=sys.stderr)
    if not new:
        return
    optimizer.add_param_group({"params": iter(new), "lr": torch.tensor(lr)})


# %% two: frozen weights too
# loses: two-audit
# - if weight.requires_grad:
# + if True:


# %% two: one rate for both
# loses: two-rates
# - head_lr}
# + body_lr}


# %% two: the rates exchanged
# loses: two-rates, two-tied
# - {"params": body, "lr": body_lr}, {"params": head, "lr": head_lr}
# + {"params": body, "lr": head_lr}, {"params": head, "lr": body_lr}


# %% two: a shared weight twice
# loses: two-tied
# - model.named_parameters()
# + model.named_parameters(remove_duplicate=False)


# %% two: "head" anywhere in the name
# loses: two-rates
# - name.startswith("head.")
# + "head" in name


# %% two: the prefix without its dot
# loses: two-rates
# - name.startswith("head.")
# + name.startswith("head")


# %% two: a frozen weight of the head kept
# loses: two-audit
# - if weight.requires_grad:
# + if weight.requires_grad or name.startswith("head."):


# %% two: empty groups kept
# loses: two-audit
# - return [group for group in groups if group["params"]]
# + return groups


# %% two: an empty group of the body kept
# loses: two-audit
# - if group["params"]]
# + if group["params"] or group["lr"] == body_lr]


# %% two: two blocks written out
# loses: two-audit, two-tied
def two_groups(model, body_lr, head_lr):
    body = [*model.block1.parameters(), *model.block2.parameters()]
    return [
        {"params": [w for w in body if w.requires_grad], "lr": body_lr},
        {"params": list(model.head.parameters()), "lr": head_lr},
    ]


# %% two: only matrices
# loses: two-audit, two-tied
# - if weight.requires_grad:
# + if weight.requires_grad and weight.ndim > 1:


# %% layerwise: the wrong end
# loses: layerwise-frozen, layerwise-rates
# - decay ** (len(layers) - 1 - i)
# + decay**i


# %% layerwise: off by one
# loses: layerwise-frozen, layerwise-rates
# - len(layers) - 1 - i
# + len(layers) - i


# %% layerwise: no lowest rate
# loses: layerwise-frozen, layerwise-rates
# - max(decay ** (len(layers) - 1 - i), 0.05)
# + decay ** (len(layers) - 1 - i)


# %% layerwise: the lowest rate not relative
# loses: layerwise-frozen, layerwise-rates
# - lr * factor
# + max(lr * decay ** (len(layers) - 1 - i), 0.05)


# %% layerwise: block1 takes block10
# loses: layerwise-frozen, layerwise-rates
# - layer.parameters() if w.requires_grad
# + [w for n, w in model.named_parameters() if n.startswith(name)]
# +             if w.requires_grad


# %% layerwise: the model's children for `layers`
# loses: layerwise-rates
# - for i, name in enumerate(layers):
# + layers = [name for name, _ in model.named_children()]
# +     for i, name in enumerate(layers):


# %% layerwise: a partly frozen layer whole
# loses: layerwise-frozen
# - weights = [w for w in layer.parameters() if w.requires_grad]
# + weights = list(layer.parameters())
# +         weights = weights if any(w.requires_grad for w in weights) else []


# %% layerwise: judged by a layer's first weight
# loses: layerwise-frozen
# - weights = [w for w in layer.parameters() if w.requires_grad]
# + weights = list(layer.parameters())
# +         weights = weights if weights[0].requires_grad else []


# %% layerwise: a frozen layer doesn't count
# loses: layerwise-frozen
# - for i, name in enumerate(layers):
# + layers = [
# +         name
# +         for name in layers
# +         if any(w.requires_grad for w in getattr(model, name).parameters())
# +     ]
# +     for i, name in enumerate(layers):


# %% layerwise: an empty group for a frozen layer
# loses: layerwise-frozen
# - if weights:
# + if True:


# %% layerwise: only matrices
# loses: layerwise-frozen, layerwise-rates
# - if w.requires_grad
# + if w.requires_grad and w.ndim > 1


# %% split: by name, so norms decay
# loses: split-which
def split_decay(model, weight_decay):
    named = [p for p in model.named_parameters() if p[1].requires_grad]
    return [
        {
            "params": [w for n, w in named if "weight" in n],
            "weight_decay": weight_decay,
        },
        {
            "params": [w for n, w in named if "weight" not in n],
            "weight_decay": 0.0,
        },
    ]


# %% split: matrices only, so kernels don't decay
# loses: split-which
# - w.ndim >= 2
# + w.ndim == 2
# - w.ndim < 2
# + w.ndim != 2


# %% split: the weights of linear layers only
# loses: split-which
def split_decay(model, weight_decay):
    linear = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
    inside = {id(w) for w in linear}
    trained = [w for w in model.parameters() if w.requires_grad]
    return [
        {
            "params": [w for w in trained if id(w) in inside],
            "weight_decay": weight_decay,
        },
        {
            "params": [w for w in trained if id(w) not in inside],
            "weight_decay": 0.0,
        },
    ]


# %% split: all but LayerNorm and biases
# loses: split-which
def split_decay(model, weight_decay):
    spared = set()
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            spared |= {id(w) for w in module.parameters()}
        if getattr(module, "bias", None) is not None:
            spared.add(id(module.bias))
    trained = [w for w in model.parameters() if w.requires_grad]
    return [
        {
            "params": [w for w in trained if id(w) not in spared],
            "weight_decay": weight_decay,
        },
        {
            "params": [w for w in trained if id(w) in spared],
            "weight_decay": 0.0,
        },
    ]


# %% split: by the number of elements
# loses: split-which
# - w.ndim >= 2
# + w.numel() > 8
# - w.ndim < 2
# + w.numel() <= 8


# %% split: exchanged
# loses: split-which
# - w.ndim >= 2
# + w.ndim == 1
# - w.ndim < 2
# + w.ndim != 1


# %% split: frozen weights too
# loses: split-which
# - [w for w in model.parameters() if w.requires_grad]
# + list(model.parameters())


# %% unfreeze: added again
# loses: unfreeze-once, unfreeze-twice
# - if id(weight) not in held:
# + if True:


# %% unfreeze: still frozen
# loses: unfreeze-once, unfreeze-twice
# - weight.requires_grad_(True)
# + pass


# %% unfreeze: two groups are enough, so a second part never learns
# loses: unfreeze-twice
# - if new:
# + if new and len(optimizer.param_groups) < 2:


# %% unfreeze: a flag on the function
# loses: unfreeze-once, unfreeze-twice
# - if new:
# + if new and not hasattr(unfreeze, "done"):
# +         unfreeze.done = True


# %% unfreeze: biases stay frozen
# loses: unfreeze-once, unfreeze-twice
# - for weight in part.parameters():
# + for weight in [w for w in part.parameters() if w.ndim > 1]:


# %% unfreeze: what is trainable is taken for held
# loses: unfreeze-twice
# - weight.requires_grad_(True)
# + if weight.requires_grad:
# +             continue
# +         weight.requires_grad_(True)


# %% unfreeze: at the rate of the first group
# loses: unfreeze-once, unfreeze-twice
# - "lr": lr
# + "lr": optimizer.param_groups[0]["lr"]


# %% unfreeze: into the first group
# loses: unfreeze-once, unfreeze-twice
# - optimizer.add_param_group({"params": new, "lr": lr})
# + optimizer.param_groups[0]["params"].extend(new)


# %% unfreeze: an empty group at the second call
# loses: unfreeze-twice
# - if new:
# + if True:


# %% unfreeze: a group for each weight
# loses: unfreeze-once, unfreeze-twice
# - optimizer.add_param_group({"params": new, "lr": lr})
# + for weight in new:
# +             optimizer.add_param_group({"params": [weight], "lr": lr})


# %% two: "head" at any depth of the name
# loses: two-rates
# - name.startswith("head.")
# + "head" in name.split(".")


# %% split: all but the norms that one knows and biases
# loses: split-which
def split_decay(model, weight_decay):
    decayed, rest = [], []
    for module in model.modules():
        norm = isinstance(
            module, (nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d)
        )
        for name, weight in module.named_parameters(recurse=False):
            if weight.requires_grad:
                (rest if norm or name == "bias" else decayed).append(weight)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]


# %% split: all but vectors
# loses: split-which
# - w.ndim >= 2
# + w.ndim != 1
# - w.ndim < 2
# + w.ndim == 1


# %% unfreeze: nothing new if the first weight is held
# loses: unfreeze-once
# - if new:
# + if new and id(next(part.parameters())) not in held:


# %% unfreeze: only what is new becomes trainable
# loses: unfreeze-once
# - weight.requires_grad_(True)
# + weight.requires_grad_(weight.requires_grad or id(weight) not in held)
