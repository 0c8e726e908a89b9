// Chapter 2: layer-wise decay: the rate of each layer, from the head down.

function layerRates(s) {
  return Array.from({ length: s.layers }, (_, i) => (i < s.frozen ? 0 : s.rate * s.decay ** (s.layers - 1 - i)));
}

const explorer = {
  name: "layer-rates",
  title: "A rate for each layer",
  controls(s) {
    const layers = Math.min(Math.max(Math.round(Number(s.layers)) || 8, 2), 16);
    return [
      { name: "layers", label: "layers", kind: "range", min: 2, max: 16, step: 1, value: 8 },
      { name: "rate", label: "rate of the last layer", kind: "range", scale: "log", min: 0.0001, max: 1, value: 0.01 },
      { name: "decay", label: "decay from layer to layer", kind: "range", min: 0.3, max: 1, step: 0.01, value: 0.75 },
      { name: "frozen", label: "frozen layers, from the input", kind: "range", min: 0, max: layers - 1, step: 1, value: 0 },
      { name: "log", label: "logarithmic axis", kind: "check", value: false },
    ];
  },
  view(s) {
    const rates = layerRates(s);
    const trained = rates.filter((rate) => rate > 0);
    const ratio = s.rate / trained[0];
    const name = (i) => (i === 0 ? "layer 1 (input)" : i === s.layers - 1 ? `layer ${i + 1} (head)` : `layer ${i + 1}`);
    const half = s.decay < 1 ? Math.log(0.5) / Math.log(s.decay) : Infinity;
    return {
      charts: [{
        title: "The rate of each layer",
        wide: true,
        height: 70 + 26 * s.layers,
        x: s.log ? { label: "learning rate", log: true, min: trained[0] / 3, max: s.rate * 1.3 } : { label: "learning rate", min: 0, max: s.rate * 1.05 },
        bars: rates.map((value, i) => ({ label: name(i), value, color: i < s.frozen ? "gray" : "blue", text: i < s.frozen ? "frozen" : format(value) })),
      }],
      summary: `The head learns ${ratio >= 1.005 ? `${format(ratio)} times as fast as` : "as fast as"} the lowest layer that is trained (${format(trained[0])}).${half < 20 ? ` The rate halves every ${format(half)} layers.` : ""}${s.frozen ? ` ${s.frozen} of ${s.layers} layers are frozen: leave them out of the optimizer, since a rate of 0 still updates momentum.` : ""}`,
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
