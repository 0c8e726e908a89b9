"""Answers to assignment 8, right and wrong, and the marks that each must lose.

An answer's first line names the cell and says what is unusual or wrong. The
second names the test cells that give no marks; "nothing" stands for a right
answer. Then comes the whole cell, or what changes in the solution's cell: a
line "# - before", and one or more lines "# + after".
"""

# %% floor: numpy's where, and a division by zero at the limit
# loses: nothing
import numpy as np


def floor_loss(rate, noise, curvature):
    size = np.float64(noise) ** 2
    a = rate * size**-0.4
    return np.where(
        a * curvature < 2, a * size / (4 - 2 * a * curvature), np.inf
    )


# %% floor: tensors
# loses: nothing
def floor_loss(rate, noise, curvature):
    noise = torch.tensor(noise, dtype=torch.float64)
    effective = rate / (noise**2) ** 0.4
    inside = effective < 2 / curvature
    value = effective * noise**2 / 2 / (2 - effective * curvature)
    return torch.where(inside, value, torch.tensor(math.inf))


# %% floor: from the recursion of the mean square
# loses: nothing
def floor_loss(rate, noise, curvature):
    a = rate / noise ** (2 * 0.4)
    keep = (1 - a * curvature) ** 2
    if keep >= 1 and a * curvature > 1:
        return float("inf")
    fresh = a**2 * noise**2
    return 0.5 * curvature * fresh / (a * curvature * (2 - a * curvature))


# %% measure: more chains, in float64
# loses: nothing
def measured_floor(rate, noise, curvature, generator):
    w = torch.full((12_000,), 3.0, dtype=torch.float64)
    v = torch.full_like(w, noise**2)
    for _ in range(int(5 * noise ** (2 * 0.4) / (rate * curvature)) + 1):
        take_step(w, v, rate, noise, curvature, generator)
    return (0.5 * curvature * w**2).mean()


# %% measure: chains in rows, and a mean over the last 20 steps
# loses: nothing
def measured_floor(rate, noise, curvature, generator):
    w, v = torch.full((100, 100), 3.0), torch.full((100, 100), noise**2)
    steps = math.ceil(5 * noise ** (2 * 0.4) / (rate * curvature))
    losses = []
    for _ in range(steps + 20):
        take_step(w, v, rate, noise, curvature, generator)
        losses.append(0.5 * curvature * w.square().mean())
    return sum(losses[-20:]) / 20


# %% batch: logarithms
# loses: nothing
def rate_for_batch(rate, old, new):
    return math.exp(math.log(rate) + (1 - 0.4) * math.log(new / old))


# %% batch: from the noise, in numpy
# loses: nothing
import numpy as np


def rate_for_batch(rate, old, new):
    noises = 1 / np.sqrt([old, new])
    before, after = noises ** (2 - 2 * 0.4)
    return rate * before / after


# %% repair: a new optimizer without decay, and a log on stderr
# loses: nothing
import sys


def train(w, gradients, rates):
    optimizer = torch.optim.AdamW([w], lr=1.0, weight_decay=0.0)
    for gradient, rate in zip(gradients, rates):
        print(f"rate {rate}", file=sys.stderr)
        for group in optimizer.param_groups:
            group["lr"] = rate
        w *= 1 - 0.013
        w.grad = gradient.detach().clone()
        optimizer.step()


# %% repair: by hand
# loses: nothing
def train(w, gradients, rates):
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    for t, (g, rate) in enumerate(zip(gradients, rates)):
        m = 0.9 * m + (1 - 0.9) * g
        v = 0.999 * v + (1 - 0.999) * g * g
        u = m / (1 - 0.9 ** (t + 1))
        u = u / (torch.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8)
        w.copy_(w - 0.013 * w - rate * u)


# %% repair: AdamW at a rate of 1, then a part of its way
# loses: nothing
def train(w, gradients, rates):
    optimizer = torch.optim.AdamW([w], lr=1.0, weight_decay=0.0)
    for gradient, rate in zip(gradients, rates):
        before = w.clone()
        w.grad = gradient
        optimizer.step()
        step = w - before
        w.copy_((1 - 0.013) * before + rate * step)


