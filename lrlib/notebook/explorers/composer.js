// Chapter 3: a schedule from parts (join, multiply), its curve, its area, and its code.

function lrlibCode(schedule, rate) {
  const { names, text } = lrlibSchedule(schedule);
  return [
    `from lrlib import ${[...names, "to_torch"].join(", ")}`,
    "",
    `schedule = ${text}`,
    `optimizer = torch.optim.SGD(model.parameters(), lr=${rate})`,
    "scheduler = to_torch(schedule, optimizer)  # scheduler.step() after every step",
  ].join("\n");
}

function torchCode({ joined, times }, rate) {
  const after = times ? ` * ${times.args.gamma} ** (t // ${times.args.step_size})` : "";
  const body = joined.flatMap((part, i) => {
    const next = joined[i + 1];
    const text = parts[part.kind].python(part.args);
    const value = scaled(part, part.scale === 1 && !after ? text : `(${text})`) + after;
    const lines = [
      ...(value.includes("step") ? [`step = t${part.at ? ` - ${part.at}` : ""}`] : []),
      `return ${value}`,
    ];
    return next ? [`    if t < ${next.at}:`, ...lines.map((line) => `        ${line}`)] : lines.map((line) => `    ${line}`);
  });
  return [
    ...(joined.some((part) => part.kind.startsWith("Cosine")) ? ["import math", ""] : []),
    "from torch.optim.lr_scheduler import LambdaLR",
    "",
    "",
    "def factor(t):",
    ...body,
    "",
    "",
    `optimizer = torch.optim.SGD(model.parameters(), lr=${rate})`,
    "scheduler = LambdaLR(optimizer, factor)  # scheduler.step() after every step",
  ].join("\n");
}

const explorer = {
  name: "composer",
  title: "Compose a schedule",
  presets: [
    ["warmup, hold, decay", { main: "Constant", last: "Linear" }],
    ["restarts", { first: "none", main: "CosineRestarts" }],
    ["steps", { first: "none", main: "StepDecay" }],
  ],
  controls(s) {
    const main = Object.hasOwn(parts, s.main) ? s.main : "Cosine";
    const steps = Number(s.steps) > 0 ? Math.min(Number(s.steps), 1000) : 100;
    const most = Math.max(1, Math.floor(steps / 2));
    const labels = Object.entries(parts).map(([kind, { label }]) => [kind, label]);
    return [
      range("steps", "steps in all", 100, 10, 1000, 10),
      logRange("rate", "base rate", 0.1, 0.001, 1),
      pick("first", "begin with", "Linear", [["Linear", "a linear warmup"], ["Constant", "a tenth, then jump"], ["none", "nothing"]]),
      ...(s.first === "none" ? [] : [range("warmup", "warmup steps", Math.min(10, most), 1, most)]),
      pick("main", "then", "Cosine", labels),
      ...parts[main].controls,
      pick("last", "and at the end", "none", [["none", "nothing more"], ["Linear", "a line to zero"], ["Cosine", "a cosine to zero"]]),
      ...(s.last === "Linear" || s.last === "Cosine" ? [range("cooldown", "over the last steps", Math.min(20, most), 1, most)] : []),
      pick("times", "multiplied by", "none", [["none", "nothing"], ["StepDecay", "a staircase"]]),
      ...(s.times === "StepDecay" ? [range("every", "a stair every", 25, 1, 500), range("by", "of factor", 0.5, 0.1, 0.9, 0.1)] : []),
      pick("language", "code", "torch", [["torch", "PyTorch only"], ["lrlib", "with lrlib"]]),
    ];
  },
  view(s) {
    const schedule = compose(s);
    const y = factors(composed(schedule), s.steps).map((factor) => s.rate * factor);
    const sum = y.reduce((a, b) => a + b, 0);
    const mean = sum / s.steps;
    const top = Math.max(...y);
    return {
      charts: [{
        title: "The rate of each step",
        wide: true,
        x: { label: "step", min: 0, max: s.steps - 1 },
        y: { min: 0, max: top * 1.05 },
        lines: [
          { x: counting(s.steps), y, low: y.map(() => 0), high: y, color: "blue", stair: s.main === "StepDecay" || s.times === "StepDecay" },
        ],
        rules: [{ y: mean, label: `mean ${format(mean)}` }, ...schedule.joined.slice(1).map((part) => ({ x: part.at }))],
      }],
      summary: `From ${format(y[0])} at step 0 to ${format(y.at(-1))} at step ${s.steps - 1}; highest ${format(top)}. The area under the curve, all rates added, is ${format(sum)}: ${format((100 * mean) / s.rate)} % of what the constant base rate would give.`,
      code: { label: "Code that makes this schedule", text: (s.language === "lrlib" ? lrlibCode : torchCode)(schedule, s.rate) },
    };
  },
};
