// The playground: trains real networks in the page, compares settings, and writes the program.
//
// data: as results.js says.

// Half a point of accuracy: less than two of the 360 validation images.
const MARGIN = 0.5;

const optimizers = [["SGD", "SGD with momentum"], ["Nesterov", "SGD with Nesterov momentum"], ["Adam", "Adam"], ["AdamW", "AdamW"]];
const networks = [["32", "one layer of 32"], ["64", "one layer of 64"], ["64-32", "64, then 32"], ["64-64", "64, then 64"]];
const shapes = [...Object.entries(parts).map(([kind, { label }]) => [kind, label]), ["plateau", "reduce on plateau"]];
const among = (...values) => values.map((value) => [String(value), String(value)]);
const labelOf = (options, value) => options.find(([option]) => option === value)[1];
const hasMomentum = (s) => s.optimizer === "SGD" || s.optimizer === "Nesterov";

function settings(s) {
  const shape = shapes.some(([kind]) => kind === s.schedule) ? s.schedule : "Cosine";
  const optimizer = optimizers.some(([kind]) => kind === s.optimizer) ? s.optimizer : "SGD";
  const its = shape === "plateau" ? [range("factor", "factor", 0.3, 0.1, 0.9, 0.1), range("patience", "patience (epochs)", 2, 0, 10)] : parts[shape].controls;
  const momentum = range("momentum", "momentum", 0.9, 0, 0.99, 0.01);
  const more = [
    ...(hasMomentum({ optimizer }) ? [momentum] : []),
    pick("decay", "weight decay", "0", among(0, 0.0001, 0.001, 0.01, 0.1, 1)),
    pick("batch", "batch size", "32", among(8, 16, 32, 64, 128)),
    range("warmup", "warmup, in % of the steps", 0, 0, 50, 5),
    range("cooldown", "final decay to zero, in % of the steps", 0, 0, 50, 5),
    pick("clip", "clip the gradient's norm at", "none", among("none", 0.1, 0.3, 1, 3, 10)),
    range("keep", "learning-rate dropout: keep probability", 1, 0.1, 1, 0.1),
    pick("hidden", "hidden layers", "32", networks),
  ];
  return [
    logRange("rate", "learning rate", 0.1, 0.0001, 10, 0.05),
    pick("schedule", "schedule", "Cosine", shapes),
    ...its,
    pick("optimizer", "optimizer", "SGD", optimizers),
    range("epochs", "epochs", 20, 1, 80),
    range("seeds", "networks (seeds)", 16, 1, 32),
    check("noisy", "20 % random labels"),
    check("find", "find a rate: range test"),
    ...more.map((control) => ({ ...control, more: true })),
  ];
}

// --- Settings that were kept to compare ---------------------------------------------------------

// Seeds are common to all, or there would be no pairs.
const COMMON = ["seeds", "fresh", "find", "kept"];
const own = (s) => Object.fromEntries(Object.entries(s).filter(([name]) => !COMMON.includes(name)));
const single = { controls: settings };

// "rate:0.3,schedule:Linear;rate:1": at most three settings, by what differs from the defaults.
function writeKept(list) {
  const defaults = settle(single, {});
  const written = (s) => Object.entries(own(s)).filter(([name, value]) => value !== defaults[name]).map(([name, value]) => `${name}:${value}`).join(",");
  return list.map((s) => written(settle(single, s)) || "rate:0.1").slice(0, 3).join(";");
}

function parseKept(text) {
  const given = String(text ?? "").split(";").filter((part) => part.includes(":")).slice(0, 3);
  return given.map((part) => own(settle(single, Object.fromEntries(part.split(",").map((pair) => pair.split(":").slice(0, 2))))));
}

// The present setting, then those that were kept.
const entrants = (s) => {
  const kept = parseKept(s.kept).map((values, i) => ({ ...values, seeds: s.seeds, fresh: s.fresh, letter: "ABC"[i], color: ["orange", "green", "purple"][i] }));
  return [{ ...s, letter: "this", color: "blue" }, ...kept];
};

// --- What the engine is asked -------------------------------------------------------------------

