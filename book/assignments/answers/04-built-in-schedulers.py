"""Answers to assignment 4, right and wrong, and the marks that each must lose.

An answer's first line names the cell and says what is unusual or wrong. The
second names the test cells that give no marks; "nothing" stands for a right
answer. Then comes the whole cell, or what changes in the solution's cell: a
line "# - before", and one or more lines "# + after".
"""

# %% predict: numpy's numbers, rounded, all arguments
# loses: nothing
import numpy as np

base, low = np.float64(0.8), np.float32(0.04)
arguments = dict(
    a=dict(step_size=np.int64(15), gamma=np.round(0.24 / base, 6)),
    b=dict(factor=np.divide(0.28, base), total_iters=float(14), last_epoch=-1),
    c=dict(eta_min=float(low), T_max=float(24)),
    d=dict(start_factor=0.16 / base, total_iters=18),
)


# %% order: a function of the step
# loses: nothing
def decaying(optimizer, steps):
    scheduler = lr_scheduler.LambdaLR(optimizer, lambda t: 0.6**t)
    for t in range(steps):
        optimizer.zero_grad()
        optimizer.step()
        if t < steps - 1:
            scheduler.step()


# %% order: by hand
# loses: nothing
def decaying(optimizer, steps):
    for t in range(steps):
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] *= 0.6


# %% order: the scheduler first, from a higher rate, and a warning
# loses: nothing
def decaying(optimizer, steps):
    for group in optimizer.param_groups:
        group["lr"] /= 0.6
    scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=0.6)
    for _ in range(steps):
        scheduler.step()
        optimizer.step()


# %% order: recursion, and a progress bar
# loses: nothing
from tqdm import tqdm


def decaying(optimizer, steps):
    with tqdm(total=1) as bar:
        if steps:
            optimizer.step()
            optimizer.param_groups[0]["lr"] = optimizer.used[-1] * 0.6
            bar.update(1)
            decaying(optimizer, steps - 1)


# %% batches: by hand, with a tensor
# loses: nothing
def cosine_over_batches(optimizer, epochs, batches):
    base = optimizer.param_groups[0]["lr"]
    for progress in torch.linspace(0, 1, epochs * batches + 1)[:-1]:
        factor = (1 + torch.cos(progress * torch.pi)) / 2
        optimizer.param_groups[0]["lr"] = 0.002 + (base - 0.002) * factor
        optimizer.step()


# %% batches: numpy, a function of the step
# loses: nothing
import numpy as np


def cosine_over_batches(optimizer, epochs, batches):
    lr, total = optimizer.param_groups[0]["lr"], epochs * batches
    wave = np.cos(np.linspace(0, np.pi, total + 1)) / 2 + 0.5
    table = (0.002 + (lr - 0.002) * wave) / lr
    scheduler = lr_scheduler.LambdaLR(optimizer, table.__getitem__)
    for _ in range(total):
        optimizer.step()
        scheduler.step()


# %% batches: fractions of an epoch
# loses: nothing
def cosine_over_batches(optimizer, epochs, batches):
    scheduler = lr_scheduler.CosineAnnealingLR(
        optimizer, T_max=epochs, eta_min=0.002
    )
    for epoch in range(epochs):
        for batch in range(batches):
            scheduler.step(epoch + batch / batches)
            optimizer.step()


# %% resume: the number of epochs, and a fresh scheduler that catches up
# loses: nothing
def save(optimizer, scheduler):
    return {"done": scheduler.last_epoch}


def resume(checkpoint):
    optimizer = Recorded(0.1)
    scheduler = lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.45)
    for _ in range(checkpoint["done"]):
        scheduler.step()
    return optimizer, scheduler


# %% resume: a function of the epoch, and its number in a tensor
# loses: nothing
def save(optimizer, scheduler):
    return torch.tensor(scheduler.last_epoch)


