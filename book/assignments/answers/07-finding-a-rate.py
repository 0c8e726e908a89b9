"""Answers to assignment 7, right and wrong, and the marks that each must lose.

An answer's first line names the cell and says what is unusual or wrong. The
second names the test cells that give no marks; "nothing" stands for a right
answer. Then comes the whole cell, or what changes in the solution's cell: a
line "# - before", and one or more lines "# + after".
"""


# %% range: on copies of the model and the optimizer, in numpy
# loses: nothing
def range_test(model, optimizer, batches, loss_of, low, high, count):
    model, optimizer = copy.deepcopy((model, optimizer))
    base = np.array([group["lr"] for group in optimizer.param_groups])
    rates, losses = np.geomspace(low, high, count), np.zeros(0)
    step = 0
    for rate in rates:
        for group, lr in zip(optimizer.param_groups, rate * base / base[0]):
            group["lr"] = lr
        stage = []
        for _ in range(8):
            loss = loss_of(model, batches[step % len(batches)])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            stage.append(loss.detach().numpy())
            step += 1
        losses = np.append(losses, np.mean(stage))
        if np.isnan(losses[-1]) or losses[-1] / np.min(losses) > 2.6:
            break
    return rates[: len(losses)], losses


# %% range: a progress bar
# loses: nothing
# - for stage in range(count):
# + from tqdm import tqdm
# +
# +     for stage in tqdm(range(count)):


# %% range: torch's scheduler makes the ramp
# loses: nothing
def range_test(model, optimizer, batches, loss_of, low, high, count):
    kept = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    scale = low / optimizer.param_groups[0]["lr"]
    for group in optimizer.param_groups:
        group["lr"] *= scale
    ramp = torch.optim.lr_scheduler.ExponentialLR(
        optimizer, (high / low) ** (1 / (count - 1))
    )
    batches, rates, losses = itertools.cycle(batches), [], []
    while len(rates) < count:
        rates.append(ramp.get_last_lr()[0])
        stage = torch.zeros(8)
        for step in range(8):
            optimizer.zero_grad(set_to_none=False)
            loss = loss_of(model, next(batches))
            loss.backward()
            optimizer.step()
            stage[step] = loss.detach()
        losses.append(stage.mean())
        if not losses[-1] <= 2.6 * min(losses) or losses[-1].isinf():
            break
        ramp.step()
    model.load_state_dict(kept[0])
    optimizer.load_state_dict(kept[1])
    return torch.tensor(rates), torch.stack(losses)


# %% range: a generator of stages, tuples of tensors
# loses: nothing
def stages(model, optimizer, batches, loss_of, rates):
    groups = optimizer.param_groups
    ratios = [group["lr"] / groups[0]["lr"] for group in groups]
    stream = (batch for _ in itertools.count() for batch in batches)
    for rate in rates:
        for group, ratio in zip(groups, ratios):
            group.update(lr=rate.item() * ratio)
        losses = []
        for batch in itertools.islice(stream, 8):
            optimizer.zero_grad()
            losses.append(loss_of(model, batch))
            losses[-1].backward()
            optimizer.step()
        yield rate, torch.stack(losses).detach().mean()


def range_test(model, optimizer, batches, loss_of, low, high, count):
    weights = [weight.detach().clone() for weight in model.parameters()]
    state = copy.deepcopy(optimizer.state_dict())
    rates = torch.logspace(math.log10(low), math.log10(high), count)
    found, lowest = [], torch.tensor(math.inf)
    for rate, loss in stages(model, optimizer, batches, loss_of, rates):
        found.append((rate, loss))
        lowest = torch.minimum(lowest, loss)
        if not loss.isfinite() or loss > 2.6 * lowest:
            break
    with torch.no_grad():
        for weight, old in zip(model.parameters(), weights):
            weight.copy_(old)
    optimizer.load_state_dict(state)
    return tuple(zip(*found))


# %% range: recursion over the stages, and a warning
# loses: nothing
import warnings


