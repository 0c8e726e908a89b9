// Chapter 1: gradient descent in a valley ½w², with noise in the gradient: a ball, and its loss.

const STEPS = 200;
const START = 2;

function rates(s) {
  const decay = {
    constant: schedules.Constant({ value: 1 }),
    inverse: schedules.InverseTime({ decay: s.decay }),
    cosine: schedules.Cosine({ steps: STEPS, end: 0 }),
  }[s.schedule];
  return factors(decay, STEPS).map((factor) => s.rate * factor);
}

// One run: w ← w − η (w + σ ξ). And the mean of ½w² over all runs, by its recursion.
function descend(s) {
  const noise = normals(s.seed, STEPS);
  const x = [START];
  let square = START ** 2;
  const expected = [square / 2];
  rates(s).forEach((eta, t) => {
    x.push(x[t] - eta * (x[t] + s.noise * noise[t]));
    square = (1 - eta) ** 2 * square + (eta * s.noise) ** 2;
    expected.push(square / 2);
  });
  return { x, expected };
}

// Where a constant rate stays: η σ² / (2 (2 − η)).
const floor = (rate, noise) => (rate * noise ** 2) / (2 * (2 - rate));

const explorer = {
  name: "noisy-valley",
  title: "A ball in a noisy valley",
  presets: [["it stalls", { step: STEPS }], ["it diverges", { rate: 2.1, step: STEPS }], ["1/t sinks", { schedule: "inverse", step: STEPS }]],
  controls(s) {
    return [
      logRange("rate", "learning rate η", 0.5, 0.01, 2.5),
      range("noise", "noise σ of the gradient", 1, 0, 2, 0.05),
      pick("schedule", "schedule", "constant", [["constant", "constant"], ["inverse", "1/t decay"], ["cosine", "cosine to zero"]]),
      ...(s.schedule === "inverse" ? [logRange("decay", "decay", 0.5, 0.01, 2)] : []),
      range("step", "step", 0, 0, STEPS, 1, { play: true }),
      seed("New noise"),
    ];
  },
  view(s) {
    const { x, expected } = descend(s);
    const span = 3;
    const grid = counting(61).map((i) => -span + (i * span) / 30);
    const trail = x.slice(Math.max(0, s.step - 12), s.step + 1);
    const shown = counting(s.step + 1);
    const unstable = s.schedule === "constant" && s.rate >= 2;
    const rest = s.schedule === "constant" && !unstable && s.noise > 0 ? floor(s.rate, s.noise) : null;
    const end = format(expected[s.step]);
    // On a logarithmic axis a loss of 0 is nowhere.
    const gone = expected.findIndex((value) => value === 0);
    const diverged = `A rate of ${format(s.rate)} is past the stability limit of 2: every step throws the ball further.`;
    const course = () => {
      if (s.step === 0) return "The ball is at its start. Press Play to let it roll, or move the slider.";
      if (unstable) return `${diverged} The mean loss after ${s.step} steps is ${end}${expected[s.step] > 100 ? ", above the chart" : ""}.`;
      const after = `After ${s.step} steps the mean loss is ${end}.`;
      if (gone !== -1 && gone <= s.step) return `${after} It reached 0 in ${gone} ${gone === 1 ? "step" : "steps"}, below any logarithmic axis.`;
      if (rest !== null) return `${after} A constant rate of ${format(s.rate)} can't sink below its noise floor, ${format(rest)}.`;
      return `${after} ${s.noise === 0 ? "Without noise nothing holds it up." : "A falling rate goes on sinking: there is no floor."}`;
    };
    const ball = (v, i) => ({ x: v, y: (v * v) / 2, ...(i === trail.length - 1 ? { size: 8, color: "orange" } : { size: 3, color: "blue" }) });
    return {
      charts: [
        {
          title: `The ball after ${s.step} steps${Math.abs(x[s.step]) > span ? " (outside)" : ""}`,
          x: { label: "weight w", min: -span, max: span },
          y: { label: "loss ½w²", min: -0.15, max: (span * span) / 2 },
          lines: [{ x: grid, y: grid.map((v) => (v * v) / 2), color: "gray" }],
          points: trail.map(ball),
        },
        {
          title: "Its loss ½w², and the mean of all such runs",
          x: { label: "step", min: 0, max: STEPS },
          y: { log: true, min: 1e-4, max: 100 },
          lines: [
            { x: shown, y: shown.map((t) => x[t] ** 2 / 2), color: "blue", thin: true, label: "this run" },
            { x: counting(STEPS + 1), y: expected, color: "orange", label: "mean" },
          ],
          rules: rest === null ? [] : [{ y: rest, label: `noise floor ${format(rest)}` }],
        },
      ],
      summary: course(),
    };
  },
};
