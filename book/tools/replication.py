"""`make replication`: the published experiment of chapter 6, seven ways, several seeds each.

As it stands it is CIFAR-10 with a ResNet-34 for 200 epochs, which needs a GPU and hours. Without
one, `ARGS="--data fashion-mnist --model cnn --epochs 10 --seeds 8 --jobs 2"` is the same in small.

Each run's test accuracy is stored as soon as it is known. A second call with the same settings
goes on where the first one ended.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import torch
from execute import write
from record import made_with
from torch import Tensor, nn

from lrlib import LRDropout, MultiStep, lab
from lrlib.lab.data import Dataset, Split, crop_and_flip
from lrlib.notebook.records import FOLDER

LR, MU, KEEP, DECAY, BATCH = 0.1, 0.9, 0.5, 5e-4, 128


class MaskedBuffer(torch.optim.Optimizer):
    """The replication's step: the mask lands in the momentum buffer, too."""

    def __init__(self, weights: Iterable[Tensor], lr: float, seed: int) -> None:
        super().__init__(weights, {"lr": lr})
        device = self.param_groups[0]["params"][0].device
        self.generator = torch.Generator(device).manual_seed(seed)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Momentum SGD with weight decay, in the lines of the replication."""
        for group in self.param_groups:
            for weight in group["params"]:
                buf = self.state[weight].setdefault("buf", torch.zeros_like(weight))
                buf.mul_(MU).add_(weight.grad.add(weight, alpha=DECAY))
                mask = torch.rand(buf.shape, device=buf.device, generator=self.generator) < KEEP
                d_p = buf  # a second name
                d_p.mul_(mask)  # in place: masks the buffer, too
                weight.add_(d_p, alpha=-group["lr"])


def sgd(
    weights: Iterable[Tensor], lr: float, seed: int, momentum: float = MU, keep: float = 1
) -> torch.optim.Optimizer:
    """SGD, with learning-rate dropout if `keep` is below 1."""
    fused = torch.cuda.is_available()
    inner = torch.optim.SGD(weights, lr, momentum=momentum, weight_decay=DECAY, fused=fused)
    if keep == 1:
        return inner
    device = inner.param_groups[0]["params"][0].device
    return LRDropout(inner, keep, torch.Generator(device).manual_seed(seed))


# How far a unit of gradient moves a weight in the end, in units of the rate, is random in the
# masked buffer: with probability p it counts once, and then μ times another such random number.
# Its mean, its relative variance, and the keep at which SGD without momentum has the same relative
# variance, which for a keep of q is (1 − q)/q:
MEAN = KEEP / (1 - KEEP * MU)
VARIANCE = (1 - KEEP) / KEEP / (1 - KEEP * MU**2)
SAME_SPREAD = 1 / (1 + VARIANCE)

MakeOptimizer = Callable[[Iterable[Tensor], float, int], torch.optim.Optimizer]
WAYS: dict[str, tuple[MakeOptimizer, float]] = {
    "SGD": (sgd, 1),
    "LR dropout": (partial(sgd, keep=KEEP), 1),
    "SGD at p times the rate": (sgd, KEEP),
    "masked buffer": (MaskedBuffer, 1),
    "SGD, same mean step": (sgd, (1 - MU) * MEAN),
    "no momentum, same mean step": (partial(sgd, momentum=0), MEAN),
    "no momentum, same mean and spread": (
        partial(sgd, momentum=0, keep=SAME_SPREAD),
        MEAN / SAME_SPREAD,
    ),
}


def normalized_cnn(channels: int, size: int, classes: int, width: int = 16) -> nn.Sequential:
    """Three convolutions with batch normalization, each followed by 2×2 pooling; a linear head."""

    def block(before: int, after: int) -> list[nn.Module]:
        convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
        return [convolution, nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]

    features = block(channels, width) + block(width, 2 * width) + block(2 * width, 4 * width)
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(4 * width * (size // 8) ** 2, classes))


class OnGpu(nn.Module):
    """A network in the form that a GPU is fastest with; the weights stay in float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = torch.compile(network.to(memory_format=torch.channels_last))

    def forward(self, x: Tensor) -> Tensor:
        """Logits, computed in bfloat16."""
        with torch.autocast(x.device.type, torch.bfloat16):
            output: Tensor = self.network(x.contiguous(memory_format=torch.channels_last))
        return output.float()