const seedsOf = (s) => counting(s.seeds).map((i) => 32 * s.fresh + i);
const widthsOf = (s) => [64, ...s.hidden.split("-").map(Number), 10];

function scheduleOf(s) {
  const steps = s.epochs * Math.ceil(SAMPLES / Number(s.batch));
  const share = (percent) => Math.round((steps * percent) / 100);
  const plan = { ...s, steps, main: s.schedule === "plateau" ? "Constant" : s.schedule, times: "none" };
  return compose({ ...plan, first: s.warmup ? "Linear" : "none", warmup: share(s.warmup), last: s.cooldown ? "Linear" : "none", cooldown: share(s.cooldown) });
}

function orderOf(s) {
  const steps = s.epochs * Math.ceil(SAMPLES / Number(s.batch));
  const setting = {
    widths: widthsOf(s),
    seeds: seedsOf(s),
    epochs: s.epochs,
    batch: Number(s.batch),
    rate: s.rate,
    factors: factors(composed(scheduleOf(s)), steps),
    plateau: s.schedule === "plateau" ? { factor: s.factor, patience: s.patience } : null,
    optimizer: s.optimizer === "Nesterov" ? "SGD" : s.optimizer,
    momentum: s.momentum ?? 0,
    nesterov: s.optimizer === "Nesterov" && s.momentum > 0,
    decay: Number(s.decay),
    clip: s.clip === "none" ? 0 : Number(s.clip),
    keep: s.keep,
    noisy: s.noisy,
  };
  return named(setting);
}

const ordersOf = (s) => entrants(s).map(orderOf);

// --- The program --------------------------------------------------------------------------------

function optimizerCode(s) {
  const named = { SGD: "SGD", Nesterov: "SGD", Adam: "Adam", AdamW: "AdamW" }[s.optimizer];
  const options = [
    ...(s.momentum ? [`momentum=${s.momentum}`] : []),
    ...(s.optimizer === "Nesterov" && s.momentum ? ["nesterov=True"] : []),
    ...(s.decay !== "0" || s.optimizer === "AdamW" ? [`weight_decay=${s.decay}`] : []),
  ];
  return { named, options };
}

const clipping = (norm) => ["", "    def clip(*_):", `        torch.nn.utils.clip_grad_norm_(model.parameters(), ${norm})`, "", "    optimizer.register_step_pre_hook(clip)"];

function python(s) {
  const { names, text } = lrlibSchedule(scheduleOf(s));
  const { named, options } = optimizerCode(s);
  const network = `mlp(${widthsOf(s).join(", ")})`;
  const first = 32 * s.fresh;
  const seeds = first ? `range(${first}, ${first + s.seeds})` : `range(${s.seeds})`;
  const clipped = s.clip !== "none";
  const rule = s.schedule === "plateau" ? `PlateauRule(factor=${s.factor}, patience=${s.patience})` : "";
  const alone = clipped || rule !== ""; // what `fit_many` doesn't do
  const book = [...names, ...(rule ? ["PlateauRule"] : []), ...(alone && s.keep < 1 ? ["LRDropout"] : [])].sort();
  const lab = [...(alone ? ["fit", "seeded"] : ["Run", "fit_many"]), "load", "mlp", ...(s.noisy ? ["with_random_labels"] : [])].sort();
  const start = [
    ...(alone ? ["import numpy as np"] : options.length ? ["from functools import partial", ""] : []),
    "import torch",
    `from lrlib import ${book.join(", ")}`,
    `from lrlib.lab import ${lab.join(", ")}`,
    "",
    `data = ${s.noisy ? 'with_random_labels(load("digits"), share=0.2)' : 'load("digits")'}`,
    `schedule = ${text}`,
    ...(rule ? [`rule = ${rule}`] : []),
  ];
  const run = [`schedule, base_lr=${s.rate}, seed=seed`, ...(s.keep < 1 ? [`keep=${s.keep}`] : [])].join(", ");
  const many = [
    `runs = [Run(${run}) for seed in ${seeds}]`,
    "result = fit_many(",
    `    lambda: ${network},`,
    "    data,",
    "    runs,",
    `    epochs=${s.epochs},`,
    `    batch_size=${s.batch},`,
    `    optimizer=${options.length ? `partial(torch.optim.${named}, ${options.join(", ")})` : `torch.optim.${named}`},`,
    ")",
    "accuracy = result.validation_accuracy[:, -1]",
  ];
  const single = [
    "",
    "",
    "def train(seed):",
    `    model = seeded(lambda: ${network}, seed).to(data.train.y.device)`,
    `    optimizer = torch.optim.${named}(${["model.parameters()", `lr=${s.rate}`, ...options].join(", ")})`,
    ...(clipped ? clipping(s.clip) : []),
    ...(s.keep < 1 ? [`    optimizer = LRDropout(optimizer, ${s.keep}, torch.Generator().manual_seed(seed))`] : []),
    "    history = fit(",
    "        model,",
    "        data,",
    "        optimizer,",
    `        epochs=${s.epochs},`,
    "        schedule=schedule,",
    ...(rule ? ["        plateau=rule,"] : []),
    `        batch_size=${s.batch},`,
    "        seed=seed,",
    "    )",
    "    return history.validation_accuracy[-1]",
    "",
    "",
    `accuracy = np.array([train(seed) for seed in ${seeds}])`,
  ];
  return [...start, ...(alone ? single : many), 'print(f"Validation error: {100 * (1 - accuracy).mean():.2f} %")'].join("\n");
}

