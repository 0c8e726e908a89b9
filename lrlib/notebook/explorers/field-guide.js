// Chapter 4: every scheduler that torch ships, its curve, and the line of code that makes it.

const EPOCHS = 100;
const base = { name: "base", label: "base rate (optimizer's lr)", kind: "range", scale: "log", min: 0.001, max: 1, value: 0.1 };
const whole = (name, label, value, min, max) => ({ name, label, kind: "range", value, min, max, step: 1 });
const share = (name, label, value, min, max, step) => ({ name, label, kind: "range", value, min, max, step });
const decades10 = (name, label, value, min, max) => ({ name, label, kind: "range", scale: "log", value, min, max });
const choice = (name, label, value, options) => ({ name, label, kind: "select", value, options: options.map((o) => [o, o]) });
const flag = (name, label, value) => ({ name, label, kind: "check", value });
const py = (value) => (typeof value === "boolean" ? (value ? "True" : "False") : String(value));
const call = (name, pairs) => `${name}(optimizer, ${pairs.map(([key, value]) => `${key}=${py(value)}`).join(", ")})`;
const sorted2 = (a, b) => [Math.min(a, b), Math.max(a, b)];

// A plateau's metric here: better and better, then flat.
const falling = (t, until) => 1 - (0.5 * Math.min(t, until)) / until;

function plateauRates(s, count) {
  const rates = [];
  let [lr, best, bad, cooling] = [s.base, Infinity, 0, 0];
  for (let t = 0; t < count; t += 1) {
    rates.push(lr);
    const metric = falling(t, s.improves);
    const better = metric < best * (1 - 1e-4);
    if (better) best = metric;
    bad = better ? 0 : bad + 1;
    if (cooling > 0) [cooling, bad] = [cooling - 1, 0];
    if (bad > s.patience) {
      const lower = Math.max(lr * s.factor, s.min_lr);
      if (lr - lower > 1e-8) lr = lower;
      [cooling, bad] = [s.cooldown, 0];
    }
  }
  return rates;
}

