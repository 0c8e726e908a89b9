// lrlib's schedules and its plateau rule in JavaScript. The tests compare the curves that the
// explorers make of them with torch's and lrlib's, for random settings.

const cosine = (progress) => (1 + Math.cos(Math.PI * progress)) / 2;
const progress = (t, steps) => Math.min(t, steps) / steps;

// Name → parameters → the factor as a function of the step.
const schedules = {
  Constant: ({ value }) => () => value,
  StepDecay: ({ step_size, gamma }) => (t) => gamma ** Math.floor(t / step_size),
  MultiStep: ({ milestones, gamma }) => (t) => gamma ** milestones.filter((m) => m <= t).length,
  Exponential: ({ gamma }) => (t) => gamma ** t,
  InverseTime: ({ decay }) => (t) => 1 / (1 + decay * t),
  Polynomial: ({ steps, power, end }) => (t) => end + (1 - end) * (1 - progress(t, steps)) ** power,
  Linear: ({ start, end, steps }) => (t) => start + (end - start) * progress(t, steps),
  Cosine: ({ steps, end, periodic }) => (t) =>
    end + (1 - end) * cosine(periodic ? (t % (2 * steps)) / steps : progress(t, steps)),
  CosineRestarts: ({ period, mult, end }) => (t) => {
    let [since, length] = [t, period];
    if (mult === 1) since = t % period;
    else while (since >= length) [since, length] = [since - length, length * mult];
    return end + (1 - end) * cosine(since / length);
  },
  Cyclic: ({ low, high, up, down, scale, gamma }) => (t) => {
    const since = t % (up + down);
    const triangle = Math.min(since / up, (up + down - since) / down);
    const scaled = { constant: 1, halving: 0.5 ** Math.floor(t / (up + down)), exponential: gamma ** t };
    return low + (high - low) * triangle * scaled[scale];
  },
  OneCycle: ({ steps, peak_at, start, end, shape, three_phase }) => (t) => {
    const peak = peak_at * steps - 1;
    const corners = three_phase ? [0, peak, 2 * peak, steps - 1] : [0, peak, steps - 1];
    const values = three_phase ? [start, 1, start, end] : [start, 1, end];
    let leg = 0;
    while (leg < corners.length - 2 && t > corners[leg + 1]) leg += 1;
    const length = corners[leg + 1] - corners[leg];
    const way = length > 0 ? Math.min((t - corners[leg]) / length, 1) : 1;
    const done = shape === "cosine" ? 1 - cosine(way) : way;
    return values[leg] * (1 - done) + values[leg + 1] * done;
  },
};

// The factors of steps 0 … count−1.
const factors = (schedule, count) => counting(count).map(schedule);

// lrlib.PlateauRule with threshold_mode "rel": for each epoch's metric the rate that was used, what
// the rule found, and the rate from here.
function plateau(metrics, { rate, factor, patience, threshold = 1e-4, cooldown, min_lr }) {
  let [lr, best, count, cooling] = [rate, Infinity, 0, 0];
  return metrics.map((metric, epoch) => {
    const [used, better, cooled] = [lr, metric < best * (1 - threshold), cooling > 0];
    if (better) best = metric;
    const bad = better || cooled ? 0 : count + 1;
    const acts = bad > patience;
    if (acts) {
      const lower = Math.max(lr * factor, min_lr);
      if (lr - lower > 1e-8) lr = lower;
    }
    [count, cooling] = acts ? [0, cooldown] : [bad, Math.max(cooling - 1, 0)];
    return { epoch, metric, used, better, cooled, bad, acts, lr };
  });
}
