"""Answers to assignment 10, right and wrong, and the marks that each must lose.

An answer's first line names the cell and says what is unusual or wrong. The
second names the test cells that give no marks; "nothing" stands for a right
answer. Then comes the whole cell, or what changes in the solution's cell: a
line "# - before", and one or more lines "# + after".
"""

# %% rate: numpy's where
# loses: nothing
import numpy as np


def rate_at(step, start, length, peak):
    trunk = np.minimum((step + 1) / 13, 1.0)
    progress = np.clip((step - start + 1) / length, 0, 1)
    return peak * np.where(
        step < start, trunk, 1 - (1 - 0.08) * np.power(progress, 0.7)
    )


# %% rate: tensors in float32
# loses: nothing
def rate_at(step, start, length, peak):
    warm = torch.tensor((step + 1) / 13).clamp(max=1.0)
    done = torch.tensor((step - start + 1) / length).clamp(0.0, 1.0)
    return peak * (warm - (1 - 0.08) * done.pow(0.7))


# %% rate: lists of all rates, a lookup, and a log on stderr
# loses: nothing
import sys


def rate_at(step, start, length, peak):
    print("step", step, file=sys.stderr)
    rates = [peak * t / 13 for t in range(1, 14)]
    rates += [peak] * (start - len(rates))
    for t in range(1, length + 1):
        rates.append(peak * (1 - (1 - 0.08) * (t / length) ** 0.7))
    return rates[min(step, len(rates) - 1)]


# %% branch: a copy of model and optimizer together
# loses: nothing
def checkpoint(model, optimizer, step):
    return copy.deepcopy((model, optimizer)), step


def branch(saved, rates):
    (model, optimizer), step = copy.deepcopy(saved)
    for rate in rates:
        take_step(model, optimizer, rate, step)
        step += 1
    return model


# %% branch: bytes, as in a file
# loses: nothing
def checkpoint(model, optimizer, step):
    file = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict(), step], file)
    return file.getvalue()


def branch(saved, rates):
    weights, state, step = torch.load(io.BytesIO(saved), weights_only=True)
    model, optimizer = build()
    model.load_state_dict(weights)
    optimizer.load_state_dict(state)
    rates = iter(rates)
    while (rate := next(rates, None)) is not None:
        take_step(model, optimizer, rate, step)
        step = step + 1
    return model


# %% branch: an optimizer of its own, and recursion
# loses: nothing
def checkpoint(model, optimizer, step):
    return {
        "step": step,
        "weights": [p.detach().clone() for p in model.parameters()],
        "state": copy.deepcopy(optimizer.state_dict()["state"]),
    }


def branch(saved, rates):
    model, _ = build()
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), saved["weights"]):
            parameter.copy_(value)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.5)
    state = optimizer.state_dict() | {"state": copy.deepcopy(saved["state"])}
    optimizer.load_state_dict(state)

    def go_on(step, rates):
        if rates:
            take_step(model, optimizer, rates[0], step)
            go_on(step + 1, rates[1:])

    go_on(saved["step"], list(rates))
    return model


# %% average: a mean that moves towards the newest
# loses: nothing
class Average:
    def __init__(self):
        self.mean, self.count = None, 0

    def update(self, tensors):
        self.count += 1
        share = (1 - 0.93) / (1 - 0.93**self.count)
        if self.mean is None:
            self.mean = [tensor.clone().detach() for tensor in tensors]
            return
        for mean, tensor in zip(self.mean, tensors):
            mean.lerp_(tensor.detach(), share)

    def value(self):
        return self.mean

    def state_dict(self):
        return {"mean": [m.clone() for m in self.mean], "count": self.count}

    def load_state_dict(self, state):
        self.mean = [mean.clone() for mean in state["mean"]]
        self.count = int(state["count"])


# %% average: all that was seen, in float64
# loses: nothing
class Average:
    def __init__(self):
        self.seen = []

    def update(self, tensors):
        self.seen.append([tensor.detach().double() + 0 for tensor in tensors])

    def value(self):
        weights = [0.93**age for age in range(len(self.seen))]
        newest_first = self.seen[::-1]
        return [
            (sum(w * t for w, t in zip(weights, one)) / sum(weights)).float()
            for one in zip(*newest_first)
        ]

    def state_dict(self):
        return {"seen": [list(one) for one in self.seen]}

    def load_state_dict(self, state):
        self.seen = [list(one) for one in state["seen"]]


