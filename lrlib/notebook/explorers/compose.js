// Schedules from parts, joined and multiplied: what the composer and the playground are made of.

const num = (value) => Number(value.toPrecision(6));
const end = range("end", "down to this factor", 0, 0, 1, 0.01);

// From `high` down to `low` along an expression between 1 and 0.
const between = (low, high, text) => {
  const span = num(high - low);
  const spanned = span === 1 ? text : `${span} * ${text.includes(" - ") ? `(${text})` : text}`;
  return low === 0 ? spanned : `${low} + ${spanned}`;
};
const done = (steps) => `min(step, ${steps}) / ${steps}`;
const half = (angle) => `(1 + math.cos(math.pi * ${angle})) / 2`;

// What can stand in the middle: its name in the menu, its controls, its arguments over n steps, and
// its formula in Python, in which `step` counts from the part's start.
const parts = {
  Cosine: {
    label: "cosine",
    controls: [end],
    args: (s, n) => ({ steps: n, end: s.end }),
    python: (a) => between(a.end, 1, half(done(a.steps))),
  },
  Linear: {
    label: "line",
    controls: [end],
    args: (s, n) => ({ start: 1, end: s.end, steps: n }),
    python: (a) => (a.start > a.end ? between(a.end, a.start, `1 - ${done(a.steps)}`) : between(a.start, a.end, done(a.steps))),
  },
  Polynomial: {
    label: "polynomial",
    controls: [end, range("power", "power", 2, 0.5, 4, 0.5)],
    args: (s, n) => ({ steps: n, power: s.power, end: s.end }),
    python: (a) => between(a.end, 1, `(1 - ${done(a.steps)}) ** ${a.power}`),
  },
  Exponential: {
    label: "exponential",
    controls: [end],
    args: (s, n) => ({ gamma: num(Math.max(s.end, 0.001) ** (1 / n)) }),
    python: (a) => `${a.gamma} ** step`,
  },
  InverseTime: {
    label: "1/t",
    controls: [end],
    args: (s, n) => ({ decay: num((1 / Math.max(s.end, 0.001) - 1) / n) }),
    python: (a) => `1 / (1 + ${a.decay} * step)`,
  },
  StepDecay: {
    label: "steps",
    controls: [range("drops", "drops", 2, 1, 9), range("gamma", "each by", 0.1, 0.1, 0.9, 0.1)],
    args: (s, n) => ({ step_size: Math.ceil(n / (s.drops + 1)), gamma: s.gamma }),
    python: (a) => `${a.gamma} ** (step // ${a.step_size})`,
  },
  CosineRestarts: {
    label: "cosine with restarts",
    controls: [end, range("periods", "periods", 3, 1, 8)],
    args: (s, n) => ({ period: Math.ceil(n / s.periods), mult: 1, end: s.end }),
    python: (a) => between(a.end, 1, half(`(step % ${a.period}) / ${a.period}`)),
  },
  Constant: { label: "constant", controls: [], args: () => ({ value: 1 }), python: (a) => `${a.value}` },
};

// The parts in their order, each with the step that it starts at, and what multiplies them all.
function compose(s) {
  const warm = s.first === "none" ? 0 : Math.min(s.warmup, s.steps - 1);
  const cool = s.last === "none" ? 0 : Math.min(s.cooldown, s.steps - warm - 1);
  const length = s.steps - warm - cool;
  const main = { at: warm, scale: 1, kind: s.main, args: parts[s.main].args(s, length) };
  const first = s.first === "Linear" ? { start: num(1 / (warm + 1)), end: 1, steps: warm } : { value: 0.1 };
  const last = { start: 1, end: 0, steps: cool };
  return {
    joined: [
      ...(warm ? [{ at: 0, scale: 1, kind: s.first, args: first }] : []),
      main,
      ...(cool ? [{ at: warm + length, scale: num(schedules[s.main](main.args)(length)), kind: s.last, args: s.last === "Linear" ? last : { steps: cool, end: 0 } }] : []),
    ],
    times: s.times === "none" ? null : { scale: 1, kind: "StepDecay", args: { step_size: s.every, gamma: s.by } },
  };
}

function composed({ joined, times }) {
  const made = joined.map((part) => ({ ...part, f: schedules[part.kind](part.args) }));
  const multiply = times ? schedules.StepDecay(times.args) : () => 1;
  return (t) => {
    const part = made.findLast((p) => p.at <= t);
    return part.scale * part.f(t - part.at) * multiply(t);
  };
}

// --- As lrlib's objects ------------------------------------------------------------------------

const scaled = (part, text) => (part.scale === 1 ? text : `${part.scale} * ${text}`);
const written = (part) => scaled(part, `${part.kind}(${Object.entries(part.args).map(([name, value]) => `${name}=${value}`).join(", ")})`);

// The names to import, and the expression.
function lrlibSchedule({ joined, times }) {
  const several = joined.length > 1;
  const names = new Set([...joined, ...(times ? [times] : [])].map((part) => part.kind));
  const body = several
    ? `Sequential(\n    [\n${joined.map((part) => `        ${written(part)},\n`).join("")}    ],\n    at=[${joined.slice(1).map((part) => part.at).join(", ")}],\n)`
    : written(joined[0]);
  return { names: [...names, ...(several ? ["Sequential"] : [])].sort(), text: `${body}${times ? ` * ${written(times)}` : ""}` };
}
