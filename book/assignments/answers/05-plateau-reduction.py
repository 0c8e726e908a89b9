"""Answers to assignment 5, right and wrong, and the marks that each must lose.

An answer's first line names the cell and says what is unusual or wrong. The
second names the test cells that give no marks; "nothing" stands for a right
answer. Then comes the whole cell, or what changes in the solution's cell: a
line "# - before", and one or more lines "# + after".
"""

# %% better: numpy's bool
# loses: nothing
import numpy as np


def is_better(metric, best, mode="min", threshold=1e-4, threshold_mode="rel"):
    sign = np.array({"min": -1.0, "max": 1.0}[mode])
    margin = threshold * (best if threshold_mode == "rel" else 1.0)
    return np.greater(sign * metric, sign * (best + sign * margin))


# %% better: tensors, and a warning
# loses: nothing
import warnings


def is_better(metric, best, mode="min", threshold=1e-4, threshold_mode="rel"):
    warnings.warn(f"comparing {metric} with {best}", stacklevel=2)
    best = torch.tensor(best, dtype=torch.float64)
    if mode == "min":
        factor, shift = 1 - threshold, -threshold
    else:
        factor, shift = 1 + threshold, threshold
    bar = best * factor if threshold_mode == "rel" else best + shift
    metric = torch.tensor(metric, dtype=torch.float64)
    return metric.lt(bar) if mode == "min" else metric.gt(bar)


# %% better: a table of functions, the improvement compared
# loses: nothing
BETTER = {
    ("min", "rel"): lambda m, best, t: best - m > best * t,
    ("min", "abs"): lambda m, best, t: best - m > t,
    ("max", "rel"): lambda m, best, t: m - best > best * t,
    ("max", "abs"): lambda m, best, t: m - best > t,
}


def is_better(metric, best, mode="min", threshold=1e-4, threshold_mode="rel"):
    return BETTER[mode, threshold_mode](metric, best, threshold)


# %% machine: a coroutine
# loses: nothing
def machine(lr, mode, factor, patience, threshold, kind, cooldown, low, eps):
    s, best, bad, cooling = None, None, 0, 0
    while True:
        metric = yield lr
        good = False
        if metric == metric:
            s = metric if s is None else 0.35 * metric + (1 - 0.35) * s
            good = best is None or is_better(s, best, mode, threshold, kind)
        if good:
            best, bad = s, 0
        elif not cooling:
            bad += 1
        cooling = max(0, cooling - 1)
        if bad > patience:
            if lr - max(lr * factor, low) > eps:
                lr = max(lr * factor, low)
            bad, cooling = 0, cooldown


class Plateau:
    def __init__(
        self,
        lr,
        mode="min",
        factor=0.1,
        patience=10,
        threshold=1e-4,
        threshold_mode="rel",
        cooldown=0,
        min_lr=0.0,
        eps=1e-8,
    ):
        kind = threshold_mode
        self.run = machine(
            lr, mode, factor, patience, threshold, kind, cooldown, min_lr, eps
        )
        next(self.run)

    def step(self, metric):
        return self.run.send(metric)


# %% machine: in float32, with tensors
# loses: nothing
# - self.lr, self.factor, self.patience = lr, factor, patience
# + self.lr = torch.tensor(lr)
# +         self.factor, self.patience = torch.tensor(factor), patience
# - self.min_lr, self.eps = min_lr, eps
# + self.min_lr, self.eps = torch.tensor(min_lr), torch.tensor(eps)
# - if self.average is None:
# + metric = torch.tensor(metric)
# +             if self.average is None:
# - self.average += 0.35 * (metric - self.average)
# + self.average = self.average.lerp(metric, 0.35)


# %% machine: infinity for no best
# loses: nothing
# - self.average = self.best = None
# + self.average = None
# +         self.best = math.inf if mode == "min" else -math.inf
# - if self.best is None:
# + if math.isinf(self.best):


# %% machine: all from the history, in numpy
# loses: nothing
import numpy as np


class Plateau:
    def __init__(
        self,
        lr,
        mode="min",
        factor=0.1,
        patience=10,
        threshold=1e-4,
        threshold_mode="rel",
        cooldown=0,
        min_lr=0.0,
        eps=1e-8,
    ):
        self.start, self.metrics = lr, np.array([])
        self.arguments = mode, threshold, threshold_mode
        self.factor, self.patience, self.cooldown = factor, patience, cooldown
        self.min_lr, self.eps = min_lr, eps

    def step(self, metric):
        self.metrics = np.append(self.metrics, metric)
        lr, s, best, bad, left = self.start, np.nan, np.nan, 0, 0
        for one in self.metrics:
            good = False
            if not np.isnan(one):
                s = (
                    one
                    if np.isnan(s)
                    else np.average([s, one], weights=[1 - 0.35, 0.35])
                )
                good = np.isnan(best) or is_better(s, best, *self.arguments)
            if good:
                best = s
            bad = 0 if good or left else bad + 1
            left = left - 1 if left else 0
            if bad > self.patience:
                new = np.maximum(lr * self.factor, self.min_lr)
                lr = new if lr - new > self.eps else lr
                bad, left = 0, self.cooldown
        return lr


