// The landing page: what a rate and a schedule do to real trainings, made while you look.
//
// data: as results.js says.

const [NETWORKS, EPOCHS, STEPS] = [8, 8, 8 * Math.ceil(SAMPLES / 32)];
// Four rates per decade; any other one is trained when it is chosen.
const RATES = counting(11).map((k) => Number((10 ** (k / 4 - 2)).toPrecision(3)));

const looks = [
  ["constant", "constant", "gray", () => 1],
  // A tenth of the rate after a third of the steps, and again after two thirds.
  ["step", "steps", "blue", schedules.StepDecay({ step_size: Math.ceil(STEPS / 3), gamma: 0.1 })],
  ["linear", "line to zero", "purple", schedules.Linear({ start: 1, end: 0, steps: STEPS })],
  ["cosine", "cosine", "orange", schedules.Cosine({ steps: STEPS, end: 0 })],
];

function orderAt(schedule, rate) {
  const [, , , factor] = looks.find(([name]) => name === schedule);
  const plain = { plateau: null, optimizer: "SGD", momentum: 0, nesterov: false, decay: 0, clip: 0, keep: 1, noisy: false };
  return named({ widths: [64, 32, 10], seeds: counting(NETWORKS), epochs: EPOCHS, batch: 32, rate, factors: counting(STEPS).map(factor), ...plain });
}

// The chosen rate, then all others.
const look = (s) => [s.rate, ...RATES].map((rate) => orderAt(s.schedule, rate));
const complete = (result) => result?.trainLoss.length === EPOCHS;

// Every rate that was trained with this schedule, and its errors, from the lowest rate on.
function triedWith(schedule, results) {
  const alike = (name) => name.replace(/"rate":[^,]+,/, "");
  const wanted = alike(orderAt(schedule, 1).name);
  const found = Object.entries(results).filter(([name, result]) => complete(result) && alike(name) === wanted);
  return found.map(([name, result]) => ({ rate: JSON.parse(name).rate, ...interval(errorsOf(result)) })).sort((a, b) => a.rate - b.rate);
}

const explorer = {
  name: "first-look",
  title: "Find the rate",
  presets: [["too small", { rate: 0.01 }], ["too large", { rate: 3.16 }], ["constant", { schedule: "constant" }]],
  controls() {
    return [logRange("rate", "learning rate", 0.1, RATES[0], RATES.at(-1), 0.05), pick("schedule", "schedule", "cosine", looks.map(([name, label]) => [name, label]))];
  },
  work: training(look),
  still: trained(look),
  view(s, { results = {}, trouble, failed, code }) {
    const [, label, color] = looks.find(([name]) => name === s.schedule);
    const result = results[orderAt(s.schedule, s.rate).name];
    const curves = looks.map(([name, text, shade]) => ({ name, text, shade, tried: triedWith(name, results) })).filter(({ tried }) => tried.length);
    // The chosen one is drawn last, on top.
    curves.sort((a, b) => (a.name === s.schedule) - (b.name === s.schedule));
    const tried = triedWith(s.schedule, results);
    const found = tried.find(({ rate }) => rate === s.rate);
    const best = tried.reduce((a, b) => (b.mean < a.mean ? b : a), { mean: Infinity });
    const done = look(s).every(({ name }) => complete(results[name]));
    const bad = found ? guessing(result) : 0;
    const sentences = found
      ? [
          `Rate ${format(s.rate)}, ${label}: after ${STEPS} steps the validation error is ${found.mean.toFixed(1)} ± ${found.half.toFixed(1)} % (mean of ${NETWORKS} trainings on handwritten digits, 95 % interval).`,
          ...(bad ? [`${bad} of ${networksOf(NETWORKS)} ended no better than guessing.`] : []),
          done ? `The best of the ${tried.length} rates tried with this schedule is ${format(best.rate)}, with ${best.mean.toFixed(1)} %.` : "Other rates are being trained.",
        ]
      : [`Your browser is training ${networksOf(NETWORKS)} on handwritten digits: ${result?.trainLoss.length ?? 0} of ${EPOCHS} epochs are done.`];
    return {
      charts: [
        chartOf({ title: `Training loss of ${networksOf(NETWORKS)}`, x: { label: "epoch", min: 1, max: EPOCHS }, y: { log: true, min: 0.01, max: 10 } }, [{ letter: "this", color, result }], (one, i) => one.trainLoss[i]),
        {
          title: "Validation error at the end, in %",
          x: { label: "learning rate", log: true, min: RATES[0], max: RATES.at(-1) },
          y: { log: true, min: 1, max: 100, ticks: [1, 2, 5, 10, 20, 50, 100] },
          lines: curves.map(({ name, text, shade, tried: all }) => {
            const band = { low: all.map(({ mean, half }) => mean - half), high: all.map(({ mean, half }) => mean + half) };
            return { x: all.map(({ rate }) => rate), y: all.map(({ mean }) => mean), color: shade, label: text, ...(name === s.schedule ? band : { thin: true }) };
          }),
          grab: (rate) => ({ rate }),
          hint: "tap or drag to choose a rate",
          points: tried.map(({ rate, mean }) => ({ x: rate, y: mean, color, size: rate === s.rate ? 6 : 2.5 })),
          rules: [{ x: s.rate }],
        },
      ],
      summary: [...sentences, ...(trouble ? [trouble] : [])].join(" "),
      notes: [whereOf({ code })],
      busy: !done && !failed,
    };
  },
};
