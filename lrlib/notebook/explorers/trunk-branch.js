// Chapter 10: one run at a constant rate, a cooldown that branches off it, and what it ends with.
//
// data: {seeds, warmup, lengths, losses}, where `losses` maps "share shape" to the mean validation
// loss of the recorded branches that end at each of `lengths`, and "0 linear" to the trunk's own.

const shares = [["0.1", "10 %"], ["0.2", "20 %"], ["0.4", "40 %"]];
const shapes = [["linear", "straight line"], ["cosine", "cosine"], ["sqrt", "1 − √"]];

const fallen = { linear: (p) => p, cosine: (p) => (1 - Math.cos(Math.PI * p)) / 2, sqrt: Math.sqrt };
const cooldown = (share, n) => Math.ceil(Number(share) * n);
const onTrunk = (t, warmup) => Math.min((t + 1) / warmup, 1);

// The factor of the peak rate at each of the n steps of a branch.
function branchRates({ share, shape, steps }, warmup) {
  const start = steps - cooldown(share, steps);
  return counting(steps).map((t) => onTrunk(t, warmup) - (t < start ? 0 : fallen[shape]((t - start) / (steps - start))));
}

const explorer = {
  name: "trunk-branch",
  title: "One trunk, and a branch that you can move",
  presets: [["stop early", { steps: 300 }], ["a long cooldown", { share: "0.4", steps: 1200 }], ["a short one", { share: "0.1", shape: "sqrt" }]],
  controls(s, { lengths }) {
    return [
      range("steps", "the branch ends at step", 600, lengths[0], lengths.at(-1), lengths[1] - lengths[0]),
      pick("share", "share of the cooldown", "0.2", shares),
      pick("shape", "shape of the cooldown", "linear", shapes),
    ];
  },
  view(s, { seeds, warmup, lengths, losses }) {
    const length = cooldown(s.share, s.steps);
    const start = s.steps - length;
    const last = lengths.at(-1);
    const trunk = losses["0 linear"];
    const cooled = losses[`${s.share} ${s.shape}`];
    const at = lengths.indexOf(s.steps);
    const reached = lengths.slice(0, at + 1);
    const spent = start + reached.reduce((sum, n) => sum + cooldown(s.share, n), 0);
    const alone = reached.reduce((sum, n) => sum + n, 0);
    const branch = branchRates(s, warmup).map((y, t) => (t < start ? NaN : y));
    // The difference of the rounded values, so that a reader can check it.
    const [ending, trunks] = [cooled[at], trunk[at]].map((loss) => Math.round(1000 * loss));
    const gap = trunks - ending;
    const compared = gap === 0 ? "the same" : `${(Math.abs(gap) / 1000).toFixed(3)} ${gap > 0 ? "more" : "less"}`;
    const first = reached.length === 1;
    const models = first ? "This first model takes" : `Finished models at steps ${reached.join(", ")} take`;
    const steps = first
      ? `${spent} steps, as many as a run of its own`
      : `${spent} steps with one trunk, and ${alone} steps with a run for each`;
    return {
      charts: [
        {
          title: "The rate, as a share of the peak",
          x: { label: "step", min: 0, max: last },
          y: { min: 0, max: 1.05 },
          lines: [
            { x: counting(last), y: counting(last).map((t) => onTrunk(t, warmup)), color: "gray", label: "trunk", thin: true },
            { x: counting(s.steps), y: branch, color: "orange", label: "branch" },
          ],
          rules: [{ x: start }],
        },
        {
          title: "Validation loss at the end, in nats",
          x: { label: "last step", min: 0, max: last },
          y: { min: Math.min(...Object.values(losses).flat()) - 0.05, max: trunk[0] + 0.05 },
          lines: [
            { x: lengths, y: trunk, color: "gray", label: "trunk" },
            { x: lengths, y: cooled, color: "orange", label: "branches" },
          ],
          points: [{ x: s.steps, y: cooled[at], color: "orange", size: 6 }],
        },
      ],
      summary: `The branch leaves the trunk at step ${start} and cools down for ${length} steps. It ends with a validation loss of ${(ending / 1000).toFixed(3)} nats; without a cooldown the trunk has ${(trunks / 1000).toFixed(3)} at step ${s.steps} (${compared}; recorded, mean of ${seeds} seeds of a small transformer). ${models} ${steps}.`,
    };
  },
};
