// Chapter 3: a schedule from parts (join, multiply), its curve, its area, and its code.

const range = (name, label, value, min, max, step, more = {}) => ({ name, label, kind: "range", value, min, max, step, ...more });
const pick = (name, label, value, options) => ({ name, label, kind: "select", value, options });
const num = (value) => Number(value.toPrecision(6));

// The main part, `n` steps long, down to `end`: its schedule, and how Python writes it.
function mainPart(s, n) {
  const end = s.end;
  switch (s.main) {
    case "Constant":
      return { kind: "Constant", args: { value: 1 } };
    case "Linear":
      return { kind: "Linear", args: { start: 1, end, steps: n } };
    case "Polynomial":
      return { kind: "Polynomial", args: { steps: n, power: s.power, end } };
    case "StepDecay":
      return { kind: "StepDecay", args: { step_size: Math.max(1, Math.ceil(n / (s.drops + 1))), gamma: s.gamma } };
    case "Exponential":
      return { kind: "Exponential", args: { gamma: num(Math.max(end, 0.001) ** (1 / n)) } };
    case "InverseTime":
      return { kind: "InverseTime", args: { decay: num((1 / Math.max(end, 0.001) - 1) / n) } };
    case "CosineRestarts":
      return { kind: "CosineRestarts", args: { period: Math.max(1, Math.ceil(n / s.periods)), mult: 1, end } };
    default:
      return { kind: "Cosine", args: { steps: n, end } };
  }
}

// The parts in their order, each with the step that it starts at.
function compose(s) {
  const warm = s.first === "none" ? 0 : Math.min(s.warmup, s.steps - 1);
  const cool = s.last === "none" ? 0 : Math.min(s.cooldown, s.steps - warm - 1);
  const parts = [];
  if (warm) {
    const start = s.first === "Linear" ? num(1 / (warm + 1)) : 0.1;
    parts.push({ at: 0, ...(s.first === "Linear" ? { kind: "Linear", args: { start, end: 1, steps: warm } } : { kind: "Constant", args: { value: start } }), scale: 1 });
  }
  const main = { at: warm, ...mainPart(s, s.steps - warm - cool), scale: 1 };
  parts.push(main);
  if (cool) {
    const length = s.steps - warm - cool;
    const scale = num(schedules[main.kind](main.args)(length));
    const args = s.last === "Linear" ? { start: 1, end: 0, steps: cool } : { steps: cool, end: 0 };
    parts.push({ at: warm + length, kind: s.last, args, scale });
  }
  const times = s.times === "none" ? null : { kind: "StepDecay", args: { step_size: s.every, gamma: s.by } };
  return { parts, times };
}

function composed(s) {
  const { parts, times } = compose(s);
  const made = parts.map((part) => ({ ...part, f: schedules[part.kind](part.args) }));
  const multiply = times ? schedules.StepDecay(times.args) : () => 1;
  return (t) => {
    const part = made.findLast((p) => p.at <= t);
    return part.scale * part.f(t - part.at) * multiply(t);
  };
}

// --- The code ----------------------------------------------------------------------------------

const written = (part) => {
  const args = Object.entries(part.args).map(([name, value]) => `${name}=${value}`);
  return `${part.scale === 1 ? "" : `${part.scale} * `}${part.kind}(${args.join(", ")})`;
};

function lrlibCode(s) {
  const { parts, times } = compose(s);
  const names = [...new Set([...parts.map((p) => p.kind), ...(times ? ["StepDecay"] : [])])].sort();
  const several = parts.length > 1;
  const body = several
    ? `sequence(\n    [\n${parts.map((p) => `        ${written(p)},\n`).join("")}    ],\n    at=[${parts.slice(1).map((p) => p.at).join(", ")}],\n)`
    : written(parts[0]);
  return [
    `from lrlib import ${[...names, ...(several ? ["sequence"] : []), "to_torch"].join(", ")}`,
    "",
    `schedule = ${body}${times ? ` * ${written({ ...times, scale: 1 })}` : ""}`,
    `optimizer = torch.optim.SGD(model.parameters(), lr=${s.rate})`,
    "scheduler = to_torch(schedule, optimizer)  # scheduler.step() after every step",
  ].join("\n");
}

// From `high` down to `low` along an expression between 1 and 0.
const between = (low, high, text) => {
  const span = num(high - low);
  const scaled = span === 1 ? text : `${span} * ${text.includes(" - ") ? `(${text})` : text}`;
  return low === 0 ? scaled : `${low} + ${scaled}`;
};
const half = (angle) => `(1 + math.cos(math.pi * ${angle})) / 2`;

