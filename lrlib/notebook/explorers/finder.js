// The range test of lrlib.finder: a short run whose rate rises by the same factor at every step.
// The smoothing, the stop and the readings are lrlib's.

const RAMP = counting(200).map((i) => 10 ** (-6 + (7 * i) / 199));

// The smoothed losses, until one isn't a number or they have risen too far.
function smoothed(losses) {
  const found = [];
  let [average, low] = [0, Infinity];
  for (const loss of losses) {
    if (!Number.isFinite(loss)) break;
    average = 0.9 * average + 0.1 * loss;
    found.push(average / (1 - 0.9 ** (found.length + 1)));
    low = Math.min(low, found.at(-1));
    if (found.at(-1) > Math.max(found[0], 4 * low)) break;
  }
  return found;
}

// Each rule's label, and the index that it reads from the losses.
const lowestOf = (values) => values.indexOf(Math.min(...values));
const readers = [
  ["minimum / 10", lowestOf],
  ["steepest", (loss) => lowestOf(loss.map((_, i) => slope(loss, i)))],
  ["valley", halfwayDown],
  ["last clear fall", (loss) => loss.findIndex((value) => value <= Math.min(...loss) + 0.1 * (loss[0] - Math.min(...loss)))],
];

function slope(loss, i) {
  const [a, b] = [Math.max(i - 1, 0), Math.min(i + 1, loss.length - 1)];
  return (loss[b] - loss[a]) / (b - a);
}

// fastai's valley: on the longest falling subsequence, as if its points were neighbors.
function halfwayDown(loss) {
  const lengths = [];
  loss.forEach((value, i) => lengths.push(1 + Math.max(0, ...lengths.filter((_, j) => loss[j] > loss[i]))));
  const longest = Math.max(...lengths);
  return Math.max(lengths.indexOf(longest) - longest + Math.floor(longest / 3) + Math.floor(longest / 6), 0);
}

// What each rule reads from a curve of smoothed losses; null if there is no fall to read. As in
// lrlib, without the first tenth and the last five.
function readings(curve) {
  const skipped = Math.floor(curve.length / 10);
  const loss = curve.slice(skipped, -5);
  if (loss.length < 10 || lowestOf(loss) === 0) return null;
  return readers.map(([label, read]) => RAMP[skipped + read(loss)] / (label === "minimum / 10" ? 10 : 1));
}

// --- In the page --------------------------------------------------------------------------------

// The test of a setting: its rate, its schedule and its length don't matter.
const rangeOrder = (setting) => named({ ...setting, rate: 1, factors: RAMP, epochs: RAMP.length, plateau: null });

// Runs it for all seeds: a generator that yields after each step of each seed, to give others their
// turn, and returns each seed's smoothed losses. A step of the test is an "epoch" of the engine on
// one batch, whose images are put in before it. The last batch of a real epoch, if it isn't full, is
// left out.
function* rangeTest(engine, { train }, setting) {
  const { seeds, batch } = setting;
  const perEpoch = Math.floor(SAMPLES / batch);
  const now = { images: new Float64Array(64 * batch), answers: new Uint8Array(batch) };
  const orders = seeds.map(() => null);
  const put = (k, step) => {
    const from = (step % perEpoch) * batch;
    if (from === 0) orders[k] = engine.batchOrder(SAMPLES, seeds[k], step / perEpoch);
    for (let n = 0; n < batch; n += 1) {
      const sample = orders[k][from + n];
      now.images.set(train.images.subarray(64 * sample, 64 * (sample + 1)), 64 * n);
      now.answers[n] = train.answers[sample];
    }
  };
  const losses = seeds.map(() => []);
  const none = { images: new Float64Array(0), answers: new Uint8Array(0) };
  let done = 0;
  put(0, 0);
  for (const told of engine.train(setting, { train: now, validation: none })) {
    if (told) {
      told.trainLoss.forEach((loss, k) => losses[k].push(loss));
      if (losses.every((values) => smoothed(values).length < values.length)) break;
    } else {
      done += 1;
      put(done % seeds.length, Math.floor(done / seeds.length));
      yield;
    }
  }
  return losses.map(smoothed);
}

// Gives a function that takes a setting, or nothing; it tests the setting in the page itself, a
// piece at a time, unless a newer one comes. `tell` hears all tests that are done, by name.
function makeFinder(digits, tell) {
  const tests = {};
  let latest;
  return async (setting) => {
    const test = setting && rangeOrder(setting);
    if (latest === test?.name) return;
    latest = test?.name;
    if (!test || tests[test.name]) return;
    const engine = makeEngine(plateau);
    const run = rangeTest(engine, engine.unpack(digits, setting.noisy), test.setting);
    let piece = run.next();
    for (let began = performance.now(); !piece.done; piece = run.next()) {
      if (performance.now() - began < 8) continue;
      await new Promise((go) => setTimeout(go));
      if (latest !== test.name) return;
      began = performance.now();
    }
    tests[test.name] = piece.value;
    tell(tests);
  };
}
