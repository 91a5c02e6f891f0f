"""Tables of many keys that lie close together: rows are parted by ranges of keys first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.phases import blocks
from engine.algorithms.phases.bodies import run_body
from engine.memory.arrays import empty
from engine.pool.functions import compilable
from kernels.loops import key_ranges

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.pool.native import CallOptions

__all__ = ["KeyRanges"]

# Keys of a range: its entries of a table of 8 bytes each take 64 KB.  More where there would be too
# many ranges to write to at the same time; and a key within its range takes 16 bits.
_SHIFT_MIN = 13
_SHIFT_MAX = 16
_RANGES_MAX = 1024

_NOTHING = np.empty(0, np.int64)

# Groups of rows that are counted and moved at the same time.
_GROUPS_MAX = 64


class KeyRanges:
    """Integer keys, parted by ranges, and tables with an entry for each possible key.

    Parameters
    ----------
    keys : ndarray of integers, shape (n,)
    low, span : int
        The smallest key, and how many there may be from there on.
    options : CallOptions
    """

    def __init__(
        self, keys: np.ndarray[Any, Any], low: int, span: int, options: CallOptions
    ) -> None:
        self._keys = keys
        self._low = np.int64(low)
        self._span = span
        self._options = options
        self._shift = _SHIFT_MIN
        while self._shift < _SHIFT_MAX and span >> self._shift > _RANGES_MAX:
            self._shift += 1
        self._count = -(-span >> self._shift)
        self._length = max(blocks.ROWS, -(-len(keys) // _GROUPS_MAX))
        tables = empty((-(-len(keys) // self._length), self._count), np.int64)
        self._run_groups(key_ranges.count_ranges, tables)
        # Range by range, and in each the groups of rows in their order.
        ends = np.cumsum(tables.T.reshape(-1)).reshape(self._count, -1)
        self._offsets = empty(tables.shape, np.int64)
        np.subtract(ends.T, tables, out=self._offsets)
        self._starts = empty(self._count + 1, np.int64)
        self._starts[0] = 0
        self._starts[1:] = ends[:, -1]
        # What the keys are within their ranges, which is moved where no values are given.
        self._inside = self._moved(_NOTHING, np.uint16)

    def table(self, values: np.ndarray[Any, Any], dtype: Any) -> np.ndarray[Any, Any]:
        """Add up values by key, or count keys if there are no values; in the order of the rows."""
        width = 1 << self._shift
        # The last range may have keys that are none.
        table = empty(self._count * width, dtype)
        moved = self._moved(values, values.dtype) if len(values) else values
        arrays = [np.int64(width), self._starts, self._inside, moved, table]
        run_body(compilable(key_ranges.add_range), self._count, arrays, self._options)
        return table[: self._span]

    def _moved(self, values: np.ndarray[Any, Any], dtype: Any) -> np.ndarray[Any, Any]:
        moved = empty(len(self._keys), dtype)
        values = blocks.within_reach(values)
        self._run_groups(key_ranges.scatter_ranges, self._offsets, values, moved)
        return moved

    def _run_groups(self, body: Callable[..., Any], *arrays: Any) -> None:
        count = -(-len(self._keys) // self._length)
        given = [np.int64(self._length), self._keys, self._low, np.int64(self._shift), *arrays]
        run_body(compilable(body), count, given, self._options)
