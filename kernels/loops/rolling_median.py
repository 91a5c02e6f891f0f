"""The median of the last `window` elements, of which some may be missing.

Every element of a piece is replaced by its rank, and the ranks in the window are counted in a
binary indexed tree (P. M. Fenwick, "A New Data Structure for Cumulative Frequency Tables",
Software: Practice and Experience 24 (3), 1994), in which the element of a given rank is found by
descending.  So a step takes the logarithm of the piece's length, whatever the window.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from kernels.loops.rolling import begin, count_present, store

__all__ = ["rolling_median_block"]


@njit(cache=True)
def _add(tree: np.ndarray, rank: int, change: int) -> None:
    node = rank + 1
    while node < len(tree):
        tree[node] += change
        node += node & -node


@njit(cache=True)
def _find(tree: np.ndarray, top: int, number: int) -> int:
    """Return the rank of the element that so many smaller ones of the window precede."""
    node, left, step = 0, number, top
    while step:
        following = node + step
        if following < len(tree) and tree[following] <= left:
            node = following
            left -= tree[following]
        step >>= 1
    return node


@njit(cache=True)
def rolling_median_block(
    i: int,
    x: np.ndarray,
    out: np.ndarray,
    window: int,
    least: int,
    block: int,
) -> None:
    """Find the median of what is not missing."""
    row, start, stop, before, values, counts = begin(i, x, window, block)
    results = np.empty(stop - start, np.float64)
    count_present(values, before, window, counts)
    # NaN come last.
    order = np.argsort(values)
    ranks = np.empty(len(values), np.int64)
    ranks[order] = np.arange(len(values))
    tree = np.zeros(len(values) + 1, np.int64)
    top = 1
    while top * 2 < len(tree):
        top *= 2
    for at in range(len(values)):
        if not math.isnan(values[at]):
            _add(tree, ranks[at], 1)
        if at >= window and not math.isnan(values[at - window]):
            _add(tree, ranks[at - window], -1)
        if at < before:
            continue
        count = counts[at - before]
        if count == 0:
            results[at - before] = math.nan
            continue
        middle = values[order[_find(tree, top, count // 2)]]
        if count % 2 == 0:
            middle = (middle + values[order[_find(tree, top, count // 2 - 1)]]) / 2
        results[at - before] = middle
    store(results, counts, max(least, 1), out[row, start:stop])
