"""Wrong answers to assignment 5: a cell each, with the marks that it must lose.

A cell's first line names the question and says what is wrong; its second line
names the test cells that must give no marks. All others must give theirs.
"""


# %% better: reaching is enough
# loses: better-min
def is_better(metric, best, mode="min", threshold=1e-4, threshold_mode="rel"):
    """True or False."""
    sign = 1 if mode == "min" else -1
    bar = (
        best * (1 - sign * threshold)
        if threshold_mode == "rel"
        else best - sign * threshold
    )
    return metric <= bar if mode == "min" else metric > bar


# %% better: the bar on the wrong side
# loses: better-max
def is_better(metric, best, mode="min", threshold=1e-4, threshold_mode="rel"):
    """True or False."""
    sign = 1
    bar = (
        best * (1 - sign * threshold)
        if threshold_mode == "rel"
        else best - sign * threshold
    )
    return metric < bar if mode == "min" else metric > bar


# %% machine: one epoch early
# loses: machine-cooldown, machine-floor, machine-patience, machine-threshold
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
        self.lr, self.factor, self.patience = lr, factor, patience
        self.comparison = (mode, threshold, threshold_mode)
        self.cooldown, self.min_lr, self.eps = cooldown, min_lr, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.bad = self.cooling = 0

    def step(self, metric):
        """The rate from the next epoch on."""
        mode, threshold, threshold_mode = self.comparison
        sign = 1 if mode == "min" else -1
        if threshold_mode == "rel":
            bar = self.best * (1 - sign * threshold)
        else:
            bar = self.best - sign * threshold
        if (metric < bar) if mode == "min" else (metric > bar):
            self.best, self.bad = metric, 0
        else:
            self.bad += 1
        if self.cooling > 0:
            self.cooling -= 1
            self.bad = 0
        if self.bad >= self.patience:
            lower = max(self.lr * self.factor, self.min_lr)
            if self.lr - lower > self.eps:
                self.lr = lower
            self.bad, self.cooling = 0, self.cooldown
        return self.lr


# %% machine: the cooldown counts
# loses: machine-cooldown, machine-floor
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
        self.lr, self.factor, self.patience = lr, factor, patience
        self.comparison = (mode, threshold, threshold_mode)
        self.cooldown, self.min_lr, self.eps = cooldown, min_lr, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.bad = self.cooling = 0

    def step(self, metric):
        """The rate from the next epoch on."""
        mode, threshold, threshold_mode = self.comparison
        sign = 1 if mode == "min" else -1
        if threshold_mode == "rel":
            bar = self.best * (1 - sign * threshold)
        else:
            bar = self.best - sign * threshold
        if (metric < bar) if mode == "min" else (metric > bar):
            self.best, self.bad = metric, 0
        else:
            self.bad += 1
        if self.cooling > 0:
            self.cooling -= 1
        if self.bad > self.patience:
            lower = max(self.lr * self.factor, self.min_lr)
            if self.lr - lower > self.eps:
                self.lr = lower
            self.bad, self.cooling = 0, self.cooldown
        return self.lr


# %% machine: below min_lr
# loses: machine-floor
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
        self.lr, self.factor, self.patience = lr, factor, patience
        self.comparison = (mode, threshold, threshold_mode)
        self.cooldown, self.min_lr, self.eps = cooldown, min_lr, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.bad = self.cooling = 0

    def step(self, metric):
        """The rate from the next epoch on."""
        mode, threshold, threshold_mode = self.comparison
        sign = 1 if mode == "min" else -1
        if threshold_mode == "rel":
            bar = self.best * (1 - sign * threshold)
        else:
            bar = self.best - sign * threshold
        if (metric < bar) if mode == "min" else (metric > bar):
            self.best, self.bad = metric, 0
        else:
            self.bad += 1
        if self.cooling > 0:
            self.cooling -= 1
            self.bad = 0
        if self.bad > self.patience:
            lower = self.lr * self.factor
            if self.lr - lower > self.eps:
                self.lr = lower
            self.bad, self.cooling = 0, self.cooldown
        return self.lr


# %% machine: eps ignored
# loses: machine-floor
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
        self.lr, self.factor, self.patience = lr, factor, patience
        self.comparison = (mode, threshold, threshold_mode)
        self.cooldown, self.min_lr, self.eps = cooldown, min_lr, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.bad = self.cooling = 0

    def step(self, metric):
        """The rate from the next epoch on."""
        mode, threshold, threshold_mode = self.comparison
        sign = 1 if mode == "min" else -1
        if threshold_mode == "rel":
            bar = self.best * (1 - sign * threshold)
        else:
            bar = self.best - sign * threshold
        if (metric < bar) if mode == "min" else (metric > bar):
            self.best, self.bad = metric, 0
        else:
            self.bad += 1
        if self.cooling > 0:
            self.cooling -= 1
            self.bad = 0
        if self.bad > self.patience:
            lower = max(self.lr * self.factor, self.min_lr)
            if self.lr - lower > 0:
                self.lr = lower
            self.bad, self.cooling = 0, self.cooldown
        return self.lr


# %% machine: threshold times infinity
# loses: machine-cooldown, machine-floor, machine-patience, machine-threshold
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
        self.lr, self.factor, self.patience = lr, factor, patience
        self.comparison = (mode, threshold, threshold_mode)
        self.cooldown, self.min_lr, self.eps = cooldown, min_lr, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.bad = self.cooling = 0

    def step(self, metric):
        """The rate from the next epoch on."""
        mode, threshold, threshold_mode = self.comparison
        sign = 1 if mode == "min" else -1
        if threshold_mode == "rel":
            bar = self.best - sign * threshold * self.best
        else:
            bar = self.best - sign * threshold
        if (metric < bar) if mode == "min" else (metric > bar):
            self.best, self.bad = metric, 0
        else:
            self.bad += 1
        if self.cooling > 0:
            self.cooling -= 1
            self.bad = 0
        if self.bad > self.patience:
            lower = max(self.lr * self.factor, self.min_lr)
            if self.lr - lower > self.eps:
                self.lr = lower
            self.bad, self.cooling = 0, self.cooldown
        return self.lr


# %% alarm: one too few
# loses: alarm-probability
def alarm_probability(patience):
    """The probability of a reduction at the first chance."""
    return 1 / (patience + 1)


def smallest_patience(probability):
    """The smallest patience for which it is at most this (above 0)."""
    patience = 0
    while 1 / (patience + 2) > probability + 1e-12:
        patience += 1
    return patience


# %% alarm: one too many
# loses: alarm-patience
def alarm_probability(patience):
    """The probability of a reduction at the first chance."""
    return 1 / (patience + 2)


def smallest_patience(probability):
    """The smallest patience for which it is at most this (above 0)."""
    patience = 0
    while 1 / (patience + 2) >= probability:
        patience += 1
    return patience
