"""A body that finds where values belong among sorted elements."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from kernels.loops.sorting.keys import load_order, order_key

__all__ = ["search_sorted"]

# So many searches advance together: each waits for memory at every step, and none for another.
_TOGETHER = 16


@njit(cache=True)
def search_sorted(
    block: int, bits: Any, values: Any, order: Any, length: int, right: Any, into: Any
) -> None:
    """Count for each value of a block the elements before it, and the equal ones if `right`.

    Parameters
    ----------
    bits : array of unsigned integers
        Elements whose keys ascend; at least one.
    values : array of the same dtype
    into : int64 array
        As long as `values`.
    """
    loaded = load_order(order)
    start = block * length
    stop = min(start + length, len(values))
    keys = np.empty(_TOGETHER, np.uint64)
    below = np.empty(_TOGETHER, np.intp)
    for first in range(start, stop, _TOGETHER):
        count = min(_TOGETHER, stop - first)
        for at in range(count):
            keys[at] = order_key(values[first + at], loaded)
            below[at] = 0
        # Each search is down to the elements from `below` on, of which there are `rest`; it takes
        # as many steps whatever it finds, so that nothing has to be foreseen.
        rest = len(bits)
        while rest > 1:
            half = rest >> 1
            for at in range(count):
                key = order_key(bits[np.uint64(below[at] + half - 1)], loaded)
                before = key <= keys[at] if right else key < keys[at]
                below[at] += half if before else 0
            rest -= half
        for at in range(count):
            key = order_key(bits[below[at]], loaded)
            before = key <= keys[at] if right else key < keys[at]
            into[first + at] = below[at] + before