# %% average: Adam's bias correction
# loses: nothing
class Average:
    def __init__(self):
        self.moment, self.steps = {}, torch.zeros((), dtype=torch.float64)

    def update(self, tensors):
        self.steps = self.steps + 1
        for i, tensor in enumerate(tensors):
            old = self.moment.get(i, 0.0)
            self.moment[i] = 0.93 * old + (1 - 0.93) * tensor.detach()

    def value(self):
        correction = 1 - 0.93 ** self.steps.item()
        return tuple(one / correction for one in self.moment.values())

    def state_dict(self):
        return {"moment": dict(self.moment), "steps": self.steps}

    def load_state_dict(self, state):
        self.moment = dict(state["moment"])
        self.steps = state["steps"]


# %% spent: numpy
# loses: nothing
import numpy as np


def _used(lengths):
    own = np.unique(lengths)
    starts = own - 35
    starts -= starts % 26
    return own, starts.max() + (own - starts).sum()


def steps_spent(lengths):
    return _used(lengths)[1]


def share_saved(lengths):
    own, used = _used(lengths)
    return (own.sum() - used) / own.sum()


# %% spent: step by step, as the program would
# loses: nothing
def steps_spent(lengths):
    trunk, branches = 0, 0
    for n in sorted(set(lengths)):
        while trunk + 26 + 35 <= n:
            trunk += 26
        branches += n - trunk
    return torch.tensor(trunk + branches)


def share_saved(lengths):
    alone = sum({int(n) for n in lengths})
    return 1.0 - steps_spent(lengths) / alone


# %% branch: a pickle
# loses: nothing
import pickle


def checkpoint(model, optimizer, step):
    return pickle.dumps({"both": (model, optimizer), "steps": iter([step])})


def branch(saved, rates):
    parts = pickle.loads(saved)
    model, optimizer = parts["both"]
    step = next(parts["steps"])
    while rates:
        rate, *rates = rates
        take_step(model, optimizer, rate, step)
        step += 1
    return model


# %% average: a value in float64
# loses: nothing
class Average:
    def __init__(self):
        self.total, self.weight = None, 0.0

    def update(self, tensors):
        new = [one.detach().double() for one in tensors]
        if self.total is not None:
            new = [0.93 * a + b for a, b in zip(self.total, new)]
        self.total, self.weight = new, 0.93 * self.weight + 1

    def value(self):
        return [one / self.weight for one in self.total]

    def state_dict(self):
        return [self.weight, *(one.clone() for one in self.total)]

    def load_state_dict(self, state):
        self.weight, *self.total = state


# %% average: a module with buffers
# loses: nothing
class Average(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.zeros(()))

    def update(self, tensors):
        totals = dict(self.named_buffers())
        for i, one in enumerate(tensors):
            old = totals.get(f"total{i}", torch.zeros(one.shape))
            self.register_buffer(f"total{i}", 0.93 * old + one.detach())
        self.weight = 0.93 * self.weight + 1

    def value(self):
        weight, *totals = self.buffers()
        return [one / weight for one in totals]

    def load_state_dict(self, state):
        for name, one in state.items():
            self.register_buffer(name, one)


# %% spent: the longest run is the trunk with its own branch
# loses: nothing
def steps_spent(lengths):
    longest, *others = sorted(set(lengths), reverse=True)
    return longest + sum(35 + (n - 35) % 26 for n in others)


def share_saved(lengths):
    return 1 - steps_spent(lengths) / math.fsum(set(lengths))


# %% rate: the warmup starts at 0
# loses: rate-trunk
# -         return peak * min(1.0, (step + 1) / 13)
# +         return peak * min(1.0, step / 13)


# %% rate: no warmup
# loses: rate-trunk
# -         return peak * min(1.0, (step + 1) / 13)
# +         return peak


# %% rate: the cooldown's first step has the peak
# loses: rate-cooldown
# -     progress = min(1.0, (step - start + 1) / length)
# +     progress = min(1.0, (step - start) / length)


# %% rate: the cooldown starts one step late
# loses: rate-cooldown
# -     if step < start:
# +     if step <= start:


# %% rate: the chapter's square root, to zero
# loses: rate-cooldown
# -     return peak * (1 - (1 - 0.08) * progress**0.7)
# +     return peak * (1 - progress**0.5)


# %% rate: the power on what is left
# loses: rate-cooldown
# -     return peak * (1 - (1 - 0.08) * progress**0.7)
# +     return peak * (0.08 + (1 - 0.08) * (1 - progress) ** 0.7)


# %% rate: a straight line
# loses: rate-cooldown
# -     return peak * (1 - (1 - 0.08) * progress**0.7)
# +     return peak * (1 - (1 - 0.08) * progress)


