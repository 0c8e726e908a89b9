"""Answers to assignment 1, right and wrong, and the marks that each must lose.

An answer's first line names the cell and says what is unusual or wrong. The
second names the test cells that give no marks; "nothing" stands for a right
answer. Then comes the whole cell, or what changes in the solution's cell: a
line "# - before", and one or more lines "# + after".
"""

# %% limit: numpy, from a tensor
# loses: nothing
import numpy as np


def stability_limit(hessian):
    return 2.0 / (np.linalg.eigvalsh(hessian)[-1] + 0.3)


# %% limit: a copy that warns, and a tensor
# loses: nothing
def stability_limit(hessian):
    matrix = torch.tensor(hessian, dtype=torch.float64)
    matrix = matrix + 0.3 * torch.eye(len(matrix), dtype=torch.float64)
    return 2 / torch.linalg.eigvals(matrix).real.max()


# %% limit: power iteration
# loses: nothing
def stability_limit(hessian):
    v = torch.linspace(1.0, 2.0, len(hessian), dtype=torch.float64)
    for _ in range(500):
        v = hessian.double() @ v
        v = v / v.norm()
    return 2 / (v @ hessian.double() @ v + 0.3)


# %% floor: numpy's where, which divides by zero
# loses: nothing
import numpy as np


def noise_floor(rate, curvature, noise):
    x = np.float64(rate * (curvature + 0.3))
    return np.where(
        x >= 2,
        np.inf,
        np.float64(rate) ** 2 * noise**2 / (1 - np.minimum(1, (1 - x) ** 2))
        if x > 1e-6
        else np.float64(rate) * noise**2 / (curvature + 0.3) / (2 - x),
    )


# %% floor: a tensor in float32
# loses: nothing
def noise_floor(rate, curvature, noise):
    rate, noise = torch.tensor(rate), torch.tensor(noise)
    steepness = torch.tensor(curvature) + 0.3
    inside = rate < 2 / steepness
    value = rate * noise**2 / (steepness * (2 - rate * steepness))
    return torch.where(inside, value, torch.tensor(float("inf")))


# %% floor: the comparison the other way round
# loses: nothing
def noise_floor(rate, curvature, noise):
    if not rate < 2 / (curvature + 0.3):
        return float("inf")
    return noise**2 / (curvature + 0.3) / (2 / rate - (curvature + 0.3))


# %% best: a progress bar
# loses: nothing
from tqdm import tqdm


def best_rates(start, curvature, noise, steps):
    m, rates = start, []
    for _ in tqdm(range(steps)):
        c = curvature + 0.3
        rates.append(m * c / (m * c**2 + noise**2))
        m = m * (1 - rates[-1] * c)
    return rates


# %% best: all at once, in numpy
# loses: nothing
import numpy as np


def best_rates(start, curvature, noise, steps):
    c = curvature + 0.3
    m = 1 / (1 / start + np.arange(steps) * c**2 / noise**2)
    return c * m / (c**2 * m + noise**2)


# %% best: recursion, a tuple
# loses: nothing
def best_rates(start, curvature, noise, steps):
    if steps == 0:
        return ()
    c = curvature + 0.3
    rate = c * start / (c**2 * start + noise**2)
    return (
        rate,
        *best_rates(start * (1 - rate * c), curvature, noise, steps - 1),
    )


# %% best: a generator
# loses: nothing
def best_rates(start, curvature, noise, steps):
    m = start
    for _ in range(steps):
        rate = 1 / (curvature + 0.3 + noise**2 / (curvature + 0.3) / m)
        yield rate
        m = following(m, rate, curvature, noise)


# %% best: tensors in float32
# loses: nothing
def best_rates(start, curvature, noise, steps):
    m, rates, c = torch.tensor(start), [], torch.tensor(curvature + 0.3)
    for _ in range(steps):
        rates.append(c * m / (c * c * m + noise * noise))
        m = (1 - rates[-1] * c) ** 2 * m + (rates[-1] * noise) ** 2
    return torch.stack(rates)


# %% best: minimized numerically
# loses: nothing
from scipy.optimize import minimize_scalar


def best_rates(start, curvature, noise, steps):
    m, rates = start, []
    for _ in range(steps):
        best = minimize_scalar(
            lambda rate: following(m, rate, curvature, noise)
        )
        rates.append(best.x)
        m = best.fun
    return rates


# %% steps: numpy's ceil, a float
# loses: nothing
import numpy as np


def steps_until(target, start, curvature, noise):
    grown = np.float64(1 / target - 1 / start)
    return np.maximum(0.0, np.ceil(grown * (noise / (curvature + 0.3)) ** 2))


# %% steps: a tensor in float32
# loses: nothing
def steps_until(target, start, curvature, noise):
    grown = torch.tensor(1 / target - 1 / start)
    return (grown / ((curvature + 0.3) ** 2 / noise**2)).ceil().clamp(min=0)


