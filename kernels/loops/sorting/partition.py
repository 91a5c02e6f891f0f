"""Bodies that part an array into buckets of neighbouring keys, a block of elements each.

Between which splitters a key lies is found by looking up the cell of equal width that it is in, and
a search among the few splitters of that cell without branches, which the processor could not
foresee (P. Sanders and S. Winkel, "Super Scalar Sample Sort", ESA 2004).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from kernels.loops.sorting.keys import load_order, order_key

__all__ = [
    "PLAN_WORDS",
    "collect_buckets",
    "count_buckets",
    "follow_one_another",
    "scatter_elements",
    "scatter_pairs",
]

PLAN_WORDS = 4
"""Words of a plan: the least splitter; the bits of a key within a cell; the last cell; the steps of
a search within one."""

_ZERO = np.uint64(0)
_ONE = np.uint64(1)


@njit(cache=True)
def follow_one_another(
    block: int, bits: Any, order: Any, length: int, descending: Any, follows: Any
) -> None:
    """Note whether a block's elements ascend, or strictly descend, to the first of the next one."""
    loaded = load_order(order)
    start = block * length
    part = bits[start : min(start + length + 1, len(bits))]
    previous = order_key(part[0], loaded)
    follows[block] = False
    for bit in part[1:]:
        key = order_key(bit, loaded)
        if key >= previous if descending else key < previous:
            return
        previous = key
    follows[block] = True


@njit(cache=True)
def count_buckets(
    block: int,
    bits: Any,
    order: Any,
    plan: Any,
    first: Any,
    splitters: Any,
    length: int,
    buckets: Any,
    counts: Any,
) -> None:
    """Find the bucket of each element of a block, and how many each bucket gets.

    Parameters
    ----------
    plan : uint64 array
        `PLAN_WORDS`.
    first : uint16 array
        For each cell the number of splitters below it.
    splitters : uint64 array
        In order, followed by as many of the largest number as a search may look beyond the end.
    buckets : uint16 array
        Number of splitters below each element's key.
    counts : int64 array
        A row for each block, a column for each bucket.
    """
    loaded = load_order(order)
    least, shift, last_cell, steps = plan[0], plan[1], plan[2], plan[3]
    widest = _ONE << steps >> _ONE
    start = block * length
    part = bits[start : start + length]
    into = buckets[start : start + length]
    row = counts[block]
    row[:] = 0
    for at in range(len(part)):
        key = order_key(part[at], loaded)
        cell = min((max(key, least) - least) >> shift, last_cell)
        bucket = np.uint64(first[cell])
        step = widest
        while step:
            if splitters[bucket + step - _ONE] < key:
                bucket += step
            step >>= _ONE
        into[at] = bucket
        row[bucket] += 1


@njit(cache=True)
def _scatter(
    block: int, bits: Any, length: int, buckets: Any, offsets: Any, moved: Any, moved_index: Any
) -> None:
    start = block * length
    part = bits[start : start + length]
    bucket_of = buckets[start : start + length]
    # A copy, because a block may have to be moved again.
    ends = offsets[block].copy()
    for at in range(len(part)):
        bucket = np.uint64(bucket_of[at])
        to = ends[bucket]
        moved[np.uint64(to)] = part[at]
        if moved_index is not None:
            moved_index[np.uint64(to)] = start + at
        ends[bucket] = to + 1


@njit(cache=True)
def scatter_elements(
    block: int, bits: Any, length: int, buckets: Any, offsets: Any, moved: Any
) -> None:
    """Move a block's elements to their buckets, in the order in which they stand.

    Parameters
    ----------
    buckets : uint16 array
        From `count_buckets`.
    offsets : int64 array
        Where the block's first element of each bucket goes: a row for each block.
    """
    _scatter(block, bits, length, buckets, offsets, moved, None)


@njit(cache=True)
def scatter_pairs(
    block: int, bits: Any, length: int, buckets: Any, offsets: Any, moved: Any, moved_index: Any
) -> None:
    """Move a block's elements as `scatter_elements` does, and with each where it came from."""
    _scatter(block, bits, length, buckets, offsets, moved, moved_index)


@njit(cache=True)
def collect_buckets(
    block: int,
    bits: Any,
    length: int,
    buckets: Any,
    limits: Any,
    offsets: Any,
    elements: Any,
    index: Any,
) -> None:
    """Copy a block's elements of some buckets, in the order in which they stand.

    Parameters
    ----------
    limits : uint16 array
        The lowest and the highest of the buckets.
    offsets : int64 array
        Where each block's first element goes.
    """
    start = block * length
    part = bits[start : start + length]
    bucket_of = buckets[start : start + length]
    lowest, highest = limits[0], limits[1]
    to = offsets[block]
    for at in range(len(part)):
        if lowest <= bucket_of[at] <= highest:
            elements[to] = part[at]
            index[to] = start + at
            to += 1