def range_test(model, optimizer, batches, loss_of, low, high, count):
    warnings.warn("this changes the rates for a while", stacklevel=2)
    kept = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    stream, first = itertools.cycle(batches), optimizer.param_groups[0]["lr"]
    own = [group["lr"] / first for group in optimizer.param_groups]

    def go(stage, lowest):
        rate = math.exp(
            math.log(low) + stage * math.log(high / low) / (count - 1)
        )
        for group, ratio in zip(optimizer.param_groups, own):
            group["lr"] = ratio * rate
        mean = 0
        for _ in range(8):
            optimizer.zero_grad()
            loss = loss_of(model, next(stream))
            loss.backward()
            optimizer.step()
            mean += float(loss) / 8
        bad = math.isnan(mean) or math.isinf(mean) or mean > 2.6 * lowest
        if bad or stage == count - 1:
            return [(rate, mean)]
        return [(rate, mean), *go(stage + 1, min(mean, lowest))]

    try:
        rates, losses = zip(*go(0, math.inf))
    finally:
        model.load_state_dict(kept[0])
        optimizer.load_state_dict(kept[1])
    return list(rates), list(losses)


# %% reading: vectorized, in numpy
# loses: nothing
def reading(rates, losses):
    rates, losses = np.array(rates), np.array(losses)
    good = np.isfinite(losses)
    rates, losses = rates[good], losses[good]
    ones = np.ones(3)
    smoothed = np.convolve(losses, ones, "same") / np.convolve(
        np.ones(len(losses)), ones, "same"
    )
    below = np.flatnonzero(smoothed < 0.85 * smoothed[0])
    if below.size == 0:
        return None
    return np.exp(np.log(rates[[below[0], smoothed.argmin()]]).mean())


# %% reading: torch in float32, pooled
# loses: nothing
def reading(rates, losses):
    rates, losses = torch.tensor(rates), torch.tensor(losses)
    good = torch.isfinite(losses)
    rates, losses = rates[good], losses[good]
    smoothed = torch.nn.functional.avg_pool1d(
        losses[None], 3, stride=1, padding=1, count_include_pad=False
    )[0]
    below = smoothed < 0.85 * smoothed[0]
    if below.any():
        return (rates[below].min() * rates[smoothed.argmin()]).sqrt()


# %% reading: iterators, and a power of ten
# loses: nothing
def reading(rates, losses):
    pairs = [p for p in zip(rates, losses) if p[1] not in (math.inf,)]
    pairs = [p for p in pairs if p[1] == p[1]]
    padded = [None, *(loss for _, loss in pairs), None]
    triples = zip(padded, padded[1:], padded[2:])
    known = [[x for x in triple if x is not None] for triple in triples]
    smoothed = [math.fsum(three) / len(three) for three in known]
    exponents = [math.log10(rate) for rate, _ in pairs]
    points = list(zip(smoothed, exponents))
    start = next((e for s, e in points if s / smoothed[0] < 0.85), None)
    return start if start is None else 10 ** ((start + min(points)[1]) / 2)


