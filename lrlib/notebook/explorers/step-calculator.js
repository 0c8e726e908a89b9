// Chapter 9: from samples, batch, accumulation, devices and epochs to the scheduler's numbers, the
// curve, and the code for each framework.

const powers = (low, high) => counting(high - low + 1).map((i) => [String(2 ** (low + i)), String(2 ** (low + i))]);

function count(s) {
  const batches = Math.ceil(s.samples / (s.batch * s.devices));
  // Ignite counts the batches of the whole run, so an epoch's rest goes into the next update.
  const whole = s.framework === "ignite";
  const updates = whole ? batches / s.accumulation : Math.ceil(batches / s.accumulation);
  const steps = Math.max(Math.floor(updates * s.epochs), 1);
  const unused = whole ? (batches * s.epochs) % s.accumulation : 0;
  const warmup = Math.min(Math.round((s.warmup / 100) * steps), steps - 1);
  return { batches, rest: whole ? 0 : batches % s.accumulation, unused, updates, steps, warmup, together: s.batch * s.devices * s.accumulation };
}

// The Trainer's and timm's warmups begin at 0, the others with a first part of the peak.
const fromZero = (s) => s.framework === "trainer" || s.framework === "timm";

const factorOf = (s, { steps, warmup }) => (t) =>
  t < warmup ? (fromZero(s) ? t : t + 1) / warmup : (steps - t) / (steps - warmup);

// --- The code ----------------------------------------------------------------------------------

const made = (s, c) => [
  `steps, warmup = ${c.steps}, ${c.warmup}  # optimizer steps`,
  `optimizer = torch.optim.AdamW(model.parameters(), lr=${s.rate})`,
  "",
  "",
  "def factor(step):",
  "    if step < warmup:",
  "        return (step + 1) / warmup",
  "    return max(0.0, (steps - step) / (steps - warmup))",
  "",
  "",
];
const processes = (s) => (s.devices > 1 ? ["# In each process: a DistributedDataParallel model, a DistributedSampler."] : []);
const scheduler = "scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)";
const loop = (s, before, after) => [
  ...before,
  ...processes(s),
  `for epoch in range(${s.epochs}):`,
  ...(s.devices > 1 ? ["    loader.sampler.set_epoch(epoch)  # another order in each epoch"] : []),
  "    for number, (x, y) in enumerate(loader, 1):",
  `        (loss_function(model(x), y) / ${s.accumulation}).backward()`,
  `        if number % ${s.accumulation} == 0 or number == len(loader):`,
  "            optimizer.step()",
  ...after,
  "            optimizer.zero_grad()",
];

const codes = {
  torch: (s, c) => [...made(s, c), ...loop(s, [scheduler], ["            scheduler.step()"])],
  lightning: (s, c) => [
    "def configure_optimizers(self):  # of your LightningModule",
    "    steps = int(self.trainer.estimated_stepping_batches)",
    `    warmup = ${c.warmup}`,
    `    optimizer = torch.optim.AdamW(self.parameters(), lr=${s.rate})`,
    "",
    "    def factor(step):",
    "        if step < warmup:",
    "            return (step + 1) / warmup",
    "        return max(0.0, (steps - step) / (steps - warmup))",
    "",
    `    ${scheduler}`,
    '    when = {"scheduler": scheduler, "interval": "step"}',
    '    return {"optimizer": optimizer, "lr_scheduler": when}',
    "",
    "",
    "trainer = L.Trainer(",
    `    max_epochs=${s.epochs}, accumulate_grad_batches=${s.accumulation}, devices=${s.devices}`,
    ")",
  ],
  trainer: (s, c) => [
    "arguments = TrainingArguments(",
    '    output_dir="run",',
    `    per_device_train_batch_size=${s.batch},`,
    `    gradient_accumulation_steps=${s.accumulation},`,
    `    num_train_epochs=${s.epochs},`,
    `    learning_rate=${s.rate},`,
    '    lr_scheduler_type="linear",',
    `    warmup_steps=${c.warmup},`,
    ")",
    "trainer = Trainer(model, arguments, train_dataset=data)",
    `trainer.train()  # ${c.steps} optimizer steps`,
  ],
  accelerate: (s, c) => [
    `accelerator = Accelerator(gradient_accumulation_steps=${s.accumulation})`,
    ...made(s, c),
    scheduler,
    "# The scheduler isn't prepared: it counts updates.",
    "model, optimizer, loader = accelerator.prepare(model, optimizer, loader)",
    `for epoch in range(${s.epochs}):`,
    "    for x, y in loader:",
    "        with accelerator.accumulate(model):",
    "            accelerator.backward(loss_function(model(x), y))",
    "            optimizer.step()",
    "            if accelerator.sync_gradients:",
    "                scheduler.step()",
    "            optimizer.zero_grad()",
  ],
  timm: (s, c) => [
    `optimizer = torch.optim.AdamW(model.parameters(), lr=${s.rate})`,
    "scheduler = PolyLRScheduler(  # power 1: a line",
    `    optimizer, t_initial=${c.steps - c.warmup}, power=1.0, lr_min=0.0,`,
    `    warmup_t=${c.warmup}, warmup_lr_init=0.0, warmup_prefix=True,`,
    "    t_in_epochs=False,",
    ")",
    ...loop(s, ["updates = 0"], ["            updates += 1", "            scheduler.step_update(updates)"]),
  ],
  ignite: (s, c) => [
    ...made(s, c),
    ...processes(s),
    "trainer = create_supervised_trainer(",
    `    model, optimizer, loss_function, gradient_accumulation_steps=${s.accumulation}`,
    ")",
    ...(s.devices > 1 ? [
      "trainer.add_event_handler(  # another order in each epoch",
      "    Events.EPOCH_STARTED, lambda: loader.sampler.set_epoch(trainer.state.epoch)",
      ")",
    ] : []),
    "scheduler = LRScheduler(torch.optim.lr_scheduler.LambdaLR(optimizer, factor))",
    `trainer.add_event_handler(Events.ITERATION_STARTED(every=${s.accumulation}), scheduler)`,
    `trainer.run(loader, max_epochs=${s.epochs})`,
  ],
};

