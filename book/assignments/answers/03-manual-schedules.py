"""Answers to assignment 3, right and wrong, and the marks that each must lose.

An answer's first line names the cell and says what is unusual or wrong. The
second names the test cells that give no marks; "nothing" stands for a right
answer. Then comes the whole cell, or what changes in the solution's cell: a
line "# - before", and one or more lines "# + after".
"""

# %% cosine: numpy's piecewise, which warns
# loses: nothing
import numpy as np


def warmup_cosine(t, warmup, total, floor=0.0):
    t, begin = np.float64(t), warmup + 13
    rise = (t + 1) / np.float64(warmup)
    angle = np.pi * np.clip((t - begin) / (total - begin), 0, 1)
    fall = floor + (1 - floor) * np.cos(angle / 2) ** 2
    return np.where(t < warmup, rise, fall)


# %% cosine: a tensor in float32
# loses: nothing
def warmup_cosine(t, warmup, total, floor=0.0):
    t, begin = torch.tensor([float(t)]), warmup + 13
    angle = math.pi * ((t - begin) / (total - begin)).clamp(0, 1)
    value = floor + (1 - floor) * 0.5 * (1 + torch.cos(angle))
    return (t + 1) / warmup if t < warmup else value


# %% cosine: a table in a cache
# loses: nothing
import functools


@functools.cache
def table(warmup, total, floor):
    rise = [(t + 1) / warmup for t in range(warmup)]
    length = total - warmup - 13
    fall = [
        floor + (1 - floor) * (math.cos(math.pi * i / length) + 1) / 2
        for i in range(length)
    ]
    return rise + [1] * 13 + fall + [floor]


def warmup_cosine(t, warmup, total, floor=0.0):
    return table(warmup, total, floor)[min(t, total)]


# %% stairs: bisection
# loses: nothing
import bisect


def staircase(t, milestones, gamma=0.1):
    passed = bisect.bisect_right(sorted(milestones), t)
    return max(math.pow(gamma, passed), 0.004)


# %% stairs: numpy
# loses: nothing
import numpy as np


def staircase(t, milestones, gamma=0.1):
    passed = np.count_nonzero(np.asarray(milestones) <= t)
    return np.maximum(np.float32(gamma) ** passed, np.float32(0.004))


# %% stairs: a loop over all steps
# loses: nothing
def staircase(t, milestones, gamma=0.1):
    factor = 1
    for step in range(t + 1):
        for milestone in milestones:
            if milestone == step:
                factor = factor * gamma
    return factor if factor > 0.004 else 0.004


# %% stairs: a tensor
# loses: nothing
def staircase(t, milestones, gamma=0.1):
    passed = (torch.tensor(milestones) <= t).sum()
    return (torch.tensor(gamma) ** passed).clamp(min=0.004)


# %% restarts: recursion
# loses: nothing
def restarts(t, first, mult=1):
    if t < first:
        return math.cos(math.pi * t / first / 2) ** 2
    return 0.85 * restarts(t - first, first * mult, mult)


# %% restarts: a progress bar
# loses: nothing
from itertools import count

from tqdm import tqdm


def restarts(t, first, mult=1):
    begin = 0
    for wave in tqdm(count()):
        length = first * mult**wave
        if begin <= t < begin + length:
            break
        begin += length
    return 0.85**wave * 0.5 * (1 + math.cos(math.pi * (t - begin) / length))


# %% restarts: the logarithm, then repaired
# loses: nothing
def restarts(t, first, mult=1):
    if mult == 1:
        wave, begin, length = t // first, t - t % first, first
    else:

        def begins(k):
            return first * (mult**k - 1) // (mult - 1)

        wave = int(math.log(t * (mult - 1) / first + 1, mult))
        wave += (begins(wave + 1) <= t) - (begins(wave) > t)
        begin, length = begins(wave), first * mult**wave
    angle = torch.tensor(math.pi * (t - begin) / length)
    return 0.85**wave * (1 + torch.cos(angle)) / 2


# %% restarts: numpy's cumulated sum
# loses: nothing
import numpy as np


def restarts(t, first, mult=1):
    lengths = first * mult ** np.arange(60 if mult == 1 else 10, dtype=float)
    ends = np.cumsum(lengths)
    wave = np.searchsorted(ends, t, side="right")
    progress = (t - ends[wave] + lengths[wave]) / lengths[wave]
    return 0.85**wave * (1 + np.cos(np.pi * progress)) / 2


# %% line: a tensor for the rate
# loses: nothing
def set_rates(optimizer, schedule, t):
    factor = torch.tensor(schedule(t))
    for i in range(len(optimizer.param_groups)):
        group = optimizer.param_groups[i]
        group.update(lr=torch.tensor(group["peak_lr"]) * factor)


# %% line: numpy's product
# loses: nothing
import numpy as np


def set_rates(optimizer, schedule, t):
    base = np.array([g["peak_lr"] for g in optimizer.param_groups])
    for group, rate in zip(optimizer.param_groups, base * schedule(t)):
        group["lr"] = rate
    return optimizer


# %% cosine: no hold, as in the chapter
# loses: cosine-decay, cosine-warmup
# - warmup + 13
# + warmup


# %% cosine: step 0 at rate 0
# loses: cosine-warmup
# - (t + 1) / warmup
# + t / warmup


# %% cosine: one step too many in the warmup
# loses: cosine-warmup
# - (t + 1) / warmup
# + (t + 1) / (warmup + 1)


# %% cosine: the hold ends a step early
# loses: cosine-decay
# - begin = warmup + 13
# + begin = warmup + 13 - 1


