"""Steps of scans: associative functions of two numbers, and the quick scan of a run by addition."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

__all__ = [
    "add",
    "add_durations",
    "greater",
    "greater_time",
    "lesser",
    "multiply",
    "scan_sum",
]

# What dates and durations use for "not a time": the smallest int64.
_NAT = np.int64(np.iinfo(np.int64).min)


@njit(cache=True)
def add(a: Any, b: Any) -> Any:
    """Add two numbers."""
    return a + b


@njit(cache=True)
def multiply(a: Any, b: Any) -> Any:
    """Multiply two numbers."""
    return a * b


@njit(cache=True)
def lesser(a: Any, b: Any) -> Any:
    """Give the smaller of two numbers; NaN if one of them is, the smaller of which is no time."""
    return b if b < a or b != b else a  # noqa: PLR0124 - only NaN differs from itself


@njit(cache=True)
def greater(a: Any, b: Any) -> Any:
    """Give the larger of two numbers; NaN if one of them is."""
    return b if b > a or b != b else a  # noqa: PLR0124 - as above


@njit(cache=True)
def add_durations(a: Any, b: Any) -> Any:
    """Add two durations, as numbers; none if one of them is none."""
    return _NAT if min(a, b) == _NAT else a + b


@njit(cache=True)
def greater_time(a: Any, b: Any) -> Any:
    """Give the later of two times, as numbers; none if one of them is none."""
    return _NAT if min(a, b) == _NAT else max(a, b)


@njit(cache=True)
def scan_sum(x: Any, out: Any, carry: Any, zero: Any) -> None:
    """Write ``carry + x[0] + ... + x[i]`` to ``out[i]``, in the type of `carry` and `zero`.

    Four elements are added before the carry is, so that the next four wait for one addition and
    not for four.
    """
    total = carry
    fours = len(x) // 4 * 4
    for at in range(0, fours, 4):
        first = zero + x[at]
        second = first + x[at + 1]
        pair = (zero + x[at + 2]) + x[at + 3]
        out[at] = total + first
        out[at + 1] = total + second
        out[at + 2] = total + (second + x[at + 2])
        total = total + (second + pair)
        out[at + 3] = total
    for at in range(fours, len(x)):
        total = total + x[at]
        out[at] = total
