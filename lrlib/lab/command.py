"""The command line: `python -m lrlib train …`, or `lrlib train …` once installed.

A run is a folder: settings.json (what was asked for), checkpoint.pt and log.jsonl (what happened).
Everything is written under another name and renamed, so that the folder always holds a whole run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from lrlib import schedules
from lrlib.lab.data import NAMES, DataError, Dataset, load
from lrlib.lab.files import written_whole
from lrlib.lab.models import cifar_resnet34, mlp, seeded, small_cnn
from lrlib.lab.training import History, crop_and_flip, evaluate, fit, resume, save
from lrlib.lr_dropout import LRDropout
from lrlib.plateau import PlateauRule
from lrlib.schedules import Schedule

MODELS = ("mlp", "cnn", "resnet34")
OPTIMIZERS = ("sgd", "nesterov", "rmsprop", "adam", "adamw")


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
  lrlib train --resume runs/NAME                     go on where a run was stopped
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.command is None:
        parser.print_help()
        return 2
    try:
        return _train(given)
    except (ValueError, TypeError, DataError, OSError) as error:
        print(f"lrlib train: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lrlib", description="The tools of the Learning-Rate Book.", allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    train = commands.add_parser(
        "train",
        help="train a network, with every kind of learning rate that the book has",
        description="Trains a network and writes a folder with checkpoint and log.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        # Only what was typed: --resume must know whether anything else was.
        argument_default=argparse.SUPPRESS,
    )
    what = train.add_argument_group("what to train")
    what.add_argument(
        "--dataset",
        metavar="NAME",
        help=f"{', '.join(NAMES)}, or a .npz file with images and labels ({DEFAULTS['dataset']})",
    )
    what.add_argument("--model", choices=MODELS, help=f"({DEFAULTS['model']})")
    what.add_argument("--augment", action="store_true", help="random crops and flips of images")
    how = train.add_argument_group("the rate")
    how.add_argument("--lr", type=float, metavar="RATE", help=f"base rate ({DEFAULTS['lr']})")
    how.add_argument(
        "--schedule", choices=SCHEDULES, help=f"its shape over the run ({DEFAULTS['schedule']})"
    )
    how.add_argument(
        "--plateau",
        action="store_true",
        help="lower the base rate when the validation loss stops improving",
    )
    how.add_argument(
        "--patience", type=int, metavar="EPOCHS", help=f"for --plateau ({DEFAULTS['patience']})"
    )
    how.add_argument("--factor", type=float, help=f"for --plateau ({DEFAULTS['factor']})")
    how.add_argument(
        "--keep",
        "--lr-dropout-rate",
        "--lr_dropout_rate",
        dest="keep",
        type=float,
        metavar="P",
        help="learning-rate dropout: the probability of *keeping* a coordinate's step (1: off)",
    )
    optimizer = train.add_argument_group("the optimizer")
    optimizer.add_argument("--optimizer", choices=OPTIMIZERS, help=f"({DEFAULTS['optimizer']})")
    optimizer.add_argument(
        "--momentum", type=float, help=f"for sgd and nesterov ({DEFAULTS['momentum']})"
    )
    optimizer.add_argument(
        "--weight-decay", type=float, metavar="W", help=f"({DEFAULTS['weight_decay']:g})"
    )
    run = train.add_argument_group("the run")
    run.add_argument("--epochs", type=int, metavar="N", help=f"({DEFAULTS['epochs']})")
    run.add_argument("--batch-size", type=int, metavar="N", help=f"({DEFAULTS['batch_size']})")
    run.add_argument(
        "--seed", type=int, help=f"initial weights, batches, masks ({DEFAULTS['seed']})"
    )
    run.add_argument("--device", help="cpu, cuda, cuda:1 … (cuda where there is one)")
    run.add_argument("--out", type=Path, metavar="FOLDER", help="a new folder (runs/DATE-TIME)")
    run.add_argument(
        "--resume", type=Path, metavar="FOLDER", help="go on with this run; no other options"
    )
    return parser


DEFAULTS: dict[str, Any] = {
    "dataset": "digits",
    "model": "mlp",
    "augment": False,
    "lr": 0.1,
    "schedule": "constant",
    "plateau": False,
    "patience": 5,
    "factor": 0.1,
    "keep": 1.0,
    "optimizer": "sgd",
    "momentum": 0.9,
    "weight_decay": 0.0,
    "epochs": 10,
    "batch_size": 32,
    "seed": 0,
    "device": None,
}


def _train(given: argparse.Namespace) -> int:
    options = {name: value for name, value in vars(given).items() if name != "command"}
    folder = options.pop("resume", None)
    resumed = folder is not None
    if resumed:
        if options:
            names = ", ".join("--" + name.replace("_", "-") for name in options)
            raise ValueError(f"--resume takes its settings from the folder; leave out {names}")
        settings = _settings_of(folder)
    else:
        folder = options.pop("out", None) or Path("runs") / time.strftime("%Y-%m-%d-%H%M%S")
        settings = DEFAULTS | options
    if settings["device"]:
        os.environ["LRLIB_DEVICE"] = settings["device"]
    data = load(settings["dataset"])
    # All settings are checked before anything is written.
    model, optimizer = _network(settings, data), None
    optimizer = _optimizer(settings, model)
    plan = _plan(settings, data)
    if resumed:
        history = resume(folder / "checkpoint.pt", model, optimizer)
    else:
        history = History()
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(
                f"--out={folder}: exists and isn't empty; choose another folder, or go on with "
                f"--resume {folder}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "settings.json", json.dumps(settings, indent=1) + "\n")
        save(folder / "checkpoint.pt", model, optimizer, history)
    return _run(folder, settings, data, model, optimizer, history, plan)


def _run(
    folder: Path,
    settings: dict[str, Any],
    data: Dataset,
    model: nn.Module,
    optimizer: Optimizer,
    history: History,
    plan: dict[str, Any],
) -> int:
    from tqdm import tqdm

    total = settings["epochs"]
    print(f"{data!r} on {data.train.x.device}; the run's folder: {folder}")
    bar = tqdm(initial=history.epochs, total=total, unit="epoch", disable=not sys.stderr.isatty())
    try:
        while history.epochs < total:
            history = fit(
                model, data, optimizer, epochs=history.epochs + 1, history=history, **plan
            )
            save(folder / "checkpoint.pt", model, optimizer, history)
            lines = _log(history)
            _write(folder / "log.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
            bar.write(_said(lines[-1], total))
            bar.update()
    except KeyboardInterrupt:
        bar.close()
        done = sum(1 for _ in _log_lines(folder))
        print(f"\nStopped; saved after epoch {done} of {total}. Go on with:")
        print(f"  python -m lrlib train --resume {folder}")
        return 130
    bar.close()
    test = evaluate(model, data.test)
    print(f"test: loss {test.loss:.4f}, accuracy {test.accuracy:.2%}")
    return 0


def _log(history: History) -> list[dict[str, Any]]:
    """A line for each epoch; `lr` is the rate of its last step."""
    rows: Any = history.frame().reset_index().to_dict("records")
    return list(rows)


def _log_lines(folder: Path) -> list[str]:
    path = folder / "log.jsonl"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _said(line: dict[str, Any], total: int) -> str:
    return (
        f"epoch {line['epoch']:g}/{total}: rate {line['lr']:.3g}, "
        f"training loss {line['train_loss']:.4f}, validation loss {line['validation_loss']:.4f}, "
        f"accuracy {line['validation_accuracy']:.2%}"
    )


def _network(settings: dict[str, Any], data: Dataset) -> nn.Module:
    channels, height, width = data.shape
    makers: dict[str, Callable[[], nn.Module]] = {
        "mlp": lambda: mlp(channels * height * width, 64, 32, data.classes),
        "cnn": lambda: small_cnn(channels, height, data.classes),
        "resnet34": lambda: cifar_resnet34(data.classes),
    }
    if settings["model"] == "resnet34" and data.shape != (3, 32, 32):
        raise ValueError("--model=resnet34: needs color images of 32×32, such as cifar10")
    return seeded(makers[settings["model"]], settings["seed"]).to(data.train.x.device)


def _optimizer(settings: dict[str, Any], model: nn.Module) -> Optimizer:
    weights, common = list(model.parameters()), {"weight_decay": settings["weight_decay"]}
    lr, kind = settings["lr"], settings["optimizer"]
    optimizer: Optimizer
    if kind in ("sgd", "nesterov"):
        nesterov = kind == "nesterov"
        momentum = settings["momentum"]
        optimizer = torch.optim.SGD(weights, lr, momentum, nesterov=nesterov, **common)
    else:
        classes = {
            "rmsprop": torch.optim.RMSprop,
            "adam": torch.optim.Adam,
            "adamw": torch.optim.AdamW,
        }
        optimizer = classes[kind](weights, lr, **common)
    if settings["keep"] == 1:
        return optimizer
    generator = torch.Generator().manual_seed(settings["seed"])
    return LRDropout(optimizer, settings["keep"], generator)


def _plan(settings: dict[str, Any], data: Dataset) -> dict[str, Any]:
    """What `fit` is told, the same in every epoch."""
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


def _settings_of(folder: Path) -> dict[str, Any]:
    path = folder / "settings.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"--resume={folder}: no run there (it has no settings.json)") from None
    except ValueError as error:
        raise ValueError(f"--resume={folder}: settings.json can't be read ({error})") from None
    if not isinstance(settings, dict) or settings.keys() != DEFAULTS.keys():
        raise ValueError(f"--resume={folder}: settings.json isn't from this version of lrlib")
    return settings


def _write(path: Path, text: str) -> None:
    with written_whole(path) as file:
        file.write(text.encode())


if __name__ == "__main__":
    sys.exit(main())
