// Chapter 4: every scheduler that torch ships, its curve, and the line of code that makes it.

const STEPS = 100;
const arg = (name, ...limits) => range(name, name, ...limits);
const logArg = (name, ...limits) => logRange(name, name, ...limits);
const option = (name, value, ...others) => pick(name, name, value, [value, ...others].map((known) => [known, known]));

function py(value) {
  if (Array.isArray(value)) return `[${value.join(", ")}]`;
  if (typeof value === "boolean") return value ? "True" : "False";
  return typeof value === "string" ? `"${value}"` : String(value);
}
const call = (name, args) => `${name}(optimizer, ${Object.entries(args).map(([key, value]) => `${key}=${py(value)}`).join(", ")})`;

const milestones = (s) => [s.first, s.second].sort((a, b) => a - b);
const held = (s) => (t) => (t < s.total_iters ? s.factor : 1);
// A plateau's metric here: better and better, then flat.
const falling = (s) => counting(STEPS + 1).map((t) => 1 - (0.5 * Math.min(t, s.improves)) / s.improves);

// For each class its arguments, its curve, and what to know. The curve is a `factor` of the base
// rate, or the `rate` itself if the class has no use for the base. The code is a call with the
// arguments, and with what is in `also`, unless `code` says otherwise.
const guide = new Map(Object.entries({
  LambdaLR: {
    args: [range("k", "k in 1 / (1 + k · step)", 0.1, 0, 1, 0.01)],
    factor: (s) => schedules.InverseTime({ decay: s.k }),
    code: (s) => `LambdaLR(optimizer, lambda step: 1 / (1 + ${s.k} * step))`,
    note: "The function returns a factor of the base rate, not a rate.",
  },
  MultiplicativeLR: {
    args: [range("gamma", "factor of each step", 0.95, 0.5, 1.02, 0.01)],
    factor: schedules.Exponential,
    code: (s) => `MultiplicativeLR(optimizer, lambda step: ${s.gamma})`,
    note: "The function returns the ratio to the previous rate. Alone, it is not called for step 0; as a later part of a SequentialLR it is.",
  },
  StepLR: {
    args: [arg("step_size", 30, 1, 100), arg("gamma", 0.1, 0.05, 1, 0.05)],
    factor: schedules.StepDecay,
    note: "Never ends: after a few steps of 0.1 the rate is too small to learn anything.",
  },
  MultiStepLR: {
    args: [range("first", "first milestone", 30, 1, 100), range("second", "second milestone", 80, 1, 100), arg("gamma", 0.1, 0.05, 1, 0.05)],
    factor: (s) => schedules.MultiStep({ milestones: milestones(s), gamma: s.gamma }),
    code: (s) => call("MultiStepLR", { milestones: milestones(s), gamma: s.gamma }),
    note: "Counts calls of step(): called once per batch, a milestone of 30 is batch 30.",
  },
  ConstantLR: {
    args: [arg("factor", 0.3, 0.01, 1, 0.01), arg("total_iters", 5, 1, 100)],
    factor: held,
    note: "Not constant: the rate is reduced for total_iters steps and then jumps to the base rate.",
  },
  LinearLR: {
    args: [arg("start_factor", 0.1, 0.01, 1, 0.01), arg("end_factor", 1, 0, 1, 0.01), arg("total_iters", 10, 1, 100)],
    factor: (s) => schedules.Linear({ start: s.start_factor, end: s.end_factor, steps: s.total_iters }),
    note: "The defaults (from a third, in 5 calls) are a very short warmup.",
  },
  ExponentialLR: {
    args: [arg("gamma", 0.95, 0.5, 1, 0.01)],
    factor: schedules.Exponential,
    note: "If step() is called once per epoch, 0.95 is gentle. If it is called once per batch, the rate is near zero within an epoch.",
  },
  PolynomialLR: {
    args: [arg("total_iters", 80, 1, 100), arg("power", 1, 0.5, 4, 0.1)],
    factor: (s) => schedules.Polynomial({ steps: s.total_iters, power: s.power, end: 0 }),
    note: "Ends at zero and stays there: with the default total_iters=5 the sixth step learns nothing.",
  },
  CosineAnnealingLR: {
    args: [arg("T_max", 50, 1, 100), logArg("eta_min", 0.0001, 0.00001, 0.1)],
    factor: (s) => schedules.Cosine({ steps: s.T_max, end: s.eta_min / s.base, periodic: true }),
    note: "Past T_max the rate climbs back to the base rate: T_max should be the length of the training.",
  },
  CosineAnnealingWarmRestarts: {
    args: [arg("T_0", 20, 1, 100), arg("T_mult", 2, 1, 4), logArg("eta_min", 0.0001, 0.00001, 0.1)],
    factor: (s) => schedules.CosineRestarts({ period: s.T_0, mult: s.T_mult, end: s.eta_min / s.base }),
    note: "If a restart falls just before the end, the last steps run at the full rate.",
  },
  CyclicLR: {
    args: [logArg("base_lr", 0.01, 0.001, 0.1), logArg("max_lr", 0.1, 0.1, 1), arg("step_size_up", 10, 1, 50), arg("step_size_down", 20, 1, 50), option("mode", "triangular", "triangular2", "exp_range"), range("gamma", "gamma (exp_range)", 0.98, 0.9, 1, 0.005)],
    rate: (s) => schedules.Cyclic({ low: s.base_lr, high: s.max_lr, up: s.step_size_up, down: s.step_size_down, gamma: s.gamma, scale: { triangular: "constant", triangular2: "halving", exp_range: "exponential" }[s.mode] }),
    also: { cycle_momentum: false },
    note: "It overwrites the optimizer's own rate, and its momentum unless cycle_momentum=False.",
  },
  OneCycleLR: {
    args: [logArg("max_lr", 0.1, 0.001, 1), arg("total_steps", 100, 20, 100), arg("pct_start", 0.3, 0.1, 0.5, 0.05), arg("div_factor", 25, 1, 100), logArg("final_div_factor", 10000, 1, 100000), option("anneal_strategy", "cos", "linear"), check("three_phase", "three_phase")],
    rate: (s) => {
      const start = 1 / s.div_factor;
      const cycle = schedules.OneCycle({ steps: s.total_steps, peak_at: s.pct_start, start, end: start / s.final_div_factor, shape: s.anneal_strategy === "cos" ? "cosine" : "linear", three_phase: s.three_phase });
      return (t) => (t < s.total_steps ? s.max_lr * cycle(t) : NaN);
    },
    also: { cycle_momentum: false },
    note: "Made for one step() per batch: total_steps is epochs × batches. One call too many makes the rate jump up, or negative with 'linear'; the next call raises an error.",
  },
  ChainedScheduler: {
    args: [range("factor", "ConstantLR: factor", 0.3, 0.01, 1, 0.01), range("total_iters", "ConstantLR: total_iters", 10, 1, 100), range("gamma", "ExponentialLR: gamma", 0.96, 0.5, 1, 0.01)],
    factor: (s) => (t) => held(s)(t) * schedules.Exponential(s)(t),
    code: (s) => `ChainedScheduler([\n    ${call("ConstantLR", { factor: s.factor, total_iters: s.total_iters })},\n    ${call("ExponentialLR", { gamma: s.gamma })},\n])`,
    note: "Multiplies: all parts act at every step. One part after the other is SequentialLR.",
  },
  SequentialLR: {
    args: [range("start_factor", "LinearLR: start_factor", 0.1, 0.01, 1, 0.01), range("warmup", "milestone", 10, 1, 50), range("T_max", "CosineAnnealingLR: T_max", 90, 1, 100)],
    factor: (s) => {
      const first = schedules.Linear({ start: s.start_factor, end: 1, steps: s.warmup });
      const second = schedules.Cosine({ steps: s.T_max, end: 0, periodic: true });
      return (t) => (t < s.warmup ? first(t) : second(t - s.warmup));
    },
    code: (s) => `SequentialLR(optimizer, [\n    ${call("LinearLR", { start_factor: s.start_factor, total_iters: s.warmup })},\n    ${call("CosineAnnealingLR", { T_max: s.T_max })},\n], milestones=[${s.warmup}])`,
    note: "Each part's clock starts at its milestone: T_max counts from the end of the warmup.",
  },
  ReduceLROnPlateau: {
    args: [range("improves", "the metric improves until step", 20, 1, 100), arg("factor", 0.5, 0.05, 0.95, 0.05), arg("patience", 10, 0, 30), arg("cooldown", 0, 0, 30), logArg("min_lr", 0.00001, 0.00001, 0.1)],
    factor: (s) => {
      const log = plateau(falling(s), { ...s, rate: s.base });
      return (t) => log[t].used / s.base;
    },
    code: ({ factor, patience, cooldown, min_lr }) => call("ReduceLROnPlateau", { factor, patience, cooldown, min_lr }),
    note: "The only one that looks at a metric: step(metric), after validation. Chapter 5 is about it.",
  },
  SWALR: {
    args: [logArg("swa_lr", 0.02, 0.001, 1), arg("anneal_epochs", 20, 1, 100), option("anneal_strategy", "cos", "linear")],
    factor: (s) => {
      const leg = { start: 1, end: s.swa_lr / s.base, steps: s.anneal_epochs };
      return s.anneal_strategy === "cos" ? schedules.Cosine(leg) : schedules.Linear(leg);
    },
    note: "Moves to swa_lr and stays: for averaging weights at the end of a training (torch.optim.swa_utils).",
  },
}));