def resume(checkpoint):
    optimizer, done = Recorded(0.1), checkpoint.item()
    scheduler = lr_scheduler.LambdaLR(optimizer, lambda t: 0.45 ** (t // 3))
    for _ in range(done):
        scheduler.step()
    return optimizer, scheduler


# %% resume: two state dicts in a tuple
# loses: nothing
def save(optimizer, scheduler):
    return scheduler.state_dict(), optimizer.state_dict()


def resume(checkpoint):
    optimizer = Recorded(lr=1.0)
    scheduler = lr_scheduler.StepLR(optimizer, 1)
    scheduler.load_state_dict(checkpoint[0])
    optimizer.load_state_dict(checkpoint[1])
    return [optimizer, scheduler]


# %% joined: one function
# loses: nothing
def warmup_then_cosine(optimizer, epochs, warmup):
    def factor(t):
        if t < warmup:
            return 0.12 + (1 - 0.12) * t / warmup
        return math.cos(math.pi / 2 * (t - warmup) / (epochs - warmup)) ** 2

    return lr_scheduler.LambdaLR(optimizer, factor)


# %% joined: a scheduler of one's own
# loses: nothing
class WarmupThenCosine:
    def __init__(self, optimizer, epochs, warmup):
        self.optimizer, self.t = optimizer, 0
        lr = optimizer.param_groups[0]["lr"]
        rise = torch.linspace(0.12 * lr, lr, warmup + 1)[:-1]
        angle = torch.linspace(0, math.pi, epochs - warmup + 1)
        self.rates = torch.cat([rise, lr / 2 * (1 + torch.cos(angle))])
        self.set()

    def set(self):
        last = len(self.rates) - 1
        rate = self.rates[min(self.t, last)].item()
        self.optimizer.param_groups[0]["lr"] = rate

    def step(self):
        self.t += 1
        self.set()


def warmup_then_cosine(optimizer, epochs, warmup):
    return WarmupThenCosine(optimizer, epochs, warmup)


# %% joined: only the names changed, the lengths as numbers
# loses: nothing
def warmup_then_cosine(optimizer, epochs, warmup):
    parts = [
        lr_scheduler.LinearLR(optimizer, 0.12, 1.0, warmup),
        lr_scheduler.CosineAnnealingLR(optimizer, epochs - warmup, 0.0),
    ]
    return lr_scheduler.SequentialLR(optimizer, parts, [warmup])


# %% predict: the rate for the factor
# loses: predict-a
# - "gamma": 0.24 / 0.8
# + "gamma": 0.24


# %% predict: a step early
# loses: predict-a
# - "step_size": 15
# + "step_size": 15 - 1


# %% predict: counted from one
# loses: predict-a
# - "step_size": 15
# + "step_size": 15 + 1


# %% predict: constant means constant
# loses: predict-b
# - {"factor": 0.28 / 0.8, "total_iters": 14}
# + {"factor": 1.0}


# %% predict: the rate for the constant's factor
# loses: predict-b
# - "factor": 0.28 / 0.8
# + "factor": 0.28


# %% predict: one epoch less
# loses: predict-b
# - "total_iters": 14
# + "total_iters": 14 - 1


# %% predict: the whole wave
# loses: predict-c
# - "T_max": 24
# + "T_max": 2 * 24


# %% predict: the lowest rate as a factor
# loses: predict-c
# - "eta_min": 0.04
# + "eta_min": 0.04 / 0.8


# %% predict: down to 0
# loses: predict-c
# - , "eta_min": 0.04
# +


# %% predict: the epochs counted from the first
# loses: predict-c
# - "T_max": 24
# + "T_max": 24 + 1


# %% predict: the default factor
# loses: predict-d
# - "start_factor": 0.16 / 0.8, "end_factor": 1.0, "total_iters": 18
# + "total_iters": 18


# %% predict: rates for factors
# loses: predict-d
# - "start_factor": 0.16 / 0.8, "end_factor": 1.0
# + "start_factor": 0.16, "end_factor": 0.8


# %% predict: one epoch less for the line
# loses: predict-d
# - "total_iters": 18
# + "total_iters": 18 - 1


# %% order: not repaired
# loses: order-rates
def decaying(optimizer, steps):
    scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=0.6)
    for _ in range(steps):
        scheduler.step()
        optimizer.step()


# %% order: a right-looking list, while the optimizer uses other rates
# loses: order-rates
def decaying(optimizer, steps):
    scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=0.6)
    used = []
    for _ in range(steps):
        used.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
        optimizer.step()
    return used


# %% order: one step too many
# loses: order-rates
def decaying(optimizer, steps):
    scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=0.6)
    optimizer.step()
    for _ in range(steps):
        scheduler.step()
        optimizer.step()


# %% order: the first rate twice
# loses: order-rates
def decaying(optimizer, steps):
    scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=0.6)
    for t in range(steps):
        if t > 1:
            scheduler.step()
        optimizer.step()


# %% order: a formula without the optimizer
# loses: order-rates
def decaying(optimizer, steps):
    return [0.5 * 0.6**t for t in range(steps)]


# %% order: the base rate written out
# loses: order-rates
def decaying(optimizer, steps):
    for t in range(steps):
        optimizer.param_groups[0]["lr"] = 0.5 * 0.6**t
        optimizer.step()


# %% order: an optimizer of its own
# loses: order-rates
def decaying(optimizer, steps):
    optimizer = Recorded(optimizer.param_groups[0]["lr"])
    scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=0.6)
    for _ in range(steps):
        optimizer.step()
        scheduler.step()


# %% batches: not repaired
# loses: batches-rates
# - T_max=epochs * batches
# + T_max=epochs


# %% batches: 0.002 at the last batch
# loses: batches-rates
# - T_max=epochs * batches
# + T_max=epochs * batches - 1


# %% batches: a batch too long
# loses: batches-rates
# - T_max=epochs * batches
# + T_max=epochs * batches + 1


# %% batches: down to 0
# loses: batches-rates
# - , eta_min=0.002
# +