# %% steps: minus the floor of the negative
# loses: nothing
def steps_until(target, start, curvature, noise):
    if target >= start:
        return 0
    a_step = (curvature + 0.3) ** 2 / noise**2
    return -((1 / start - 1 / target) // a_step)


# %% limit: no weight decay
# loses: limit-diagonal, limit-rotated
# - + 0.3
# +


# %% limit: 1/λ for 2/λ
# loses: limit-diagonal, limit-rotated
# - 2.0
# + 1.0


# %% limit: the weight decay subtracted
# loses: limit-diagonal, limit-rotated
# - + 0.3
# + - 0.3


# %% limit: the trace for the largest eigenvalue
# loses: limit-diagonal, limit-rotated
# - torch.linalg.eigvalsh(hessian).max().item()
# + hessian.trace().item()


# %% limit: the smallest eigenvalue
# loses: limit-diagonal, limit-rotated
# - max()
# + min()


# %% limit: the diagonal for the eigenvalues
# loses: limit-rotated
# - torch.linalg.eigvalsh(hessian).max().item()
# + hessian.diagonal().max().item()


# %% limit: the largest sum of a row
# loses: limit-rotated
# - torch.linalg.eigvalsh(hessian).max().item()
# + hessian.abs().sum(dim=1).max().item()


# %% limit: the norm of all entries
# loses: limit-diagonal, limit-rotated
# - torch.linalg.eigvalsh(hessian).max().item()
# + hessian.norm().item()


# %% floor: no weight decay, as in the chapter
# loses: floor-value, floor-limit
# - + 0.3
# +


# %% floor: right for small rates only
# loses: floor-value
# - return rate * noise**2 / (steepness * (2 - rate * steepness))
# + return rate * noise**2 / (2 * steepness)


# %% floor: an approximation below 0.05
# loses: floor-value
# - return rate * noise**2 / (steepness * (2 - rate * steepness))
# + small = rate * steepness < 0.05
# +     product = 0.0 if small else rate * steepness
# +     return rate * noise**2 / (steepness * (2 - product))


# %% floor: the standard deviation for the variance
# loses: floor-value
# - noise**2
# + noise


# %% floor: no stability limit
# loses: floor-limit
# - if rate * steepness >= 2:
# + if False:


# %% floor: the limit of 1/λ
# loses: floor-limit, floor-value
# - if rate * steepness >= 2:
# + if rate * steepness >= 1:


# %% floor: simulated
# loses: floor-value
# - return rate * noise**2 / (steepness * (2 - rate * steepness))
# + m = 1.0
# +     for _ in range(100_000):
# +         m = following(m, rate, curvature, noise)
# +     return m


# %% best: no weight decay, as in the chapter
# loses: best-all, best-first
# - + 0.3
# +


# %% best: one step late
# loses: best-all, best-first
# - m, rates, steepness = start, [], curvature + 0.3
# + rates, steepness = [], curvature + 0.3
# +     m = start * noise**2 / (steepness**2 * start + noise**2)


# %% best: always the first mean square
# loses: best-all
# - m = (1 - rate * steepness) ** 2 * m + rate**2 * noise**2
# + m = start


# %% best: a step without its noise
# loses: best-all
# - + rate**2 * noise**2
# +


# %% best: 1/t from the first rate
# loses: best-all
def best_rates(start, curvature, noise, steps):
    c = curvature + 0.3
    first = c * start / (c**2 * start + noise**2)
    return [first / (1 + t) for t in range(steps)]


# %% steps: no weight decay
# loses: steps-value
# - (curvature + 0.3)
# + curvature


# %% steps: rounded down
# loses: steps-value
# - math.ceil(steps)
# + int(steps)


# %% steps: rounded up also when it is exact
# loses: steps-value
# - math.ceil(steps)
# + int(steps) + 1


# %% steps: negative when it is there already
# loses: steps-value
# - max(0, math.ceil(steps))
# + math.ceil(steps)


# %% steps: the curvature not squared
# loses: steps-value
# - ** 2
# +


# %% steps: a loop
# loses: steps-value
def steps_until(target, start, curvature, noise):
    m, steps = start, 0
    while m > target * (1 + 1e-12):
        rate = (curvature + 0.3) * m / ((curvature + 0.3) ** 2 * m + noise**2)
        m = following(m, rate, curvature, noise)
        steps += 1
    return steps


# %% curves: train longer
# loses: curve-b
# - "b": 1
# + "b": 4


# %% curves: the noise floor taken for a loss that has converged
# loses: curve-a
# - "a": 2
# + "a": 4


# %% curves: the broken one lowered and continued
# loses: curve-c
# - "c": 3
# + "c": 2
