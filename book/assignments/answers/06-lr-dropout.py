"""Answers to assignment 6, right and wrong, and the marks that each must lose.

An answer's first line names the cell and says what is unusual or wrong. The
second names the test cells that give no marks; "nothing" stands for a right
answer. Then comes the whole cell, or what changes in the solution's cell: a
line "# - before", and one or more lines "# + after".
"""

# %% wrong: numbers as numpy's and floats
# loses: nothing
import numpy as np

answers = dict(zip("abc", np.array([3.0, 2.0, 1.0])))


# %% right: where, and copies
# loses: nothing
def dropout_step(w, grad, buffer, lr, momentum, keep, generator):
    new = momentum * buffer + grad * 0.75
    buffer.copy_(new)
    mask = coins(w, keep, generator)
    w.copy_(torch.where(mask == 1, w - lr * new, w))


# %% right: by index
# loses: nothing
def dropout_step(w, grad, buffer, lr, momentum, keep, generator):
    buffer[...] = buffer * momentum + grad * 0.75
    kept = coins(w, keep, generator).bool()
    w[kept] -= lr * buffer[kept]
    return w, buffer


# %% right: numpy, which shares the memory
# loses: nothing
import numpy as np


def dropout_step(w, grad, buffer, lr, momentum, keep, generator):
    mask = coins(w, keep, generator).numpy()
    b = buffer.numpy()
    np.multiply(b, momentum, out=b)
    np.add(b, np.float32(0.75) * grad.numpy(), out=b)
    np.subtract(w.numpy(), np.float32(lr) * mask * b, out=w.numpy())


# %% right: a loop over the coordinates, the mask first, a progress bar
# loses: nothing
from tqdm import tqdm


def dropout_step(w, grad, buffer, lr, momentum, keep, generator):
    mask = coins(w, keep, generator)
    if w.numel() > 100:
        buffer.mul_(momentum).add_(grad, alpha=0.75)
        w.addcmul_(mask, buffer, value=-lr)
        return
    flat = w.view(-1), grad.view(-1), buffer.view(-1), mask.view(-1)
    for i in tqdm(range(w.numel())):
        flat[2][i] = momentum * flat[2][i] + 0.75 * flat[1][i]
        if flat[3][i]:
            flat[0][i] -= lr * flat[2][i]


# %% right: torch's own optimizer inside
# loses: nothing
def dropout_step(w, grad, buffer, lr, momentum, keep, generator):
    weight = w.clone().requires_grad_()
    weight.grad = 0.75 * grad
    optimizer = torch.optim.SGD([weight], lr=lr, momentum=momentum)
    optimizer.state[weight]["momentum_buffer"] = buffer.clone()
    optimizer.step()
    buffer.set_(optimizer.state[weight]["momentum_buffer"])
    kept = coins(w, keep, generator) > 0
    w.masked_scatter_(kept, weight.detach()[kept])


# %% effective: simulated
# loses: nothing
def effective_steps(keep, momentum):
    dropout = masked = 0.0
    for _ in range(2000):
        dropout = momentum * dropout + 0.75
        masked = keep * (momentum * masked + 0.75)
    return keep * dropout, masked


def matched_rate(lr, keep, momentum):
    plain = 0.0
    for _ in range(2000):
        plain = momentum * plain + 1
    return lr * effective_steps(keep, momentum)[1] / plain


# %% effective: tensors in float32
# loses: nothing
def effective_steps(keep, momentum):
    each = torch.tensor([momentum, keep * momentum])
    return keep * 0.75 / (1 - each)


def matched_rate(lr, keep, momentum):
    step = torch.tensor(0.75 * keep) / (1 - torch.tensor(keep) * momentum)
    return step * torch.tensor(lr) * (1 - torch.tensor(momentum))


# %% effective: a geometric series in numpy
# loses: nothing
import numpy as np


def effective_steps(keep, momentum):
    powers = np.arange(3000)
    yield 0.75 * keep * np.sum(momentum**powers)
    yield 0.75 * keep * np.sum((keep * momentum) ** powers)