// Each schedule as an expression of `step`, which counts from the part's start.
const expressions = {
  Constant: (a) => `${a.value}`,
  Linear: (a) =>
    a.start > a.end
      ? between(a.end, a.start, `1 - min(step, ${a.steps}) / ${a.steps}`)
      : between(a.start, a.end, `min(step, ${a.steps}) / ${a.steps}`),
  Polynomial: (a) => between(a.end, 1, `(1 - min(step, ${a.steps}) / ${a.steps}) ** ${a.power}`),
  StepDecay: (a) => `${a.gamma} ** (step // ${a.step_size})`,
  Exponential: (a) => `${a.gamma} ** step`,
  InverseTime: (a) => `1 / (1 + ${a.decay} * step)`,
  Cosine: (a) => between(a.end, 1, half(`min(step, ${a.steps}) / ${a.steps}`)),
  CosineRestarts: (a) => between(a.end, 1, half(`(step % ${a.period}) / ${a.period}`)),
};

function torchCode(s) {
  const { parts, times } = compose(s);
  const uses = parts.some((p) => p.kind.startsWith("Cosine"));
  const after = times ? ` * ${times.args.gamma} ** (t // ${times.args.step_size})` : "";
  const lines = [...(uses ? ["import math", ""] : []), "from torch.optim.lr_scheduler import LambdaLR", "", "", "def factor(t):"];
  parts.forEach((part, i) => {
    const last = i === parts.length - 1;
    const text = expressions[part.kind](part.args);
    const value = `${part.scale === 1 ? "" : `${part.scale} * `}${part.scale === 1 && !after ? text : `(${text})`}${after}`;
    const indent = last ? "    " : "        ";
    if (!last) lines.push(`    if t < ${parts[i + 1].at}:`);
    if (value.includes("step")) lines.push(`${indent}step = t${part.at ? ` - ${part.at}` : ""}`);
    lines.push(`${indent}return ${value}`);
  });
  lines.push("", "", `optimizer = torch.optim.SGD(model.parameters(), lr=${s.rate})`);
  lines.push("scheduler = LambdaLR(optimizer, factor)  # scheduler.step() after every step");
  return lines.join("\n");
}

const explorer = {
  name: "composer",
  title: "Compose a schedule",
  controls(s) {
    const main = s.main ?? "Cosine";
    const steps = Number(s.steps) > 0 ? Math.min(Number(s.steps), 1000) : 100;
    const part = Math.max(1, Math.floor(steps / 2));
    const shapes = [["Cosine", "cosine"], ["Linear", "line"], ["Polynomial", "polynomial"], ["Exponential", "exponential"], ["InverseTime", "1/t"], ["StepDecay", "steps"], ["CosineRestarts", "cosine with restarts"], ["Constant", "constant"]];
    return [
      range("steps", "steps in all", 100, 10, 1000, 10),
      range("rate", "base rate", 0.1, 0.001, 1, 0.02, { scale: "log" }),
      pick("first", "begin with", "Linear", [["Linear", "a linear warmup"], ["Constant", "a tenth, then jump"], ["none", "nothing"]]),
      ...(s.first === "none" ? [] : [range("warmup", "warmup steps", Math.min(10, part), 1, part, 1)]),
      pick("main", "then", "Cosine", shapes),
      ...(["Cosine", "Linear", "Polynomial", "Exponential", "InverseTime", "CosineRestarts"].includes(main) ? [range("end", "down to this factor", 0, 0, 1, 0.01)] : []),
      ...(main === "Polynomial" ? [range("power", "power", 2, 0.5, 4, 0.5)] : []),
      ...(main === "StepDecay" ? [range("drops", "drops", 2, 1, 9, 1), range("gamma", "each by", 0.1, 0.1, 0.9, 0.1)] : []),
      ...(main === "CosineRestarts" ? [range("periods", "periods", 3, 1, 8, 1)] : []),
      pick("last", "and at the end", "none", [["none", "nothing more"], ["Linear", "a line to zero"], ["Cosine", "a cosine to zero"]]),
      ...(s.last === "Linear" || s.last === "Cosine" ? [range("cooldown", "over the last steps", Math.min(20, part), 1, part, 1)] : []),
      pick("times", "multiplied by", "none", [["none", "nothing"], ["StepDecay", "a staircase"]]),
      ...(s.times === "StepDecay" ? [range("every", "a stair every", 25, 1, 500, 1), range("by", "of factor", 0.5, 0.1, 0.9, 0.1)] : []),
      pick("language", "code", "torch", [["torch", "PyTorch only"], ["lrlib", "with lrlib"]]),
    ];
  },
  view(s) {
    const f = factors(composed(s), s.steps);
    const y = f.map((factor) => s.rate * factor);
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
        rules: [{ y: mean, label: `mean ${format(mean)}` }, ...compose(s).parts.slice(1).map((p) => ({ x: p.at }))],
      }],
      summary: `From ${format(y[0])} at step 0 to ${format(y.at(-1))} at step ${s.steps - 1}; highest ${format(top)}. The area under the curve, all rates added, is ${format(sum)}: ${format((100 * mean) / s.rate)} % of what the constant base rate would give.`,
      code: { label: "Code that makes this schedule", text: s.language === "lrlib" ? lrlibCode(s) : torchCode(s) },
    };
  },
};
