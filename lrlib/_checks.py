"""Argument checks, one voice: `StepDecay(step_size=0): step_size must be a positive integer`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray


def _refuse(owner: str, name: str, value: object, rule: str, error: type[Exception]) -> Exception:
    shown = repr(value)
    if len(shown) > 80:
        shown = shown[:77] + "..."
    return error(f"{owner}({name}={shown}): {name} must be {rule}")


# Counts and positions up to here, and their sums, are exact as floats and fit 64 bits.
LARGEST = 2**53


def integer(owner: str, name: str, value: Any, *, low: int = 0, high: int = LARGEST) -> int:
    """`value` as an int from `low` to `high`, or the error that says so."""
    rule = {0: "a non-negative integer", 1: "a positive integer"}.get(
        low, f"an integer of at least {low}"
    )
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise _refuse(owner, name, value, rule, TypeError)
    if value < low:
        raise _refuse(owner, name, value, rule, ValueError)
    result = int(value)
    if result > high:
        raise _refuse(owner, name, value, f"{rule} and at most {high}", ValueError)
    return result


def seed(owner: str, value: Any) -> int:
    """A seed that torch's and numpy's generators take."""
    return integer(owner, "seed", value, high=2**63 - 1)


def number(
    owner: str,
    name: str,
    value: Any,
    *,
    low: float = 0.0,
    high: float = math.inf,
    above: bool = False,
) -> float:
    """`value` as a finite float within [low, high], or (low, high] where `above` is set."""
    rule = f"a finite number {'above' if above else 'of at least'} {low:g}"
    if high < math.inf:
        rule += f" and at most {high:g}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise _refuse(owner, name, value, rule, TypeError)
    try:
        result = float(value)
    except OverflowError:
        raise _refuse(owner, name, value, rule, ValueError) from None
    if not math.isfinite(result) or result > high or result < low or (above and result == low):
        raise _refuse(owner, name, value, rule, ValueError)
    return result


def choice(owner: str, name: str, value: Any, allowed: Iterable[str]) -> str:
    """`value` if it is one of `allowed`, or the error that lists them."""
    options = tuple(allowed)
    if not isinstance(value, str) or value not in options:
        listed = " or ".join(repr(option) for option in options)
        raise _refuse(owner, name, value, listed, ValueError)
    return str(value)


def items(owner: str, name: str, value: Any, rule: str) -> tuple[Any, ...]:
    """`value` as a tuple, or the error that says which sequence was due."""
    try:
        if not isinstance(value, str | bytes) and isinstance(value, Iterable):
            return tuple(value)
    except TypeError:  # an array without a dimension says only now that it can't be iterated
        pass
    raise _refuse(owner, name, value, rule, TypeError)


def array(owner: str, name: str, value: Any, rule: str) -> NDArray[np.float64]:
    """`value` as an array of floats, or the error that says what was due."""
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise _refuse(owner, name, value, rule, TypeError) from None


def function(owner: str, name: str, value: Any, rule: str) -> Callable[..., Any]:
    """`value` if it can be called, or the error that says what was due."""
    if not callable(value):
        raise _refuse(owner, name, value, rule, TypeError)
    return cast(Callable[..., Any], value)


def refuse(owner: str, name: str, value: object, rule: str) -> ValueError:
    """The ValueError for a rule that the checks above don't cover."""
    error = _refuse(owner, name, value, rule, ValueError)
    assert isinstance(error, ValueError)
    return error


def refuse_type(owner: str, name: str, value: object, rule: str) -> TypeError:
    """The TypeError for a rule that the checks above don't cover."""
    error = _refuse(owner, name, value, rule, TypeError)
    assert isinstance(error, TypeError)
    return error
