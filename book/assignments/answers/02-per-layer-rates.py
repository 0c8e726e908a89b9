"""Wrong answers to assignment 2: a cell each, with the marks that it must lose.

A cell's first line names the question and says what is wrong; its second line
names the test cells that must give no marks. All others must give theirs.
"""


# %% two: frozen weights too
# loses: two-audit
def two_groups(model, body_lr, head_lr):
    """Parameter groups (dicts with "params" and "lr") for an optimizer."""
    body, head = [], []
    for name, weight in model.named_parameters():
        (head if name.startswith("head") else body).append(weight)
    groups = [{"params": body, "lr": body_lr}, {"params": head, "lr": head_lr}]
    return [group for group in groups if group["params"]]


# %% two: one rate for both
# loses: two-rates
def two_groups(model, body_lr, head_lr):
    """Parameter groups (dicts with "params" and "lr") for an optimizer."""
    body, head = [], []
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            (head if name.startswith("head") else body).append(weight)
    groups = [{"params": body, "lr": body_lr}, {"params": head, "lr": body_lr}]
    return [group for group in groups if group["params"]]


# %% two: a shared weight twice
# loses: two-tied
def two_groups(model, body_lr, head_lr):
    """Parameter groups (dicts with "params" and "lr") for an optimizer."""
    body, head = [], []
    for name, weight in model.named_parameters(remove_duplicate=False):
        if weight.requires_grad:
            (head if name.startswith("head") else body).append(weight)
    groups = [{"params": body, "lr": body_lr}, {"params": head, "lr": head_lr}]
    return [group for group in groups if group["params"]]


# %% layerwise: the wrong end
# loses: layerwise-frozen, layerwise-rates
def layerwise(model, layers, lr, decay):
    """A group for each layer that has trainable weights, in their order."""
    groups = []
    for i, name in enumerate(layers):
        weights = [
            w for w in getattr(model, name).parameters() if w.requires_grad
        ]
        if weights:
            groups.append({"params": weights, "lr": lr * decay**i})
    return groups


# %% layerwise: off by one
# loses: layerwise-frozen, layerwise-rates
def layerwise(model, layers, lr, decay):
    """A group for each layer that has trainable weights, in their order."""
    groups = []
    for i, name in enumerate(layers):
        weights = [
            w for w in getattr(model, name).parameters() if w.requires_grad
        ]
        if weights:
            groups.append(
                {"params": weights, "lr": lr * decay ** (len(layers) - i)}
            )
    return groups


# %% split: by name, so norms decay
# loses: split-which
def split_decay(model, weight_decay):
    """Two parameter groups with their "weight_decay"."""
    trained = [w for w in model.parameters() if w.requires_grad]
    return [
        {
            "params": [
                w
                for n, w in model.named_parameters()
                if w.requires_grad and "weight" in n
            ],
            "weight_decay": weight_decay,
        },
        {"params": [w for w in trained if w.ndim < 2], "weight_decay": 0.0},
    ]


# %% unfreeze: added again
# loses: unfreeze-twice
def unfreeze(optimizer, part, lr):
    """From now on the optimizer trains the module `part`, at the rate lr."""
    new = []
    for weight in part.parameters():
        weight.requires_grad_(True)
        new.append(weight)
    if new:
        optimizer.add_param_group({"params": new, "lr": lr})


# %% unfreeze: still frozen
# loses: unfreeze-once
def unfreeze(optimizer, part, lr):
    """From now on the optimizer trains the module `part`, at the rate lr."""
    held = {id(w) for group in optimizer.param_groups for w in group["params"]}
    new = []
    for weight in part.parameters():
        if id(weight) not in held:
            new.append(weight)
    if new:
        optimizer.add_param_group({"params": new, "lr": lr})
