"""Argument checks, all in one form: `StepDecay(step_size=0): step_size must be a positive integer`.

A check takes (owner, name, value) and returns the value, or raises an error that says what is
allowed. As part of a type it checks a dataclass's field: `step_size: Count` (see `Checked`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache, partial
from numbers import Integral, Real
from typing import Annotated, Any, get_type_hints

import numpy as np
from numpy.typing import NDArray

# (owner, name, value) → the value, or an error.
Check = Callable[[str, str, Any], Any]

# Counts and positions up to here, and their sums, are exact as floats and fit 64 bits.
LARGEST = 2**53


def refuse(
    owner: str, name: str, value: object, rule: str, error: type[Exception] = ValueError
) -> Exception:
    """The error to raise: `owner(name=value): name must be rule`."""
    shown = repr(value)
    if len(shown) > 80:
        shown = shown[:77] + "..."
    return error(f"{owner}({name}={shown}): {name} must be {rule}")


def integer(owner: str, name: str, value: Any, *, low: int = 0, high: int = LARGEST) -> int:
    """`value` as an int from `low` to `high`."""
    names = {0: "a non-negative integer", 1: "a positive integer"}
    rule = names.get(low, f"an integer of at least {low}")
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise refuse(owner, name, value, rule, TypeError)
    result = int(value)
    if not low <= result <= high:
        raise refuse(owner, name, value, rule if result < low else f"{rule} and at most {high}")
    return result


def number(
    owner: str, name: str, value: Any, *, high: float = math.inf, above: bool = False
) -> float:
    """`value` as a finite float within [0, high], or (0, high] if `above` is set."""
    rule = f"a finite number {'above' if above else 'of at least'} 0"
    if high < math.inf:
        rule += f" and at most {high:g}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise refuse(owner, name, value, rule, TypeError)
    result = float(value)
    if not (math.isfinite(result) and 0 <= result <= high) or (above and result == 0):
        raise refuse(owner, name, value, rule)
    return result


def instance(owner: str, name: str, value: Any, *, kind: Any, rule: str) -> Any:
    """`value` if it is an instance of `kind`."""
    if not isinstance(value, kind):
        raise refuse(owner, name, value, rule, TypeError)
    return value


def one_of(*allowed: str) -> Check:
    """The check of a string that must be one of these."""

    def checked(owner: str, name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise refuse(owner, name, value, " or ".join(map(repr, allowed)))
        return value

    return checked


def items(owner: str, name: str, value: Any, rule: str) -> tuple[Any, ...]:
    """`value`, a sequence or an iterator, as a tuple."""
    try:
        if not isinstance(value, str | bytes) and isinstance(value, Iterable):
            return tuple(value)
    except TypeError:  # an array without a dimension says only now that it can't be iterated
        pass
    raise refuse(owner, name, value, rule, TypeError)


def array(
    owner: str, name: str, value: Any, rule: str, single: bool = False
) -> NDArray[np.float64]:
    """`value` as an array of floats; with `single`, an array of just one, without dimensions."""
    try:
        result = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError):
        raise refuse(owner, name, value, rule, TypeError) from None
    if single and result.ndim:
        raise refuse(owner, name, value, rule, TypeError)
    return result


def each(check: Check, least: int = 0, rule: str = "a sequence") -> Check:
    """The check of a sequence of at least so many items, each of which passes `check`."""

    def checked(owner: str, name: str, value: Any) -> tuple[Any, ...]:
        found = items(owner, name, value, rule)
        if len(found) < least:
            items_due = f"{least} item{'s' * (least > 1)}"
            raise refuse(owner, name, value, f"a sequence of at least {items_due}")
        return tuple(check(owner, name, item) for item in found)

    return checked


def optional(check: Check) -> Check:
    """The check of a value that may be None."""
    return lambda owner, name, value: None if value is None else check(owner, name, value)


# --- Checks with a name, for arguments; and as types, for fields -------------------------------

count = partial(integer, low=1)
seed = partial(integer, high=2**63 - 1)  # what torch's and numpy's generators take
positive = partial(number, above=True)
share = partial(number, high=1.0, above=True)
flag = partial(instance, kind=bool, rule="True or False")

Whole = Annotated[int, integer]
Count = Annotated[int, count]
Seed = Annotated[int, seed]
Factor = Annotated[float, number]
Positive = Annotated[float, positive]
Share = Annotated[float, share]
Flag = Annotated[bool, flag]

_hints = cache(partial(get_type_hints, include_extras=True))


class Checked:
    """A frozen dataclass: each field becomes what the check in its type makes of it."""

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():  # type: ignore[arg-type]
            for check in getattr(hint, "__metadata__", ()):
                value = check(type(self).__name__, name, getattr(self, name))
                object.__setattr__(self, name, value)
