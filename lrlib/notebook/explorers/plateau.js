// Chapter 5: plateau reduction on a metric that you draw: its decisions, and the rate.

const EPOCHS = 40;

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
  const [uniform, moved] = [random(s.seed), parseMoved(s.moved)];
  return counting(EPOCHS).map((t) => {
    const drawn = 0.2 + 0.8 * Math.exp(-t / s.falls) + s.noise * (2 * uniform() - 1);
    return moved.get(t) ?? Number(drawn.toPrecision(6));
  });
}

function verdict({ better, cooled, bad, acts, used, lr }, s) {
  if (better) return "the best so far";
  if (cooled) return "not better, but not counted (cooldown)";
  if (!acts) return `${bad} bad (patience ${s.patience})`;
  return lr < used ? `${bad} bad: reduced ${format(used)} → ${format(lr)}` : `${bad} bad, but already at min_lr`;
}

const explorer = {
  name: "plateau",
  title: "Let the metric decide",
  presets: [["no noise", { noise: 0 }], ["impatient", { noise: 0.1, patience: 0 }], ["patient", { noise: 0.1, patience: 10 }]],
  controls() {
    return [
      range("noise", "noise of the metric", 0.03, 0, 0.3, 0.01),
      range("falls", "time constant (epochs)", 5, 1, 20),
      range("patience", "patience", 3, 0, 15),
      range("factor", "factor", 0.5, 0.1, 0.9, 0.05),
      range("threshold", "threshold", 0.01, 0, 0.2, 0.005),
      range("cooldown", "cooldown", 0, 0, 10),
      logRange("rate", "base rate", 0.1, 0.001, 1),
      logRange("min_lr", "min_lr", 0.0001, 0.00001, 0.1),
      seed("New noise"),
      { name: "moved", kind: "hidden", parse: (text) => writeMoved(parseMoved(text)) },
    ];
  },
  view(s) {
    const log = plateau(metrics(s), s);
    const cuts = log.filter((d) => d.lr < d.used);
    const epochs = counting(EPOCHS);
    const handle = (d) => ({
      x: d.epoch,
      y: d.metric,
      min: 0,
      max: 1.2,
      step: 0.02,
      label: `metric of epoch ${d.epoch}`,
      ...(d.lr < d.used ? { color: "purple", mark: "down" } : d.bad === 0 ? { color: "green" } : { color: "gold", mark: "cross" }),
    });
    return {
      charts: [
        {
          title: "The metric of each epoch",
          hint: "draw on it, or use the arrow keys",
          wide: true,
          x: { label: "epoch", min: 0, max: EPOCHS - 1 },
          y: { min: 0, max: 1.2 },
          lines: [{ x: epochs, y: log.map((d) => d.metric), color: "gray", thin: true }],
          handles: log.map(handle),
          grab: (x, y) => ({ moved: writeMoved(new Map([...parseMoved(s.moved), [Math.round(x), clamp(y, 0, 1.2)]])) }),
          rules: cuts.map((d) => ({ x: d.epoch })),
        },
        {
          title: "The rate of each epoch",
          wide: true,
          height: 170,
          x: { label: "epoch", min: 0, max: EPOCHS - 1 },
          y: { log: true, min: Math.min(...log.map((d) => d.lr)) / 2, max: s.rate * 2 },
          lines: [{ x: epochs, y: log.map((d) => d.used), color: "blue", stair: true }],
        },
      ],
      summary: cuts.length
        ? `${cuts.length} ${cuts.length === 1 ? "reduction" : "reductions"}, after epoch ${cuts.map((d) => d.epoch).join(", ")}; the rate ends at ${format(log.at(-1).lr)}. Green ● is the best so far, yellow ✕ is bad, and at purple ▼ the rate is reduced.`
        : `No reduction in ${EPOCHS} epochs: never more than ${s.patience} bad ones in a row. Green ● is the best so far, yellow ✕ is bad.`,
      table: {
        caption: "The log",
        head: ["epoch", "metric", "decision", "rate afterwards"],
        rows: log.map((d) => [String(d.epoch), format(d.metric), verdict(d, s), format(d.lr)]),
      },
    };
  },
};