# %% batches: changed after every epoch
# loses: batches-rates
def cosine_over_batches(optimizer, epochs, batches):
    scheduler = lr_scheduler.CosineAnnealingLR(
        optimizer, T_max=epochs, eta_min=0.002
    )
    for _ in range(epochs):
        for _ in range(batches):
            optimizer.step()
        scheduler.step()


# %% batches: the scheduler before the optimizer
# loses: batches-rates
def cosine_over_batches(optimizer, epochs, batches):
    scheduler = lr_scheduler.CosineAnnealingLR(
        optimizer, T_max=epochs * batches, eta_min=0.002
    )
    used = []
    for _ in range(epochs * batches):
        used.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
        optimizer.step()
    return used


# %% batches: a cosine for each epoch
# loses: batches-rates
def cosine_over_batches(optimizer, epochs, batches):
    for _ in range(epochs):
        scheduler = lr_scheduler.CosineAnnealingLR(
            optimizer, T_max=batches, eta_min=0.002
        )
        for _ in range(batches):
            optimizer.step()
            scheduler.step()


# %% resume: not repaired
# loses: resume-rates
# - scheduler.load_state_dict(checkpoint["scheduler"])
# + pass


# %% resume: the scheduler's state only
# loses: resume-rates
# - optimizer.load_state_dict(checkpoint["optimizer"])
# + pass


# %% resume: the old objects kept
# loses: resume-rates
def save(optimizer, scheduler):
    global kept
    kept = optimizer, scheduler
    return {}


def resume(checkpoint):
    return kept


# %% resume: copies of the old objects kept
# loses: resume-rates
def save(optimizer, scheduler):
    global kept
    kept = {"o": optimizer.state_dict(), "s": scheduler}
    return {"optimizer": optimizer.state_dict()}


def resume(checkpoint):
    optimizer = Recorded(0.1)
    scheduler = lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.45)
    optimizer.load_state_dict(checkpoint["optimizer"])
    scheduler.load_state_dict(kept["s"].state_dict())
    return optimizer, scheduler


# %% resume: the objects themselves in the file
# loses: resume-rates
def save(optimizer, scheduler):
    return {"optimizer": optimizer, "scheduler": scheduler}


def resume(checkpoint):
    return checkpoint["optimizer"], checkpoint["scheduler"]


# %% resume: the stop of the visible check written out
# loses: resume-rates
def save(optimizer, scheduler):
    return {"optimizer": optimizer.state_dict()}


def resume(checkpoint):
    optimizer = Recorded(0.1)
    scheduler = lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.45)
    for _ in range(4):
        scheduler.step()
    return optimizer, scheduler


# %% resume: an epoch repeated
# loses: resume-rates
def save(optimizer, scheduler):
    return {"done": scheduler.last_epoch}


def resume(checkpoint):
    optimizer = Recorded(0.1)
    scheduler = lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.45)
    for _ in range(checkpoint["done"] - 1):
        scheduler.step()
    return optimizer, scheduler


# %% resume: made with last_epoch, which decays once more
# loses: resume-rates
def save(optimizer, scheduler):
    return {"o": optimizer.state_dict(), "last": scheduler.last_epoch}


def resume(checkpoint):
    optimizer = Recorded(0.1)
    optimizer.load_state_dict(checkpoint["o"])
    scheduler = lr_scheduler.StepLR(
        optimizer, step_size=3, gamma=0.45, last_epoch=checkpoint["last"] - 1
    )
    return optimizer, scheduler


# %% joined: not repaired
# loses: joined-rates
def warmup_then_cosine(optimizer, epochs, warmup):
    first = lr_scheduler.LinearLR(
        optimizer, start_factor=0.12, total_iters=warmup
    )
    then = lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    return lr_scheduler.ChainedScheduler([first, then])


# %% joined: the whole length
# loses: joined-rates
# - T_max=epochs - warmup
# + T_max=epochs


# %% joined: still chained
# loses: joined-rates
# - lr_scheduler.SequentialLR(
# + lr_scheduler.ChainedScheduler(
# - optimizer, [first, then], milestones=[warmup]
# + [first, then]


# %% joined: the milestone a step late
# loses: joined-rates
# - milestones=[warmup]
# + milestones=[warmup + 1]


# %% joined: the warmup a step short
# loses: joined-rates
# - total_iters=warmup
# + total_iters=max(warmup - 1, 1)


# %% joined: from the default factor
# loses: joined-rates
# - start_factor=0.12
# + start_factor=1 / 3


# %% joined: one scheduler only
# loses: joined-rates
# - return lr_scheduler.SequentialLR(
# + return then or lr_scheduler.SequentialLR(


# %% order: the record corrected, not the rates
# loses: order-rates
def decaying(optimizer, steps):
    scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=0.6)
    for _ in range(steps):
        scheduler.step()
        optimizer.step()
    optimizer.used = [rate / 0.6 for rate in optimizer.used]