// The program as a notebook, with the book's setup cell: Jupyter, Colab and others open it.
function notebook(s) {
  const setup = `# Setup: installs lrlib if it is missing; keeps the torch that is installed.
import importlib.util

if importlib.util.find_spec("lrlib") is None:
    %pip install --quiet "lrlib[lab] @ git+https://github.com/learning-rate-book/learning-rate-book"`;
  const code = (source) => ({ cell_type: "code", execution_count: null, metadata: {}, outputs: [], source });
  const title = { cell_type: "markdown", metadata: {}, source: `# A setting of the playground\n\n${inWords(s)}` };
  const kernel = { kernelspec: { name: "python3", display_name: "Python 3", language: "python" } };
  return JSON.stringify({ nbformat: 4, nbformat_minor: 4, metadata: kernel, cells: [title, code(setup), code(python(s))] });
}

// --- In words -----------------------------------------------------------------------------------

function optimizerInWords(s) {
  if (s.optimizer === "AdamW") return `AdamW (weight decay ${s.decay})`;
  if (!hasMomentum(s)) return s.optimizer;
  return s.momentum ? `${labelOf(optimizers, s.optimizer)} ${s.momentum}` : "SGD without momentum";
}

function inWords(s) {
  const defaults = settle(single, {});
  const shape = labelOf(shapes, s.schedule);
  const extras = [
    ...(s.warmup ? [`warmup over ${s.warmup} %`] : []),
    ...(s.cooldown ? [`a line to zero over the last ${s.cooldown} %`] : []),
    ...(s.decay !== "0" && s.optimizer !== "AdamW" ? [`weight decay ${s.decay}`] : []),
    ...(s.batch !== defaults.batch ? [`batch size ${s.batch}`] : []),
    ...(s.clip !== "none" ? [`clipped at ${s.clip}`] : []),
    ...(s.keep < 1 ? [`keep probability ${s.keep}`] : []),
    ...(s.hidden !== defaults.hidden ? [`hidden layers ${s.hidden}`] : []),
  ];
  return [`rate ${format(s.rate)}`, shape, optimizerInWords(s), ...extras, `${s.epochs} ${s.epochs === 1 ? "epoch" : "epochs"}`, ...(s.noisy ? ["20 % random labels"] : [])].join(", ");
}

const points = (value) => (Math.abs(value) < 0.005 ? "0.00" : value.toFixed(2).replace("-", "−"));

