"""Stable compaction: the rows whose flags are set, in their order, one array after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.inputs.words import as_words
from engine.algorithms.phases.blocks import block_count, run_blocks, within_reach
from engine.memory.arrays import empty
from kernels.loops import selection

if TYPE_CHECKING:
    from engine.pool.native import CallOptions

__all__ = ["Compaction"]


class Compaction:
    """Where the rows go whose flags are set; counted once, for any number of arrays.

    Parameters
    ----------
    flags : ndarray
        One byte a row; 0 drops the row.
    options : CallOptions

    Attributes
    ----------
    rows, count : int
        How many rows there are and how many are kept.
    """

    def __init__(self, flags: np.ndarray[Any, Any], options: CallOptions) -> None:
        self.rows = len(flags)
        self._flags = within_reach(np.ascontiguousarray(flags))
        self._options = options
        self._offsets = empty(block_count(self.rows) + 1, np.int64)
        self._offsets[0] = 0
        counts = self._offsets[1:]
        run_blocks(selection.count_flags, self.rows, (self._flags, counts), options)
        # A sum in place of what was counted; each phase begins with numbers of its own.
        np.cumsum(counts, out=counts)
        self.count = int(self._offsets[-1])

    def move(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the entries along axis 0 that are kept, of any dtype without Python objects."""
        out = empty((self.count, *values.shape[1:]), values.dtype)
        if out.nbytes:
            words = as_words(values)
            body = selection.compact if words.ndim == 1 else selection.compact_rows
            arrays = (self._flags, words, self._offsets, as_words(out))
            run_blocks(body, self.rows, arrays, self._options)
        return out

    def positions(self) -> np.ndarray[Any, Any]:
        """Return the numbers of the rows that are kept, as int64."""
        out = empty(self.count, np.int64)
        if self.count:
            arrays = (self._flags, self._offsets, out)
            run_blocks(selection.positions, self.rows, arrays, self._options)
        return out
