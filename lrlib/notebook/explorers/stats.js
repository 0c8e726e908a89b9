// lrlib.lab's intervals and verdicts in JavaScript: Student's t, Holm, and the margin.

// The probability that Student's t with `df` degrees of freedom is above t ≥ 0: for whole numbers of
// them it is a finite sum (Abramowitz and Stegun, 26.7.3 and 26.7.4).
function studentTail(t, df) {
  const angle = Math.atan(t / Math.sqrt(df));
  const square = Math.cos(angle) ** 2;
  const odd = df % 2;
  let [term, sum] = [odd ? Math.cos(angle) : 1, 0];
  for (let k = odd ? 3 : 2; k <= df; k += 2) {
    sum += term;
    term *= (square * (k - 1)) / k;
  }
  const within = odd ? (2 / Math.PI) * (angle + Math.sin(angle) * sum) : Math.sin(angle) * sum;
  return (1 - within) / 2;
}

// The t that is exceeded with a probability of 2.5 %, by bisection.
function quantile(df) {
  let [low, high] = [0, 13];
  for (let i = 0; i < 60; i += 1) {
    const middle = (low + high) / 2;
    [low, high] = studentTail(middle, df) > 0.025 ? [middle, high] : [low, middle];
  }
  return low;
}

const quantiles = counting(40).map((df) => (df ? quantile(df) : NaN));
const meanOf = (values) => values.reduce((a, b) => a + b, 0) / values.length;

// {mean, error, half}: the mean's standard error, and half of its 95 % interval; NaN for one value.
function interval(values) {
  const n = values.length;
  const mean = meanOf(values);
  const error = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1) / n);
  return { mean, error, half: quantiles[n - 1] * error };
}

// The p-values of a mean difference: of being 0, and of lying outside ±margin.
function pairedTests(differences, margin) {
  const { mean, error } = interval(differences);
  const df = differences.length - 1;
  if (error === 0) return [mean === 0 ? 1 : 0, Math.abs(mean) >= margin ? 1 : 0];
  const above = (t) => (t < 0 ? 1 - studentTail(-t, df) : studentTail(t, df));
  return [2 * above(Math.abs(mean) / error), above((margin - Math.abs(mean)) / error)];
}

function holm(values) {
  const order = counting(values.length).sort((i, j) => values[i] - values[j]);
  const adjusted = [];
  let most = 0;
  order.forEach((i, rank) => {
    most = Math.max(most, values[i] * (values.length - rank));
    adjusted[i] = Math.min(most, 1);
  });
  return adjusted;
}

// lrlib.lab's `judge` for a metric of which less is better: the verdict on every pair of entrants,
// {name: scores}, where the i-th scores of all belong together.
function judge(entrants, margin) {
  const pairs = entrants.flatMap((a, i) => entrants.slice(i + 1).map((b) => ({ a: a.name, b: b.name, differences: a.scores.map((score, k) => score - b.scores[k]) })));
  const tests = pairs.map((pair) => pairedTests(pair.differences, margin));
  const [apart, within] = [0, 1].map((kind) => holm(tests.map((test) => test[kind])));
  return pairs.map(({ a, b, differences }, i) => {
    const { mean, half } = interval(differences);
    const verdict = within[i] < 0.05 ? "equivalent" : apart[i] >= 0.05 ? "not told apart" : mean < 0 ? "better" : "worse";
    return { a, b, mean, half, verdict };
  });
}