// The rates that were trained in this visit with everything else as now: [rate, mean error].
function tried(s, results) {
  const rate = /"rate":([^,]+),/;
  const others = (name) => name.replace(rate, "");
  const mine = others(orderOf(s).name);
  const found = Object.entries(results).filter(([name, result]) => others(name) === mine && result.trainLoss.length === s.epochs);
  return found.map(([name, result]) => [Number(name.match(rate)[1]), meanOf(errorsOf(result))]).sort(([a], [b]) => a - b);
}

// What happened, and where the book explains it.
function hints(s, result) {
  const found = [];
  const failed = guessing(result);
  const mean = result.trainLoss.map(meanOf);
  const held = result.validationLoss.map(meanOf);
  const lowest = Math.min(...held);
  const best = held.indexOf(lowest) + 1;
  const curve = orderOf(s).setting.factors;
  const late = Math.floor(curve.length * 0.9);
  if (failed) {
    found.push({ text: `${failed} of ${networksOf(s.seeds)} ended no better than guessing: the training loss is above ${GUESSING.toFixed(2)}, or is not a number, or the validation error is ${GUESSED} % or more. The rate may be too large (or, in a short run, far too small):`, page: "chapters/01-decay-theory/index.html", label: "chapter 1, Why rates decay" });
  }
  const [before, after] = [meanOf(mean.slice(-10, -5)), meanOf(mean.slice(-5))];
  const slow = !failed && s.epochs >= 5 && mean.at(-1) > 0.8 * mean[0];
  if (slow) {
    found.push({ text: "Since the first epoch, the mean training loss has fallen by less than a fifth. The rate may be too small:", page: "chapters/07-finding-a-rate/index.html", label: "chapter 7, Finding a rate" });
  }
  if (!failed && !slow && s.epochs >= 10 && s.schedule === "Constant" && !s.cooldown && after > 0.97 * before) {
    found.push({ text: "The rate is constant, and the mean training loss fell by less than 3 % from the five epochs before the last five to the last five. The run may be on the noise floor of its rate:", page: "chapters/01-decay-theory/index.html", label: "chapter 1, Why rates decay" });
  }
  if (!failed && best <= 0.75 * s.epochs && held.at(-1) > 1.05 * lowest) {
    found.push({ text: `The mean validation loss was lowest after epoch ${best}; at the end it is ${format(100 * (held.at(-1) / lowest - 1))} % higher. How to read such a curve:`, page: "chapters/07-finding-a-rate/read-the-curve.html", label: "chapter 7, Read the curve" });
  }
  if (!s.cooldown && curve.length > 20 && curve.at(-1) > 1.02 * curve[late]) {
    found.push({ text: "The rate rises in the last tenth of the steps:", page: "chapters/04-built-in-schedulers/index.html", label: "chapter 4, Four mistakes with cosine annealing" });
  }
  return found;
}

function summaryOf(s, known, verdicts, trouble) {
  const [mine] = known;
  const progress = mine.result ? mine.result.trainLoss.length : 0;
  if (progress < s.epochs) return `Training ${networksOf(s.seeds)} of handwritten digits in this page: ${progress} of ${s.epochs} epochs are done. ${trouble ?? ""}`.trim();
  const { mean, half } = interval(errorsOf(mine.result));
  const failed = guessing(mine.result);
  const spread = s.seeds > 1 ? ` ± ${half.toFixed(1)} % (mean of ${s.seeds} networks, 95 % interval)` : " % (one network: no interval)";
  const said = verdicts
    .filter(({ a }) => a === "this")
    .map(({ b, verdict }) => ({ better: `better than ${b}`, worse: `worse than ${b}`, equivalent: `equivalent to ${b} (the difference is smaller than ${MARGIN} points)`, "not told apart": `not told apart from ${b}` })[verdict]);
  const sentences = [
    `${inWords(s)}: after ${s.epochs * Math.ceil(SAMPLES / Number(s.batch))} steps the validation error is ${mean.toFixed(1)}${spread}.`,
    failed ? `${failed} of ${networksOf(s.seeds)} ended no better than guessing.` : s.seeds > 1 ? "All networks ended better than guessing." : "The network ended better than guessing.",
    ...(known.every(finished) ? [] : ["The settings that you kept are still training."]),
    ...(said.length ? [`This setting is ${said.join(", ")}.`] : []),
    ...(trouble ? [trouble] : []),
  ];
  const text = sentences.join(" ");
  return text[0].toUpperCase() + text.slice(1);
}

