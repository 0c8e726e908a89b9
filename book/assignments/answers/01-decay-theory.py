"""Wrong answers to assignment 1: a cell each, with the marks that it must lose.

A cell's first line names the question and says what is wrong; its second line
names the test cells that must give no marks. All others must give theirs.
"""


# %% limit: 1/λ for 2/λ
# loses: limit-diagonal, limit-rotated
def stability_limit(hessian):
    """The limit of the rate; hessian: a symmetric tensor [n, n]."""
    return 1.0 / torch.linalg.eigvalsh(hessian).max().item()


# %% limit: the trace for the largest eigenvalue
# loses: limit-diagonal, limit-rotated
def stability_limit(hessian):
    """The limit of the rate; hessian: a symmetric tensor [n, n]."""
    return 2.0 / hessian.trace().item()


# %% limit: the diagonal for the eigenvalues
# loses: limit-rotated
def stability_limit(hessian):
    """The limit of the rate; hessian: a symmetric tensor [n, n]."""
    return 2.0 / hessian.diagonal().max().item()


# %% floor: right for small rates only
# loses: floor-value
def noise_floor(rate, curvature, noise):
    """The mean square of w in the long run, for small and large rates."""
    if rate * curvature >= 2:
        return math.inf
    return rate * noise**2 / (2 * curvature)


# %% floor: no stability limit
# loses: floor-limit
def noise_floor(rate, curvature, noise):
    """The mean square of w in the long run, for small and large rates."""
    return rate * noise**2 / (curvature * (2 - rate * curvature))


# %% best: one step late
# loses: best-all, best-first
def best_rates(start, curvature, noise, steps):
    """A list of the best rates, one a step; start: the mean square at first."""
    m, rates = start * noise**2 / (curvature**2 * start + noise**2), []
    for _ in range(steps):
        rate = curvature * m / (curvature**2 * m + noise**2)
        rates.append(rate)
        m = (1 - rate * curvature) ** 2 * m + rate**2 * noise**2
    return rates


# %% best: always the first mean square
# loses: best-all
def best_rates(start, curvature, noise, steps):
    """A list of the best rates, one a step; start: the mean square at first."""
    m, rates = start, []
    for _ in range(steps):
        rate = curvature * m / (curvature**2 * m + noise**2)
        rates.append(rate)
        m = start
    return rates


# %% steps: rounded down
# loses: steps-value
def steps_until(target, start, curvature, noise):
    """The smallest number of steps after which m ≤ target; 0 if it is there."""
    steps = (1 / target - 1 / start) * noise**2 / curvature**2
    return max(0, int(steps))


# %% curves: train longer
# loses: curve-b
answers = {"a": 2, "b": 4, "c": 3}
