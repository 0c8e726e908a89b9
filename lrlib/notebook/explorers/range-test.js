// Chapter 7: a range test's curve, the rate that a rule reads from it, and what the rate is worth.
//
// data: {seeds, curves, readings, sweeps}, by optimizer: `curves` maps a seed to the smoothed loss
// of each step, `readings` a rule to a rate for each seed, and `sweeps` a budget to {rates, loss},
// the mean final validation loss of trainings at these rates.

const budgets = [["5", "5 epochs", "orange"], ["20", "20 epochs", "green"], ["80", "80 epochs", "blue"]];

const rules = [["minimum", "minimum / …", "minimum / 10"], ["steepest", "steepest", "steepest"], ["valley", "valley", "valley"], ["last-clear-fall", "last clear fall", "last clear fall"]];

// A range test's rates rise from 1e-6 to 10 in 200 steps.
const ramp = (steps) => counting(steps).map((i) => 10 ** (-6 + (7 * i) / 199));

// The loss of a sweep at any rate: a straight line between two of its rates, on a logarithmic axis.
function lossAt({ rates, loss }, rate) {
  const right = clamp(rates.findIndex((at) => at >= rate), 1, rates.length - 1);
  const [a, b] = [Math.log(rates[right - 1]), Math.log(rates[right])];
  const share = (Math.log(rate) - a) / (b - a);
  return loss[right - 1] + share * (loss[right] - loss[right - 1]);
}

const explorer = {
  name: "range-test",
  title: "Read a rate, and see what it costs",
  presets: [["short run", { budget: "5", rule: "last-clear-fall" }], ["long run", { budget: "80", rule: "valley" }], ["no divisor", { rule: "minimum", divisor: 1 }]],
  controls(s, data) {
    return [
      pick("optimizer", "optimizer", "SGD", Object.keys(data.curves).map((name) => [name, name])),
      pick("budget", "the training afterwards", "20", budgets),
      pick("rule", "rule", "minimum", rules),
      ...((s.rule ?? "minimum") === "minimum" ? [logRange("divisor", "divide the rate at the minimum by", 10, 1, 100)] : []),
      range("seed", "another seed", 0, 0, data.seeds.length - 1, 1, { kind: "seed" }),
    ];
  },
  view(s, data) {
    const curve = data.curves[s.optimizer][data.seeds[s.seed]];
    const sweeps = data.sweeps[s.optimizer];
    const rates = ramp(curve.length);
    const [, text, read] = rules.find(([rule]) => rule === s.rule);
    const minimum = s.rule === "minimum";
    const reading = (data.readings[s.optimizer][read][s.seed] * 10) / (minimum ? s.divisor : 10);
    const { rates: grid, loss } = sweeps[s.budget];
    const lowest = Math.min(...loss);
    const best = grid[loss.indexOf(lowest)];
    const known = reading >= grid[0] && reading <= grid.at(-1);
    const found = lossAt(sweeps[s.budget], reading);
    const [, label, shade] = budgets.find(([budget]) => budget === s.budget);
    const x = { label: "learning rate", log: true, min: 1e-5, max: 10 };
    const order = [...budgets].sort(([a], [b]) => (a === s.budget) - (b === s.budget));
    const factor = Math.max(reading / best, best / reading);
    const side = factor < 1.15 ? "near the best rate" : `a factor of ${format(factor)} ${reading > best ? "above" : "below"} the best rate`;
    return {
      charts: [
        {
          title: "The range test: loss of each step, smoothed",
          x,
          y: { min: 0, max: 3 },
          lines: [{ x: rates, y: curve, color: "gray" }],
          rules: [{ x: reading }],
        },
        {
          title: "What a training at this rate ends with: validation loss",
          x,
          y: { log: true, min: 0.1, max: 3, ticks: [0.1, 0.2, 0.5, 1, 2] },
          lines: order.map(([budget, name, color]) => ({
            x: sweeps[budget].rates,
            y: sweeps[budget].loss,
            color,
            label: name,
            thin: budget !== s.budget,
          })),
          rules: [{ x: reading }],
          points: known ? [{ x: reading, y: found, color: shade, size: 6 }] : [],
        },
      ],
      summary: `${s.optimizer}, seed ${data.seeds[s.seed]}: ${minimum ? `minimum / ${format(s.divisor)}` : text} reads ${format(reading)}, ${side} for ${label} (${format(best)}). ${known ? `A training of ${label} at this rate ends at a validation loss of ${found.toFixed(3)}, ${(found - lowest).toFixed(3)} above the best` : "The sweep has no trainings at this rate"} (mean of 16 trainings on handwritten digits).`,
    };
  },
};