# %% illness: numpy, the rate first
# loses: nothing
def illness_of(log):
    loss, gradient, update, rate = (
        np.asarray(log[key]) for key in ("loss", "gradient", "update", "rate")
    )
    if rate[len(rate) // 2] < 1e-3 * rate[0]:
        return "per batch"
    if np.isnan(loss).any():
        return "nan"
    if gradient.max() / np.median(gradient) > 30:
        return "spike"
    if loss[-len(loss) // 4 :].mean() < 0.6 * loss[:3].mean():
        return "floor"
    return "too low" if np.median(update) < 1e-4 else "too high"


# %% illness: by the updates, and a dict of tests
# loses: nothing
def illness_of(log):
    middle = len(log["loss"]) // 2
    largest = max(log["gradient"], key=lambda x: -1 if math.isnan(x) else x)
    tests = {
        "nan": any(map(math.isnan, log["loss"])),
        "per batch": log["rate"][middle] < log["rate"][0] / 1000,
        "too low": max(log["update"]) < 1e-4,
        "too high": max(log["update"]) > 0.04,
        "spike": largest / log["gradient"][0] > 20,
        "floor": True,
    }
    return next(name for name, found in tests.items() if found)


# %% illness: a jump of the loss instead of the gradient, with torch
# loses: nothing
def illness_of(log):
    loss = torch.tensor(log["loss"])
    rate = torch.tensor(log["rate"])
    if loss.isnan().any():
        return "nan"
    if (rate < rate[0] * 1e-6).float().mean() > 0.5:
        return "per batch"
    if loss[20:].max() > 1.5 * loss[0]:
        return "spike"
    if loss[-50:].mean() < 0.5 * loss[0]:
        return "floor"
    update = torch.tensor(log["update"])
    return "too high" if update.max() > 0.001 else "too low"


# %% search: a sorted list of pairs, numpy numbers
# loses: nothing
def search(train, center):
    pairs = []

    def add(rate):
        loss = np.float64(train(np.float64(rate)))
        pairs.append((rate, np.nan_to_num(loss, nan=np.inf)))
        pairs.sort()

    def best():
        return int(np.argmin([loss for _, loss in pairs]))

    for rate in center * 3.6 ** np.array([-1.0, 0.0, 1.0]):
        add(rate)
    while best() in (0, len(pairs) - 1) and len(pairs) < 10:
        add(pairs[0][0] / 3.6 if best() == 0 else pairs[-1][0] * 3.6)
    for _ in range(2):
        place = best()
        if 0 < place < len(pairs) - 1:
            three = np.array([rate for rate, _ in pairs[place - 1 : place + 2]])
            for rate in np.sqrt(three[1:] * three[:-1])[: 10 - len(pairs)]:
                add(rate)
    place = best()
    return pairs[place][0], np.isin(place, [0, len(pairs) - 1])


# %% search: quarters of a power, recursion
# loses: nothing
def search(train, center):
    def rate_of(power):
        return center * 3.6**power

    def go(known, queue, refinements):
        if len(known) == 10:
            return known
        if queue:
            loss = train(rate_of(queue[0]))
            loss = math.inf if loss != loss else loss
            return go({**known, queue[0]: loss}, queue[1:], refinements)
        order = sorted(known)
        best = min(known, key=known.get)
        place = order.index(best)
        if place == 0 and refinements == 2:
            return go(known, [best - 1], 2)
        if place == len(order) - 1 and refinements == 2:
            return go(known, [best + 1], 2)
        if refinements == 0:
            return known
        near = [(best + order[place + side]) / 2 for side in (-1, 1)]
        return go(known, near, refinements - 1)

    known = go({}, [-1.0, 0.0, 1.0], 2)
    best = min(known, key=known.get)
    return rate_of(best), not min(known) < best < max(known)


# %% search: a coroutine that asks, tensors
# loses: nothing
def asking(center):
    found = {}
    for factor in (1 / 3.6, 1.0, 3.6):
        found[center * factor] = yield center * factor
    while True:
        best = min(found, key=found.get)
        if best == min(found):
            rate = best / 3.6
        elif best == max(found):
            rate = best * 3.6
        else:
            break
        found[rate] = yield rate
    for _ in range(2):
        best = min(found, key=found.get)
        order = sorted(found)
        place = order.index(best)
        below, above = order[place - 1], order[place + 1]
        for rate in ((below * best) ** 0.5, (above * best) ** 0.5):
            found[rate] = yield rate


def search(train, center):
    found, plan = {}, asking(torch.tensor(center, dtype=torch.float64).item())
    with contextlib.suppress(StopIteration):
        rate = next(plan)
        while len(found) < 10:
            loss = torch.tensor(train(rate)).nan_to_num(nan=math.inf).item()
            found[rate] = loss
            rate = plan.send(loss)
    best = min(found, key=found.get)
    return torch.tensor(best), torch.tensor(best in (min(found), max(found)))


import contextlib


# %% range: a linear ramp
# loses: range-losses, range-ramp, range-stop
# - rate = low * (high / low) ** (stage / (count - 1))
# + rate = low + (high - low) * stage / (count - 1)


# %% range: the highest rate left out
# loses: range-losses, range-ramp, range-stop
# - (stage / (count - 1))
# + (stage / count)


# %% range: one step for each rate, as in the chapter
# loses: range-losses, range-ramp, range-stop
# - for _ in range(8):
# + for _ in range(1):
# - total / 8
# + total


# %% range: all groups at the same rate
# loses: range-groups, range-losses, range-stop
# - group["lr"] = rate * ratio
# + group["lr"] = rate


# %% range: only the first group rises
# loses: range-groups, range-losses, range-stop
# - for group, ratio in zip(groups, ratios):
# + for group, ratio in zip(groups[:1], ratios):


# %% range: the ratio applied twice
# loses: range-groups, range-losses, range-stop
# - group["lr"] = rate * ratio
# + group["lr"] = rate * ratio**2


# %% range: the last loss of the stage
# loses: range-losses
# - losses.append(total / 8)
# + losses.append(loss.item())


# %% range: the loss after the step
# loses: range-losses
# - loss = loss_of(model, next(stream))
# + batch = next(stream)
# +             loss = loss_of(model, batch)
# - total += loss.item()
# + total += loss_of(model, batch).item()


# %% range: the batches begin again at each stage
# loses: range-losses, range-stop
# - total = 0.0
# + total, stream = 0.0, itertools.cycle(batches)


# %% range: a batch for each stage
# loses: range-losses, range-stop
# - total = 0.0
# + total, batch = 0.0, next(stream)
# - loss_of(model, next(stream))
# + loss_of(model, batch)


# %% range: compared with the first loss
# loses: range-stop
# - 2.6 * min(losses)
# + 2.6 * losses[0]


# %% range: compared with the loss before
# loses: range-stop
# - 2.6 * min(losses)
# + 2.6 * losses[max(len(losses) - 2, 0)]


# %% range: the last stage isn't noted
# loses: range-stop
# - break
# + rates.pop(), losses.pop()
# +             break


# %% range: NaN doesn't end it
# loses: range-stop
# - if not math.isfinite(losses[-1]) or losses[-1] > 2.6 * min(losses):
# + if losses[-1] > 2.6 * min(losses):


# %% range: it never ends early
# loses: range-stop
# - break
# + pass


# %% range: the weights are not put back
# loses: range-back
# - model.load_state_dict(weights)
# + pass


# %% range: the weights' state_dict isn't a copy
# loses: range-back
# - weights = copy.deepcopy(model.state_dict())
# + weights = model.state_dict()


# %% range: the optimizer is not put back
# loses: range-back
# - optimizer.load_state_dict(state)
# + pass


# %% range: only the rates are put back, not the momentum
# loses: range-back
# - optimizer.load_state_dict(state)
# + for group, old in zip(groups, state["param_groups"]):
# +         group["lr"] = old["lr"]


# %% range: no zero_grad
# loses: range-losses, range-stop
# - optimizer.zero_grad()
# + pass


# %% reading: not smoothed
# loses: reading-middle
# - near = losses[max(i - 1, 0) : i + 2]
# + near = losses[i : i + 1]


# %% reading: smoothed over five
# loses: reading-middle, reading-nothing
# - near = losses[max(i - 1, 0) : i + 2]
# + near = losses[max(i - 2, 0) : i + 3]


# %% reading: smoothed with the past only
# loses: reading-middle
# - near = losses[max(i - 1, 0) : i + 2]
# + near = losses[max(i - 2, 0) : i + 1]


# %% reading: always divided by three
# loses: reading-middle, reading-nothing
# - sum(near) / len(near)
# + sum(near) / 3


# %% reading: halfway on a linear axis
# loses: reading-middle
# - math.sqrt(begins[0] * ends)
# + (begins[0] + ends) / 2


# %% reading: where the slope begins
# loses: reading-middle
# - math.sqrt(begins[0] * ends)
# + begins[0]


# %% reading: a tenth of the lowest loss's rate
# loses: reading-middle
# - math.sqrt(begins[0] * ends)
# + ends / 10


# %% reading: the last rate below the bar
# loses: reading-middle
# - begins[0] * ends
# + begins[-1] * ends


# %% reading: the bar is 0.85 of the fall
# loses: reading-middle, reading-nothing
# - s < 0.85 * smoothed[0]
# + s < smoothed[0] - 0.85 * (smoothed[0] - min(smoothed))


# %% reading: the lowest loss, not smoothed
# loses: reading-middle
# - smoothed.index(min(smoothed))
# + losses.index(min(losses))


# %% reading: 0 if there is nothing to read
# loses: reading-nothing
# - return None
# + return 0.0


# %% reading: the lowest rate if there is nothing to read
# loses: reading-nothing
# - return None
# + return rates[0]


# %% reading: losses that aren't finite stay
# loses: reading-nothing
# - if math.isfinite(x)]
# + ]


# %% illness: by the loss alone
# loses: illness-flat
# - return "too high" if max(log["update"]) > 1e-3 else "too low"
# + return "too high"
# - return "per batch"
# + return "too high"


# %% illness: without the rate that was used
# loses: illness-flat
# - if rate[len(rate) // 5] < 0.1 * max(rate):
# + if False:


# %% illness: the loss in nats
# loses: illness-flat, illness-learned
# - min(loss) > 0.7 * loss[0]
# + min(loss) > 1.6


# %% illness: the gradient's norm above 20
# loses: illness-learned
# - 10 * sorted(log["gradient"])[len(loss) // 2]
# + 20


# %% illness: every constant rate is a floor
# loses: illness-flat, illness-learned
# - if not math.isfinite(sum(loss)):
# + if rate[0] == rate[-1]:
# +         return "floor"
# +     if not math.isfinite(sum(loss)):


# %% illness: NaN means a rate that is too high
# loses: illness-learned
# - return "nan"
# + return "too high"


# %% illness: the lowest update instead of the largest
# loses: illness-flat
# - max(log["update"])
# + min(log["update"])


# %% illness: the last rate, which also ends a decay
# loses: illness-flat, illness-learned
# - rate[len(rate) // 5] < 0.1 * max(rate)
# + rate[-1] < 0.1 * max(rate)


# %% illness: a rate below a thousandth
# loses: illness-flat, illness-learned
# - rate[len(rate) // 5] < 0.1 * max(rate)
# + rate[len(rate) // 5] < 1e-3


# %% search: no edge check
# loses: search-edge, search-plan
# - while best in (min(tried), max(tried)) and len(tried) < 10:
# + while False:


# %% search: one step beyond the edge only
# loses: search-edge
# - while best in (min(tried), max(tried)) and len(tried) < 10:
# + if best in (min(tried), max(tried)):


# %% search: refined once
# loses: search-edge, search-plan
# - for _ in range(2):
# + for _ in range(1):


# %% search: refined until ten runs are used
# loses: search-edge, search-plan
# - for _ in range(2):
# + while len(tried) < 10:


# %% search: halfway on a linear axis
# loses: search-edge, search-plan
# - math.sqrt(below * best)
# + (below + best) / 2
# - math.sqrt(best * above)
# + (best + above) / 2


# %% search: the upper half only
# loses: search-edge, search-plan
# - attempt(math.sqrt(below * best))
# + pass


# %% search: more than ten runs
# loses: search-edge
# - if len(tried) < 10:
# + if True:
# - max(tried)) and len(tried) < 10:
# + max(tried)) and len(tried) < 20:


# %% search: NaN as no loss at all
# loses: search-edge
# - math.inf if math.isnan(loss) else loss
# + 0.0 if math.isnan(loss) else loss


# %% search: never at the edge
# loses: search-edge
# - return best, best in (min(tried), max(tried))
# + return best, False


# %% search: the edge as it was after three rates
# loses: search-edge, search-plan
# - best = min(tried, key=tried.get)
# -     while
# + pass


# %% search: the last rate instead of the best
# loses: search-edge, search-plan
# - return best, best in (min(tried), max(tried))
# + return rate, best in (min(tried), max(tried))


# %% search: around the middle, not around the best
# loses: search-edge, search-plan
# - below = max(rate for rate in tried if rate < best)
# + best = sorted(tried)[len(tried) // 2]
# +         below = max(rate for rate in tried if rate < best)


# %% search: by doublings, as in the chapter
# loses: search-edge, search-plan
# - for rate in (center / 3.6, center, center * 3.6):
# + for rate in (center / 2, center, center * 2):
