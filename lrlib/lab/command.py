"""The command line: `python -m lrlib train …`, or `lrlib train …` once lrlib is installed.

A run is a folder: settings.json (the options), checkpoint.pt and log.jsonl (one line per epoch).
All writes are atomic, so at any moment the folder holds a run that can be resumed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from tqdm import tqdm

from lrlib import schedules
from lrlib.lab.data import NAMES, DataError, Dataset, crop_and_flip, load
from lrlib.lab.files import atomic_write
from lrlib.lab.models import cifar_resnet34, mlp, seeded, small_cnn
from lrlib.lab.training import History, evaluate, fit, load_checkpoint, save_checkpoint
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

EXAMPLES = """\
examples:
  lrlib train                                        digits, a small network, seconds
  lrlib train --lr 0.3 --schedule cosine --epochs 30
  lrlib train --lr=.1 --lr_dropout_rate=0.5          learning-rate dropout, keeping half
  lrlib train --plateau --patience 3                 lower the rate when validation stalls
  lrlib train --optimizer adamw --lr 0.003 --weight-decay 0.01
  lrlib train --dataset cifar10 --model resnet34 --epochs 200 --batch-size 128 \\
      --momentum 0.9 --weight-decay 5e-4 --schedule step --keep 0.5 --augment
                                                     the published setting (a GPU, hours)
  lrlib train --resume runs/NAME                     continue a run that was stopped
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
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


def parser() -> argparse.ArgumentParser:
    """The parser of the command line; its defaults are the settings of a run."""
    lrlib = argparse.ArgumentParser(
        prog="lrlib", description="The tools of the Learning-Rate Book.", allow_abbrev=False
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
    add("--lr", type=float, default=0.1, metavar="RATE", help="base rate (%(default)s)")
    add("--schedule", default="constant", choices=SCHEDULES, help="its shape (%(default)s)")
    add("--plateau", action="store_true", help="lower the base rate when validation stalls")
    add("--patience", type=int, default=5, metavar="EPOCHS", help="for --plateau (%(default)s)")
    add("--factor", type=float, default=0.1, help="for --plateau (%(default)s)")
    kept = "learning-rate dropout: the probability of *keeping* a coordinate's step (1: off)"
    keep = ("--keep", "--lr-dropout-rate", "--lr_dropout_rate")
    add(*keep, type=float, default=1.0, metavar="P", help=kept)

    add = train.add_argument_group("the optimizer").add_argument
    add("--optimizer", default="sgd", choices=OPTIMIZERS, help="(%(default)s)")
    add("--momentum", type=float, default=0.9, help="for sgd and nesterov (%(default)s)")
    add("--weight-decay", type=float, default=0.0, metavar="W", help="(%(default)g)")

    add = train.add_argument_group("the run").add_argument
    add("--epochs", type=int, default=10, metavar="N", help="(%(default)s)")
    add("--batch-size", type=int, default=32, metavar="N", help="(%(default)s)")
    add("--seed", type=int, default=0, help="initial weights, batches, masks (%(default)s)")
    add("--device", help="cpu, cuda, cuda:1 … (cuda if there is one)")
    add("--out", type=Path, metavar="FOLDER", help="a new folder (runs/DATE-TIME)")
    add("--resume", type=Path, metavar="FOLDER", help="continue this run; no other options")
    return lrlib


def _train(folder: Path, settings: dict[str, Any], resume: bool = False) -> int:
    # All settings are checked before anything is written.
    data = load(settings["dataset"], settings["device"])
    model = _network(settings, data)
    optimizer = _optimizer(settings, model)
    plan = _fit_arguments(settings, data)
    checkpoint, history = folder / "checkpoint.pt", History()
    if resume:
        history = load_checkpoint(checkpoint, model, optimizer)
    else:
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(
                f"--out={folder}: exists and isn't empty; choose another folder, or continue with "
                f"--resume {folder}"
            )
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
    epochs = settings["epochs"]
    if epochs < 1:
        raise ValueError(f"--epochs={epochs}: must be a positive integer")
    steps = epochs * data.steps_per_epoch(settings["batch_size"])
    rule = PlateauRule(factor=settings["factor"], patience=settings["patience"])
    return {
        "schedule": SCHEDULES[settings["schedule"]](steps),
        "plateau": rule if settings["plateau"] else None,
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
        raise ValueError(f"--resume={folder}: settings.json isn't from this version of lrlib")
    return settings


def _write(path: Path, records: Iterable[dict[str, Any]], **style: Any) -> None:
    with atomic_write(path) as file:
        file.writelines(f"{json.dumps(record, **style)}\n".encode() for record in records)