const plural = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

const explorer = {
  name: "step-calculator",
  title: "The step calculator",
  presets: [["accumulate 4", { accumulation: 4 }], ["8 devices", { devices: "8" }], ["one long epoch", { samples: 1e7, epochs: 1, batch: "256" }]],
  controls() {
    return [
      logRange("samples", "training samples", 50000, 100, 1e7),
      pick("batch", "batch size per device", "32", powers(0, 12)),
      range("accumulation", "batches per update", 1, 1, 64),
      pick("devices", "devices (processes)", "1", powers(0, 7)),
      range("epochs", "epochs", 10, 1, 100),
      range("warmup", "warmup, % of the run", 5, 0, 50),
      logRange("rate", "peak rate", 0.001, 0.00001, 1),
      pick("framework", "code for", "torch", [["torch", "plain PyTorch"], ["lightning", "Lightning"], ["trainer", "Hugging Face Trainer"], ["accelerate", "Accelerate"], ["timm", "timm"], ["ignite", "Ignite"]]),
    ];
  },
  view(s) {
    const c = count(s);
    const points = Math.min(c.steps, 200);
    const x = [...new Set(counting(points).map((i) => Math.round((i * (c.steps - 1)) / Math.max(points - 1, 1))))];
    const rest = c.rest ? ` The last update of an epoch has only ${plural(c.rest, "batch", "batches")}, so its gradient is smaller if the loop divides by ${s.accumulation}.` : "";
    const unused = c.unused ? ` Ignite makes no update with the last ${plural(c.unused, "batch", "batches")} of the run.` : "";
    return {
      charts: [{
        title: "The rate of each update",
        wide: true,
        x: { label: "optimizer step", min: 0, max: Math.max(c.steps - 1, 1) },
        y: { min: 0, max: s.rate * 1.05 },
        lines: [{ x, y: x.map(factorOf(s, c)).map((factor) => s.rate * factor), color: "blue" }],
        rules: c.warmup ? [{ x: c.warmup }] : [],
      }],
      summary: `The scheduler's length is ${plural(c.steps, "step")}: ${plural(c.updates, "update")} per epoch, of ${plural(c.together, "sample")} each. The warmup takes ${plural(c.warmup, "step")}.${rest}${unused}`,
      table: {
        caption: "What to count",
        head: ["number", "value"],
        rows: [
          ["batches of one process, per epoch", c.batches],
          ["left-over batches, per epoch", c.rest],
          ["updates per epoch", c.updates],
          ["length T, in updates", c.steps],
          ["warmup, in updates", c.warmup],
          ["samples per update", c.together],
        ].map(([name, value]) => [name, value.toLocaleString("en")]),
      },
      code: { label: "Code with these numbers", text: codes[s.framework](s, c).join("\n") },
    };
  },
};
