"""`python -m lrlib …`: `examine` is the checkup; every other command is that of `lrlib.lab`."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

import torch

from lrlib.checkup import examine


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] != ["examine"]:
        from lrlib.lab.command import main as laboratory  # needs more than torch and numpy

        return laboratory(words)
    return _examine(words[1:])


def _examine(words: Sequence[str]) -> int:
    """0: no findings; 1: findings; 2: the words are wrong."""
    parser = argparse.ArgumentParser(
        prog="lrlib examine",
        description="Simulates a scheduler, and says what is wrong with it.",
        epilog="example: lrlib examine train:make_scheduler --steps 3910",
    )
    add = parser.add_argument
    what = "a function that makes a scheduler for an optimizer, in a module of this folder"
    add("function", metavar="module:function", help=what)
    add("--steps", type=int, required=True, metavar="N", help="scheduler steps in the whole run")
    add("--lr", type=float, nargs="+", metavar="RATE", help="the rate of each parameter group")
    add("--steps-per-epoch", type=int, metavar="N", help="adds the rules about epochs")
    add("--ignore", nargs="+", default=[], metavar="RULE", help="rules that are not applied")
    given = parser.parse_args(words)
    module, _, name = given.function.partition(":")
    sys.path.insert(0, "")
    try:
        make = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        parser.error(f"{given.function}: {error}; it must look like train:make_scheduler")
    optimizer = None
    if given.lr:
        groups = [{"params": [torch.zeros(1)], "lr": lr} for lr in given.lr]
        optimizer = torch.optim.SGD(groups, momentum=0.9)
    try:
        more = {"steps_per_epoch": given.steps_per_epoch, "ignore": given.ignore}
        report = examine(make, given.steps, optimizer, **more)
    except (TypeError, ValueError) as error:
        parser.error(str(error))
    print(report)
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
