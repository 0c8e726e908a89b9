"""Argument checks, one voice: `StepDecay(step_size=0): step_size must be a positive integer`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any


def _refuse(owner: str, name: str, value: object, rule: str, error: type[Exception]) -> Exception:
    shown = repr(value)
    if len(shown) > 80:
        shown = shown[:77] + "..."
    return error(f"{owner}({name}={shown}): {name} must be {rule}")


def integer(owner: str, name: str, value: Any, *, low: int = 0) -> int:
    """`value` as an int that is at least `low`, or the error that says so."""
    rule = {0: "a non-negative integer", 1: "a positive integer"}.get(
        low, f"an integer of at least {low}"
    )
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise _refuse(owner, name, value, rule, TypeError)
    if value < low:
        raise _refuse(owner, name, value, rule, ValueError)
    return int(value)


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
    if value not in options:
        listed = " or ".join(repr(option) for option in options)
        raise _refuse(owner, name, value, listed, ValueError)
    return str(value)


def items(owner: str, name: str, value: Any, rule: str) -> tuple[Any, ...]:
    """`value` as a tuple, or the error that says which sequence was due."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise _refuse(owner, name, value, rule, TypeError)
    return tuple(value)


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
