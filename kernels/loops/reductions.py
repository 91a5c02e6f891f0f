"""Folds: what a reduction makes of one contiguous run of numbers.

Each fold takes a one-dimensional contiguous array and the numbers that it starts from, whose types
are those of the accumulators, and returns the *state* of the run, a tuple of numbers; states of
neighbouring runs can be combined.

Sums are taken in blocks whose totals are added in a balanced tree, so that the error grows with the
logarithm of the length (N. J. Higham, "The Accuracy of Floating Point Summation", SIAM Journal on
Scientific Computing 14 (4), 1993, pp. 783-799).  Means and squared deviations are those of small
blocks, each taken in two passes, combined by the formula of T. F. Chan, G. H. Golub and R. J.
LeVeque, "Algorithms for Computing the Sample Variance", The American Statistician 37 (3), 1983,
pp. 242-247.

Loops go by index, because LLVM makes no vectors of those that iterate over an array.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

__all__ = [
    "fold_all",
    "fold_and",
    "fold_any",
    "fold_argmax",
    "fold_argmin",
    "fold_count",
    "fold_max",
    "fold_min",
    "fold_minmax",
    "fold_moments",
    "fold_or",
    "fold_product",
    "fold_sum",
    "fold_xor",
]

# Elements that are added in the lanes of a vector before their total enters the tree.
_SUM_BLOCK = 256

# Elements that are read twice: the second time from the first-level cache.
_CACHED_BLOCK = 1024

# The tree of sums has one open total a level, and no array has 2**63 blocks.
_LEVELS = 64

# The order of additions within a block is free, so that they can be done in vectors.
_FREE_ORDER = {"reassoc", "nsz"}


@njit(cache=True, fastmath=_FREE_ORDER)
def _lanes_sum(x: Any, zero: Any) -> Any:
    total = zero
    for at in range(len(x)):
        value = x[at]
        total += value
    return total


@njit(cache=True)
def fold_sum(x: Any, zero: Any) -> Any:
    """Sum a run, pairwise above blocks of some hundred elements."""
    count = len(x)
    if count <= _SUM_BLOCK:
        return (_lanes_sum(x, zero),)
    # As in binary counting: level k is open while it holds the total of 2**k blocks.
    totals = np.empty(_LEVELS, np.asarray(zero).dtype)
    top = 0
    for begin in range(0, count, _SUM_BLOCK):
        total = _lanes_sum(x[begin : begin + _SUM_BLOCK], zero)
        carry = begin // _SUM_BLOCK + 1
        while carry & 1 == 0:
            top -= 1
            total = totals[top] + total
            carry >>= 1
        totals[top] = total
        top += 1
    total = totals[top - 1]
    for level in range(top - 2, -1, -1):
        total = totals[level] + total
    return (total,)


@njit(cache=True, fastmath=_FREE_ORDER)
def fold_product(x: Any, one: Any) -> Any:
    """Multiply a run."""
    total = one
    for at in range(len(x)):
        value = x[at]
        total *= value
    return (total,)


@njit(cache=True)
def fold_count(x: Any, zero: Any) -> Any:
    """Count the elements of a run that are not zero; NaN is not."""
    total = zero
    for at in range(len(x)):
        value = x[at]
        total += value != 0
    return (total,)


@njit(cache=True)
def fold_any(x: Any) -> Any:
    """Tell whether an element of a run is not zero."""
    for begin in range(0, len(x), _CACHED_BLOCK):
        found = 0
        part = x[begin : begin + _CACHED_BLOCK]
        for at in range(len(part)):
            found |= part[at] != 0
        if found:
            return (True,)
    return (False,)


@njit(cache=True)
def fold_all(x: Any) -> Any:
    """Tell whether no element of a run is zero."""
    for begin in range(0, len(x), _CACHED_BLOCK):
        found = 0
        part = x[begin : begin + _CACHED_BLOCK]
        for at in range(len(part)):
            found |= part[at] == 0
        if found:
            return (False,)
    return (True,)


@njit(cache=True)
def fold_and(x: Any, ones: Any) -> Any:
    """Take the bitwise and of a run of integers or booleans."""
    total = ones
    for at in range(len(x)):
        value = x[at]
        total &= value
    return (total,)


@njit(cache=True)
def fold_or(x: Any, zero: Any) -> Any:
    """Take the bitwise or of a run of integers or booleans."""
    total = zero
    for at in range(len(x)):
        value = x[at]
        total |= value
    return (total,)


@njit(cache=True)
def fold_xor(x: Any, zero: Any) -> Any:
    """Take the bitwise exclusive or of a run of integers or booleans."""
    total = zero
    for at in range(len(x)):
        value = x[at]
        total ^= value
    return (total,)


@njit(cache=True)
def _first_nan(x: Any) -> int:
    """Give the place of the first NaN, or -1; counting first is what can be vectorised."""
    count = 0
    for at in range(len(x)):
        value = x[at]
        count += value != value  # noqa: PLR0124 - only NaN differs from itself
    if count:
        for at in range(len(x)):
            if x[at] != x[at]:
                return at
    return -1


# Without NaNs, which the callers look for first, the smaller of two is one instruction.
@njit(cache=True, fastmath={"nnan", "nsz"})
def _lanes_min(x: Any, start: Any) -> Any:
    least = start
    for at in range(len(x)):
        value = x[at]
        least = min(least, value)
    return least


@njit(cache=True, fastmath={"nnan", "nsz"})
def _lanes_max(x: Any, start: Any) -> Any:
    most = start
    for at in range(len(x)):
        value = x[at]
        most = max(most, value)
    return most


@njit(cache=True)
def fold_min(x: Any, largest: Any) -> Any:
    """Give the smallest of a run, `largest` if it is empty; NaN if there is one."""
    least = largest
    for begin in range(0, len(x), _CACHED_BLOCK):
        part = x[begin : begin + _CACHED_BLOCK]
        at = _first_nan(part)
        if at >= 0:
            return (part[at],)
        least = _lanes_min(part, least)
    return (least,)


@njit(cache=True)
def fold_max(x: Any, smallest: Any) -> Any:
    """Give the largest of a run, `smallest` if it is empty; NaN if there is one."""
    most = smallest
    for begin in range(0, len(x), _CACHED_BLOCK):
        part = x[begin : begin + _CACHED_BLOCK]
        at = _first_nan(part)
        if at >= 0:
            return (part[at],)
        most = _lanes_max(part, most)
    return (most,)


@njit(cache=True)
def fold_minmax(x: Any, largest: Any, smallest: Any) -> Any:
    """Give the smallest and the largest of a run; both NaN if there is one."""
    least = largest
    most = smallest
    for begin in range(0, len(x), _CACHED_BLOCK):
        part = x[begin : begin + _CACHED_BLOCK]
        at = _first_nan(part)
        if at >= 0:
            return part[at], part[at]
        least = _lanes_min(part, least)
        most = _lanes_max(part, most)
    return least, most


@njit(cache=True)
def _place(x: Any, begin: int, value: Any) -> int:
    """Give the first place of a value that stands in a run at `begin` or later."""
    at = begin
    while x[at] != value:
        at += 1
    return at


@njit(cache=True)
def fold_argmin(x: Any) -> Any:
    """Give the smallest of a run, which is not empty, and its first place; NaN comes first."""
    least = x[0]
    block = 0
    for begin in range(0, len(x), _CACHED_BLOCK):
        part = x[begin : begin + _CACHED_BLOCK]
        at = _first_nan(part)
        if at >= 0:
            return part[at], begin + at
        found = _lanes_min(part, least)
        if found < least:
            least = found
            block = begin
    return least, _place(x, block, least)


@njit(cache=True)
def fold_argmax(x: Any) -> Any:
    """Give the largest of a run, which is not empty, and its first place; NaN comes first."""
    most = x[0]
    block = 0
    for begin in range(0, len(x), _CACHED_BLOCK):
        part = x[begin : begin + _CACHED_BLOCK]
        at = _first_nan(part)
        if at >= 0:
            return part[at], begin + at
        found = _lanes_max(part, most)
        if found > most:
            most = found
            block = begin
    return most, _place(x, block, most)


@njit(cache=True, fastmath=_FREE_ORDER)
def _lanes_squares(x: Any, mean: Any) -> Any:
    squares = 0.0
    drift = mean - mean
    for at in range(len(x)):
        value = x[at]
        deviation = value - mean
        drift += deviation
        squares += (deviation * deviation.conjugate()).real
    return squares, drift


@njit(cache=True)
def fold_moments(x: Any, zero: Any) -> Any:
    """Give a number near a run, the run's mean less it, and the squared distances from the mean.

    The mean of numbers near 1e9, rounded, is some 1e-7 off, and so would be what the squared
    distance between two such means adds; the difference of two means that are given as two numbers
    each is not.
    """
    pivot = zero
    mean = zero
    squares = 0.0
    for begin in range(0, len(x), _CACHED_BLOCK):
        part = x[begin : begin + _CACHED_BLOCK]
        count = len(part)
        # The deviations from a rounded mean do not sum to zero; what they sum to corrects both.
        rough = _lanes_sum(part, zero) / count
        part_squares, drift = _lanes_squares(part, rough)
        part_squares -= (drift * drift.conjugate()).real / count
        if begin == 0:
            pivot = rough
            mean = drift / count
            squares = part_squares
        else:
            apart = (rough - pivot) + drift / count - mean
            share = count / (begin + count)
            mean += apart * share
            squares += part_squares + (apart * apart.conjugate()).real * begin * share
    return pivot, mean, squares
