"""Rows parted by ranges of their keys, and a table of the keys of each range.

A range has ``2 ** shift`` keys, so few that their entries of a table stay in a core's own cache
while the rows of the range, which lie side by side by then, are added up.  Within a range rows keep
their order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

__all__ = ["add_range", "count_ranges", "scatter_ranges"]


@njit(cache=True)
def count_ranges(group: int, length: int, keys: Any, low: int, shift: int, tables: Any) -> None:
    """Count the rows of a group in each range; the first one begins with the key `low`."""
    table = tables[group]
    table[:] = 0
    part = keys[group * length : (group + 1) * length]
    for at in range(len(part)):
        table[np.uint64(np.int64(part[at]) - low) >> np.uint64(shift)] += 1


@njit(cache=True)
def scatter_ranges(
    group: int,
    length: int,
    keys: Any,
    low: int,
    shift: int,
    offsets: Any,
    values: Any,
    moved: Any,
) -> None:
    """Move the values of a group's rows into their ranges, or what their keys are within these.

    The latter if `values` is empty.
    """
    next_of = offsets[group].copy()
    part = keys[group * length : (group + 1) * length]
    added = values[group * length : (group + 1) * length]
    inside = (np.uint64(1) << np.uint64(shift)) - np.uint64(1)
    for at in range(len(part)):
        key = np.uint64(np.int64(part[at]) - low)
        place = key >> np.uint64(shift)
        to = np.uint64(next_of[place])
        next_of[place] += 1
        if len(values):
            moved[to] = added[at]
        else:
            moved[to] = key & inside


@njit(cache=True)
def add_range(number: int, width: int, starts: Any, keys: Any, values: Any, table: Any) -> None:
    """Add up the values of a range by key, or count its keys if there are no values."""
    entries = table[number * width : (number + 1) * width]
    entries[:] = 0
    part = keys[starts[number] : starts[number + 1]]
    if len(values):
        added = values[starts[number] : starts[number + 1]]
        for at in range(len(part)):
            entries[np.uint64(part[at])] += added[at]
    else:
        for at in range(len(part)):
            entries[np.uint64(part[at])] += 1