# %% machine: a log on stderr
# loses: nothing
# - return self.lr
# + import sys
# +
# +         print(f"lr {self.lr}, {self.bad} bad", file=sys.stderr)
# +         return self.lr


# %% machine: the sign in the metric, as in torch
# loses: nothing
# - return sign * self.average < sign * bar
# + return (bar - self.average) * sign > 0


# %% machine: no cooldown if the rate stays, which it then does for ever
# loses: nothing
# - self.bad, self.cooling = 0, self.cooldown
# +     self.bad, self.cooling = 0, self.cooldown


# %% alarm: fractions
# loses: nothing
from fractions import Fraction


def alarm_probability(patience):
    return 1 - Fraction(patience + 1, patience + 2) ** 22


def smallest_patience(probability):
    patience = 0
    while alarm_probability(patience) > probability:
        patience += 1
    return patience


# %% alarm: a product of networks in numpy, and a search
# loses: nothing
import numpy as np


def alarm_probability(patience):
    alone = np.full(22, 1 / (patience + 2))
    return 1 - np.prod(1 - alone)


def smallest_patience(probability):
    patience = np.arange(100_000)
    enough = 1 - (1 - 1 / (patience + 2)) ** 22 <= probability
    return np.argmax(enough)


# %% alarm: solved for p, float32
# loses: nothing
def alarm_probability(patience):
    alone = torch.tensor(1 / (patience + 2))
    return -torch.expm1(22 * torch.log1p(-alone))


def smallest_patience(probability):
    alone = -math.expm1(math.log1p(-probability) / 22)
    return max(0.0, math.ceil(1 / alone - 2))


# %% alarm: recursion
# loses: nothing
def alarm_probability(patience, networks=22):
    if networks == 0:
        return 0.0
    one = 1 / (patience + 2)
    return one + (1 - one) * alarm_probability(patience, networks - 1)


def smallest_patience(probability, patience=0):
    if alarm_probability(patience) <= probability:
        return patience
    return smallest_patience(probability, patience + 1)


# %% better: reaching is enough
# loses: better-max, better-min
# - return metric < bar if mode == "min" else metric > bar
# + return metric <= bar if mode == "min" else metric >= bar


# %% better: NaN is better
# loses: better-max, better-min
# - return metric < bar if mode == "min" else metric > bar
# + return not (metric >= bar if mode == "min" else metric <= bar)


# %% better: the bar on the wrong side
# loses: better-max
# - sign = 1 if mode == "min" else -1
# + sign = 1


# %% better: the absolute bar of "max" on the wrong side
# loses: better-max
# - best - sign * threshold
# + best - threshold


# %% better: no threshold for "max"
# loses: better-max
# - metric > bar
# + metric > best


# %% better: no absolute threshold
# loses: better-max, better-min
# - best - sign * threshold
# + best


# %% better: relative in both modes
# loses: better-max, better-min
# - if threshold_mode == "rel":
# + if True:


# %% better: absolute in both modes
# loses: better-max, better-min
# - if threshold_mode == "rel":
# + if False:


# %% better: the improvement divided by the best
# loses: better-max, better-min
# - bar = best * (1 - sign * threshold)
# + return sign * (best - metric) / best > threshold


# %% better: the absolute value of the best
# loses: better-max, better-min
# - bar = best * (1 - sign * threshold)
# + bar = best - sign * threshold * abs(best)


# %% better: "max" is the opposite of "min"
# loses: better-max
# - return metric < bar if mode == "min" else metric > bar
# + return (metric < bar) == (mode == "min")


# %% machine: one epoch early
# loses: machine-cooldown, machine-floor, machine-patience, machine-threshold
# - self.bad > self.patience
# + self.bad >= self.patience


# %% machine: one epoch late
# loses: machine-cooldown, machine-floor, machine-patience, machine-threshold
# - self.bad > self.patience
# + self.bad > self.patience + 1


# %% machine: the metric itself, as in torch
# loses: machine-cooldown, machine-floor, machine-patience, machine-threshold
# - self.average += 0.35 * (metric - self.average)
# + self.average = metric


# %% machine: the weights of the average exchanged
# loses: machine-cooldown, machine-floor, machine-patience, machine-threshold
# - 0.35 * (metric - self.average)
# + (1 - 0.35) * (metric - self.average)


# %% machine: the average starts at 0
# loses: machine-cooldown, machine-floor, machine-patience, machine-threshold
# - self.average = metric
# + self.average = 0.0


# %% machine: NaN enters the average
# loses: machine-floor
# - if not math.isnan(metric):
# + if True:


# %% machine: NaN is skipped, not counted
# loses: machine-floor
# - if not math.isnan(metric) and self.improves():
# + if math.isnan(metric):
# +             return self.lr
# +         if self.improves():


# %% machine: NaN at first is better
# loses: machine-floor
# - if not math.isnan(metric) and self.improves():
# + if self.improves():


# %% machine: a tensor that changes in place, so the best changes too
# loses: machine-cooldown, machine-floor, machine-patience, machine-threshold
# - self.average = metric
# + self.average = torch.tensor(metric)