def load(name: str, samples: int | None) -> Dataset:
    """All training images train, as published; a thousand of them are looked at on the way."""
    data = lab.load(name)
    x, y = (torch.cat(pair)[:samples] for pair in zip(data.train, data.validation, strict=True))
    test = Split(data.test.x[:samples], data.test.y[:samples])
    return replace(data, train=Split(x, y), validation=Split(x[:1000], y[:1000]), test=test)


def run(way: str, seed: int, data: str, model: str, epochs: int, samples: int | None) -> float:
    """One training; returns the test accuracy of its last epoch."""
    images = load(data, samples)
    channels, size, _ = images.shape
    if model == "resnet34" and images.shape != (3, 32, 32):
        raise ValueError(f"--model=resnet34 needs color images of 32×32; for {data} take cnn")
    networks: dict[str, Callable[[], nn.Module]] = {
        "resnet34": partial(lab.cifar_resnet34, images.classes),
        "cnn": partial(lab.small_cnn, channels, size, images.classes),
        "cnn-norm": partial(normalized_cnn, channels, size, images.classes),
    }
    built = lab.seeded(networks[model], seed).to(images.train.y.device)
    built = OnGpu(built) if images.train.y.device.type == "cuda" else built
    make, share = WAYS[way]
    steps = epochs * images.steps_per_epoch(BATCH)
    lab.fit(
        built,
        images,
        make(built.parameters(), share * LR, seed),
        epochs=epochs,
        schedule=MultiStep([steps // 2, 3 * steps // 4], gamma=0.1),
        batch_size=BATCH,
        seed=seed,
        augment=crop_and_flip,
    )
    return lab.evaluate(built, images.test, batch_size=1024).accuracy


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="cifar10", help="as for lab.load")
    parser.add_argument("--model", default="resnet34", choices=("resnet34", "cnn", "cnn-norm"))
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=4, help="runs of each way")
    parser.add_argument("--ways", nargs="+", default=[*WAYS], choices=WAYS, help="only some")
    parser.add_argument("--samples", type=int, help="so many images only, to try it out")
    parser.add_argument(
        "--jobs", type=int, default=1, help="runs at a time; on a GPU leave it at 1"
    )
    parser.add_argument(
        "--out", type=Path, help="instead of lrlib/notebook/results/replication-DATA-MODEL.json"
    )
    given = parser.parse_args(arguments)
    settings = {name: getattr(given, name) for name in ("data", "model", "epochs", "samples")}
    name = f"replication-{Path(given.data).stem}-{given.model}.json"
    out = given.out or FOLDER / name
    record = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    if record and record["settings"] != settings:
        print(
            f"{out} holds another experiment, {record['settings']}: move it away", file=sys.stderr
        )
        return 1
    results: dict[str, list[float]] = {
        way: record.get("data", {}).get(way, []) for way in given.ways
    }
    command = (
        f"make replication ARGS={shlex.join(arguments)!r}" if arguments else "make replication"
    )
    waiting = [(way, seed) for seed in range(given.seeds) for way in given.ways]
    waiting = [(way, seed) for way, seed in waiting if seed >= len(results[way])]
    seconds, began = record.get("seconds", 0), time.perf_counter()
    parallel = joblib.Parallel(n_jobs=given.jobs, return_as="generator")
    done: Iterator[float] = parallel(
        joblib.delayed(run)(way, seed, **settings) for way, seed in waiting
    )
    for (way, seed), accuracy in zip(waiting, done, strict=True):
        results[way].append(accuracy)
        so_far = round(seconds + time.perf_counter() - began)
        report = {
            "notebook": "chapters/06-lr-dropout/the-missing-point.ipynb",
            "command": command,
            "seconds": so_far,
            **made_with(),
            "settings": settings,
            "data": results,
        }
        write(out, json.dumps(report, indent=1) + "\n")
        print(f"{so_far:6d} s  seed {seed}, {way}: {accuracy:.2%}", flush=True)
    if min(map(len, results.values())) > 1:
        for way, accuracies in results.items():
            control = results[given.ways[0]][: len(accuracies)]
            difference = lab.paired_difference(accuracies, control)
            print(f"{way}: {100 * difference.mean:+.2f} ± {100 * difference.half_width:.2f} points")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ValueError, lab.DataError) as error:
        sys.exit(str(error))
