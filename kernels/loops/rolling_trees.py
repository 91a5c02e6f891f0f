"""Sums of short windows, each made of the sums of 4, 16 and 64 neighbours.

Sums of four neighbours give those of sixteen, and so on, for many windows at a time, in vectors; a
window of 100 is one sum of 4 and six of 16.  The rounding errors are those of a tree, and a window
has the same ones wherever it lies.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["TREE_WINDOW", "sum_windows"]

# Longer windows are summed in less time by running sums.
TREE_WINDOW = 192

# So many sums of one length are added as they are, more of them as sums of a greater length.
_ADDED_MAX = 8


@njit(cache=True)
def _fours(values: np.ndarray, apart: int, sums: np.ndarray) -> None:
    """Sum four values each, which lie `apart`."""
    count = len(sums)
    # Slices, because LLVM then sees that no index is negative.
    one = values[:count]
    two = values[apart : apart + count]
    three = values[2 * apart : 2 * apart + count]
    four = values[3 * apart : 3 * apart + count]
    for at in range(count):
        sums[at] = (one[at] + two[at]) + (three[at] + four[at])


@njit(cache=True)
def _add(values: np.ndarray, apart: int, number: int, sums: np.ndarray) -> None:
    """Add to each sum so many values, which lie `apart`."""
    count = len(sums)
    for done in range(0, number - 1, 2):
        first = done * apart
        one = values[first : first + count]
        two = values[first + apart : first + apart + count]
        for at in range(count):
            sums[at] += one[at] + two[at]
    if number % 2:
        first = (number - 1) * apart
        one = values[first : first + count]
        for at in range(count):
            sums[at] += one[at]


@njit(cache=True)
def sum_windows(
    values: np.ndarray, window: int, sums: np.ndarray, even: np.ndarray, odd: np.ndarray
) -> None:
    """Sum the windows that begin at each of the first ``len(sums)`` values.

    Parameters
    ----------
    values : float64 array
        Of ``len(sums) + window - 1`` elements.
    sums : float64 array
    even, odd : float64 array
        Scratch, at least as large as `values`.
    """
    sums[:] = 0.0
    parts, length, missing = values, 1, window
    is_even = True
    first = 0
    while missing > _ADDED_MAX:
        # What does not fill a sum of the next length.
        number = missing % 4
        _add(parts[first:], length, number, sums)
        first += number * length
        more = (even if is_even else odd)[: len(parts) - 3 * length]
        _fours(parts, length, more)
        parts, length, missing = more, 4 * length, missing // 4
        is_even = not is_even
    _add(parts[first:], length, missing, sums)
