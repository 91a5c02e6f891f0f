"""Bringing rows with equal codes together, and reducing each group of them.

Rows are first divided into partitions by sorted splitters, as in sample sort (W. D. Frazer and
A. C. McKellar, "Samplesort", J. ACM 17 (3), 1970); within a partition a hash table with linear
probing numbers the codes, and a counting sort puts the rows of a code side by side, in their order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

__all__ = [
    "group_partition",
    "partition_rows",
    "scatter_rows",
    "segment_distinct",
    "segment_largest",
    "segment_median",
    "segment_smallest",
    "segment_sum",
    "segment_variance",
]

# An odd number near 2 ** 64 divided by the golden ratio: Knuth, "The Art of Computer Programming",
# volume 3, section 6.4, on multiplicative hashing.
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True)
def partition_rows(
    group: int, length: int, codes: Any, splitters: Any, partitions: Any, tables: Any
) -> None:
    """Store the partition of each row of a group, and count them."""
    table = tables[group]
    table[:] = 0
    for row in range(group * length, min((group + 1) * length, len(codes))):
        code = codes[row]
        low, width = 0, len(splitters)
        while width > 0:
            half = width >> 1
            # Without a branch that depends on the code.
            skip = splitters[low + half] <= code
            low += (half + 1) * skip
            width = (width - half - 1) * skip + half * (1 - skip)
        partitions[row] = low
        table[low] += 1


@njit(cache=True)
def scatter_rows(
    group: int, length: int, codes: Any, partitions: Any, offsets: Any, moved: Any, rows: Any
) -> None:
    """Move the codes and the numbers of a group's rows into their partitions."""
    at = offsets[group].copy()
    for row in range(group * length, min((group + 1) * length, len(codes))):
        partition = partitions[row]
        moved[at[partition]] = codes[row]
        rows[at[partition]] = row
        at[partition] += 1


@njit(cache=True)
def group_partition(
    partition: int,
    starts: Any,
    codes: Any,
    rows: Any,
    order: Any,
    found: Any,
    sizes: Any,
    groups: Any,
) -> None:
    """Order a partition's rows by code and number.

    Its codes, sorted, and how many rows each has, are stored where the partition's rows begin.
    """
    first, stop = starts[partition], starts[partition + 1]
    count = stop - first
    bits = 3
    while (1 << bits) < 2 * count:
        bits += 1
    shift = np.uint64(64 - bits)
    mask = (1 << bits) - 1
    table = np.full(1 << bits, -1, np.int64)
    ids = np.empty(count, np.int64)
    distinct = np.empty(count, np.int64)
    amount = 0
    for at in range(count):
        code = codes[first + at]
        place = np.int64((np.uint64(code) * _MULTIPLIER) >> shift)
        while table[place] >= 0 and distinct[table[place]] != code:
            place = (place + 1) & mask
        if table[place] < 0:
            table[place] = amount
            distinct[amount] = code
            amount += 1
        ids[at] = table[place]
    by_code = np.argsort(distinct[:amount])
    rank = np.empty(amount, np.int64)
    for at in range(amount):
        rank[by_code[at]] = at
        found[first + at] = distinct[by_code[at]]
    begins = np.zeros(amount + 1, np.int64)
    for at in range(count):
        ids[at] = rank[ids[at]]
        begins[ids[at] + 1] += 1
    for at in range(amount):
        sizes[first + at] = begins[at + 1]
        begins[at + 1] += begins[at]
    for at in range(count):
        order[first + begins[ids[at]]] = rows[first + at]
        begins[ids[at]] += 1
    groups[partition] = amount


@njit(cache=True)
def segment_sum(block: int, length: int, offsets: Any, values: Any, out: Any) -> None:
    """Add up each segment; 0 for an empty one."""
    for at in range(block * length, min((block + 1) * length, len(out))):
        out[at] = 0
        for value in values[offsets[at] : offsets[at + 1]]:
            out[at] += value


@njit(cache=True)
def segment_smallest(block: int, length: int, offsets: Any, values: Any, out: Any) -> None:
    """Find the smallest element of each segment that has any; NaN if it has a NaN."""
    for at in range(block * length, min((block + 1) * length, len(out))):
        part = values[offsets[at] : offsets[at + 1]]
        if len(part):
            low = part[0]
            for value in part:
                if value < low or value != value:  # noqa: PLR0124 - only a NaN differs from itself
                    low = value
            out[at] = low


@njit(cache=True)
def segment_largest(block: int, length: int, offsets: Any, values: Any, out: Any) -> None:
    """Find the largest element of each segment that has any; NaN if it has a NaN."""
    for at in range(block * length, min((block + 1) * length, len(out))):
        part = values[offsets[at] : offsets[at + 1]]
        if len(part):
            high = part[0]
            for value in part:
                if value > high or value != value:  # noqa: PLR0124 - only a NaN differs from itself
                    high = value
            out[at] = high


@njit(cache=True)
def segment_variance(
    block: int, length: int, offsets: Any, values: Any, freedom: int, out: Any
) -> None:
    """Divide the squared distances from the mean of a segment by its length less `freedom`.

    In two passes, which lose no digits to a large mean.  NaN where the divisor is not positive.
    """
    for at in range(block * length, min((block + 1) * length, len(out))):
        part = values[offsets[at] : offsets[at + 1]]
        total = 0.0
        for value in part:
            total += value
        squares = 0.0
        if len(part) > freedom:
            mean = total / len(part)
            for value in part:
                squares += (value - mean) ** 2
            out[at] = squares / (len(part) - freedom)
        else:
            out[at] = np.nan


@njit(cache=True)
def segment_median(block: int, length: int, offsets: Any, values: Any, out: Any) -> None:
    """Find the middle of each segment that has any element; NaN if it has a NaN."""
    for at in range(block * length, min((block + 1) * length, len(out))):
        part = np.sort(values[offsets[at] : offsets[at + 1]])
        if len(part):
            middle = len(part) // 2
            if part[-1] != part[-1]:
                out[at] = np.nan
            elif len(part) % 2:
                out[at] = part[middle]
            else:
                out[at] = part[middle - 1] / 2 + part[middle] / 2


@njit(cache=True)
def segment_distinct(block: int, length: int, offsets: Any, values: Any, out: Any) -> None:
    """Count the different elements of each segment; all NaNs are one."""
    for at in range(block * length, min((block + 1) * length, len(out))):
        part = np.sort(values[offsets[at] : offsets[at + 1]])
        amount = min(len(part), 1)
        for place in range(1, len(part)):
            before, value = part[place - 1], part[place]
            amount += (value != before) & ((value == value) | (before == before))  # noqa: PLR0124
        out[at] = amount