# %% rate: it goes on falling after the end
# loses: rate-cooldown
# -     progress = min(1.0, (step - start + 1) / length)
# +     progress = (step - start + 1) / length


# %% rate: the end is a rate, not a share of the peak
# loses: rate-cooldown
# -     return peak * (1 - (1 - 0.08) * progress**0.7)
# +     return peak - (peak - 0.08) * progress**0.7


# %% rate: the length counted from step 0
# loses: rate-cooldown
# -     progress = min(1.0, (step - start + 1) / length)
# +     progress = min(1.0, (step + 1) / (start + length))


# %% branch: only the weights
# loses: branch-later, branch-same, branch-twice
# -     optimizer.load_state_dict(copy.deepcopy(saved["optimizer"]))
# +     pass


# %% branch: the batches begin again
# loses: branch-later, branch-same, branch-twice
# -     for step, rate in enumerate(rates, start=saved["step"]):
# +     for step, rate in enumerate(rates):


# %% branch: one batch is left out
# loses: branch-later, branch-same, branch-twice
# -     for step, rate in enumerate(rates, start=saved["step"]):
# +     for step, rate in enumerate(rates, start=saved["step"] + 1):


# %% branch: the weights are left out
# loses: branch-later, branch-same, branch-twice
# -     model.load_state_dict(saved["model"])
# +     pass


# %% branch: the checkpoint follows the trunk
# loses: branch-later
# -     return copy.deepcopy(parts) | {"step": step}
# +     return parts | {"step": step}


# %% branch: a dict's copy, which keeps the tensors
# loses: branch-later
# -     return copy.deepcopy(parts) | {"step": step}
# +     return copy.copy(parts) | {"step": step}


# %% branch: a branch changes the moments in the checkpoint
# loses: branch-twice
# -     optimizer.load_state_dict(copy.deepcopy(saved["optimizer"]))
# +     optimizer.load_state_dict(saved["optimizer"])


# %% branch: the trunk itself is trained
# loses: branch-later, branch-twice
def checkpoint(model, optimizer, step):
    return model, optimizer, step


def branch(saved, rates):
    model, optimizer, step = saved
    for i, rate in enumerate(rates):
        take_step(model, optimizer, rate, step + i)
    return model


# %% branch: the first rate for all steps
# loses: branch-later, branch-same, branch-twice
# -         take_step(model, optimizer, rate, step)
# +         take_step(model, optimizer, rates[0], step)


# %% branch: a new optimizer without the old one's state
# loses: branch-later, branch-same, branch-twice
# -     for step, rate in enumerate(rates, start=saved["step"]):
# +     optimizer = torch.optim.AdamW(model.parameters())
# +     for step, rate in enumerate(rates, start=saved["step"]):


# %% branch: model and optimizer are copied separately
# loses: branch-later, branch-same, branch-twice
def checkpoint(model, optimizer, step):
    return copy.deepcopy(model), copy.deepcopy(optimizer), step


def branch(saved, rates):
    model, optimizer, start = copy.deepcopy(saved)
    for step, rate in enumerate(rates, start):
        take_step(model, optimizer, rate, step)
    return model


# %% branch: the checkpoint's step moves on
# loses: branch-twice
# -         take_step(model, optimizer, rate, step)
# +         take_step(model, optimizer, rate, step)
# +     saved["step"] += len(rates)


# %% average: torch's start, with the first weights
# loses: average-resume, average-value
# -         old = self.total or [torch.zeros_like(one) for one in new]
# +         old = self.total or [one / (1 - 0.93) for one in new]
# -         self.weight = 0.93 * self.weight + 1
# +         self.weight = 1 / (1 - 0.93)


# %% average: a start at zero without a correction
# loses: average-resume, average-value
# -         self.weight = 0.93 * self.weight + 1
# +         self.weight = 1 / (1 - 0.93)


# %% average: the shares the wrong way round
# loses: average-resume, average-value
# -         self.total = [0.93 * a + b for a, b in zip(old, new)]
# +         self.total = [a + 0.93 * b for a, b in zip(old, new)]
# -         self.weight = 0.93 * self.weight + 1
# +         self.weight = self.weight + 0.93


# %% average: a plain mean
# loses: average-resume, average-value
# -         self.total = [0.93 * a + b for a, b in zip(old, new)]
# +         self.total = [a + b for a, b in zip(old, new)]
# -         self.weight = 0.93 * self.weight + 1
# +         self.weight = self.weight + 1


# %% average: the weight is forgotten in the state
# loses: average-resume
# -         self.weight = state["weight"]
# +         self.weight = 1.0