const explorer = {
  name: "field-guide",
  title: "Every scheduler and its main arguments",
  presets: [
    ["OneCycleLR", { kind: "OneCycleLR" }],
    ["warmup, then cosine", { kind: "SequentialLR" }],
    ["restart too late", { kind: "CosineAnnealingWarmRestarts", T_0: 47, T_mult: 1 }],
  ],
  controls(s) {
    const start = "CosineAnnealingLR";
    const entry = guide.get(s.kind) ?? guide.get(start);
    return [
      pick("kind", "scheduler", start, [...guide.keys()].map((kind) => [kind, kind])),
      ...(entry.factor ? [logRange("base", "base rate (optimizer's lr)", 0.1, 0.001, 1)] : []),
      ...entry.args,
      check("log", "logarithmic axis"),
    ];
  },
  view(s) {
    const entry = guide.get(s.kind);
    const y = entry.rate ? factors(entry.rate(s), STEPS + 1) : factors(entry.factor(s), STEPS + 1).map((factor) => s.base * factor);
    const finite = y.filter(Number.isFinite);
    const [low, high] = [Math.min(...finite), Math.max(...finite)];
    const lowest = Math.max(Math.min(...finite.filter((rate) => rate > 0)), high * 1e-6);
    const args = Object.fromEntries(entry.args.map(({ name }) => [name, s[name]]));
    return {
      charts: [{
        title: `${s.kind}: the rate of each step`,
        wide: true,
        x: { label: "step (calls of step())", min: 0, max: STEPS },
        y: s.log ? { log: true, min: lowest / 1.2, max: high * 1.2 } : { min: 0, max: high * 1.05 },
        lines: [{ x: counting(STEPS + 1), y, color: "blue", stair: ["StepLR", "MultiStepLR", "ConstantLR", "ReduceLROnPlateau"].includes(s.kind) }],
      }],
      summary: `${s.kind}: from ${format(y[0])} at step 0 to ${format(finite.at(-1))} at step ${finite.length - 1}; highest ${format(high)}, lowest ${format(low)}. ${entry.note}`,
      code: { label: "The line of PyTorch that makes this curve", text: `scheduler = ${entry.code?.(s) ?? call(s.kind, { ...args, ...entry.also })}` },
    };
  },
};
