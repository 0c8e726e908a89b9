"""Wrong answers to assignment 6: a cell each, with the marks that it must lose.

A cell's first line names the question and says what is wrong; its second line
names the test cells that must give no marks. All others must give theirs.
"""


# %% right: the buffer is masked
# loses: right-buffer, right-mean
def dropout_step(w, grad, buffer, lr, momentum, keep, generator):
    """One step of SGD with momentum and learning-rate dropout, in place."""
    buffer.mul_(momentum).add_(grad)
    buffer.mul_(coins(w, keep, generator))
    w.sub_(lr * buffer)


# %% right: the gradient is masked
# loses: right-buffer, right-untouched
def dropout_step(w, grad, buffer, lr, momentum, keep, generator):
    """One step of SGD with momentum and learning-rate dropout, in place."""
    buffer.mul_(momentum).add_(grad * coins(w, keep, generator))
    w.sub_(lr * buffer)


# %% right: one coin for all
# loses: right-mean, right-untouched
def dropout_step(w, grad, buffer, lr, momentum, keep, generator):
    """One step of SGD with momentum and learning-rate dropout, in place."""
    buffer.mul_(momentum).add_(grad)
    w.sub_(lr * torch.empty(1).bernoulli_(keep, generator=generator) * buffer)


# %% right: divided by p
# loses: right-mean
def dropout_step(w, grad, buffer, lr, momentum, keep, generator):
    """One step of SGD with momentum and learning-rate dropout, in place."""
    buffer.mul_(momentum).add_(grad)
    w.sub_(lr / keep * coins(w, keep, generator) * buffer)


# %% right: the step before the buffer
# loses: right-untouched, right-whole
def dropout_step(w, grad, buffer, lr, momentum, keep, generator):
    """One step of SGD with momentum and learning-rate dropout, in place."""
    w.sub_(lr * coins(w, keep, generator) * buffer)
    buffer.mul_(momentum).add_(grad)


# %% wrong: a and b confused
# loses: wrong-a, wrong-b
answers = {"a": 2, "b": 3, "c": 1}


# %% effective: momentum forgotten
# loses: effective-matched
def effective_steps(keep, momentum):
    """The mean step of learning-rate dropout, and of the masked buffer."""
    return keep / (1 - momentum), keep / (1 - keep * momentum)


def matched_rate(lr, keep, momentum):
    """The rate at which plain SGD moves as far as the masked buffer at lr."""
    return lr * keep / (1 - keep * momentum)


# %% judge: the normal quantile
# loses: judge-interval
def paired_interval(a, b):
    """The mean of a − b, and the half-width of its 95 % interval."""

    differences = [x - y for x, y in zip(a, b)]
    n = len(differences)
    mean = sum(differences) / n
    deviation = math.sqrt(sum((d - mean) ** 2 for d in differences) / (n - 1))
    return mean, 1.96 * deviation / math.sqrt(n)


# %% judge: divided by n
# loses: judge-interval
def paired_interval(a, b):
    """The mean of a − b, and the half-width of its 95 % interval."""
    from scipy import stats

    differences = [x - y for x, y in zip(a, b)]
    n = len(differences)
    mean = sum(differences) / n
    deviation = math.sqrt(sum((d - mean) ** 2 for d in differences) / n)
    return mean, float(stats.t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)
