// Chapter 5: plateau reduction on a metric that you draw: its decisions, and the rate.

const EPOCHS = 40;

// Seeded noise between −1 and 1 (mulberry32): the same on every machine.
function uniforms(seed, count) {
  let a = seed >>> 0;
  return Array.from({ length: count }, () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2147483648 - 1;
  });
}

// "7:0.5,8:0.52": epochs that were moved by hand, and where to.
function parseMoved(text) {
  const moved = new Map();
  for (const part of String(text ?? "").split(",")) {
    const [epoch, value] = part.split(":").map(Number);
    const sound = part.includes(":") && Number.isInteger(epoch) && epoch >= 0 && epoch < EPOCHS && Number.isFinite(value);
    if (sound) moved.set(epoch, clamp(value, 0, 1.2));
  }
  return moved;
}

const writeMoved = (moved) => [...moved].sort((a, b) => a[0] - b[0]).map(([epoch, value]) => `${epoch}:${Number(value.toPrecision(3))}`).join(",");

function metrics(s) {
  const noise = uniforms(s.seed, EPOCHS);
  const moved = parseMoved(s.moved);
  return noise.map((u, t) => moved.get(t) ?? Number((0.2 + 0.8 * Math.exp(-t / s.falls) + s.noise * u).toPrecision(6)));
}

// The rule of lrlib.PlateauRule with threshold_mode "rel", one verdict per epoch.
function decide(values, s) {
  let [lr, best, bad, cooling] = [s.rate, Infinity, 0, 0];
  return values.map((metric, epoch) => {
    const before = lr;
    const better = metric < best * (1 - s.threshold);
    const cooled = cooling > 0;
    if (better) best = metric;
    bad = better || cooled ? 0 : bad + 1;
    cooling = Math.max(cooling - 1, 0);
    const count = bad;
    const act = bad > s.patience;
    if (act) {
      const lower = Math.max(lr * s.factor, s.min_lr);
      if (lr - lower > 1e-8) lr = lower;
      [bad, cooling] = [0, s.cooldown];
    }
    const verdict = better
      ? "the best so far"
      : cooled
        ? "not better, but not counted (cooldown)"
        : !act
          ? `${count} bad (patience ${s.patience})`
          : lr < before
            ? `${count} bad: reduced ${format(before)} → ${format(lr)}`
            : `${count} bad, but already at min_lr`;
    return { epoch, metric, lr, bad: count, verdict, used: before, reduced: lr < before };
  });
}

const explorer = {
  name: "plateau",
  title: "Let the metric decide",
  controls() {
    const range = (name, label, value, min, max, step, more = {}) => ({ name, label, kind: "range", value, min, max, step, ...more });
    return [
      range("noise", "noise of the metric", 0.03, 0, 0.3, 0.01),
      range("falls", "falls within (epochs)", 5, 1, 20, 1),
      range("patience", "patience", 3, 0, 15, 1),
      range("factor", "factor", 0.5, 0.1, 0.9, 0.05),
      range("threshold", "threshold", 0.01, 0, 0.2, 0.005),
      range("cooldown", "cooldown", 0, 0, 10, 1),
      range("rate", "base rate", 0.1, 0.001, 1, 0.02, { scale: "log" }),
      range("min_lr", "min_lr", 0.0001, 0.00001, 0.1, 0.02, { scale: "log" }),
      range("seed", "noise drawn with seed", 1, 0, 50, 1),
      { name: "moved", kind: "hidden", parse: (text) => writeMoved(parseMoved(text)) },
    ];
  },
  view(s) {
    const values = metrics(s);
    const log = decide(values, s);
    const cuts = log.filter((d) => d.reduced);
    const handle = (metric, epoch) => ({
      x: epoch,
      y: metric,
      min: 0,
      max: 1.2,
      step: 0.02,
      label: `metric of epoch ${epoch}`,
      color: log[epoch].reduced ? "purple" : log[epoch].bad === 0 ? "green" : "gold",
      set: (value) => ({ moved: writeMoved(new Map([...parseMoved(s.moved), [epoch, value]])) }),
    });
    const at = counting(EPOCHS);
    return {
      charts: [
        {
          title: "The metric: drag a point, or use the arrow keys",
          wide: true,
          x: { label: "epoch", min: 0, max: EPOCHS - 1 },
          y: { min: 0, max: 1.2 },
          lines: [{ x: at, y: values, color: "gray", thin: true }],
          handles: values.map(handle),
          rules: cuts.map((d) => ({ x: d.epoch })),
        },
        {
          title: "The rate of each epoch",
          wide: true,
          height: 170,
          x: { label: "epoch", min: 0, max: EPOCHS - 1 },
          y: { log: true, min: Math.min(...log.map((d) => d.lr)) / 2, max: s.rate * 2 },
          lines: [{ x: at, y: log.map((d) => d.used), color: "blue", stair: true }],
        },
      ],
      summary: cuts.length
        ? `${cuts.length} ${cuts.length === 1 ? "reduction" : "reductions"}, after epoch ${cuts.map((d) => d.epoch).join(", ")}; the rate ends at ${format(log.at(-1).lr)}. Green points are the best so far, yellow ones bad; at the purple ones the rate is reduced.`
        : `No reduction in ${EPOCHS} epochs: never more than ${s.patience} bad ones in a row. Green points are the best so far, yellow ones bad.`,
      table: {
        caption: "The log",
        head: ["epoch", "metric", "decision", "rate from here"],
        rows: log.map((d) => [String(d.epoch), format(d.metric), d.verdict, format(d.lr)]),
      },
    };
  },
};