// --- The figure ---------------------------------------------------------------------------------

// The rate of each step, or where a metric decides, of each epoch; at most 300 points.
function rateLine(one, several) {
  const { setting } = orderOf(one);
  const label = several ? { label: one.letter } : {};
  if (setting.plateau) return { x: (one.result?.rate ?? []).map((_, i) => i + 1), y: (one.result?.rate ?? []).map(meanOf), color: one.color, ...label };
  const every = Math.ceil(setting.factors.length / 300);
  const steps = counting(setting.factors.length).filter((t) => t % every === 0 || t === setting.factors.length - 1);
  const perEpoch = setting.factors.length / setting.epochs;
  return { x: steps.map((t) => t / perEpoch), y: steps.map((t) => setting.rate * setting.factors[t]), color: one.color, stair: one.schedule === "StepDecay", ...label };
}

function forest(verdicts, colors) {
  const reach = Math.max(1, ...verdicts.map(({ mean, half }) => Math.abs(mean) + half).filter(Number.isFinite)) * 1.1;
  const tick = [1, 2, 5, 10, 20, 50].findLast((size) => size <= reach);
  const row = (i) => verdicts.length - 1 - i;
  const names = verdicts.map(({ a, b, mean, half, verdict }) => `${a} − ${b}: ${points(mean)} ± ${points(half)}, ${verdict}`);
  const title = "Paired differences of the validation error";
  return {
    title,
    alt: `${title}, in points, with 95 % intervals. ${names.join("; ")}. The margin is ${MARGIN} points.`,
    hint: `in points; dashed: 0 and the margin of ${MARGIN}`,
    height: 110 + 42 * verdicts.length,
    x: { label: "left of 0, the first of the pair has fewer errors", min: -reach, max: reach, ticks: [-tick, 0, tick] },
    y: { min: -0.6, max: verdicts.length - 0.4, ticks: [] },
    lines: verdicts.map(({ a, b, mean, half }, i) => ({ x: [mean - half, mean + half], y: [row(i), row(i)], color: colors[b], label: `${a} − ${b}` })),
    points: verdicts.map(({ mean, b }, i) => ({ x: mean, y: row(i), color: colors[b] })),
    rules: [{ x: 0 }, { x: -MARGIN }, { x: MARGIN }],
  };
}

// --- The range test -----------------------------------------------------------------------------

const testOf = (s, { tests = {} }) => s.find && tests[rangeOrder(orderOf(s).setting).name];

// What each rule reads: the median over the networks, and the lowest and the highest reading.
function found(s, data) {
  const read = (testOf(s, data) || []).map(readings).filter(Boolean);
  return readers.map(([label], i) => {
    const rates = read.map((values) => values[i]).sort((a, b) => a - b);
    const middle = Math.sqrt(rates[Math.ceil(rates.length / 2 - 1)] * rates[Math.floor(rates.length / 2)]);
    return { label, low: rates[0], high: rates.at(-1), rate: Number(middle.toPrecision(3)) };
  });
}

// The slider ends there, and a reading may lie beyond.
const usable = ({ rate }) => rate >= 0.0001 && rate <= 10;

function rangeChart(s, data) {
  const curves = testOf(s, data) || [];
  const common = counting(Math.min(...curves.map((curve) => curve.length), RAMP.length));
  const mean = { x: common.map((i) => RAMP[i]), y: curves.length ? common.map((i) => meanOf(curves.map((curve) => curve[i]))) : [], color: "gray" };
  const marks = curves.length ? found(s, data).filter(({ rate }) => rate) : [];
  const highest = Math.max(3, ...curves.map((curve) => curve[0] * 1.2));
  const spec = {
    title: curves.length ? `Range test of ${networksOf(curves.length)}: smoothed loss of each step` : "The range test is running",
    x: { label: "learning rate", log: true, min: RAMP[0], max: RAMP.at(-1) },
    y: { min: 0, max: highest },
    wide: true,
    hint: "tap or drag to choose a rate",
    grab: (rate) => ({ rate }),
    lines: [mean],
    points: marks.map(({ rate, label }) => ({ x: rate, name: label, y: mean.y[lowestOf(mean.x.map((x) => Math.abs(Math.log(x / rate))))], color: "blue", size: 5 })),
    rules: [{ x: s.rate }],
  };
  return { ...spec, alt: describe(spec), lines: [...(curves.length > 1 ? curves.map((y) => ({ x: RAMP.slice(0, y.length), y, color: "gray", thin: true, faint: true })) : []), mean] };
}

