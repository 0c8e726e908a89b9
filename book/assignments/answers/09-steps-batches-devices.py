"""Answers to assignment 9, right and wrong, and the marks that each must lose.

An answer's first line names the cell and says what is unusual or wrong. The
second names the test cells that give no marks; "nothing" stands for a right
answer. Then comes the whole cell, or what changes in the solution's cell: a
line "# - before", and one or more lines "# + after".
"""

# %% count: numpy's ceil and floor
# loses: nothing
import numpy as np


def batches_in(samples):
    return np.ceil(samples / 52)


def plain(samples, epochs):
    return epochs * batches_in(samples)


def dropping(samples, epochs):
    return epochs * np.floor(samples / 52)


def accumulating(samples, epochs):
    return epochs * np.floor(batches_in(samples) / 12)


def flushing(samples, epochs):
    return epochs * np.ceil(batches_in(samples) / 12)


def distributed(samples, epochs, devices):
    return flushing(np.ceil(samples / devices), epochs)


def mixed(samples, epochs, overflows):
    return plain(samples, epochs) - overflows


# %% count: the loops themselves, without their training
# loses: nothing
def run(samples, epochs, drop_last=False, group=1, flush=True):
    sizes = [min(52, samples - start) for start in range(0, samples, 52)]
    if drop_last and sizes[-1] < 52:
        sizes.pop()
    updates = 0
    for _ in range(epochs):
        waiting = 0
        for size in sizes:
            waiting += 1
            if waiting == group:
                updates, waiting = updates + 1, 0
        if waiting and flush:
            updates += 1
    return updates


def plain(samples, epochs):
    return run(samples, epochs)


def dropping(samples, epochs):
    return run(samples, epochs, drop_last=True)


def accumulating(samples, epochs):
    return run(samples, epochs, group=12, flush=False)


def flushing(samples, epochs):
    return run(samples, epochs, group=12)