// For each class: its arguments, its rate at epoch t, its line of code, and what to know.
const guide = new Map([
  ["LambdaLR", {
    controls: [share("k", "k in 1 / (1 + k · epoch)", 0.1, 0, 1, 0.01)],
    rate: (s) => (t) => s.base * schedules.InverseTime({ decay: s.k })(t),
    code: (s) => `LambdaLR(optimizer, lambda epoch: 1 / (1 + ${s.k} * epoch))`,
    note: "The function returns a factor of the base rate, not a rate.",
  }],
  ["MultiplicativeLR", {
    controls: [share("gamma", "factor of each epoch", 0.95, 0.5, 1.02, 0.01)],
    rate: (s) => (t) => s.base * s.gamma ** t,
    code: (s) => `MultiplicativeLR(optimizer, lambda epoch: ${s.gamma})`,
    note: "The function returns the ratio to the previous rate. It is not called for epoch 0.",
  }],
  ["StepLR", {
    controls: [whole("step_size", "step_size", 30, 1, 100), share("gamma", "gamma", 0.1, 0.05, 1, 0.05)],
    rate: (s) => (t) => s.base * schedules.StepDecay(s)(t),
    code: (s) => call("StepLR", [["step_size", s.step_size], ["gamma", s.gamma]]),
    note: "Never ends: after a few steps of 0.1 the rate is too small to learn anything.",
  }],
  ["MultiStepLR", {
    controls: [whole("first", "first milestone", 30, 1, 100), whole("second", "second milestone", 80, 1, 100), share("gamma", "gamma", 0.1, 0.05, 1, 0.05)],
    rate: (s) => (t) => s.base * schedules.MultiStep({ milestones: [s.first, s.second], gamma: s.gamma })(t),
    code: (s) => call("MultiStepLR", [["milestones", `[${sorted2(s.first, s.second).join(", ")}]`], ["gamma", s.gamma]]),
    note: "Counts calls of step(): called once per batch, a milestone of 30 is batch 30.",
  }],
  ["ConstantLR", {
    controls: [share("factor", "factor", 0.3, 0.01, 1, 0.01), whole("total_iters", "total_iters", 5, 1, 100)],
    rate: (s) => (t) => s.base * (t < s.total_iters ? s.factor : 1),
    code: (s) => call("ConstantLR", [["factor", s.factor], ["total_iters", s.total_iters]]),
    note: "Not constant: the rate is reduced for total_iters epochs and then jumps to the base rate.",
  }],
  ["LinearLR", {
    controls: [share("start_factor", "start_factor", 0.1, 0.01, 1, 0.01), share("end_factor", "end_factor", 1, 0, 1, 0.01), whole("total_iters", "total_iters", 10, 1, 100)],
    rate: (s) => (t) => s.base * schedules.Linear({ start: s.start_factor, end: s.end_factor, steps: s.total_iters })(t),
    code: (s) => call("LinearLR", [["start_factor", s.start_factor], ["end_factor", s.end_factor], ["total_iters", s.total_iters]]),
    note: "The defaults (from a third, in 5 calls) are a very short warmup.",
  }],
  ["ExponentialLR", {
    controls: [share("gamma", "gamma", 0.95, 0.5, 1, 0.01)],
    rate: (s) => (t) => s.base * schedules.Exponential(s)(t),
    code: (s) => call("ExponentialLR", [["gamma", s.gamma]]),
    note: "Per epoch 0.95 is gentle; called once per batch it ends the training within an epoch.",
  }],
  ["PolynomialLR", {
    controls: [whole("total_iters", "total_iters", 80, 1, 100), share("power", "power", 1, 0.5, 4, 0.1)],
    rate: (s) => (t) => s.base * schedules.Polynomial({ steps: s.total_iters, power: s.power, end: 0 })(t),
    code: (s) => call("PolynomialLR", [["total_iters", s.total_iters], ["power", s.power]]),
    note: "Ends at zero and stays there: with the default total_iters=5 the sixth epoch learns nothing.",
  }],
  ["CosineAnnealingLR", {
    controls: [whole("T_max", "T_max", 50, 1, 100), decades10("eta_min", "eta_min", 0.0001, 0.00001, 0.1)],
    rate: (s) => (t) => s.eta_min + (s.base - s.eta_min) * cosine((t % (2 * s.T_max)) / s.T_max),
    code: (s) => call("CosineAnnealingLR", [["T_max", s.T_max], ["eta_min", s.eta_min]]),
    note: "Past T_max the rate climbs back to the base rate: T_max should be the length of the training.",
  }],
  ["CosineAnnealingWarmRestarts", {
    controls: [whole("T_0", "T_0", 20, 1, 100), whole("T_mult", "T_mult", 2, 1, 4), decades10("eta_min", "eta_min", 0.0001, 0.00001, 0.1)],
    rate: (s) => (t) => s.eta_min + (s.base - s.eta_min) * schedules.CosineRestarts({ period: s.T_0, mult: s.T_mult, end: 0 })(t),
    code: (s) => call("CosineAnnealingWarmRestarts", [["T_0", s.T_0], ["T_mult", s.T_mult], ["eta_min", s.eta_min]]),
    note: "If a restart falls just before the end, the last epochs run at the full rate.",
  }],
  ["CyclicLR", {
    fixed: true,
    controls: [decades10("base_lr", "base_lr", 0.01, 0.001, 0.1), decades10("max_lr", "max_lr", 0.1, 0.1, 1), whole("up", "step_size_up", 10, 1, 50), whole("down", "step_size_down", 20, 1, 50), choice("mode", "mode", "triangular", ["triangular", "triangular2", "exp_range"]), share("gamma", "gamma (exp_range)", 0.98, 0.9, 1, 0.005)],
    rate: (s) => schedules.Cyclic({ low: s.base_lr, high: s.max_lr, up: s.up, down: s.down, gamma: s.gamma, scale: { triangular: "constant", triangular2: "halving", exp_range: "exponential" }[s.mode] }),
    code: (s) => call("CyclicLR", [["base_lr", s.base_lr], ["max_lr", s.max_lr], ["step_size_up", s.up], ["step_size_down", s.down], ["mode", `"${s.mode}"`], ["gamma", s.gamma], ["cycle_momentum", false]]),
    note: "It overwrites the optimizer's own rate, and its momentum unless cycle_momentum=False.",
  }],
  ["OneCycleLR", {
    fixed: true,
    controls: [decades10("max_lr", "max_lr", 0.1, 0.001, 1), whole("total_steps", "total_steps", 100, 20, 100), share("pct_start", "pct_start", 0.3, 0.1, 0.5, 0.05), share("div_factor", "div_factor", 25, 1, 100, 1), decades10("final_div_factor", "final_div_factor", 10000, 1, 100000), choice("anneal", "anneal_strategy", "cos", ["cos", "linear"]), flag("three_phase", "three_phase", false)],
    rate: (s) => {
      const start = 1 / s.div_factor;
      const cycle = schedules.OneCycle({ steps: s.total_steps, peak_at: s.pct_start, start, end: start / s.final_div_factor, shape: s.anneal === "cos" ? "cosine" : "linear", three_phase: s.three_phase });
      return (t) => (t < s.total_steps ? s.max_lr * cycle(t) : NaN);
    },
    code: (s) => call("OneCycleLR", [["max_lr", s.max_lr], ["total_steps", s.total_steps], ["pct_start", s.pct_start], ["div_factor", s.div_factor], ["final_div_factor", s.final_div_factor], ["anneal_strategy", `"${s.anneal}"`], ["three_phase", s.three_phase], ["cycle_momentum", false]]),
    note: "Made for one step() per batch: total_steps is epochs × batches. Past the end it raises an error.",
  }],
  ["ChainedScheduler", {
    controls: [share("factor", "ConstantLR: factor", 0.3, 0.01, 1, 0.01), whole("total_iters", "ConstantLR: total_iters", 10, 1, 100), share("gamma", "ExponentialLR: gamma", 0.96, 0.5, 1, 0.01)],
    rate: (s) => (t) => s.base * (t < s.total_iters ? s.factor : 1) * s.gamma ** t,
    code: (s) => `ChainedScheduler([\n    ${call("ConstantLR", [["factor", s.factor], ["total_iters", s.total_iters]])},\n    ${call("ExponentialLR", [["gamma", s.gamma]])},\n])`,
    note: "Multiplies: all parts act at every step. One part after the other is SequentialLR.",
  }],
  ["SequentialLR", {
    controls: [share("start_factor", "LinearLR: start_factor", 0.1, 0.01, 1, 0.01), whole("warmup", "milestone", 10, 1, 50), whole("T_max", "CosineAnnealingLR: T_max", 90, 1, 100)],
    rate: (s) => (t) => s.base * (t < s.warmup ? schedules.Linear({ start: s.start_factor, end: 1, steps: s.warmup })(t) : cosine(((t - s.warmup) % (2 * s.T_max)) / s.T_max)),
    code: (s) => `SequentialLR(optimizer, [\n    ${call("LinearLR", [["start_factor", s.start_factor], ["total_iters", s.warmup]])},\n    ${call("CosineAnnealingLR", [["T_max", s.T_max]])},\n], milestones=[${s.warmup}])`,
    note: "Each part's clock starts at its milestone: T_max counts from the end of the warmup.",
  }],
  ["ReduceLROnPlateau", {
    controls: [whole("improves", "the metric improves until epoch", 20, 1, 100), share("factor", "factor", 0.5, 0.05, 0.95, 0.05), whole("patience", "patience", 10, 0, 30), whole("cooldown", "cooldown", 0, 0, 30), decades10("min_lr", "min_lr", 0.00001, 0.00001, 0.1)],
    rates: plateauRates,
    code: (s) => call("ReduceLROnPlateau", [["factor", s.factor], ["patience", s.patience], ["cooldown", s.cooldown], ["min_lr", s.min_lr]]),
    note: "The only one that looks at a metric: step(metric), after validation. Chapter 5 is about it.",
  }],
  ["SWALR", {
    controls: [decades10("swa_lr", "swa_lr", 0.02, 0.001, 1), whole("anneal_epochs", "anneal_epochs", 20, 1, 100), choice("anneal", "anneal_strategy", "cos", ["cos", "linear"])],
    rate: (s) => (t) => {
      const done = s.anneal === "cos" ? 1 - cosine(progress(t, s.anneal_epochs)) : progress(t, s.anneal_epochs);
      return s.base + (s.swa_lr - s.base) * done;
    },
    code: (s) => call("SWALR", [["swa_lr", s.swa_lr], ["anneal_epochs", s.anneal_epochs], ["anneal_strategy", `"${s.anneal}"`]]),
    note: "Moves to swa_lr and stays: for averaging weights at the end of a training (torch.optim.swa_utils).",
  }],
]);

