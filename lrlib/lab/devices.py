"""Where the book computes: on CUDA where there is one, else on the CPU."""

from __future__ import annotations

import os

import torch

__all__ = ["device"]


def device() -> torch.device:
    """The device that everything in the book uses.

    CUDA where there is one, else the CPU; the environment variable `LRLIB_DEVICE` (such as "cpu" or
    "cuda:1") overrides. Raises ValueError where it names a device that torch doesn't know or have.

    >>> device().type in ("cpu", "cuda")
    True
    """
    wanted = os.environ.get("LRLIB_DEVICE", "")
    if not wanted:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(wanted)
    except RuntimeError as error:
        raise ValueError(
            f"LRLIB_DEVICE={wanted!r}: must be a torch device, such as 'cpu' or 'cuda' ({error})"
        ) from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"LRLIB_DEVICE={wanted!r}: torch sees no CUDA device here; use 'cpu'")
    return chosen