function rangeNotes(s, data) {
  const curves = testOf(s, data);
  if (!curves) return [];
  const without = curves.filter((curve) => !readings(curve)).length;
  const rows = found(s, data).filter(({ rate }) => rate);
  const spread = ({ low, high }) => (curves.length - without > 1 ? ` (median; the networks' readings go from ${format(low)} to ${format(high)})` : "");
  return [
    ...rows.map((row) => ({ text: `${row.label} reads ${format(row.rate)}${spread(row)}.` })),
    ...(without ? [{ text: `The curves of ${without} of ${networksOf(curves.length)} have no fall to read.` }] : []),
    { text: "A range test doesn't know how long you train. Read it late on the fall for a short training, and early for a long one:", page: "chapters/07-finding-a-rate/index.html", label: "chapter 7, The range test" },
  ];
}

// Each is an experiment of a chapter, which links to it.
const PRESETS = [
  ["too large", { rate: 2.5, schedule: "Constant", momentum: 0 }],
  ["a constant rate, and a line to zero", { rate: 0.3, schedule: "Linear", momentum: 0, kept: "rate:0.3,schedule:Constant,momentum:0" }],
  ["stairs", { schedule: "StepDecay", drops: 3, gamma: 0.5, epochs: 12 }],
  ["restarts", { schedule: "CosineRestarts", noisy: true, kept: "noisy:true" }],
  ["reduce on plateau", { rate: 0.2, schedule: "plateau", momentum: 0, noisy: true, kept: "rate:0.2,noisy:true,momentum:0" }],
  ["learning-rate dropout", { keep: 0.5, noisy: true, kept: "noisy:true" }],
  ["a rate too small", { rate: 0.001, epochs: 5, kept: "epochs:5" }],
  ["wrong labels are learned", { noisy: true, schedule: "Constant", epochs: 30 }],
  ["AdamW", { optimizer: "AdamW", rate: 0.01, decay: "0.01", schedule: "Linear", kept: "rate:0.01,schedule:Constant,optimizer:AdamW,decay:0.01" }],
  ["warmup", { optimizer: "AdamW", rate: 0.02, schedule: "Linear", warmup: 10, epochs: 12, kept: "rate:0.02,schedule:Linear,optimizer:AdamW,epochs:12" }],
];

// The letter of the kept setting that is the present one.
const same = ([mine, ...kept]) => kept.find((one) => orderOf(one).name === orderOf(mine).name)?.letter;
const finished = (one) => one.result?.trainLoss.length === one.epochs;