# %% average: only the value in the state
# loses: average-resume
# -         return {"total": copy.deepcopy(self.total), "weight": self.weight}
# +         return {"total": self.value(), "weight": 1.0}


# %% average: an object in the state
# loses: average-resume
# -         return {"total": copy.deepcopy(self.total), "weight": self.weight}
# +         return {"total": self.total, "weight": copy.copy(self)}
# -         self.weight = state["weight"]
# +         self.weight = state["weight"].weight


# %% average: the state follows the average
# loses: average-resume
# -         self.total = [0.93 * a + b for a, b in zip(old, new)]
# +         for a, b in zip(old, new):
# +             a.mul_(0.93).add_(b)
# +         self.total = old
# -         return {"total": copy.deepcopy(self.total), "weight": self.weight}
# +         return {"total": self.total, "weight": self.weight}


# %% average: the newest tensors are kept without a copy
# loses: average-value
class Average:
    def __init__(self):
        self.total, self.weight, self.newest = [], 0.0, []

    def update(self, tensors):
        if self.newest:
            old = self.total or [torch.zeros_like(t) for t in self.newest]
            self.total = [0.93 * a + b for a, b in zip(old, self.newest)]
        self.newest = [t.detach() for t in tensors]
        self.weight = 0.93 * self.weight + 1

    def value(self):
        old = self.total or [torch.zeros_like(t) for t in self.newest]
        return [(0.93 * a + b) / self.weight for a, b in zip(old, self.newest)]

    def state_dict(self):
        return copy.deepcopy(vars(self))

    def load_state_dict(self, state):
        vars(self).update(copy.deepcopy(state))


# %% average: only the first tensor
# loses: average-value
# -         new = [one.detach().clone() for one in tensors]
# +         new = [tensors[0].detach().clone()]


# %% average: the value is divided in place
# loses: average-resume
# -         return [one / self.weight for one in self.total]
# +         return [one.div_(self.weight) for one in self.total]


# %% spent: the cooldowns only
# loses: spent-share, spent-steps
# -     return max(starts.values()) + sum(n - at for n, at in starts.items())
# +     return max(starts.values()) + 35 * len(starts)
# -     spent = max(starts.values()) + sum(n - at for n, at in starts.items())
# +     spent = max(starts.values()) + 35 * len(starts)


# %% spent: the trunk runs to the longest length
# loses: spent-share, spent-steps
# -     return max(starts.values()) + sum(n - at for n, at in starts.items())
# +     return max(starts) + sum(n - at for n, at in starts.items())
# -     spent = max(starts.values()) + sum(n - at for n, at in starts.items())
# +     spent = max(starts) + sum(n - at for n, at in starts.items())


# %% spent: equal lengths are counted twice
# loses: spent-share, spent-steps
def steps_spent(lengths):
    starts = [(n - 35) // 26 * 26 for n in lengths]
    return max(starts) + sum(lengths) - sum(starts)


def share_saved(lengths):
    return 1 - steps_spent(lengths) / sum(lengths)


# %% spent: the last length is the longest
# loses: spent-share, spent-steps
# -     return max(starts.values()) + sum(n - at for n, at in starts.items())
# +     return list(starts.values())[-1] + sum(n - starts[n] for n in starts)
# -     spent = max(starts.values()) + sum(n - at for n, at in starts.items())
# +     spent = list(starts.values())[-1] + sum(n - starts[n] for n in starts)


# %% spent: the share of what is spent
# loses: spent-share
# -     return 1 - spent / sum(starts)
# +     return spent / sum(starts)


# %% spent: compared with the longest run
# loses: spent-share
# -     return 1 - spent / sum(starts)
# +     return 1 - spent / max(starts)


# %% spent: saved relative to what the trunk takes
# loses: spent-share
# -     return 1 - spent / sum(starts)
# +     return sum(starts) / spent - 1


# %% spent: a checkpoint before the cooldown's start, never at it
# loses: spent-share, spent-steps
def steps_spent(lengths):
    starts = {n: (n - 35 - 1) // 26 * 26 for n in lengths}
    return max(starts.values()) + sum(n - at for n, at in starts.items())


def share_saved(lengths):
    return 1 - steps_spent(lengths) / sum(set(lengths))


# %% spent: no checkpoint at the start
# loses: spent-share, spent-steps
def steps_spent(lengths):
    starts = {n: max(26, (n - 35) // 26 * 26) for n in lengths}
    return max(starts.values()) + sum(n - at for n, at in starts.items())


def share_saved(lengths):
    return 1 - steps_spent(lengths) / sum(set(lengths))