# %% machine: better than the epoch before
# loses: machine-cooldown, machine-floor, machine-patience, machine-threshold
# - self.bad += 1
# + self.best, self.bad = self.average, self.bad + 1


# %% machine: the cooldown counts
# loses: machine-cooldown, machine-floor
# - self.cooling -= 1
# + self.cooling, kept = self.cooling - 1, self.bad
# - if self.bad > self.patience:
# + if self.cooldown and "kept" in locals():
# +             self.bad = kept
# +         if self.bad > self.patience:


# %% machine: no cooldown
# loses: machine-cooldown, machine-floor
# - = 0, self.cooldown
# + = 0, 0


# %% machine: the cooldown an epoch too long
# loses: machine-cooldown, machine-floor
# - = 0, self.cooldown
# + = 0, self.cooldown and self.cooldown + 1


# %% machine: no new best during a cooldown
# loses: machine-cooldown
# - if not math.isnan(metric) and self.improves():
# + if self.cooling == 0 and not math.isnan(metric) and self.improves():


# %% machine: the best forgotten after a reduction
# loses: machine-cooldown, machine-floor, machine-patience, machine-threshold
# - = 0, self.cooldown
# + = 0, self.cooldown
# +             self.best = None


# %% machine: the count goes on after a reduction
# loses: machine-patience, machine-threshold
# - self.bad, self.cooling = 0, self.cooldown
# + self.cooling = self.cooldown


# %% machine: a better epoch doesn't reset the count
# loses: machine-cooldown, machine-floor, machine-patience, machine-threshold
# - self.best, self.bad = self.average, 0
# + self.best = self.average


# %% machine: below min_lr
# loses: machine-floor
# - max(self.lr * self.factor, self.min_lr)
# + self.lr * self.factor


# %% machine: no reduction that would go below min_lr
# loses: machine-floor
# - lower = max(self.lr * self.factor, self.min_lr)
# + lower = self.lr * self.factor
# +             lower = lower if lower >= self.min_lr else self.lr


# %% machine: eps ignored
# loses: machine-floor
# - > self.eps
# + > 0


# %% machine: threshold times infinity
# loses: machine-cooldown, machine-floor, machine-patience, machine-threshold
# - self.average = self.best = None
# + self.average = None
# +         self.best = math.inf if mode == "min" else -math.inf
# - return True
# + pass
# - bar = self.best * (1 - sign * self.threshold)
# + bar = self.best - sign * self.threshold * self.best


# %% machine: the mode ignored
# loses: machine-threshold
# - sign = 1 if self.mode == "min" else -1
# + sign = 1


# %% machine: the threshold always relative
# loses: machine-threshold
# - if self.threshold_mode == "rel":
# + if True:


# %% machine: the threshold ignored
# loses: machine-threshold
# - sign * self.average < sign * bar
# + sign * self.average < sign * self.best


# %% machine: torch's class inside
# loses: machine-cooldown, machine-floor, machine-patience, machine-threshold
class Plateau:
    def __init__(self, lr, **arguments):
        weight = torch.zeros(1, requires_grad=True)
        self.optimizer = torch.optim.SGD([weight], lr=lr)
        self.scheduler = ReduceLROnPlateau(self.optimizer, **arguments)
        self.average = None

    def step(self, metric):
        if not math.isnan(metric):
            if self.average is None:
                self.average = metric
            self.average += 0.35 * (metric - self.average)
        self.scheduler.step(math.nan if math.isnan(metric) else self.average)
        return self.optimizer.param_groups[0]["lr"]


# %% alarm: of one training
# loses: alarm-patience, alarm-probability
def alarm_probability(patience):
    return 1 / (patience + 2)


def smallest_patience(probability):
    return max(0, math.ceil(1 / probability - 2))


# %% alarm: the sum of the probabilities
# loses: alarm-patience, alarm-probability
def alarm_probability(patience):
    return min(1.0, 22 / (patience + 2))


def smallest_patience(probability):
    return max(0, math.ceil(22 / probability - 2))


# %% alarm: in all of them
# loses: alarm-patience, alarm-probability
def alarm_probability(patience):
    return (1 / (patience + 2)) ** 22


def smallest_patience(probability):
    return max(0, math.ceil(probability ** (-1 / 22) - 2))


# %% alarm: one epoch too few
# loses: alarm-probability
# - return 1 - (1 - 1 / (patience + 2)) ** 22
# + return 1 - (1 - 1 / (patience + 1)) ** 22 if patience else 1.0


# %% alarm: a coin in each epoch
# loses: alarm-probability
# - return 1 - (1 - 1 / (patience + 2)) ** 22
# + return 1 - (1 - 0.5 ** (patience + 1)) ** 22


# %% alarm: one too many
# loses: alarm-patience
# - return patience
# + return patience + 1


# %% alarm: one too few
# loses: alarm-patience
# - return patience
# + return max(0, patience - 1)


# %% machine: reaching is enough
# loses: machine-threshold
# - sign * self.average < sign * bar
# + sign * self.average <= sign * bar


# %% machine: a change of just eps is made
# loses: machine-floor
# - > self.eps
# + >= self.eps
