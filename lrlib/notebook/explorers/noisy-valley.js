// Chapter 1: gradient descent in a valley ½x², with noise in the gradient: a ball, and its loss.

const STEPS = 200;
const START = 2;

// Normal random numbers from a seed (mulberry32, Box and Muller): the same on every machine.
function normals(seed, count) {
  let a = seed >>> 0;
  const uniform = () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
}

function rates(s) {
  const decay = {
    constant: schedules.Constant({ value: 1 }),
    inverse: schedules.InverseTime({ decay: s.decay }),
    cosine: schedules.Cosine({ steps: STEPS, end: 0 }),
  }[s.schedule];
  return factors(decay, STEPS).map((factor) => s.rate * factor);
}

// One run: x ← x − η (x + σ ξ). And the mean of ½x² over all runs, by its recursion.
function descend(s) {
  const [lr, noise] = [rates(s), normals(s.seed, STEPS)];
  const x = [START];
  let square = START ** 2;
  const expected = [square / 2];
  lr.forEach((eta, t) => {
    x.push(x[t] - eta * (x[t] + s.noise * noise[t]));
    square = (1 - eta) ** 2 * square + (eta * s.noise) ** 2;
    expected.push(square / 2);
  });
  return { lr, x, expected };
}

// Where a constant rate stays: η σ² / (2 (2 − η)).
const floor = (rate, noise) => (rate * noise ** 2) / (2 * (2 - rate));

const explorer = {
  name: "noisy-valley",
  title: "A ball in a noisy valley",
  controls(s) {
    return [
      { name: "rate", label: "learning rate η", kind: "range", scale: "log", min: 0.01, max: 2.5, value: 0.5 },
      { name: "noise", label: "noise σ of the gradient", kind: "range", min: 0, max: 2, step: 0.05, value: 1 },
      { name: "schedule", label: "schedule", kind: "select", value: "constant", options: [["constant", "constant"], ["inverse", "1/t decay"], ["cosine", "cosine to zero"]] },
      ...(s.schedule === "inverse" ? [{ name: "decay", label: "decay", kind: "range", scale: "log", min: 0.01, max: 2, value: 0.5 }] : []),
      { name: "step", label: "step", kind: "range", min: 0, max: STEPS, step: 1, value: STEPS, play: true },
      { name: "seed", label: "noise drawn with seed", kind: "range", min: 0, max: 50, step: 1, value: 1 },
    ];
  },
  view(s) {
    const { x, expected } = descend(s);
    const span = 3;
    const grid = Array.from({ length: 61 }, (_, i) => -span + (i * span) / 30);
    const trail = x.slice(Math.max(0, s.step - 12), s.step + 1);
    const shown = counting(s.step + 1);
    const stable = s.rate < 2;
    const rest = stable && s.schedule === "constant" && s.noise > 0 ? floor(s.rate, s.noise) : null;
    const end = expected[s.step];
    const away = Math.abs(x[s.step]) > span;
    return {
      charts: [
        {
          title: `The ball after ${s.step} steps${away ? " (outside)" : ""}`,
          x: { label: "weight x", min: -span, max: span },
          y: { label: "loss ½x²", min: -0.15, max: (span * span) / 2 },
          lines: [{ x: grid, y: grid.map((v) => (v * v) / 2), color: "gray" }],
          points: trail.map((v, i) => ({ x: v, y: (v * v) / 2, size: i === trail.length - 1 ? 8 : 3, color: i === trail.length - 1 ? "orange" : "sky" })),
        },
        {
          title: "Its loss, and the mean of all such runs",
          x: { label: "step", min: 0, max: STEPS },
          y: { log: true, min: 1e-4, max: 100 },
          lines: [
            { x: shown, y: shown.map((t) => x[t] ** 2 / 2), color: "sky", thin: true, label: "this run" },
            { x: counting(STEPS + 1), y: expected, color: "orange", label: "mean" },
          ],
          rules: rest === null ? [] : [{ y: rest, label: `noise floor ${format(rest)}` }],
        },
      ],
      summary: !stable && s.schedule === "constant"
        ? `A rate of ${format(s.rate)} is past the stability limit of 2: every step throws the ball further. The mean loss after ${s.step} steps is ${format(end)}.`
        : `After ${s.step} steps the mean loss is ${format(end)}. ${rest === null ? (s.noise === 0 ? "Without noise nothing holds it up." : "A falling rate goes on sinking: there is no floor.") : `A constant rate of ${format(s.rate)} can't sink below its noise floor, ${format(rest)}.`}`,
    };
  },
};
