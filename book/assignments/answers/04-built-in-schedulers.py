"""Wrong answers to assignment 4: a cell each, with the marks that it must lose.

A cell's first line names the question and says what is wrong; its second line
names the test cells that must give no marks. All others must give theirs.
"""

# %% predict: a step early
# loses: predict-a
predicted = {
    "a": [0.4, 0.4, 0.2],
    "b": [0.2, 0.2, 0.8],
    "c": [0.4, 0.0, 0.8],
    "d": [0.4, 0.5, 0.8],
}


# %% predict: constant
# loses: predict-b
predicted = {
    "a": [0.8, 0.4, 0.2],
    "b": [0.2, 0.2, 0.2],
    "c": [0.4, 0.0, 0.8],
    "d": [0.4, 0.5, 0.8],
}


# %% predict: held at its end
# loses: predict-c
predicted = {
    "a": [0.8, 0.4, 0.2],
    "b": [0.2, 0.2, 0.8],
    "c": [0.4, 0.0, 0.0],
    "d": [0.4, 0.5, 0.8],
}


# %% predict: the default factor
# loses: predict-d
predicted = {
    "a": [0.8, 0.4, 0.2],
    "b": [0.2, 0.2, 0.8],
    "c": [0.4, 0.0, 0.8],
    "d": [0.2667, 0.4, 0.8],
}


# %% order: recorded too late
# loses: order-rates
def rates_of_steps(steps):
    optimizer = optimizer_at(0.1)
    scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    used = []
    for _ in range(steps):
        scheduler.step()
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
    return used


def rates_of_steps(steps):
    optimizer = optimizer_at(0.1)
    scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    used = []
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        used.append(optimizer.param_groups[0]["lr"])
    return used


# %% batches: off by one
# loses: batches-rates
def cosine_over_batches(epochs, batches):
    optimizer = optimizer_at(0.1)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    used = []
    for _ in range(epochs):
        for _ in range(batches):
            used.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    return used


def cosine_over_batches(epochs, batches):
    optimizer = optimizer_at(0.1)
    scheduler = lr_scheduler.CosineAnnealingLR(
        optimizer, T_max=epochs * batches - 1
    )
    used = []
    for _ in range(epochs):
        for _ in range(batches):
            used.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    return used


# %% resume: the scheduler starts anew
# loses: resume-rates
def rates_with_an_interruption(epochs, stop):
    optimizer = optimizer_at(0.1)
    scheduler = lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.1)
    used = traced(scheduler, stop)
    checkpoint = {"optimizer": optimizer.state_dict()}

    # The new process: nothing is left but the checkpoint.
    optimizer = optimizer_at(0.1)
    optimizer.load_state_dict(checkpoint["optimizer"])
    scheduler = lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.1)
    return used + traced(scheduler, epochs - stop)


def rates_with_an_interruption(epochs, stop):
    optimizer = optimizer_at(0.1)
    scheduler = lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.1)
    used = traced(scheduler, stop)
    checkpoint = {
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
    }

    optimizer = optimizer_at(0.1)
    scheduler = lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.1)
    optimizer.load_state_dict(checkpoint["optimizer"])
    pass
    return used + traced(scheduler, epochs - stop)


# %% joined: the whole length
# loses: joined-rates
def warmup_then_cosine(epochs, warmup):
    optimizer = optimizer_at(0.1)
    first = lr_scheduler.LinearLR(
        optimizer, start_factor=0.1, total_iters=warmup
    )
    then = lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    return lr_scheduler.ChainedScheduler([first, then])


def warmup_then_cosine(epochs, warmup):
    optimizer = optimizer_at(0.1)
    first = lr_scheduler.LinearLR(
        optimizer, start_factor=0.1, total_iters=warmup
    )
    then = lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    return lr_scheduler.SequentialLR(
        optimizer, [first, then], milestones=[warmup]
    )
