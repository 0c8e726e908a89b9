// Trains small networks on digits, as `lrlib.lab.fit` does: the same initial weights, the same
// batches, the same steps. Seed 3 here is seed 3 there; only the rounding differs, since a number
// has 64 bits here and 32 in torch. (Arrays of 32 bits would not round as torch does either: torch
// adds in another order.)
//
// It is one function that uses nothing outside itself (but `plateau` of schedules.js, and a faster
// kernel, which it is given), so that its text can be sent to a worker.

function makeEngine(plateau, kernel) {
  const { name, numbers, product, activate, mask, transpose, sgd, adam } = kernel ?? plainKernel();
  const counting = (count) => Array.from({ length: count }, (_, i) => i);

  // --- Random numbers: torch's for the weights and the masks, NumPy's for the batches -----------

  // Matsumoto and Nishimura's MT19937, 32 random bits a call: `torch.Generator().manual_seed(seed)`.
  function mersenne(seed) {
    const state = new Uint32Array(624);
    state[0] = seed;
    for (let i = 1; i < 624; i += 1) state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
    let at = 624;
    const renew = () => {
      for (let i = 0; i < 624; i += 1) {
        const bits = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff);
        state[i] = state[(i + 397) % 624] ^ (bits >>> 1) ^ (bits & 1 ? 0x9908b0df : 0);
      }
      at = 0;
    };
    return () => {
      if (at === 624) renew();
      let y = state[at];
      at += 1;
      y ^= y >>> 11;
      y ^= (y << 7) & 0x9d2c5680;
      y ^= (y << 15) & 0xefc60000;
      return (y ^ (y >>> 18)) >>> 0;
    };
  }

  // The weights and biases of `seeded(lambda: mlp(...widths), seed)`, in the order of its parameters.
  function initialWeights(widths, seed) {
    const bits = mersenne(seed);
    const { fround, sqrt } = Math;
    const weights = [];
    // torch's `uniform_(-bound, bound)`: rounded to 32 bits once, after the sum.
    const uniform = (count, bound) => {
      const [low, span] = [fround(-bound), fround(fround(bound) - fround(-bound))];
      for (let i = 0; i < count; i += 1) weights.push(fround((bits() & 0xffffff) * 2 ** -24 * span + low));
    };
    for (const { inputs, outputs } of layersOf(widths)) {
      // `nn.Linear`: Kaiming's uniform with a = √5, which is 1/√inputs but for the last digit.
      uniform(inputs * outputs, sqrt(3) * (sqrt(2 / (1 + sqrt(5) ** 2)) / sqrt(inputs)));
      uniform(outputs, 1 / sqrt(inputs));
    }
    return Float64Array.from(weights);
  }

  // NumPy's `SeedSequence((seed, epoch)).generate_state(4, uint64)`.
  function seedSequence(seed, epoch) {
    const scramble = (value, hash) => {
      const mixed = Math.imul(value ^ hash.now, (hash.now = Math.imul(hash.now, hash.times)));
      return mixed ^ (mixed >>> 16);
    };
    const mix = (x, y) => {
      const mixed = Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y);
      return mixed ^ (mixed >>> 16);
    };
    const hash = { now: 0x43b0d7e5, times: 0x931e8875 };
    const pool = [seed, epoch, 0, 0].map((word) => scramble(word, hash));
    for (let from = 0; from < 4; from += 1) {
      for (let to = 0; to < 4; to += 1) if (from !== to) pool[to] = mix(pool[to], scramble(pool[from], hash));
    }
    const output = { now: 0x8b51f9dd, times: 0x58f38ded };
    const words = [...pool, ...pool].map((word) => BigInt(scramble(word, output) >>> 0));
    return [0, 2, 4, 6].map((i) => words[i] | (words[i + 1] << 32n));
  }

  // NumPy's generator PCG64 (O'Neill), 32 random bits a call: `default_rng((seed, epoch))`.
  function pcg64(seed, epoch) {
    const [high, low, streamHigh, streamLow] = seedSequence(seed, epoch);
    const stream = ((((streamHigh << 64n) | streamLow) << 1n) | 1n) & ((1n << 128n) - 1n);
    const next = (state) => BigInt.asUintN(128, state * 0x2360ed051fc65da44385df649fccf645n + stream);
    let state = next(stream + ((high << 64n) | low));
    let kept = -1;
    return () => {
      if (kept >= 0) {
        const upper = kept;
        kept = -1;
        return upper;
      }
      state = next(state);
      const folded = BigInt.asUintN(64, (state >> 64n) ^ state);
      const turn = state >> 122n;
      const word = BigInt.asUintN(64, (folded >> turn) | (folded << (64n - turn)));
      kept = Number(word >> 32n);
      return Number(word & 0xffffffffn);
    };
  }

  // NumPy's `default_rng((seed, epoch)).permutation(samples)`: the epoch's order of the samples.
  function batchOrder(samples, seed, epoch) {
    const bits = pcg64(seed, epoch);
    const order = Uint16Array.from({ length: samples }, (_, i) => i);
    for (let last = samples - 1; last > 0; last -= 1) {
      // So many random bits as `last` has, drawn again while they are more than `last`.
      const mask = 2 ** (32 - Math.clz32(last)) - 1;
      let other = bits() & mask;
      while (other > last) other = bits() & mask;
      [order[last], order[other]] = [order[other], order[last]];
    }
    return order;
  }

  // --- The network ------------------------------------------------------------------------------

  // Where each layer's weights [outputs, inputs] and biases [outputs] begin in the row of them all.
  function layersOf(widths) {
    let at = 0;
    return widths.slice(1).map((outputs, i) => {
      const inputs = widths[i];
      const layer = { inputs, outputs, weights: at, biases: at + inputs * outputs };
      at = layer.biases + outputs;
      return layer;
    });
  }

  // --- The kernel: where nearly all the time goes -------------------------------------------------

  // All numbers of a network lie in `numbers`, and the functions are told where. Rows are even in
  // number, and columns multiples of eight. kernel.js has the same functions in WebAssembly, which
  // add and multiply in the same order: a network ends with the same bits.
  function plainKernel() {
    const numbers = new Float64Array(2 ** 17);

    // The matrix product out = a b. The columns of b and of out lie side by side; `outRow`, `aRow`,
    // `aTerm` and `bTerm` say how far the next row or term is. Two rows and four columns at a time:
    // then eight sums stay in registers, and a number that is read serves twice or four times.
    function product(rows, columns, terms, out, outRow, a, aRow, aTerm, b, bTerm) {
      for (let row = 0; row < rows; row += 2) {
        for (let column = 0; column < columns; column += 4) {
          let s00 = 0, s01 = 0, s02 = 0, s03 = 0;
          let s10 = 0, s11 = 0, s12 = 0, s13 = 0;
          let i = a + row * aRow;
          let j = b + column;
          for (let term = 0; term < terms; term += 1, i += aTerm, j += bTerm) {
            const a0 = numbers[i];
            const a1 = numbers[i + aRow];
            const b0 = numbers[j];
            const b1 = numbers[j + 1];
            const b2 = numbers[j + 2];
            const b3 = numbers[j + 3];
            s00 += a0 * b0;
            s01 += a0 * b1;
            s02 += a0 * b2;
            s03 += a0 * b3;
            s10 += a1 * b0;
            s11 += a1 * b1;
            s12 += a1 * b2;
            s13 += a1 * b3;
          }
          const k = out + row * outRow + column;
          numbers[k] = s00;
          numbers[k + 1] = s01;
          numbers[k + 2] = s02;
          numbers[k + 3] = s03;
          numbers[k + outRow] = s10;
          numbers[k + outRow + 1] = s11;
          numbers[k + outRow + 2] = s12;
          numbers[k + outRow + 3] = s13;
        }
      }
    }

    // Adds each row's bias; what is then below `floor` becomes `floor`.
    function activate(rows, columns, out, bias, floor) {
      for (let row = 0; row < rows; row += 1) {
        for (let k = out + row * columns, end = k + columns; k < end; k += 1) {
          const value = numbers[k] + numbers[bias + row];
          numbers[k] = value < floor ? floor : value;
        }
      }
    }

    // The changes before a ReLU: 0 where it puts out 0.
    function mask(size, change, out) {
      for (let k = 0; k < size; k += 1) if (numbers[out + k] === 0) numbers[change + k] = 0;
    }

    // Writes the rows of a as the columns of out.
    function transpose(rows, columns, out, a) {
      for (let row = 0; row < rows; row += 1) for (let column = 0; column < columns; column += 1) numbers[out + column * rows + row] = numbers[a + row * columns + column];
    }

    // One step of torch's SGD on `size` weights: along the gradient and the momentum.
    function sgd(size, w, m, gradient, rate, decay, momentum, direct, along) {
      for (let i = 0; i < size; i += 1) {
        const g = numbers[gradient + i] + decay * numbers[w + i];
        const moment = momentum * numbers[m + i] + g;
        numbers[m + i] = moment;
        numbers[w + i] -= rate * (direct * g + along * moment);
      }
    }

    // One step of Adam: `decay` is added to the gradient, `shrink` multiplies the weights.
    function adam(size, w, m, v, gradient, step, decay, shrink, second) {
      for (let i = 0; i < size; i += 1) {
        const g = numbers[gradient + i] + decay * numbers[w + i];
        const moment = numbers[m + i] + 0.1 * (g - numbers[m + i]);
        const square = 0.999 * numbers[v + i] + 0.001 * g * g;
        numbers[m + i] = moment;
        numbers[v + i] = square;
        numbers[w + i] = shrink * numbers[w + i] - (step * moment) / (Math.sqrt(square) / second + 1e-8);
      }
    }

    return { name: "JavaScript", numbers, product, activate, mask, transpose, sgd, adam };
  }

  // --- The network, and its optimizer -----------------------------------------------------------

  const upToEight = (count) => 8 * Math.ceil(count / 8);

  // A network for batches of up to `most` samples. All seeds share it, one after the other.
  function makeNetwork(widths, most) {
    const layers = layersOf(widths);
    const size = layers.at(-1).biases + layers.at(-1).outputs;
    let free = 0;
    const place = (count) => {
      const at = free;
      free = upToEight(at + count);
      if (free > numbers.length) throw new RangeError("The network is too large.");
      return at;
    };
    const [w, m, v, gradient] = counting(4).map(() => place(size));
    // What each layer puts out, [width, samples], the same as [samples, width], and how the loss
    // changes with it. The samples that fill up the last eight have no part in the loss.
    const [values, turned, changes] = counting(3).map(() => widths.map((width) => place(width * upToEight(most))));

    function forward(count) {
      const samples = upToEight(count);
      layers.forEach(({ inputs, outputs, weights, biases }, l) => {
        const out = values[l + 1];
        product(outputs, samples, inputs, out, samples, w + weights, inputs, 1, values[l], samples);
        activate(outputs, samples, out, w + biases, l < layers.length - 1 ? 0 : -Infinity); // ReLU
      });
    }

    // The sum of the samples' cross-entropies, and how many are right; `changes` becomes the
    // gradient of the mean. What 32 bits can't hold is "not a number", as it soon is in torch.
    const labels = new Uint8Array(most);
    function score(count) {
      const classes = widths.at(-1);
      const samples = upToEight(count);
      const size = classes * samples;
      let [loss, right] = [0, 0];
      for (let n = 0; n < count; n += 1) {
        const logit = values.at(-1) + n;
        const change = changes.at(-1) + n;
        const label = labels[n] * samples;
        let best = 0;
        for (let k = samples; k < size; k += samples) if (numbers[logit + k] > numbers[logit + best]) best = k;
        const highest = numbers[logit + best];
        let sum = 0;
        for (let k = 0; k < size; k += samples) {
          const power = Math.exp(numbers[logit + k] - highest);
          numbers[change + k] = power;
          sum += power;
        }
        const known = Math.abs(highest) < 3.4e38;
        loss += known ? Math.log(sum) + highest - numbers[logit + label] : NaN;
        right += best === label ? 1 : 0;
        for (let k = 0; k < size; k += samples) numbers[change + k] = known ? numbers[change + k] / (sum * count) : NaN;
        numbers[change + label] -= 1 / count;
      }
      for (let k = changes.at(-1); k < changes.at(-1) + size; k += samples) numbers.fill(0, k + count, k + samples);
      return { loss, right };
    }

    function backward(count) {
      const samples = upToEight(count);
      for (let l = layers.length - 1; l >= 0; l -= 1) {
        const { inputs, outputs, weights, biases } = layers[l];
        const [x, flipped, change] = [values[l], turned[l], changes[l + 1]];
        if (l) transpose(inputs, samples, flipped, x);
        product(outputs, inputs, samples, gradient + weights, inputs, change, samples, 1, flipped, inputs);
        for (let j = 0; j < outputs; j += 1) {
          let sum = 0;
          for (let k = change + j * samples, end = k + count; k < end; k += 1) sum += numbers[k];
          numbers[gradient + biases + j] = sum;
        }
        if (l === 0) return; // the images need no gradient
        const before = changes[l];
        product(inputs, samples, outputs, before, samples, w + weights, 1, inputs, change, samples);
        mask(inputs * samples, before, x);
      }
    }

    // Puts the samples that `chosen` names into the network, and their labels into `labels`.
    function look({ images, answers }, chosen, from, count) {
      const [x, flipped, width, samples] = [values[0], turned[0], widths[0], upToEight(count)];
      for (let n = 0; n < count; n += 1) {
        const sample = chosen ? chosen[from + n] : from + n;
        for (let i = 0, k = sample * width; i < width; i += 1, k += 1) numbers[flipped + n * width + i] = images[k];
        labels[n] = answers[sample];
      }
      numbers.fill(0, flipped + count * width, flipped + samples * width);
      transpose(samples, width, x, flipped);
    }

    // One step of torch's SGD, Adam or AdamW, the run's first, second, ...
    function update(step, rate, { optimizer, momentum, nesterov, decay }) {
      if (optimizer === "SGD") return sgd(size, w, m, gradient, rate, decay, momentum, nesterov ? 1 : 0, nesterov ? momentum : 1);
      const apart = optimizer === "AdamW"; // AdamW's decay shrinks the weights themselves
      const [first, second] = [1 - 0.9 ** step, Math.sqrt(1 - 0.999 ** step)];
      adam(size, w, m, v, gradient, rate / first, apart ? 0 : decay, apart ? 1 - rate * decay : 1, second);
    }

    const part = (at) => numbers.subarray(at, at + size);
    return { look, forward, backward, score, update, w: part(w), m: part(m), v: part(v), gradient: part(gradient) };
  }

  // `torch.nn.utils.clip_grad_norm_` on all weights together.
  function clip(gradient, most) {
    let square = 0;
    for (let i = 0; i < gradient.length; i += 1) square += gradient[i] * gradient[i];
    const factor = most / (Math.sqrt(square) + 1e-6);
    if (factor < 1 || Number.isNaN(factor)) for (let i = 0; i < gradient.length; i += 1) gradient[i] *= factor;
  }

  // Learning-rate dropout: each weight keeps its step with the probability `keep`, else its old
  // value. The random words of `lrlib.LRDropout`: pairs of 32 bits, the second one first.
  function restoreDropped(w, old, keep, bits) {
    const limit = Math.min(Math.round(keep * 2 ** 32) - 2 ** 31, 2 ** 31 - 1);
    for (let i = 0; i < w.length; i += 2) {
      const next = bits() | 0;
      const now = bits() | 0;
      if (now >= limit) w[i] = old[i];
      if (next >= limit && i + 1 < w.length) w[i + 1] = old[i + 1];
    }
  }

  // Steps on numbers below 1e-308 are slow; what is as small as that moves no weight.
  function flush(moments) {
    for (let i = 0; i < moments.length; i += 1) if (Math.abs(moments[i]) < 1e-100) moments[i] = 0;
  }

  // --- Training ---------------------------------------------------------------------------------

  // Orders don't depend on the settings, so they are kept.
  const orders = new Map();
  function order(samples, seed, epoch) {
    const name = `${seed}/${epoch}`;
    if (!orders.has(name)) {
      if (orders.size > 4000) orders.clear();
      orders.set(name, batchOrder(samples, seed, epoch));
    }
    return orders.get(name);
  }

  // Trains all seeds, an epoch at a time: a generator of {epoch, trainLoss, validationLoss,
  // validationAccuracy, rate}, each with a number for every seed. `setting` is {widths, seeds,
  // epochs, batch, rate, factors, plateau, optimizer, momentum, nesterov, decay, clip, keep}, with the
  // schedule as the factor of every step; `data` is {train, validation}, each {images, answers}.
  // It yields undefined after each seed: time for others.
  function* train(setting, { train: data, validation }) {
    const { widths, seeds, epochs, batch, factors } = setting;
    const [samples, held] = [data.answers.length, validation.answers.length];
    const network = makeNetwork(widths, Math.max(batch, 64));
    const runs = seeds.map((seed) => {
      const w = initialWeights(widths, seed);
      const [m, v] = [new Float64Array(w.length), new Float64Array(w.length)];
      return { seed, w, m, v, steps: 0, base: setting.rate, metrics: [], bits: mersenne(seed) };
    });
    const { w, m, v, gradient } = network;
    const old = new Float64Array(w.length);

    function epochOf(run, epoch) {
      let total = 0;
      let rate = run.base;
      const chosen = order(samples, run.seed, epoch);
      for (const name of ["w", "m", "v"]) network[name].set(run[name]);
      for (let from = 0; from < samples; from += batch) {
        const count = Math.min(batch, samples - from);
        rate = run.base * factors[run.steps];
        network.look(data, chosen, from, count);
        network.forward(count);
        total += network.score(count).loss;
        network.backward(count);
        if (setting.clip) clip(gradient, setting.clip);
        if (setting.keep < 1) old.set(w);
        run.steps += 1;
        network.update(run.steps, rate, setting);
        if (setting.keep < 1) restoreDropped(w, old, setting.keep, run.bits);
      }
      flush(m);
      flush(v);
      for (const name of ["w", "m", "v"]) run[name].set(network[name]);
      let [loss, right] = [0, 0];
      for (let from = 0; from < held; from += 64) {
        const count = Math.min(64, held - from);
        network.look(validation, null, from, count);
        network.forward(count);
        const scored = network.score(count);
        loss += scored.loss;
        right += scored.right;
      }
      if (setting.plateau) {
        run.metrics.push(loss / held);
        run.base = plateau(run.metrics, { ...setting.plateau, rate: setting.rate, min_lr: 0 }).at(-1).lr;
      }
      return { trainLoss: total / samples, validationLoss: loss / held, validationAccuracy: right / held, rate };
    }

    for (let epoch = 0; epoch < epochs; epoch += 1) {
      const told = { epoch, trainLoss: [], validationLoss: [], validationAccuracy: [], rate: [] };
      for (const run of runs) {
        const one = epochOf(run, epoch);
        for (const [name, value] of Object.entries(one)) told[name].push(value);
        yield undefined;
      }
      yield told;
    }
  }

  // The images, [samples, 64] numbers each, from one letter a pixel: the first pixel of all images,
  // then the second. `noisy` takes the labels of which a fifth are random.
  function unpack({ levels, pixels, labels, noisy, train: count }, mislabeled) {
    const samples = labels.length;
    const images = new Float64Array(64 * samples);
    for (let i = 0, k = 0; i < 64; i += 1) for (let n = 0; n < samples; n += 1, k += 1) images[64 * n + i] = levels[pixels.charCodeAt(k) - 97];
    const answers = Uint8Array.from(labels, Number);
    if (mislabeled) answers.set(Uint8Array.from(noisy, Number));
    const part = (from, to) => ({ images: images.subarray(64 * from, 64 * to), answers: answers.subarray(from, to) });
    return { train: part(0, count), validation: part(count, samples) };
  }

  return { kernel: name, initialWeights, batchOrder, train, unpack };
}