const explorer = {
  name: "playground",
  title: "Train real networks in this page",
  presets: PRESETS,
  controls(s) {
    return [...settings(s), { ...seed("Other seeds"), name: "fresh", value: 0 }, { name: "kept", kind: "hidden", parse: (text) => writeKept(parseKept(text)) }];
  },
  actions(s, data) {
    const kept = parseKept(s.kept);
    const more = kept.length < 3 && !same(entrants(s));
    return [
      ...found(s, data).filter(({ rate }) => rate).map((row) => [`Use ${format(row.rate)} (${row.label})`, usable(row) && row.rate !== s.rate && { rate: row.rate }]),
      ["Keep this setting to compare", more && { kept: writeKept([...kept, s]) }],
      ...kept.map((_, i) => [`Remove ${"ABC"[i]}`, { kept: writeKept(kept.filter((_, other) => other !== i)) }]),
    ];
  },
  work(data, show) {
    let known = data;
    const tell = (news) => show((known = { ...known, ...news }));
    const [train, find] = [training(ordersOf)(data, tell), makeFinder(data.digits, (tests) => tell({ tests }))];
    return (s) => {
      train(s);
      find(s.find && orderOf(s).setting);
    };
  },
  still: trained(ordersOf),
  view(s, data) {
    const known = entrants(s).map((one) => ({ ...one, result: data.results?.[orderOf(one).name] }));
    const several = known.length > 1;
    const last = Math.max(...known.map((one) => one.epochs), 2);
    const losses = known.flatMap((one) => (one.result?.trainLoss ?? []).map(meanOf)).filter((loss) => loss > 0);
    const low = 10 ** Math.max(-7, Math.floor(Math.log10(Math.min(0.01, ...losses))));
    const x = { label: "epoch", min: 1, max: last };
    const all = known.every(finished);
    const names = known.map((one) => orderOf(one).name);
    const different = known.filter((_, i) => names.indexOf(names[i]) === i);
    const twin = same(known);
    const rows = tried(s, data.results ?? {});
    const verdicts = different.length > 1 && all && s.seeds > 1 ? judge(different.map((one) => ({ name: one.letter, scores: errorsOf(one.result) })), MARGIN) : [];
    const rates = known.map((one) => rateLine(one, several)).reverse();
    const highest = Math.max(...rates.flatMap((line) => line.y), s.rate);
    const colors = Object.fromEntries(known.map((one) => [one.letter, one.color]));
    const steps = { title: "The learning rate of each step", x: { label: "epoch", min: 0, max: last }, y: { min: 0, max: highest * 1.05 }, lines: rates };
    return {
      charts: [
        ...(s.find ? [rangeChart(s, data)] : []),
        chartOf({ title: `Training loss of ${networksOf(s.seeds)}`, x, y: { log: true, min: low, max: 10 } }, known, (result, i) => result.trainLoss[i]),
        chartOf({ title: "Validation error, in %", x, y: { log: true, min: 1, max: 100, ticks: [1, 2, 5, 10, 20, 50, 100] } }, known, (result, i) => errorsOf(result, i)),
        steps,
        ...(verdicts.length ? [forest(verdicts, colors)] : []),
      ],
      summary: [summaryOf(s, known, verdicts, data.trouble), ...(s.find ? [testOf(s, data) ? `The range test is done, on ${networksOf(s.seeds)}.` : "The range test is running."] : [])].join(" "),
      busy: !all && !data.failed,
      notes: [
        ...rangeNotes(s, data),
        ...(several ? known.map((one) => ({ color: one.color, text: `${one.letter}: ${inWords(one)}.` })) : []),
        ...(twin ? [{ text: `This setting is the same as ${twin}. Change something to compare it; it can't be kept twice.` }] : []),
        ...(known.length === 4 ? [{ text: "Three settings are kept. Remove one to keep another." }] : []),
        ...(several ? [{ text: "The buttons above the sliders, and Reset, remove the kept settings. Undo brings them back." }] : []),
        ...(several && s.seeds === 1 ? [{ text: "One network has no interval, so there is no verdict: choose two or more networks." }] : []),
        ...(finished(known[0]) ? hints(s, known[0].result) : []),
        whereOf(data),
        ...(rows.length > 1 ? [{ text: `Rates tried here with these settings, and their mean validation errors: ${rows.map(([rate, error]) => `${format(rate)}: ${error.toFixed(1)} %`).join("; ")}.` }] : []),
      ],
      ...(verdicts.length
        ? {
            table: {
              caption: "Verdicts",
              head: ["pair", "difference of the error, in points", "verdict"],
              rows: verdicts.map(({ a, b, mean, half, verdict }) => [`${a} − ${b}`, `${points(mean)} ± ${points(half)}`, { better: `${a} is better`, worse: `${b} is better` }[verdict] ?? verdict]),
            },
          }
        : {}),
      code: {
        label: "A program that trains the same networks",
        text: python(s),
        notebook: { name: "playground.ipynb", label: "Download as a notebook", text: notebook(s) },
      },
    };
  },
};
