// Chapter 6: how large a step the three variants take in the long run, with a constant gradient.

// The variants, and their mean step in units of rate × gradient for keep probability p and momentum μ.
const variants = [
  { label: "SGD", color: "gray", step: (p, mu) => 1 / (1 - mu) },
  { label: "LR dropout", color: "blue", step: (p, mu) => p / (1 - mu) },
  { label: "masked buffer", color: "orange", step: (p, mu) => p / (1 - p * mu) },
];

const explorer = {
  name: "missing-point",
  title: "Where the step went",
  presets: [["no momentum", { momentum: 0 }], ["momentum 0.99", { momentum: 0.99 }], ["keep 0.9", { keep: 0.9 }]],
  controls() {
    return [
      range("keep", "keep probability p", 0.5, 0.05, 1, 0.05),
      range("momentum", "momentum μ", 0.9, 0, 0.99, 0.01),
    ];
  },
  view(s) {
    const here = variants.map((variant) => ({ ...variant, value: variant.step(s.keep, s.momentum) }));
    const [plain, dropout, masked] = here.map((variant) => variant.value);
    const keeps = counting(96).map((i) => (5 + i) / 100);
    const share = dropout / masked;
    return {
      charts: [
        {
          title: "Mean step in the long run, in units of rate × gradient",
          wide: true,
          height: 168,
          x: { label: "rate × gradient", min: 0, max: plain * 1.02 },
          bars: here,
        },
        {
          title: "The mean step at each keep probability",
          wide: true,
          x: { label: "keep probability p", min: 0, max: 1 },
          y: { log: true, min: 0.05, max: Math.max(plain * 1.5, 2) },
          lines: variants.map(({ step, ...look }) => ({ x: keeps, y: keeps.map((p) => step(p, s.momentum)), ...look })),
          rules: [{ x: s.keep }],
          points: here.map(({ value, color }) => ({ x: s.keep, y: value, color, size: 5 })),
        },
      ],
      summary: `With p = ${format(s.keep)} and μ = ${format(s.momentum)}, learning-rate dropout moves ${format(dropout)}, as SGD does at ${format(dropout / plain)} of its rate. Masking the momentum buffer instead moves ${format(masked)}: ${share > 1.005 ? `${format(share)} times less than dropout, as SGD at ${format(masked / plain)} of its rate` : "the same"}.`,
    };
  },
};