# %% left: numpy, all at once
# loses: nothing
import numpy as np


def share_left(rates, decay):
    warmup = np.minimum(np.arange(1, len(rates) + 1), 17) / 17
    return np.prod(1 - decay * warmup * np.asarray(rates))


# %% left: a sum of logarithms
# loses: nothing
def share_left(rates, decay):
    return math.exp(
        sum(
            math.log1p(-rate * decay * (t / 17 if t < 17 else 1))
            for t, rate in enumerate(rates, start=1)
        )
    )


# %% decay: a root by scipy
# loses: nothing
from scipy.optimize import brentq


def decay_for(rates, share):
    def miss(decay):
        factors = [
            1 - rate * decay * min(t, 17) / 17
            for t, rate in enumerate(rates, 1)
        ]
        return math.prod(factors) - share

    return brentq(miss, 0.0, 1 / max(rates))


# %% decay: Newton's steps with tensors
# loses: nothing
def decay_for(rates, share):
    weights = torch.tensor(rates, dtype=torch.float64)
    weights *= (torch.arange(1, len(rates) + 1) / 17).clamp(max=1.0)
    decay = torch.zeros((), dtype=torch.float64)
    for _ in range(40):
        miss = torch.log1p(-weights * decay).sum() - math.log(share)
        slope = -(weights / (1 - weights * decay)).sum()
        decay = decay - miss / slope
    return decay


# %% floor: the mean square, not the loss
# loses: floor-large, floor-small
# -     return effective * noise**2 / (2 * (2 - effective * curvature))
# +     return effective * noise**2 / (curvature * (2 - effective * curvature))


# %% floor: that of SGD
# loses: floor-large, floor-limit, floor-small
# -     effective = rate / noise ** (2 * 0.4)
# +     effective = rate


# %% floor: that of Adam
# loses: floor-large, floor-limit, floor-small
# -     effective = rate / noise ** (2 * 0.4)
# +     effective = rate / noise


# %% floor: the power of σ, not of its square
# loses: floor-large, floor-limit, floor-small
# -     effective = rate / noise ** (2 * 0.4)
# +     effective = rate / noise**0.4


# %% floor: for small rates only
# loses: floor-large
# -     return effective * noise**2 / (2 * (2 - effective * curvature))
# +     return effective * noise**2 / 4


# %% floor: never infinite
# loses: floor-limit
# -         return math.inf
# +         pass


# %% floor: SGD's limit
# loses: floor-large, floor-limit
# -     if effective * curvature >= 2:
# +     if rate * curvature >= 2:


# %% floor: infinite above half of the limit
# loses: floor-large, floor-limit
# -     if effective * curvature >= 2:
# +     if effective * curvature >= 1:


# %% measure: always 300 steps
# loses: measure-value
# -     steps = 5 * noise ** (2 * 0.4) / (rate * curvature)
# +     steps = 300


# %% measure: the steps of SGD, of a curvature of 1
# loses: measure-value
# -     steps = 5 * noise ** (2 * 0.4) / (rate * curvature)
# +     steps = 1 / rate


# %% measure: the mean square, not the loss
# loses: measure-value
# -     return 0.5 * curvature * w.square().mean().item()
# +     return w.square().mean().item()


# %% measure: the square of the mean
# loses: measure-random, measure-value
# -     return 0.5 * curvature * w.square().mean().item()
# +     return 0.5 * curvature * w.mean().square().item()


# %% measure: the formula
# loses: measure-random
def measured_floor(rate, noise, curvature, generator):
    return floor_loss(rate, noise, curvature)


# %% measure: another generator
# loses: measure-random
# -         take_step(w, v, rate, noise, curvature, generator)
# +         take_step(w, v, rate, noise, curvature, fixed)
# -     steps = 5
# +     fixed = seeded(5)
# +     steps = 5


# %% measure: v starts at 1
# loses: measure-value
# -     w, v = torch.full((10_000,), 3.0), torch.full((10_000,), noise**2)
# +     w, v = torch.full((10_000,), 3.0), torch.ones(10_000)


