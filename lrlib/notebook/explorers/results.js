// What the explorers that train have in common: their orders, the results and the curves of these.
//
// data: {digits}, and while the page lives {results, trouble, failed, code}; results maps an order's name
// to what the engine told: {trainLoss, validationLoss, validationAccuracy, rate}, each
// [epochs][seeds].

const SAMPLES = 1077;
const GUESSING = Math.log(10);
// A guess is wrong nine times in ten; for 360 images, 85 % is three standard errors below.
const GUESSED = 85;

const named = (setting) => ({ name: JSON.stringify(setting), setting });

// An explorer's `work`: trains what `ordersOf(state)` lists and isn't known yet. Results are kept
// while the page is open.
const training = (ordersOf) => ({ digits }, show) => {
  const results = {};
  let [trouble, failed, code] = ["", false, ""];
  const tell = () => show({ digits, results, trouble, failed, code });
  const hear = ({ name, told, kernel }) => {
    code = kernel;
    const names = ["trainLoss", "validationLoss", "validationAccuracy", "rate"];
    const before = told.epoch && results[name] ? results[name] : Object.fromEntries(names.map((one) => [one, []]));
    results[name] = Object.fromEntries(names.map((one) => [one, [...before[one].slice(0, told.epoch), told[one]]]));
    tell();
  };
  const train = makeTrainer(digits, hear, (text, ended = false) => {
    [trouble, failed] = [text, ended];
    tell();
  });
  return (state) => {
    const wanted = ordersOf(state);
    const missing = wanted.filter(({ name, setting }, i) => results[name]?.trainLoss.length !== setting.epochs && wanted.findIndex((one) => one.name === name) === i);
    if (Object.keys(results).length > 200) for (const name of Object.keys(results)) if (!wanted.some((one) => one.name === name)) delete results[name];
    train(missing);
  };
};

// For a page without scripts: the same training, at once.
const trained = (ordersOf) => (state, data) => {
  const results = {};
  const engine = makeEngine(plateau);
  for (const { name, setting } of ordersOf(state)) {
    const told = [...engine.train(setting, engine.unpack(data.digits, setting.noisy))].filter(Boolean);
    results[name] = Object.fromEntries(Object.keys(told[0]).map((one) => [one, told.map((epoch) => epoch[one])]));
  }
  return { ...data, results };
};

const whereOf = ({ code }) => ({ text: `Your browser trains these networks${code ? ` (in ${code})` : ""}: no server and no Jupyter kernel takes part.` });
const networksOf = (n) => (n === 1 ? "1 network" : `${n} networks`);

const errorsOf = (result, epoch = -1) => result.validationAccuracy.at(epoch).map((accuracy) => 100 * (1 - accuracy));

// How many networks ended no better than guessing: with a loss above that of guessing, or none, or
// with about its error. A network that knows only how often each class comes may have a lower loss.
function guessing(result) {
  const errors = errorsOf(result);
  return result.trainLoss.at(-1).filter((loss, i) => !(loss <= GUESSING) || errors[i] >= GUESSED).length;
}

// The mean and interval of each epoch, and for the present setting every seed.
function curvesOf({ letter, color: shade, result }, values, several) {
  if (!result) return { seeds: [], mean: [] };
  const epochs = result.trainLoss.map((_, i) => i + 1);
  const stats = epochs.map((_, i) => interval(values(result, i)));
  const finite = (value) => (Number.isFinite(value) ? value : NaN);
  const line = { x: epochs, color: shade, y: stats.map((stat) => finite(stat.mean)) };
  const band = { low: stats.map((stat) => finite(stat.mean - stat.half)), high: stats.map((stat) => finite(stat.mean + stat.half)) };
  const count = result.trainLoss[0].length;
  const each = counting(count).map((seed) => ({ x: epochs, y: epochs.map((_, i) => finite(values(result, i)[seed])), color: shade, thin: true, faint: true }));
  return { seeds: letter === "this" && count > 1 ? each : [], mean: [{ ...line, ...(count > 1 ? band : {}), ...(several ? { label: letter } : {}) }] };
}

function chartOf(spec, known, values) {
  const drawn = known.map((one) => curvesOf(one, values, known.length > 1));
  const mean = drawn.flatMap((one) => one.mean).reverse();
  const shown = { ...spec, lines: mean };
  return { ...shown, alt: describe(shown), lines: [...drawn.flatMap((one) => one.seeds), ...mean] };
}
