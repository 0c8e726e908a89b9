// Chapter 2: layer-wise decay: the rate of each layer, from the head down.

const explorer = {
  name: "layer-rates",
  title: "A rate for each layer",
  presets: [["all the same", { decay: 1 }], ["steep", { decay: 0.4, log: true }], ["head only", { frozen: 7 }]],
  controls(s) {
    const layers = clamp(Math.round(Number(s.layers)) || 8, 2, 16);
    return [
      range("layers", "layers", 8, 2, 16),
      logRange("rate", "rate of the last layer", 0.01, 0.0001, 1),
      range("decay", "decay from layer to layer", 0.75, 0.3, 1, 0.01),
      range("frozen", "frozen layers, from the input", 0, 0, layers - 1),
      check("log", "logarithmic axis"),
    ];
  },
  view(s) {
    const rates = counting(s.layers).map((i) => (i < s.frozen ? 0 : s.rate * s.decay ** (s.layers - 1 - i)));
    const lowest = rates[s.frozen];
    const ratio = s.rate / lowest;
    const end = (i) => (i === 0 ? " (input)" : i === s.layers - 1 ? " (head)" : "");
    const half = s.decay < 1 ? Math.log(0.5) / Math.log(s.decay) : Infinity;
    return {
      charts: [{
        title: "The rate of each layer",
        wide: true,
        height: 70 + 26 * s.layers,
        x: { label: "learning rate", ...(s.log ? { log: true, min: lowest / 3, max: s.rate * 1.3 } : { min: 0, max: s.rate * 1.05 }) },
        bars: rates.map((value, i) => ({ label: `layer ${i + 1}${end(i)}`, value, ...(i < s.frozen ? { color: "gray", text: "frozen" } : {}) })),
      }],
      summary: `The head learns ${ratio >= 1.005 ? `${format(ratio)} times as fast as` : "as fast as"} the lowest layer that is trained (${format(lowest)}).${half < 20 ? ` The rate halves every ${format(half)} layers.` : ""}${s.frozen ? ` ${s.frozen} of ${s.layers} layers are frozen: use requires_grad_(False), since a rate of 0 still updates momentum.` : ""}`,
      code: {
        label: "Parameter groups with these rates",
        text: [
          `rate, decay, frozen = ${s.rate}, ${s.decay}, ${s.frozen}`,
          "layers = list(model.children())  # from input to head",
          "optimizer = torch.optim.SGD([",
          '    {"params": layer.parameters(), "lr": rate * decay ** (len(layers) - 1 - i)}',
          "    for i, layer in enumerate(layers)",
          "    if i >= frozen",
          "])",
        ].join("\n"),
      },
    };
  },
};
