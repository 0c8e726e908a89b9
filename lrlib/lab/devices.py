"""Device selection: CUDA if available, else the CPU."""

from __future__ import annotations

import os

import torch

from lrlib import _checks

__all__ = ["device"]


def device() -> torch.device:
    """The device that the book uses by default: CUDA if available, else the CPU.

    The environment variable `LRLIB_DEVICE` (such as "cpu" or "cuda:1") overrides this. Raises
    ValueError if it names a device that torch doesn't know, or that this machine doesn't have.

    >>> device().type in ("cpu", "cuda")
    True
    """
    wanted = os.environ.get("LRLIB_DEVICE")
    if not wanted:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return known_device("device", "LRLIB_DEVICE", wanted)


def known_device(owner: str, name: str, value: torch.device | str) -> torch.device:
    """`value` as a torch device, if this machine has it."""
    try:
        torch.empty(0, device=value)
        return torch.device(value)
    except (RuntimeError, TypeError, ValueError, AssertionError, NotImplementedError):
        rule = "a torch device that this machine has, such as 'cpu'"
        raise _checks.refuse(owner, name, value, rule) from None