def distributed(samples, epochs, devices):
    return run((samples + devices - 1) // devices, epochs, group=12)


def mixed(samples, epochs, overflows):
    return run(samples, epochs) - overflows


# %% count: torch's own loader and sampler
# loses: nothing
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler


def plain(samples, epochs):
    return epochs * len(DataLoader(range(samples), batch_size=52))


def dropping(samples, epochs):
    loader = DataLoader(range(samples), batch_size=52, drop_last=True)
    return epochs * len(loader)


def accumulating(samples, epochs):
    return plain(samples, 1) // 12 * epochs


def flushing(samples, epochs):
    return (plain(samples, 1) + 12 - 1) // 12 * epochs


def distributed(samples, epochs, devices):
    sampler = DistributedSampler(range(samples), devices, rank=0)
    loader = DataLoader(range(samples), batch_size=52, sampler=sampler)
    return torch.ceil(torch.tensor(len(loader) / 12)) * epochs


def mixed(samples, epochs, overflows):
    return torch.tensor(plain(samples, epochs) - overflows)


# %% last: the scheduler, as a list of the rates
# loses: nothing
def rates(updates, total):
    return [0.36 * max(0.0, 1 - t / total) for t in range(updates)]


def last_rate_of_one(length, epochs):
    return rates(epochs * (length // 12), epochs * length)[-1]


def last_rate_of_two(length, epochs):
    rate = rates(epochs, epochs * length)
    return torch.tensor(rate, dtype=torch.float64)[-1]


# %% last: torch's own scheduler
# loses: nothing
from torch.optim.lr_scheduler import LambdaLR


def after(calls, total):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.36)
    scheduler = LambdaLR(optimizer, lambda t: max(0.0, 1 - t / total))
    for _ in range(calls):
        optimizer.step()
        scheduler.step()
    return scheduler.get_last_lr()[0]


def last_rate_of_one(length, epochs):
    return after(epochs * (length // 12) - 1, epochs * length)


def last_rate_of_two(length, epochs):
    return after(epochs - 1, epochs * length)


# %% lost: whole numbers only
# loses: nothing
def lost_updates(length, epochs, processes):
    total = epochs * length
    return total - (total + processes - 1) // processes


# %% lost: counted with fractions
# loses: nothing
from fractions import Fraction


def lost_updates(length, epochs, processes):
    total = length * epochs
    factors = (1 - Fraction(processes * t, total) for t in range(total))
    return sum(factor <= 0 for factor in factors)


# %% accumulate: sums of losses, then the gradients divided
# loses: nothing
def accumulated_update(model, optimizer, micro_batches):
    optimizer.zero_grad(set_to_none=False)
    count = 0
    for x, y in micro_batches:
        cross_entropy(model(x), y, reduction="sum").backward()
        count += y.numel()
    for weight in model.parameters():
        weight.grad /= count
    nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.3)
    optimizer.step()


# %% accumulate: with autograd.grad, and clipped by hand
# loses: nothing
def accumulated_update(model, optimizer, micro_batches):
    weights = list(model.parameters())
    total = sum(y.shape[0] for _, y in micro_batches)
    sums = [torch.zeros_like(weight) for weight in weights]
    for x, y in micro_batches:
        loss = cross_entropy(model(x), y, reduction="sum") / total
        for one, gradient in zip(sums, torch.autograd.grad(loss, weights)):
            one += gradient
    norm = torch.cat([one.flatten() for one in sums]).norm()
    for weight, one in zip(weights, sums):
        weight.grad = one * min(1.0, 1.3 / norm.item())
    optimizer.step()


# %% callback: LambdaLR inside, set to the right step
# loses: nothing
from torch.optim.lr_scheduler import LambdaLR


class WarmupAndLine:
    def on_fit_start(self, trainer):
        total = trainer.epochs * -(-trainer.batches // trainer.accumulate)

        def factor(t):
            if t < 19:
                return (t + 1) / 19
            return (total - t) / (total - 19)

        fresh = trainer.global_step == 0
        self.scheduler = LambdaLR(
            trainer.optimizer, factor, -1 if fresh else trainer.global_step - 1
        )
        self.done = trainer.global_step

    def on_batch_start(self, trainer):
        while self.done < trainer.global_step:
            self.scheduler.step()
            self.done += 1


# %% callback: an entry of its own name, and all factors in advance
# loses: nothing
class WarmupAndLine:
    def on_fit_start(self, trainer):
        updates = math.ceil(trainer.batches / trainer.accumulate)
        total = updates * trainer.epochs
        up = torch.linspace(1 / 19, 1, 19, dtype=torch.float64)
        down = torch.arange(total - 19, 0, -1, dtype=torch.float64)
        self.factors = torch.cat([up, down / (total - 19)]).tolist()
        for group in trainer.optimizer.param_groups:
            if "base" not in group:
                group["base"] = group["lr"]

    def on_batch_start(self, trainer):
        for group in trainer.optimizer.param_groups:
            group["lr"] = group["base"] * self.factors[trainer.global_step]


# %% accumulate: sample by sample
# loses: nothing
def accumulated_update(model, optimizer, micro_batches):
    optimizer.zero_grad()
    samples = [pair for x, y in micro_batches for pair in zip(x, y)]
    for x, y in samples:
        loss = cross_entropy(model(x[None]), y[None])
        (loss / len(samples)).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.3)
    optimizer.step()


# %% accumulate: with torch.func, which leaves the model's own parameters alone
# loses: nothing
from torch.func import functional_call, grad


def accumulated_update(model, optimizer, micro_batches):
    weights = {name: w.detach() for name, w in model.named_parameters()}
    total = sum(y.numel() for _, y in micro_batches)

    def loss(weights, x, y):
        logits = functional_call(model, weights, (x,))
        return cross_entropy(logits, y, reduction="sum") / total

    model.zero_grad()
    for x, y in micro_batches:
        for name, new in grad(loss)(weights, x, y).items():
            w = model.get_parameter(name)
            w.grad = new if w.grad is None else w.grad + new
    nn.utils.clip_grad_norm_(model.parameters(), 1.3)
    optimizer.step()


# %% callback: the base rate is computed from the last rate
# loses: nothing
class WarmupAndLine:
    def factor(self, t):
        return min((t + 1) / 19, (self.total - t) / (self.total - 19))

    def on_fit_start(self, trainer):
        per_epoch = -(-trainer.batches // trainer.accumulate)
        self.total, t = trainer.epochs * per_epoch, trainer.global_step
        used = self.factor(t - 1) if t else 1.0
        groups = trainer.optimizer.param_groups
        self.bases = [torch.tensor(group["lr"] / used) for group in groups]

    def on_batch_start(self, trainer):
        groups = trainer.optimizer.param_groups
        for base, group in zip(self.bases, groups):
            group["lr"] = base * self.factor(trainer.global_step)


# %% count: the last partial batch is forgotten
# loses: count-plain
# -     return epochs * math.ceil(samples / 52)
# +     return epochs * (samples // 52)


# %% count: all samples of all epochs in one row
# loses: count-plain
# -     return epochs * math.ceil(samples / 52)
# +     return math.ceil(epochs * samples / 52)


# %% count: drop_last keeps the last batch
# loses: count-dropping
# -     return epochs * (samples // 52)
# +     return epochs * math.ceil(samples / 52)


# %% count: drop_last once per run
# loses: count-dropping
# -     return epochs * (samples // 52)
# +     return epochs * samples // 52


# %% count: groups go on from one epoch to the next
# loses: count-accumulating
# -     return epochs * (batches // 12)
# +     return epochs * batches // 12


# %% count: the left-over batches make an update
# loses: count-accumulating
# -     return epochs * (batches // 12)
# +     return epochs * math.ceil(batches / 12)


# %% count: accumulation from the samples, without the partial batch
# loses: count-accumulating
# -     return epochs * (batches // 12)
# +     return epochs * (samples // (52 * 12))


# %% count: one update per batch, in spite of the accumulation
# loses: count-accumulating
# -     return epochs * (batches // 12)
# +     return epochs * batches


# %% count: the flush is forgotten
# loses: count-flushing
# -     return epochs * math.ceil(samples / 52 / 12)
# +     return epochs * (math.ceil(samples / 52) // 12)


# %% count: always one more for the flush
# loses: count-flushing
# -     return epochs * math.ceil(samples / 52 / 12)
# +     return epochs * (math.ceil(samples / 52) // 12 + 1)


# %% count: the devices make updates of their own
# loses: count-distributed
# -     return epochs * math.ceil(math.ceil(own / 52) / 12)
# +     return devices * epochs * math.ceil(math.ceil(own / 52) / 12)


# %% count: the devices are not counted
# loses: count-distributed
# -     own = math.ceil(samples / devices)
# +     own = samples


# %% count: the sampler drops samples and doesn't pad
# loses: count-distributed
# -     own = math.ceil(samples / devices)
# +     own = samples // devices


# %% count: skipped updates count
# loses: count-mixed
# -     return epochs * -(-samples // 52) - overflows
# +     return epochs * -(-samples // 52)


# %% count: overflows in every epoch
# loses: count-mixed
# -     return epochs * -(-samples // 52) - overflows
# +     return epochs * (-(-samples // 52) - overflows)


# %% last: the rate after the last update
# loses: last-one
# -     return 0.36 * (1 - (updates - 1) / (epochs * length))
# +     return 0.36 * (1 - updates / (epochs * length))


# %% last: as if T were the number of updates
# loses: last-one
# -     return 0.36 * (1 - (updates - 1) / (epochs * length))
# +     return 0.36 * (1 - (updates - 1) / updates)


# %% last: the left-over batches make an update
# loses: last-one
# -     updates = epochs * (length // 12)
# +     updates = epochs * math.ceil(length / 12)


# %% last: the scheduler is stepped before the update
# loses: last-two
# -     return 0.36 * (1 - (epochs - 1) / (epochs * length))
# +     return 0.36 * (1 - epochs / (epochs * length))


# %% last: T in epochs
# loses: last-two
# -     return 0.36 * (1 - (epochs - 1) / (epochs * length))
# +     return 0.36 * (1 - (epochs - 1) / epochs)


# %% lost: rounded down
# loses: lost-count
# -     return total - math.ceil(total / processes)
# +     return total - total // processes


# %% lost: the updates that aren't lost
# loses: lost-count
# -     return total - math.ceil(total / processes)
# +     return math.ceil(total / processes)


# %% lost: one too few
# loses: lost-count
# -     return total - math.ceil(total / processes)
# +     return max(0, total - math.ceil(total / processes) - 1)


# %% accumulate: a mean of means
# loses: accumulate-unequal
# -         (loss * len(y) / total).backward()
# +         (loss / len(micro_batches)).backward()


# %% accumulate: a sum of means
# loses: accumulate-clip, accumulate-equal, accumulate-once, accumulate-unequal
# -         (loss * len(y) / total).backward()
# +         loss.backward()
# -     nn.utils.clip_grad_norm_(model.parameters(), 1.3)
# +     pass


# %% accumulate: a sum of means, clipped
# loses: accumulate-equal, accumulate-once, accumulate-unequal
# -         (loss * len(y) / total).backward()
# +         loss.backward()


# %% accumulate: no clipping
# loses: accumulate-clip
# -     nn.utils.clip_grad_norm_(model.parameters(), 1.3)
# +     pass


# %% accumulate: each micro-batch is clipped
# loses: accumulate-clip
# -         (loss * len(y) / total).backward()
# +         (loss * len(y) / total).backward()
# +         nn.utils.clip_grad_norm_(model.parameters(), 1.3 * len(y) / total)
# -     nn.utils.clip_grad_norm_(model.parameters(), 1.3)
# +     pass


# %% accumulate: clipped by value
# loses: accumulate-clip
# -     nn.utils.clip_grad_norm_(model.parameters(), 1.3)
# +     nn.utils.clip_grad_value_(model.parameters(), 1.3)


# %% accumulate: old gradients count
# loses: accumulate-once
# -     optimizer.zero_grad()
# +     pass


# %% accumulate: an update for each micro-batch
# loses: accumulate-clip, accumulate-equal, accumulate-once, accumulate-unequal
# -         (loss * len(y) / total).backward()
# +         optimizer.zero_grad()
# +         (loss * len(y) / total).backward()
# +         optimizer.step()


# %% accumulate: all in one batch
# loses: accumulate-once
def accumulated_update(model, optimizer, micro_batches):
    optimizer.zero_grad()
    x, y = (torch.cat(part) for part in zip(*micro_batches))
    cross_entropy(model(x), y).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.3)
    optimizer.step()


# %% accumulate: each parameter is clipped for itself
# loses: accumulate-clip
# -     nn.utils.clip_grad_norm_(model.parameters(), 1.3)
# +     for one in model.parameters():
# +         nn.utils.clip_grad_norm_(one, 1.3)


# %% accumulate: one backward pass at the end, with all activations
# loses: accumulate-once
def accumulated_update(model, optimizer, micro_batches):
    optimizer.zero_grad()
    logits = torch.cat([model(x) for x, _ in micro_batches])
    cross_entropy(logits, torch.cat([y for _, y in micro_batches])).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.3)
    optimizer.step()


# %% callback: the warmup starts at 0
# loses: callback-accumulate, callback-rates, callback-resume
# -         factor = (t + 1) / 19 if t < 19 else line
# +         factor = t / 19 if t < 19 else line


# %% callback: the line forgets the warmup
# loses: callback-accumulate, callback-rates, callback-resume
# -         line = (self.total - t) / (self.total - 19)
# +         line = (self.total - t) / self.total


# %% callback: batches are counted, not updates
# loses: callback-accumulate
# -         t = trainer.global_step
# +         t = self.t = getattr(self, "t", trainer.global_step - 1) + 1
# -         factor = (t + 1)
# +         t = min(t, self.total)
# +         factor = (t + 1)


# %% callback: T in batches
# loses: callback-accumulate
# -         per_epoch = math.ceil(trainer.batches / trainer.accumulate)
# +         per_epoch = trainer.batches


# %% callback: the left-over batches are forgotten in T
# loses: callback-accumulate
# -         per_epoch = math.ceil(trainer.batches / trainer.accumulate)
# +         per_epoch = max(trainer.batches // trainer.accumulate, 1)


# %% callback: one rate for all groups
# loses: callback-rates, callback-resume
# -             group["lr"] = group["initial_lr"] * factor
# +             first = trainer.optimizer.param_groups[0]
# +             group["lr"] = first["initial_lr"] * factor


# %% callback: the base rate is read again when a run is resumed
# loses: callback-resume
# -             group.setdefault("initial_lr", group["lr"])
# +             group["initial_lr"] = group["lr"]


# %% callback: it counts from 0 when a run is resumed
# loses: callback-resume
# -         t = trainer.global_step
# +         self.start = getattr(self, "start", trainer.global_step)
# +         t = trainer.global_step - self.start


# %% callback: the rate is multiplied at each update
# loses: callback-accumulate, callback-rates, callback-resume
# -             group["lr"] = group["initial_lr"] * factor
# +             group["lr"] = group["lr"] * factor


# %% callback: the base rates belong to the class, so to all its objects
# loses: callback-accumulate, callback-rates, callback-resume
class WarmupAndLine:
    bases = ()

    def on_fit_start(self, trainer):
        per_epoch = math.ceil(trainer.batches / trainer.accumulate)
        self.total = trainer.epochs * per_epoch
        if not self.bases:
            groups = trainer.optimizer.param_groups
            WarmupAndLine.bases = [group["lr"] for group in groups]

    def on_batch_start(self, trainer):
        t = trainer.global_step
        factor = min((t + 1) / 19, (self.total - t) / (self.total - 19))
        for base, group in zip(self.bases, trainer.optimizer.param_groups):
            group["lr"] = base * factor
