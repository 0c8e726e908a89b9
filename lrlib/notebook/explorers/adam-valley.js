// Chapter 8: AdamW in a valley ½(w − 1)², with noise in the gradient: a ball, and its loss.

const STEPS = 300;
const START = -1;
const MINIMUM = 1;
const BETA1 = 0.9;
const EPSILON = 1e-8;

// A line from η/warmup up to η, which its last step has.
const rates = (s) => counting(STEPS).map((t) => s.rate * Math.min(1, (t + 1) / Math.max(s.warmup, 1)));

// One run of torch's AdamW.
function descend(s) {
  const noise = normals(s.seed, STEPS);
  const x = [START];
  let [first, second] = [0, 0];
  rates(s).forEach((eta, t) => {
    const gradient = x[t] - MINIMUM + s.noise * noise[t];
    first += (1 - BETA1) * (gradient - first);
    second = s.beta2 * second + (1 - s.beta2) * gradient ** 2;
    const size = Math.sqrt(second / (1 - s.beta2 ** (t + 1))) + EPSILON;
    x.push(x[t] * (1 - eta * s.decay) - (eta * first) / ((1 - BETA1 ** (t + 1)) * size));
  });
  return x;
}

// Where a constant rate rests, if β₂'s memory is long: the mean of w, its variance, and the root s
// of the gradient's mean square, for which s² = σ² + (mean − 1)² + variance.
function rest({ rate, noise, decay }) {
  const at = (size) => {
    const [a, keep] = [rate / size, 1 - rate * decay];
    const mean = (MINIMUM * a) / (a + rate * decay);
    const [p, q] = [BETA1 + keep - (1 - BETA1) * a, BETA1 * keep];
    // The variance of w[t+1] = p w[t] − q w[t−1] + noise.
    const spread = ((1 + q) * ((1 - BETA1) * a * noise) ** 2) / ((1 - q) * (1 + q - p) * (1 + q + p));
    return { mean, spread, size, stable: 1 + q + p > 0 };
  };
  // Below the root the step is unstable, or the gradient larger than s; above it, smaller.
  let [low, high] = [noise / 2, noise + 2 * rate + 2];
  for (let i = 0; i < 60; i += 1) {
    const size = (low + high) / 2;
    const { mean, spread, stable } = at(size);
    if (stable && size ** 2 > noise ** 2 + (mean - MINIMUM) ** 2 + spread) high = size;
    else low = size;
  }
  return at(high);
}

const explorer = {
  name: "adam-valley",
  title: "AdamW in a noisy valley",
  presets: [["it stalls", { step: STEPS }], ["it overshoots", { rate: 0.3, beta2: 0.999, step: STEPS }], ["the decay holds it", { decay: 1, step: STEPS }]],
  controls() {
    return [
      logRange("rate", "learning rate η", 0.05, 0.003, 1),
      range("noise", "noise σ of the gradient", 1, 0.1, 3, 0.1),
      range("beta2", "memory β₂", 0.99, 0.5, 0.999, 0.001),
      range("warmup", "warmup, in steps", 0, 0, 100),
      range("decay", "weight decay λ", 0, 0, 2, 0.05),
      range("step", "step", 150, 0, STEPS, 1, { play: true }),
      seed("New noise"),
    ];
  },
  view(s) {
    const x = descend(s);
    const span = 3;
    const grid = counting(61).map((i) => MINIMUM - span + (i * span) / 30);
    const height = (w) => (w - MINIMUM) ** 2 / 2;
    const trail = x.slice(Math.max(0, s.step - 12), s.step + 1);
    const shown = counting(s.step + 1);
    const { mean, spread } = rest(s);
    const floor = height(mean) + spread / 2;
    const ball = (w, i) => ({ x: w, y: height(w), ...(i === trail.length - 1 ? { size: 8, color: "orange" } : { size: 3, color: "blue" }) });
    const held = s.decay > 0 ? ` The weight decay holds the ball at ${format(mean)} on average, not at ${MINIMUM}.` : "";
    const course = () => {
      if (s.step === 0) return "The ball is at its start. Press Play to let it roll, or move the slider.";
      return `After ${s.step} steps the loss is ${format(height(x[s.step]))}. At a constant rate of ${format(s.rate)}, the mean loss of many runs rests near ${format(floor)}.${held}`;
    };
    return {
      charts: [
        {
          title: `The ball after ${s.step} steps${Math.abs(x[s.step] - MINIMUM) > span ? " (outside)" : ""}`,
          x: { label: "weight w", min: MINIMUM - span, max: MINIMUM + span },
          y: { label: "loss ½(w − 1)²", min: -0.15, max: height(MINIMUM + span) },
          lines: [{ x: grid, y: grid.map(height), color: "gray" }],
          points: trail.map(ball),
          rules: s.decay > 0 ? [{ x: mean }] : [],
        },
        {
          title: "Its loss, and where the mean loss rests",
          x: { label: "step", min: 0, max: STEPS },
          y: { log: true, min: 1e-4, max: 100 },
          lines: [{ x: shown, y: shown.map((t) => height(x[t])), color: "blue", thin: true, label: "this run" }],
          rules: [{ y: floor, label: `floor ${format(floor)}` }],
        },
      ],
      summary: course(),
    };
  },
};