# %% batch: the linear rule
# loses: batch-rule
# -     return rate * (new / old) ** (1 - 0.4)
# +     return rate * new / old


# %% batch: the square-root rule
# loses: batch-rule
# -     return rate * (new / old) ** (1 - 0.4)
# +     return rate * (new / old) ** 0.5


# %% batch: the power of the optimizer
# loses: batch-rule
# -     return rate * (new / old) ** (1 - 0.4)
# +     return rate * (new / old) ** 0.4


# %% batch: the wrong way round
# loses: batch-rule
# -     return rate * (new / old) ** (1 - 0.4)
# +     return rate * (old / new) ** (1 - 0.4)


# %% repair: the decay divided by the rate, which may be 0
# loses: repair-decay, repair-step
def train(w, gradients, rates):
    optimizer = torch.optim.AdamW([w])
    for gradient, rate in zip(gradients, rates):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.param_groups[0]["weight_decay"] = 0.013 / rate
        w.grad = gradient.clone()
        optimizer.step()


# %% repair: no decay in a step at the rate 0
# loses: repair-decay, repair-step
# -         w.mul_(1 - 0.013)
# +         if rate > 0:
# +             w.mul_(1 - 0.013)


# %% repair: the decay still times the rate
# loses: repair-decay, repair-step
# -         w.mul_(1 - 0.013)
# +         w.mul_(1 - 0.013 * rate)


# %% repair: Adam with L2
# loses: repair-decay, repair-step
# -     optimizer = torch.optim.Adam([w])
# +     optimizer = torch.optim.Adam([w], weight_decay=0.013)
# -         w.mul_(1 - 0.013)
# +         pass


# %% repair: the decay after the step
# loses: repair-step
# -         w.mul_(1 - 0.013)
# +         pass
# -         optimizer.step()
# +         optimizer.step()
# +         w.mul_(1 - 0.013)


# %% repair: a new optimizer in every step
# loses: repair-step
# -         optimizer.param_groups[0]["lr"] = rate
# +         optimizer = torch.optim.Adam([w], lr=rate)


# %% repair: torch's first rate for all steps
# loses: repair-step
# -         optimizer.param_groups[0]["lr"] = rate
# +         pass


# %% left: the exponential of the sum
# loses: left-product
# -         share *= 1 - rate * decay * min(1, (step + 1) / 17)
# +         share *= math.exp(-rate * decay * min(1, (step + 1) / 17))


# %% left: the warmup starts at 0
# loses: left-product
# -         share *= 1 - rate * decay * min(1, (step + 1) / 17)
# +         share *= 1 - rate * decay * min(1, step / 17)


# %% left: no warmup of the decay
# loses: left-product
# -         share *= 1 - rate * decay * min(1, (step + 1) / 17)
# +         share *= 1 - rate * decay


# %% left: one minus the sum
# loses: left-product
# -         share *= 1 - rate * decay * min(1, (step + 1) / 17)
# +         share -= rate * decay * min(1, (step + 1) / 17)


# %% left: without the rate
# loses: left-product
# -         share *= 1 - rate * decay * min(1, (step + 1) / 17)
# +         share *= 1 - decay * min(1, (step + 1) / 17)


# %% decay: from the exponential
# loses: decay-exact
def decay_for(rates, share):
    total = sum(r * min(t, 17) / 17 for t, r in enumerate(rates, 1))
    return -math.log(share) / total


# %% decay: no warmup
# loses: decay-exact
def decay_for(rates, share):
    low, high = 0.0, 1 / max(rates)
    for _ in range(60):
        middle = (low + high) / 2
        left = math.prod(1 - rate * middle for rate in rates)
        low, high = (middle, high) if left > share else (low, middle)
    return low


# %% decay: the same factor in every step
# loses: decay-exact
def decay_for(rates, share):
    total = sum(r * min(t, 17) / 17 for t, r in enumerate(rates, 1))
    return (1 - share ** (1 / len(rates))) * len(rates) / total


# %% decay: a search that ends too early
# loses: decay-exact
# -     for _ in range(60):
# +     for _ in range(5):