def matched_rate(lr, keep, momentum):
    _, masked = effective_steps(keep, momentum)
    return masked * lr * (1 - momentum)


# %% judge: tensors in float32
# loses: nothing
def paired_interval(a, b):
    from scipy import stats

    d = torch.tensor(a) - torch.tensor(b)
    t = stats.t.ppf(1 - (1 - 0.99) / 2, df=len(d) - 1)
    return torch.stack([d.mean(), t * d.std() / len(d) ** 0.5])


# %% judge: numpy
# loses: nothing
import numpy as np
from scipy.stats import t as student


def paired_interval(a, b):
    d = np.subtract(a, b)
    half = student.isf((1 - 0.99) / 2, d.size - 1) * d.std(ddof=1)
    return np.array([d.mean(), half / np.sqrt(d.size)])


# %% judge: scipy's test
# loses: nothing
def paired_interval(a, b):
    from scipy import stats

    interval = stats.ttest_rel(a, b).confidence_interval(0.99)
    return (
        (interval.low + interval.high) / 2,
        (interval.high - interval.low) / 2,
    )


# %% judge: the standard library for the moments
# loses: nothing
import statistics

import scipy


def paired_interval(a, b):
    d = list(map(float.__sub__, a, b))
    error = statistics.stdev(d) / len(d) ** 0.5
    _, high = scipy.stats.t.interval(0.99, len(d) - 1, scale=error)
    return {statistics.fmean(d): "mean", high: "half-width"}


# %% wrong: a and b confused
# loses: wrong-a, wrong-b
# - "a": 3, "b": 2
# + "a": 2, "b": 3


# %% wrong: one coin taken for a scaled step
# loses: wrong-c
# - "c": 1
# + "c": 4


# %% right: the buffer is masked
# loses: right-buffer, right-mean
# - w.sub_(lr * coins(w, keep, generator) * buffer)
# + buffer.mul_(coins(w, keep, generator))
# +     w.sub_(lr * buffer)


# %% right: the gradient is masked
# loses: right-buffer, right-mean, right-untouched
# - 0.75 * grad
# + 0.75 * grad * coins(w, keep, generator)
# - * coins(w, keep, generator) * buffer
# + * buffer


# %% right: the gradient is masked in place
# loses: right-buffer, right-mean, right-untouched
def dropout_step(w, grad, buffer, lr, momentum, keep, generator):
    grad.mul_(coins(w, keep, generator))
    buffer.mul_(momentum).add_(0.75 * grad)
    w.sub_(lr * buffer)


# %% right: right, but the gradient is damped in place
# loses: right-buffer
# - buffer.mul_(momentum).add_(0.75 * grad)
# + buffer.mul_(momentum).add_(grad.mul_(0.75))


# %% right: right, but the gradient is masked in place afterwards
# loses: right-buffer
# - w.sub_(lr * coins(w, keep, generator) * buffer)
# + mask = coins(w, keep, generator)
# +     w.sub_(lr * mask * buffer)
# +     grad.mul_(mask)


# %% right: no dampening, as in the chapter
# loses: right-buffer, right-mean, right-whole
# - 0.75 * grad
# + grad


# %% right: the dampening in the step only
# loses: right-buffer
# - 0.75 * grad
# + grad
# - lr * coins
# + lr * 0.75 * coins


# %% right: the momentum damped too
# loses: right-buffer, right-mean, right-whole
# - buffer.mul_(momentum)
# + buffer.mul_(0.75 * momentum)


# %% right: one coin for all
# loses: right-mean, right-untouched
# - coins(w, keep, generator)
# + torch.empty(1).bernoulli_(keep, generator=generator)


# %% right: one coin for a row
# loses: right-mean, right-untouched
# - coins(w, keep, generator)
# + coins(w.reshape(len(w), -1)[:, :1], keep, generator).reshape(
# +         [len(w)] + [1] * (w.ndim - 1)
# +     )


