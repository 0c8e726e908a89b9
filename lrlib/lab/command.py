"""The command line: `python -m lrlib train …`, or `lrlib train …` once lrlib is installed.

A run is a folder: settings.json (the options), checkpoint.pt and log.jsonl (one line per epoch).
All writes are atomic, so at any moment the folder holds a run that can be resumed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from tqdm import tqdm

from lrlib import finder, schedules
from lrlib.lab.data import NAMES, DataError, Dataset, crop_and_flip, load
from lrlib.lab.files import atomic_write
from lrlib.lab.models import cifar_resnet34, mlp, seeded, small_cnn
from lrlib.lab.training import History, batches, evaluate, fit, load_checkpoint, save_checkpoint
from lrlib.lr_dropout import LRDropout
from lrlib.plateau import PlateauRule
from lrlib.schedules import Schedule


def _warmup_cosine(n: int) -> Schedule:
    warm = n // 20
    decay = schedules.Cosine(n - warm)
    return schedules.Linear(0.1, 1.0, warm).then(decay, at=warm) if warm else decay


# Each for a run of n steps.
SCHEDULES: dict[str, Callable[[int], Schedule]] = {
    "constant": lambda n: schedules.Constant(),
    "step": lambda n: schedules.MultiStep([max(1, n // 2), max(2, 3 * n // 4)], gamma=0.1),
    "linear": lambda n: schedules.Linear(1.0, 0.0, n),
    "cosine": schedules.Cosine,
    "warmup-cosine": _warmup_cosine,
}

# Each for images of a shape (channels, height, width) and a number of classes.
MODELS: dict[str, Callable[[tuple[int, int, int], int], nn.Module]] = {
    "mlp": lambda shape, classes: mlp(shape[0] * shape[1] * shape[2], 64, 32, classes),
    "cnn": lambda shape, classes: small_cnn(shape[0], shape[1], classes),
    "resnet34": lambda shape, classes: cifar_resnet34(classes),
}

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": torch.optim.SGD,
    "nesterov": partial(torch.optim.SGD, nesterov=True),
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}

# The default rates for 64 inputs (digits) and batches of 32; for SGD it is the effective rate,
# lr/(1 − momentum). Measured with the small network on digits, MNIST, Fashion-MNIST and CIFAR-10:
# the best rate falls as the number of inputs grows, about as the square root of that number.
SOUND = {"sgd": 0.3, "nesterov": 0.3, "rmsprop": 0.003, "adam": 0.003, "adamw": 0.003}

# Until so many steps are done, a run may be no better than guessing because it is young.
YOUNG = 100

# What `--lr find` reads off the curve; it trains with the first.
READINGS = (finder.minimum_over_ten, finder.steepest, finder.valley, finder.last_clear_fall)

EXAMPLES = """\
without --lr:
  the rate is 0.3 · (1 − momentum) for sgd and nesterov, and 0.003 for rmsprop, adam and adamw,
  each multiplied by √(64/n), where n is the number of values in an image (64 in digits)

