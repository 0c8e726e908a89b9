"""Wrong answers to assignment 3: a cell each, with the marks that it must lose.

A cell's first line names the question and says what is wrong; its second line
names the test cells that must give no marks. All others must give theirs.
"""


# %% cosine: step 0 at rate 0
# loses: cosine-warmup
def warmup_cosine(t, warmup, total, floor=0.0):
    """The factor of step t."""
    if t < warmup:
        return t / warmup
    progress = min(t - warmup, total - warmup) / (total - warmup)
    return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2


# %% cosine: divided by the whole length
# loses: cosine-after, cosine-decay
def warmup_cosine(t, warmup, total, floor=0.0):
    """The factor of step t."""
    if t < warmup:
        return (t + 1) / warmup
    progress = min(t - warmup, total - warmup) / total
    return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2


# %% cosine: climbs again
# loses: cosine-after
def warmup_cosine(t, warmup, total, floor=0.0):
    """The factor of step t."""
    if t < warmup:
        return (t + 1) / warmup
    progress = (t - warmup) / (total - warmup)
    return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2


# %% cosine: floor added on top
# loses: cosine-decay
def warmup_cosine(t, warmup, total, floor=0.0):
    """The factor of step t."""
    if t < warmup:
        return (t + 1) / warmup
    progress = min(t - warmup, total - warmup) / (total - warmup)
    return floor + 1 * (1 + math.cos(math.pi * progress)) / 2


# %% stairs: one step late
# loses: stairs-plain, stairs-special
def staircase(t, milestones, gamma=0.1):
    """The factor of step t."""
    return gamma ** sum(milestone < t for milestone in milestones)


# %% stairs: twice counts once
# loses: stairs-special
def staircase(t, milestones, gamma=0.1):
    """The factor of step t."""
    return gamma ** sum(milestone <= t for milestone in set(milestones))


# %% restarts: one step late
# loses: restarts-equal, restarts-longer
def restarts(t, first, mult=1):
    """The factor of step t."""
    period = first
    while t > period:
        t -= period
        period *= mult
    return (1 + math.cos(math.pi * t / period)) / 2


# %% restarts: periods don't grow
# loses: restarts-longer
def restarts(t, first, mult=1):
    """The factor of step t."""
    period = first
    while t >= period:
        t -= period
        period *= 1
    return (1 + math.cos(math.pi * t / period)) / 2


# %% line: the first group only
# loses: line-groups
def set_rates(optimizer, schedule, t):
    """Sets the rate of every group to its initial_lr times schedule(t)."""
    for group in optimizer.param_groups[:1]:
        group["lr"] = group["initial_lr"] * schedule(t)


# %% line: compounded
# loses: line-steps
def set_rates(optimizer, schedule, t):
    """Sets the rate of every group to its initial_lr times schedule(t)."""
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * schedule(t)