# %% cosine: divided by the whole length
# loses: cosine-after, cosine-decay
# - / (total - begin)
# + / total


# %% cosine: the hold not taken from the length
# loses: cosine-after, cosine-decay
# - / (total - begin)
# + / (total - warmup)


# %% cosine: climbs again
# loses: cosine-after
# - min(t, total)
# + t


# %% cosine: floor added on top
# loses: cosine-decay
# - (1 - floor) *
# +


# %% cosine: zero after the end
# loses: cosine-after
# - progress =
# + if t > total:
# +         return 0.0
# +     progress =


# %% cosine: a line for the cosine
# loses: cosine-decay
# - (1 + math.cos(math.pi * progress)) / 2
# + (1 - progress)


# %% cosine: torch's scheduler
# loses: cosine-after, cosine-decay, cosine-warmup
def warmup_cosine(t, warmup, total, floor=0.0):
    def make(optimizer):
        length = total - warmup - 13
        return lr_scheduler.CosineAnnealingLR(optimizer, length, eta_min=floor)

    if t < warmup:
        return (t + 1) / warmup
    return traced(make, max(min(t, total) - warmup - 13, 0) + 1)[-1]


# %% stairs: no floor
# loses: stairs-plain, stairs-special
# - max(gamma**passed, 0.004)
# + gamma**passed


# %% stairs: the floor after the step that falls below it
# loses: stairs-plain, stairs-special
# - max(gamma**passed, 0.004)
# + gamma**passed if gamma**passed > 0.004 else 0.0


# %% stairs: one step late
# loses: stairs-plain, stairs-special
# - milestone <= t
# + milestone < t


# %% stairs: twice counts once
# loses: stairs-special
# - in milestones
# + in set(milestones)


# %% stairs: a milestone at step 0 ignored
# loses: stairs-special
# - milestone <= t
# + 0 < milestone <= t


# %% stairs: only in order
# loses: stairs-special
def staircase(t, milestones, gamma=0.1):
    passed = 0
    for milestone in milestones:
        if t < milestone:
            break
        passed += 1
    return max(gamma**passed, 0.004)


# %% stairs: gamma times the number of milestones
# loses: stairs-plain, stairs-special
# - gamma**passed
# + (gamma * passed if passed else 1.0)


# %% stairs: a factor kept between calls
# loses: stairs-plain, stairs-special
current = 1.0


def staircase(t, milestones, gamma=0.1):
    global current
    current = current * gamma ** milestones.count(t) if t else 1.0
    return max(current, 0.004)


# %% restarts: all waves equally high
# loses: restarts-equal, restarts-longer
# - height *= 0.85
# + pass


# %% restarts: the height falls with the steps
# loses: restarts-equal, restarts-longer
# - height * (
# + 0.85**t * (


# %% restarts: one step late
# loses: restarts-equal, restarts-longer
# - t >= period
# + t > period


# %% restarts: periods don't grow
# loses: restarts-longer
# - period *= mult
# + pass


# %% restarts: each restart at a power of mult
# loses: restarts-equal, restarts-longer
# - t -= period
# + t = t - period + 1


# %% restarts: the period counted by a logarithm that rounds
# loses: restarts-longer
def restarts(t, first, mult=1):
    if mult == 1:
        wave, begin, length = t // first, t - t % first, first
    else:
        wave = int(math.log(t / first * (mult - 1) + 1, mult))
        begin = first * (mult**wave - 1) // (mult - 1)
        length = first * mult**wave
    progress = (t - begin) / length
    return 0.85**wave * (1 + math.cos(math.pi * progress)) / 2


# %% restarts: ends at 0 one step early
# loses: restarts-equal, restarts-longer
# - t / period)
# + t / max(period - 1, 1))


# %% line: the first group only
# loses: line-groups, line-steps
# - optimizer.param_groups:
# + optimizer.param_groups[:1]:


# %% line: exactly two groups
# loses: line-groups
# - optimizer.param_groups:
# + [optimizer.param_groups[0], optimizer.param_groups[1]]:


# %% line: compounded
# loses: line-steps
# - group["lr"] = group["peak_lr"]
# + group["lr"] = group["lr"]


# %% line: the base rate overwritten
# loses: line-groups, line-steps
# - group["lr"] = group["peak_lr"] * schedule(t)
# + group["peak_lr"] = group["lr"] = group["peak_lr"] * schedule(t)


# %% line: the next step's rate
# loses: line-steps
# - group["peak_lr"] * schedule(t)
# + group["peak_lr"] * schedule(t + 1)


# %% line: a counter for t
# loses: line-steps
calls = 0


def set_rates(optimizer, schedule, t):
    global calls
    calls = 0 if t == 0 else calls + 1
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * schedule(calls)


# %% line: the first group's base rate for all
# loses: line-groups, line-steps
# - group["peak_lr"]
# + optimizer.param_groups[0]["peak_lr"]


# %% line: a new dict in place of the group
# loses: line-groups, line-steps
def set_rates(optimizer, schedule, t):
    for group in optimizer.param_groups:
        group = {**group, "lr": group["peak_lr"] * schedule(t)}


# %% line: torch's name for the base rate
# loses: line-groups, line-steps
# - group["peak_lr"]
# + group["initial_lr"]


# %% line: the rate at the first call for the base rate
# loses: line-steps
# - group["lr"] = group["peak_lr"] * schedule(t)
# + group["lr"] = group.setdefault("first_lr", group["lr"]) * schedule(t)
