"""Choosing rows: stable compaction by flags, gathering by indices.

Every function is a body: it takes the number of a block, the rows of a block and whole arrays, and
writes only what belongs to its block.  Elements are moved as words of their size, so that one loop
serves all dtypes.

Compaction in parallel by an exclusive scan of the counts: G. E. Blelloch, "Prefix Sums and Their
Applications", CMU-CS-90-190, 1990.  That it stores every element and moves on only past those that
are kept, so that no branch depends on the data, is from K. A. Ross, "Selection Conditions in Main
Memory", ACM TODS 29 (1), 2004.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

__all__ = [
    "compact",
    "compact_rows",
    "coordinates",
    "count_flags",
    "gather",
    "gather_rows",
    "index_bounds",
    "positions",
]

# What `gather` does with an index that is out of range: it was checked before, goes round, or is
# moved to the nearer end.
_WRAP = 1
_CLIP = 2

# A block that keeps fewer than one row in so many is walked with branches, eight flags at a time:
# these are then nearly always guessed right, and rows that are dropped are not read.
_SPARSE = 24


@njit(cache=True)
def count_flags(block: int, length: int, flags: Any, counts: Any) -> None:
    """Count the flags of a block that are set."""
    total = 0
    for flag in flags[block * length : (block + 1) * length]:
        total += flag != 0
    counts[block] = total


@njit(cache=True)
def compact(block: int, length: int, flags: Any, values: Any, offsets: Any, out: Any) -> None:
    """Move the elements whose flags are set to where the block's part of the result begins."""
    part = flags[block * length : (block + 1) * length]
    source = values[block * length : (block + 1) * length]
    target = out[offsets[block] : offsets[block + 1]]
    kept = len(target)
    at = 0
    if kept == len(part):
        target[:] = source
    elif kept * _SPARSE < len(part):
        words = len(part) // 8
        for word, any_set in enumerate(part[: words * 8].view(np.uint64)):
            if any_set:
                for row in range(word * 8, word * 8 + 8):
                    if part[row]:
                        target[at] = source[row]
                        at += 1
        for row in range(words * 8, len(part)):
            if part[row]:
                target[at] = source[row]
                at += 1
    else:
        # It ends with the last row that is kept: what a dropped one behind it would overwrite
        # belongs to the next block.
        row = 0
        while at < kept:
            target[at] = source[row]
            at += part[row] != 0
            row += 1


@njit(cache=True)
def compact_rows(block: int, length: int, flags: Any, values: Any, offsets: Any, out: Any) -> None:
    """Do as `compact`, with rows of several words."""
    part = flags[block * length : (block + 1) * length]
    start = block * length
    at = offsets[block]
    for row in range(len(part)):
        if part[row]:
            for word in range(values.shape[1]):
                out[at, word] = values[start + row, word]
            at += 1


@njit(cache=True)
def positions(block: int, length: int, flags: Any, offsets: Any, out: Any) -> None:
    """Store the numbers of the rows whose flags are set."""
    part = flags[block * length : (block + 1) * length]
    target = out[offsets[block] : offsets[block + 1]]
    start = block * length
    at = 0
    row = 0
    while at < len(target):
        target[at] = start + row
        at += part[row] != 0
        row += 1


@njit(cache=True)
def coordinates(block: int, length: int, flat: Any, shape: Any, out: Any) -> None:
    """Split numbers of elements in C order into one row of indices for each axis."""
    for at in range(block * length, min((block + 1) * length, len(flat))):
        rest = flat[at]
        for axis in range(len(shape) - 1, -1, -1):
            out[axis, at] = rest % shape[axis]
            rest //= shape[axis]


@njit(cache=True)
def index_bounds(block: int, length: int, indices: Any, bounds: Any) -> None:
    """Store the smallest and the largest index of a block that is not empty."""
    part = indices[block * length : (block + 1) * length]
    low = high = part[0]
    for index in part:
        low = min(low, index)
        high = max(high, index)
    bounds[block, 0] = low
    bounds[block, 1] = high


@njit(cache=True)
def _row_of(index: int, count: int, mode: int) -> int:
    """Return the row that an index means."""
    if mode == _CLIP:
        return min(max(index, 0), count - 1)
    if mode == _WRAP:
        return index % count
    return index + count if index < 0 else index


@njit(cache=True)
def gather(block: int, length: int, indices: Any, mode: int, values: Any, out: Any) -> None:
    """Fetch the elements that a block of indices names."""
    part = indices[block * length : (block + 1) * length]
    target = out[block * length : (block + 1) * length]
    count = len(values)
    for at in range(len(part)):
        target[at] = values[_row_of(part[at], count, mode)]


@njit(cache=True)
def gather_rows(block: int, length: int, indices: Any, mode: int, values: Any, out: Any) -> None:
    """Fetch rows of several words along the middle one of three axes.

    A block is a range of the rows of the result, counted through the first two axes.
    """
    count = values.shape[1]
    each = len(indices)
    for row in range(block * length, min((block + 1) * length, out.shape[0] * each)):
        outer, at = divmod(row, each)
        chosen = _row_of(indices[at], count, mode)
        for word in range(values.shape[2]):
            out[outer, at, word] = values[outer, chosen, word]
