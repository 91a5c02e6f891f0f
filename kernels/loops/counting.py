"""Counting elements by bin or by key, a group of rows into a table of its own.

Every function is a body: it takes the number of a group, the rows of a group and whole arrays, and
fills row ``group`` of `tables` anew, so that it may be run again.  With `weights`, which is empty
where elements are counted, it sums the weights instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

__all__ = ["block_extremes", "count_binned", "count_keys", "count_uniform"]

# Elements that are looked at together: in the first cache with their bins.
_TILE = 512


@njit(cache=True)
def _exact_bin(
    element: Any, value: Any, edges: Any, low: Any, high: Any, first: Any, span: Any, bins: Any
) -> int:
    """Place a value among bins of equal width by the steps of `numpy.histogram`.

    The quotient may miss the bin by one, which the edges themselves decide.  -1 is outside, which
    is told of the element before it was rounded to a value.
    """
    if not low <= element <= high:
        return -1
    count = len(edges) - 1
    at = int((value - first) / span * bins)
    if at == count:
        at -= 1
    if value < edges[at]:
        at -= 1
    if value >= edges[at + 1] and at != count - 1:
        at += 1
    return at


@njit(cache=True)
def _guess_bins(
    part: Any, first: Any, last: Any, scale: Any, near: Any, far: Any, values: Any, bins: Any
) -> None:
    """Place elements where no rounding can matter; -1 where it might, or outside.

    Parameters
    ----------
    near, far : float
        A position in units of bins is left to `_exact_bin` unless what follows its point lies
        between these two.
    values : ndarray
        Where the elements are put, as numbers of the edges' type.
    """
    for at in range(len(part)):
        values[at] = part[at]
        value = values[at]
        position = (value - first) * scale
        below = np.floor(position)
        rest = position - below
        is_safe = (value >= first) & (value < last) & (rest > near) & (rest < far)
        bins[at] = np.int32(below) if is_safe else np.int32(-1)


@njit(cache=True)
def count_uniform(
    group: int,
    length: int,
    x: Any,
    weights: Any,
    edges: Any,
    low: Any,
    high: Any,
    first: Any,
    last: Any,
    span: Any,
    scale: Any,
    near: Any,
    far: Any,
    tables: Any,
) -> None:
    """Count a group's elements in bins of equal width.

    `low` and `high` are the range as the elements are compared with it, `first` and `last` the same
    in the type of the edges.
    """
    table = tables[group]
    table[:] = 0
    values = np.empty(_TILE, edges.dtype)
    bins = np.empty(_TILE, np.int32)
    count = np.empty(1, edges.dtype)
    count[0] = len(edges) - 1
    stop = min((group + 1) * length, len(x))
    for start in range(group * length, stop, _TILE):
        part = x[start : min(start + _TILE, stop)]
        _guess_bins(part, first, last, scale, near, far, values, bins)
        least = np.int32(0)
        for at in range(len(part)):
            least = min(least, bins[at])
        if least < 0:
            for at in range(len(part)):
                if bins[at] < 0:
                    bins[at] = _exact_bin(
                        part[at], values[at], edges, low, high, first, span, count[0]
                    )
        if len(weights):
            for at in range(len(part)):
                if bins[at] >= 0:
                    table[np.uint32(bins[at])] += weights[start + at]
        else:
            for at in range(len(part)):
                if bins[at] >= 0:
                    table[np.uint32(bins[at])] += 1


@njit(cache=True)
def _bin_of(value: float, edges: Any) -> int:
    """Find the bin of a value by halving; the last one is closed; -1 is outside."""
    last = len(edges) - 1
    if not edges[0] <= value <= edges[last]:
        return -1
    if value == edges[last]:
        return last - 1
    low, high = 0, last
    while high - low > 1:
        middle = (low + high) >> 1
        if edges[middle] <= value:
            low = middle
        else:
            high = middle
    return low


@njit(cache=True)
def count_binned(
    group: int,
    length: int,
    x: Any,
    weights: Any,
    edges: Any,
    begins: Any,
    tables: Any,
) -> None:
    """Count a group's points, rows of `x`, in boxes between edges.

    `edges` has those of one axis after those of another, which begin at `begins`.
    """
    table = tables[group]
    table[:] = 0
    for row in range(group * length, min((group + 1) * length, len(x))):
        box = 0
        for axis in range(x.shape[1]):
            own = edges[begins[axis] : begins[axis + 1]]
            found = _bin_of(x[row, axis], own)
            if found < 0:
                box = -1
                break
            box = box * (len(own) - 1) + found
        if box >= 0:
            if len(weights):
                table[box] += weights[row]
            else:
                table[box] += 1


@njit(cache=True)
def count_keys(group: int, length: int, keys: Any, low: int, weights: Any, tables: Any) -> None:
    """Count a group's keys, of which `low` has the first entry of the table."""
    table = tables[group]
    table[:] = 0
    part = keys[group * length : (group + 1) * length]
    if len(weights):
        added = weights[group * length : (group + 1) * length]
        for at in range(len(part)):
            table[np.uint64(np.int64(part[at]) - low)] += added[at]
    else:
        for at in range(len(part)):
            table[np.uint64(np.int64(part[at]) - low)] += 1


@njit(cache=True, fastmath={"nnan", "nsz"})
def _ends(values: Any) -> Any:
    """Return the smallest and the largest of values among which is no NaN."""
    low = high = values[0]
    for value in values:
        low = min(value, low)
        high = max(value, high)
    return low, high


@njit(cache=True)
def _any_nan(values: Any) -> Any:
    found = 0
    for value in values:
        found |= value != value  # noqa: PLR0124 - only a NaN differs from itself
    return found


@njit(cache=True)
def _store_extremes(values: Any, ends: Any) -> None:
    if _any_nan(values):
        ends[:] = np.nan
    else:
        ends[0], ends[1] = _ends(values)


@njit(cache=True)
def block_extremes(block: int, length: int, x: Any, ends: Any) -> None:
    """Store the smallest and the largest element of each column of a block of rows.

    Both are NaN where there is one.
    """
    for axis in range(x.shape[1]):
        part = x[block * length : (block + 1) * length, axis]
        if x.shape[1] == 1:
            # What lies densely is looked at in vectors.
            _store_extremes(np.ascontiguousarray(part), ends[block, :, axis])
        else:
            _store_extremes(part, ends[block, :, axis])