# %% right: divided by p
# loses: right-mean
# - lr * coins
# + lr / keep * coins


# %% right: the probability of dropping for that of keeping
# loses: right-mean, right-untouched, right-whole
# - coins(w, keep, generator)
# + coins(w, 1 - keep, generator)


# %% right: the mean in place of the mask
# loses: right-mean, right-untouched
# - coins(w, keep, generator)
# + keep


# %% right: a second mask for the weights
# loses: right-mean, right-untouched
# - lr * coins
# + lr * coins(w, keep, generator) * coins


# %% right: the weights are dropped, not the step
# loses: right-mean, right-untouched
# - w.sub_(lr * coins(w, keep, generator) * buffer)
# + w.sub_(lr * buffer).mul_(coins(w, keep, generator))


# %% right: the step before the buffer
# loses: right-mean, right-untouched, right-whole
def dropout_step(w, grad, buffer, lr, momentum, keep, generator):
    w.sub_(lr * coins(w, keep, generator) * buffer)
    buffer.mul_(momentum).add_(0.75 * grad)


# %% right: not in place
# loses: right-buffer, right-mean, right-untouched, right-whole
def dropout_step(w, grad, buffer, lr, momentum, keep, generator):
    buffer = momentum * buffer + 0.75 * grad
    w = w - lr * coins(w, keep, generator) * buffer
    return w


# %% right: the other direction
# loses: right-mean, right-whole
# - w.sub_
# + w.add_


# %% effective: the chapter's formulas, no dampening
# loses: effective-matched, effective-steps
def effective_steps(keep, momentum):
    return keep / (1 - momentum), keep / (1 - keep * momentum)


def matched_rate(lr, keep, momentum):
    return lr * keep * (1 - momentum) / (1 - keep * momentum)


# %% effective: both alike
# loses: effective-steps
# - masked = 0.75 * keep / (1 - keep * momentum)
# + masked = 0.75 * keep / (1 - momentum)


# %% effective: exchanged
# loses: effective-steps
# - return dropout, masked
# + return masked, dropout


# %% effective: the dampening of the dropout twice
# loses: effective-steps
# - dropout = 0.75 * keep
# + dropout = 0.75**2 * keep


# %% effective: momentum forgotten
# loses: effective-matched
# - lr * 0.75 * keep * (1 - momentum)
# + lr * 0.75 * keep


# %% effective: plain SGD damped too
# loses: effective-matched
# - lr * 0.75 * keep
# + lr * keep


# %% effective: matched to the dropout
# loses: effective-matched
# - lr * 0.75 * keep * (1 - momentum) / (1 - keep * momentum)
# + lr * 0.75 * keep


# %% judge: b − a
# loses: judge-mean
# - x - y
# + y - x


# %% judge: the normal quantile
# loses: judge-interval
# - stats.t.ppf((1 + 0.99) / 2, n - 1)
# + stats.norm.ppf((1 + 0.99) / 2)


# %% judge: at the chapter's level
# loses: judge-interval
# - (1 + 0.99) / 2
# + 0.975


# %% judge: the quantile of one side
# loses: judge-interval
# - (1 + 0.99) / 2
# + 0.99


# %% judge: n degrees of freedom
# loses: judge-interval
# - 0.99) / 2, n - 1)
# + 0.99) / 2, n)


# %% judge: divided by n
# loses: judge-interval
# - / (n - 1))
# + / n)


# %% judge: the whole width
# loses: judge-interval
# - return mean, float
# + return mean, 2 * float


# %% judge: not divided by the root of n
# loses: judge-interval
# - deviation / math.sqrt(n)
# + deviation


# %% judge: not paired
# loses: judge-interval
def paired_interval(a, b):
    from scipy import stats

    n = len(a)
    mean = sum(a) / n - sum(b) / n
    both = torch.tensor(a).var().item() + torch.tensor(b).var().item()
    quantile = stats.t.ppf((1 + 0.99) / 2, 2 * n - 2)
    return mean, float(quantile) * math.sqrt(both / n)
