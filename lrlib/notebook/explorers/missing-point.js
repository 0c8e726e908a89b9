// Chapter 6: how large a step the three variants take in the long run, with a constant gradient.

// In units of rate × gradient: [SGD, learning-rate dropout, the masked buffer].
const effective = (p, mu) => [1 / (1 - mu), p / (1 - mu), p / (1 - p * mu)];

const explorer = {
  name: "missing-point",
  title: "Where the step went",
  controls() {
    return [
      { name: "keep", label: "keep probability p", kind: "range", min: 0.05, max: 1, step: 0.05, value: 0.5 },
      { name: "momentum", label: "momentum μ", kind: "range", min: 0, max: 0.99, step: 0.01, value: 0.9 },
    ];
  },
  view(s) {
    const [plain, dropout, masked] = effective(s.keep, s.momentum);
    const keeps = Array.from({ length: 96 }, (_, i) => (5 + i) / 100);
    const curve = (i, label, color) => ({ x: keeps, y: keeps.map((p) => effective(p, s.momentum)[i]), label, color });
    const share = dropout / masked;
    return {
      charts: [
        {
          title: "Mean step in the long run, in units of rate × gradient",
          wide: true,
          height: 168,
          x: { label: "rate × gradient", min: 0, max: plain * 1.02 },
          bars: [
            { label: "SGD", value: plain, color: "gray" },
            { label: "LR dropout", value: dropout, color: "blue" },
            { label: "masked buffer", value: masked, color: "orange" },
          ],
        },
        {
          title: "The same for every keep probability",
          wide: true,
          x: { label: "keep probability p", min: 0, max: 1 },
          y: { log: true, min: 0.05, max: Math.max(plain * 1.5, 2) },
          lines: [curve(0, "SGD", "gray"), curve(1, "LR dropout", "blue"), curve(2, "masked buffer", "orange")],
          rules: [{ x: s.keep }],
          points: [
            { x: s.keep, y: plain, color: "gray", size: 5 },
            { x: s.keep, y: dropout, color: "blue", size: 5 },
            { x: s.keep, y: masked, color: "orange", size: 5 },
          ],
        },
      ],
      summary: `With p = ${format(s.keep)} and μ = ${format(s.momentum)}, learning-rate dropout moves ${format(dropout)}, as SGD does at ${format(dropout / plain)} of its rate. Masking the momentum buffer instead moves ${format(masked)}: ${share > 1.005 ? `${format(share)} times less than dropout, as SGD at ${format(masked / plain)} of its rate` : "the same"}.`,
    };
  },
};
