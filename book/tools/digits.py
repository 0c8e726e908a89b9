"""`make digits`: writes the digits that the playground trains on, from the laboratory's own split.

A pixel has one of 17 gray levels and takes one letter. The first pixel of all images comes first,
then the second: so written, the text compresses best. The test split isn't in it: the playground
is for trying, and what is tried on the test split is no test.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from lrlib.lab import load, with_random_labels
from lrlib.notebook.explorers import _pages

FILE = Path(_pages.__file__).parent / "digits.json"


def packed() -> dict[str, Any]:
    """The gray levels as the networks see them, the pixels as letters, and the labels."""
    data = load("digits", device="cpu")
    noisy = with_random_labels(data, share=0.2)
    parts = (data.train, data.validation)
    images = torch.cat([part.x for part in parts]).flatten(1)  # [samples, 64]
    levels, letters = images.unique(return_inverse=True)
    return {
        "train": len(data.train.y),
        "levels": levels.tolist(),
        "labels": "".join(str(int(label)) for part in parts for label in part.y),
        "noisy": "".join(str(int(label)) for label in noisy.train.y),
        "pixels": "".join(chr(ord("a") + int(letter)) for letter in letters.T.flatten()),
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(packed(), indent=0) + "\n", encoding="utf-8")