const explorer = {
  name: "field-guide",
  title: "Every scheduler, every argument",
  controls(state) {
    const kind = guide.has(state.kind) ? state.kind : "CosineAnnealingLR";
    const entry = guide.get(kind);
    return [
      { name: "kind", label: "scheduler", kind: "select", value: "CosineAnnealingLR", options: [...guide.keys()].map((name) => [name, name]) },
      ...(entry.fixed ? [] : [base]),
      ...entry.controls,
      flag("log", "logarithmic axis", false),
    ];
  },
  view(state) {
    const entry = guide.get(state.kind);
    const y = entry.rates ? entry.rates(state, EPOCHS + 1) : factors(entry.rate(state), EPOCHS + 1);
    const finite = y.filter(Number.isFinite);
    const positive = finite.filter((rate) => rate > 0);
    const lowest = Math.max(Math.min(...positive), Math.max(...finite) * 1e-6);
    return {
      charts: [{
        title: `${state.kind}: the rate of each epoch`,
        wide: true,
        x: { label: "epoch", min: 0, max: EPOCHS },
        y: state.log ? { log: true, min: lowest / 1.2, max: Math.max(...finite) * 1.2 } : { min: 0, max: Math.max(...finite) * 1.05 },
        lines: [{ x: counting(EPOCHS + 1), y, color: "blue", stair: ["StepLR", "MultiStepLR", "ConstantLR", "ReduceLROnPlateau"].includes(state.kind) }],
      }],
      summary: `${state.kind}: from ${format(y[0])} at epoch 0 to ${format(finite.at(-1))} at epoch ${finite.length - 1}; highest ${format(Math.max(...finite))}, lowest ${format(Math.min(...finite))}. ${entry.note}`,
      code: { label: "The line of PyTorch that makes this curve", text: `scheduler = ${entry.code(state)}` },
    };
  },
};