examples:
  lrlib train                                        digits, a small network, seconds
  lrlib train --dataset mnist --lr find              first a range test, then the run
  lrlib train --lr 0.1 --schedule cosine --epochs 30
  lrlib train --lr=.1 --lr_dropout_rate=0.5          learning-rate dropout, keeping half
  lrlib train --plateau --patience 3                 lower the rate when validation stalls
  lrlib train --optimizer adamw --weight-decay 0.01
  lrlib train --dataset cifar10 --model resnet34 --epochs 200 --batch-size 128 \\
      --lr 0.1 --momentum 0.9 --weight-decay 5e-4 --schedule step --keep 0.5 --augment
                                                     the published setting (a GPU, hours)
  lrlib train --resume runs/NAME                     continue a run that was stopped
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status.

    0: done; 1: the run was given up, because its loss is no better than guessing; 2: the words or
    the data are wrong; 130: stopped by Ctrl-C.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    settings = vars(parser().parse_args(words))
    if settings.pop("command") is None:
        parser().print_help()
        return 2
    out, resumed = settings.pop("out"), settings.pop("resume")
    try:
        if resumed:
            typed = [word.split("=")[0] for word in words if word.startswith("--")]
            others = ", ".join(word for word in typed if word != "--resume")
            if others:
                raise ValueError(f"--resume takes its settings from the folder; leave out {others}")
            return _train(resumed, _settings_of(resumed, settings), resume=True)
        return _train(out or Path("runs") / time.strftime("%Y-%m-%d-%H%M%S"), settings)
    except (ValueError, TypeError, DataError, OSError) as error:
        print(f"lrlib train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """The parser of the command line; its defaults are the settings of a run."""
    lrlib = argparse.ArgumentParser(
        prog="lrlib",
        description="The tools of the Learning-Rate Book.",
        epilog="lrlib examine --help: the checkup, which says what is wrong with a scheduler",
        allow_abbrev=False,
    )
    train = lrlib.add_subparsers(dest="command", metavar="command").add_parser(
        "train",
        help="train a network, with every kind of learning rate that the book has",
        description="Trains a network and writes a folder with checkpoint and log.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = train.add_argument_group("what to train").add_argument
    names = f"{', '.join(NAMES)}, or an .npz file with images and labels (%(default)s)"
    add("--dataset", default="digits", metavar="NAME", help=names)
    add("--model", default="mlp", choices=MODELS, help="(%(default)s)")
    add("--augment", action="store_true", help="random crops and flips of images")

    add = train.add_argument_group("the rate").add_argument
    add("--lr", type=_rate, metavar="RATE", help='base rate, or "find": a range test (see below)')
    add("--schedule", default="constant", choices=SCHEDULES, help="its shape (%(default)s)")
    add("--plateau", action="store_true", help="lower the base rate when validation stalls")
    add("--patience", type=int, metavar="EPOCHS", help="for --plateau (5)")
    add("--factor", type=float, help="for --plateau (0.1)")
    kept = "learning-rate dropout: the probability of *keeping* a coordinate's step (1: off)"
    keep = ("--keep", "--lr-dropout-rate", "--lr_dropout_rate")
    add(*keep, type=float, default=1.0, metavar="P", help=kept)

    add = train.add_argument_group("the optimizer").add_argument
    add("--optimizer", default="sgd", choices=OPTIMIZERS, help="(%(default)s)")
    add("--momentum", type=float, help="for sgd and nesterov (0.9)")
    add("--weight-decay", type=float, default=0.0, metavar="W", help="(%(default)g)")

    add = train.add_argument_group("the run").add_argument
    add("--epochs", type=int, default=10, metavar="N", help="(%(default)s)")
    add("--batch-size", type=int, default=32, metavar="N", help="(%(default)s)")
    add("--seed", type=int, default=0, help="initial weights, batches, masks (%(default)s)")
    add("--device", help="cpu, cuda, cuda:1 … (cuda if there is one)")
    add("--out", type=Path, metavar="FOLDER", help="a new folder (runs/DATE-TIME)")
    add("--resume", type=Path, metavar="FOLDER", help="continue this run; no other options")
    return lrlib


def _rate(word: str) -> float | str:
    try:
        return word if word == "find" else float(word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{word!r} is neither a number nor 'find'") from None


def _train(folder: Path, settings: dict[str, Any], resume: bool = False) -> int:
    # All settings are checked before anything is written.
    data = load(settings["dataset"], settings["device"])
    settings = completed(settings, data)
    plan = _fit_arguments(settings, data)
    if not resume and folder.exists() and any(folder.iterdir()):
        raise ValueError(
            f"--out={folder}: the folder isn't empty; choose another folder, or continue with "
            f"--resume {folder}"
        )
    if settings["lr"] == "find":
        settings["lr"] = _found_lr(settings, data)
    model = _network(settings, data)
    optimizer = _optimizer(settings, model)
    checkpoint, history = folder / "checkpoint.pt", History()
    if resume:
        history = load_checkpoint(checkpoint, model, optimizer)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "settings.json", [settings], indent=1)
        save_checkpoint(checkpoint, model, optimizer, history)
    saved, total = history.epochs, settings["epochs"]
    print(f"{data!r} on {data.train.x.device}; the run's folder: {folder}")
    try:
        with tqdm(initial=saved, total=total, unit="epoch", disable=not sys.stderr.isatty()) as bar:
            while saved < total:
                history = fit(model, data, optimizer, epochs=saved + 1, history=history, **plan)
                save_checkpoint(checkpoint, model, optimizer, history)
                saved = history.epochs
                log = _log(history)
                _write(folder / "log.jsonl", log)
                bar.write(_EPOCH.format(total=total, **log[-1]))
                bar.update()
                problem = trouble(history, settings, data)
                if problem:
                    bar.write(f"lrlib train: {problem}", file=sys.stderr)
                    return 1
    except KeyboardInterrupt:
        print(f"\nStopped; saved after epoch {saved} of {total}. Continue with:")
        print(f"  python -m lrlib train --resume {folder}")
        return 130
    test = evaluate(model, data.test)
    print(f"test: loss {test.loss:.4f}, accuracy {test.accuracy:.2%}")
    return 0


_EPOCH = (
    "epoch {epoch}/{total}: rate {lr:.3g}, training loss {train_loss:.4f}, "
    "validation loss {validation_loss:.4f}, accuracy {validation_accuracy:.2%}"
)


def _log(history: History) -> list[dict[str, Any]]:
    """The log's line for each epoch; `lr` is the rate of the epoch's last step."""
    steps = len(history.lrs) // history.epochs
    columns = {
        "epoch": range(1, history.epochs + 1),
        "lr": history.lrs[steps - 1 :: steps],
        "train_loss": history.train_loss,
        "validation_loss": history.validation_loss,
        "validation_accuracy": history.validation_accuracy,
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def completed(settings: dict[str, Any], data: Dataset) -> dict[str, Any]:
    """The settings with the defaults that depend on others; or an error that names an option."""
    optimizer, done = settings["optimizer"], dict(settings)
    for option, default, used, where in (
        ("momentum", 0.9, optimizer in ("sgd", "nesterov"), f"with --optimizer {optimizer}"),
        ("patience", 5, settings["plateau"], "without --plateau"),
        ("factor", 0.1, settings["plateau"], "without --plateau"),
    ):
        if done[option] is None:
            done[option] = default if used else None
        elif not used:
            raise ValueError(
                f"--{option}={done[option]}: this option does nothing {where}; leave it out"
            )
    momentum, epochs = done["momentum"] or 0.0, settings["epochs"]
    _number("momentum", momentum, 0 <= momentum < 1, "from 0 to below 1")
    _number("epochs", epochs, epochs >= 1, "a positive integer")
    if settings["lr"] is None:
        done["lr"] = _default_lr(done, data)
    elif settings["lr"] != "find":
        _number("lr", done["lr"], 0 < done["lr"] < math.inf, "a finite number above 0")
    decay = settings["weight_decay"]
    _number("weight-decay", decay, 0 <= decay < math.inf, "a finite number of at least 0")
    size, images = settings["batch_size"], len(data.train.y)
    _number("batch-size", size, size <= images, f"at most {images}, the number of training images")
    return done


def _number(option: str, value: float, sound: bool, rule: str) -> None:
    if not sound:
        raise ValueError(f"--{option}={value}: must be {rule}")


def _default_lr(settings: dict[str, Any], data: Dataset) -> float:
    rate = SOUND[settings["optimizer"]] * (1 - (settings["momentum"] or 0.0))
    return float(f"{rate * math.sqrt(64 / math.prod(data.shape)):.2g}")


def _found_lr(settings: dict[str, Any], data: Dataset) -> float:
    """The rate that a range test finds; prints what it read."""
    model = _network(settings, data)
    optimizer = _optimizer({**settings, "lr": 1.0}, model)
    (x, y), size, seed = data.train, settings["batch_size"], settings["seed"]
    random = np.random.default_rng(seed)
    epochs = (batches(len(y), size, seed, epoch) for epoch in itertools.count())

    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        batch = batch.to(y.device)
        images = crop_and_flip(x[batch], random) if settings["augment"] else x[batch]
        return F.cross_entropy(model(images), y[batch])

    test = finder.range_test(model, itertools.chain.from_iterable(epochs), optimizer, loss)
    print(
        f"range test: {len(test.rates)} steps, rates from {test.rates[0]:.2g} to "
        f"{test.rates[-1]:.2g}, lowest smoothed loss {test.smoothed.min():.3g}; {test.stop}"
    )
    for reading in READINGS:
        print(f"  {reading.__name__.replace('_', ' '):16} {reading(test):.2g}")
    rate = float(f"{READINGS[0](test):.2g}")
    print(f"training with --lr {rate} ({READINGS[0].__name__.replace('_', ' ')})")
    return rate


def trouble(history: History, settings: dict[str, Any], data: Dataset) -> str | None:
    """What is wrong with the run after its last epoch, and the rate to try next; None if sound."""
    loss, accuracy = history.validation_loss[-1], history.validation_accuracy[-1]
    guess, default = math.log(data.classes), _default_lr(settings, data)
    if math.isfinite(loss) and math.isfinite(history.train_loss[-1]):
        # A young run, or one at a small rate, may still be near its start. An overfitted network
        # may have any loss, but it does better than chance.
        young = len(history.lrs) < YOUNG and history.epochs < settings["epochs"]
        slow = settings["keep"] * max(history.lrs) < default
        calm = max(loss, history.train_loss[-1]) < 1.1 * guess
        if loss < guess or accuracy >= 2 / data.classes or (calm and (young or slow)):
            return None
    return (
        f"after epoch {history.epochs} the validation loss is {loss:.4g}, and guessing gives "
        f"{guess:.4g}. The rate {settings['lr']:g} is probably too high: try "
        f"--lr {min(settings['lr'] / 10, default):.2g}, or --lr find"
    )


def _network(settings: dict[str, Any], data: Dataset) -> nn.Module:
    name, shape = settings["model"], data.shape
    if name == "resnet34" and shape != (3, 32, 32):
        raise ValueError("--model=resnet34: needs color images of 32×32, such as cifar10")
    model = seeded(lambda: MODELS[name](shape, data.classes), settings["seed"])
    return model.to(data.train.x.device)


def _optimizer(settings: dict[str, Any], model: nn.Module) -> Optimizer:
    name, options = settings["optimizer"], {key: settings[key] for key in ("lr", "weight_decay")}
    if name in ("sgd", "nesterov"):
        options["momentum"] = settings["momentum"]
    optimizer = OPTIMIZERS[name](model.parameters(), **options)
    if settings["keep"] == 1:
        return optimizer
    generator = torch.Generator().manual_seed(settings["seed"])
    return LRDropout(optimizer, settings["keep"], generator)


def _fit_arguments(settings: dict[str, Any], data: Dataset) -> dict[str, Any]:
    """The arguments of `fit` that are the same in every epoch."""
    steps = settings["epochs"] * data.steps_per_epoch(settings["batch_size"])
    rule = {option: settings[option] for option in ("factor", "patience")}
    return {
        "schedule": SCHEDULES[settings["schedule"]](steps),
        "plateau": PlateauRule(**rule) if settings["plateau"] else None,
        "batch_size": settings["batch_size"],
        "seed": settings["seed"],
        "augment": crop_and_flip if settings["augment"] else None,
    }


def _settings_of(folder: Path, expected: Iterable[str]) -> dict[str, Any]:
    try:
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"--resume={folder}: no run there (it has no settings.json)") from None
    except ValueError as error:
        raise ValueError(f"--resume={folder}: settings.json can't be read ({error})") from None
    if not isinstance(settings, dict) or settings.keys() != set(expected):
        raise ValueError(
            f"--resume={folder}: settings.json isn't from this version of lrlib; start a new run"
        )
    return settings


def _write(path: Path, records: Iterable[dict[str, Any]], **style: Any) -> None:
    with atomic_write(path) as file:
        file.writelines(f"{json.dumps(record, **style)}\n".encode() for record in records)
