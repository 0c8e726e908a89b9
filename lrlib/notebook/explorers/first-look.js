// The landing page: what a rate and a schedule do to dozens of real trainings.
//
// data: {rates, seeds, steps, schedules: [[name, label, color]], live, results}, and results maps
// "schedule@rate" to {x, loss, low, high, error, half}: the mean training loss with its 95 %
// interval, and the mean test error in percent with the half-width of its interval.

// The table of the site has certain rates; live, any rate is trained.
const nearest = (rates, rate) => rates.reduce((a, b) => (Math.abs(Math.log(b / rate)) < Math.abs(Math.log(a / rate)) ? b : a));

const explorer = {
  name: "first-look",
  title: "Find the rate",
  presets: [["too small", { rate: 0.01 }], ["too large", { rate: 3.16 }], ["constant", { schedule: "constant" }]],
  controls(s, data) {
    return [
      logRange("rate", "learning rate", 0.562, data.rates[0], data.rates.at(-1), data.live ? 0.05 : 0.25),
      pick("schedule", "schedule", "cosine", data.schedules),
    ];
  },
  view(s, data) {
    const rate = data.live ? s.rate : nearest(data.rates, s.rate);
    const [, label, shade] = data.schedules.find(([name]) => name === s.schedule);
    const result = (schedule, at) => data.results[`${schedule}@${at}`];
    const found = result(s.schedule, rate);
    const curve = ([name, text, color]) => {
      const known = data.rates.map((at) => result(name, at) ?? { error: NaN, half: NaN });
      const band = { low: known.map((k) => k.error - k.half), high: known.map((k) => k.error + k.half) };
      return { x: data.rates, y: known.map((k) => k.error), color, label: text, ...(name === s.schedule ? band : { thin: true }) };
    };
    const loss = ([name, , color]) => {
      const { x, loss: y, low, high } = result(name, rate) ?? { x: [], loss: [] };
      return { x, y, color, ...(name === s.schedule ? { low, high } : { thin: true }) };
    };
    // The chosen one is drawn last, on top.
    const order = [...data.schedules].sort(([a], [b]) => (a === s.schedule) - (b === s.schedule));
    const error = (at) => result(s.schedule, at)?.error ?? Infinity;
    const best = data.rates.reduce((a, b) => (error(b) < error(a) ? b : a));
    return {
      charts: [
        {
          title: `Training loss of ${data.seeds} networks`,
          x: { label: "step", min: 0, max: data.steps },
          y: { log: true, min: 0.02, max: 10 },
          lines: order.map(loss),
        },
        {
          title: "Test error at the end, in %",
          x: { label: "learning rate", log: true, min: data.rates[0], max: data.rates.at(-1) },
          y: { log: true, min: 1, max: 100, ticks: [1, 2, 5, 10, 20, 50, 100] },
          lines: order.map(curve),
          grab: (at) => ({ rate: data.live ? at : nearest(data.rates, at) }),
          hint: "tap or drag to choose a rate",
          points: found ? [{ x: rate, y: found.error, color: shade, size: 6 }] : [],
          rules: [{ x: rate }],
        },
      ],
      summary: found
        ? `Rate ${format(rate)}, ${label}: after ${data.steps} steps the test error is ${found.error.toFixed(1)} ± ${found.half.toFixed(1)} % (mean of ${data.seeds} trainings on handwritten digits, 95 % interval). The best of these rates for ${label} is ${format(best)}, with ${error(best).toFixed(1)} %.`
        : "Training …",
    };
  },
};
