"""What the wheel promises where torch and numpy are all there is: run where lrlib is installed.

The release workflow runs this in an empty environment. In an environment that holds more, every
package that neither torch nor numpy needs is hidden, so that the answer is the same.
"""

from __future__ import annotations

import importlib
import re
import sys
from functools import partial
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from types import ModuleType


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(distribution: str, found: set[str]) -> set[str]:
    """`found`, and in it the distribution and everything that it needs here."""
    try:
        lines = requires(distribution) or []
    except PackageNotFoundError:  # needed on another system
        return found
    found.add(distribution)
    for line in lines:
        name = normal(re.split(r"[^\w.-]", line)[0])
        if "extra ==" not in line and name not in found:
            needed(name, found)
    return found


class TorchAndNumpyAlone:
    """Finds modules as Python does, but only those of lrlib, torch and numpy and what they need."""

    def __init__(self) -> None:
        kept = needed("torch", needed("numpy", set()))
        self.hidden = {
            module
            for module, distributions in packages_distributions().items()
            if not kept & set(map(normal, distributions))
        } - {"lrlib"}

    def find_spec(self, module: str, path=None, target=None) -> ModuleSpec | None:
        if module.partition(".")[0] in self.hidden:
            return None
        return PathFinder.find_spec(module, path, target)


def check(np: ModuleType, torch: ModuleType, lrlib: ModuleType) -> None:
    """Raises AssertionError for the first promise that is not kept."""
    # A traced scheduler of torch's used the rates of its pure twin.
    scheduler = partial(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.5)
    twin = lrlib.StepDecay(step_size=2, gamma=0.5).lrs(base_lr=0.1, steps=6)
    assert np.allclose(lrlib.trace(scheduler, steps=6)[:, 0], twin, rtol=1e-12)

    # An audited optimizer holds every weight of the model once.
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(lrlib.by_name(model, {"*": 0.1}))
    assert [row.count for row in lrlib.summary(optimizer, model)] == [4]

    # In ten steps of learning-rate dropout, each weight took some whole steps, and not all ten.
    weights = torch.zeros(100, requires_grad=True)
    optimizer = lrlib.LRDropout(torch.optim.SGD([weights], lr=1.0), keep=0.5)
    for _ in range(10):
        optimizer.zero_grad()
        weights.sum().backward()
        optimizer.step()
    taken = -weights.detach()
    assert (taken == taken.round()).all()
    assert 0 <= taken.min() < taken.max() <= 10

    # The checkup sees a cosine that climbs back, and its command needs no other room.
    cosine = partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=5)
    assert [one.rule for one in lrlib.examine(cosine, steps=10).findings] == ["rises-at-end"]
    command = importlib.import_module("lrlib.__main__").main
    assert command(["examine", "torch.optim.lr_scheduler:ConstantLR", "--steps", "9"]) == 0
    assert command(["examine", "torch.optim.lr_scheduler:PolynomialLR", "--steps", "9"]) == 1

    # The other rooms name the command that brings what they need.
    for room, extra in {"lrlib.lab": "lab", "lrlib.notebook": "book"}.items():
        message = "imported, although what it needs is not there"
        try:
            importlib.import_module(room)
        except ImportError as error:
            message = str(error)
        assert message.endswith(f'pip install "lrlib[{extra}]"'), f"{room}: {message}"


if __name__ == "__main__":
    sys.meta_path[:] = [BuiltinImporter, FrozenImporter, TorchAndNumpyAlone()]
    lrlib = importlib.import_module("lrlib")
    check(importlib.import_module("numpy"), importlib.import_module("torch"), lrlib)
    print(f"lrlib {lrlib.__version__} from {lrlib.__path__[0]}: all that the wheel promises holds")
