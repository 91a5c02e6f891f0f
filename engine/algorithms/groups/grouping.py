"""Grouping: the rows with equal codes side by side, groups in the order of their codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.phases import blocks
from engine.algorithms.phases.bodies import run_body
from engine.memory.arrays import empty
from engine.pool.functions import compilable
from kernels.loops import grouping

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.pool.functions import CompilableFunction
    from engine.pool.native import CallOptions

__all__ = ["Grouping"]

# A partition has about so many rows, so that its hash table stays in a core's own cache.
_ROWS_PER_PARTITION = 16_384
_PARTITIONS_MAX = 1024

# So many samples are drawn for each partition: its size then seldom differs by more than a half.
_SAMPLES = 16

# Groups are reduced in at most so many blocks.
_BLOCKS_MAX = 512


class Grouping:
    """Rows in the order of their codes, and where each group begins.

    Parameters
    ----------
    codes : ndarray of int64, shape (n,)
        Equal where rows belong together.
    options : CallOptions

    Attributes
    ----------
    order : ndarray of int64, shape (n,)
        Row numbers by group, and within a group as they were.
    codes : ndarray of int64, shape (groups,)
        Of the groups, ascending.
    offsets : ndarray of int64, shape (groups + 1,)
        Where in `order` each group begins, and its end.
    """

    def __init__(self, codes: np.ndarray[Any, Any], options: CallOptions) -> None:
        rows = len(codes)
        self._options = options
        codes = blocks.within_reach(codes)
        count = min(max(rows // _ROWS_PER_PARTITION, 1), _PARTITIONS_MAX)
        sample = np.sort(codes[:: max(rows // (count * _SAMPLES), 1)])
        splitters = np.unique(sample[_SAMPLES::_SAMPLES][: count - 1])
        count = len(splitters) + 1
        partitions = empty(rows, np.uint16)
        length = max(blocks.ROWS, -(-rows // _BLOCKS_MAX))
        tables = empty((-(-rows // length), count), np.int64)
        self._run(grouping.partition_rows, tables, length, codes, splitters, partitions, tables)
        # Partition by partition, and in each the groups of rows in their order.
        flat = np.cumsum(tables.T.reshape(-1))
        begins = np.concatenate([[0], flat[:-1]]) if rows else flat
        offsets = empty(tables.shape, np.int64)
        offsets[...] = begins.reshape(tables.T.shape).T
        starts = empty(count + 1, np.int64)
        starts[0] = 0
        np.cumsum(tables.sum(axis=0), out=starts[1:])
        moved, numbers = empty(rows, np.int64), empty(rows, np.int64)
        self._run(grouping.scatter_rows, tables, length, codes, partitions, offsets, moved, numbers)
        self.order, found, sizes = (empty(rows, np.int64) for _ in range(3))
        groups = empty(count, np.int64)
        arrays = (starts, moved, numbers, self.order, found, sizes, groups)
        self._run(grouping.group_partition, groups, None, *arrays)
        ranges = [
            slice(start, start + amount) for start, amount in zip(starts[:-1], groups, strict=True)
        ]
        self.codes = np.concatenate([found[one] for one in ranges])
        self.offsets = empty(len(self.codes) + 1, np.int64)
        self.offsets[0] = 0
        np.cumsum(np.concatenate([sizes[one] for one in ranges]), out=self.offsets[1:])

    def _run(self, body: Callable[..., Any], each: Any, length: int | None, *arrays: Any) -> None:
        """Run a body once for each entry of an array."""
        before = [] if length is None else [np.int64(length)]
        run_body(compilable(body), len(each), [*before, *arrays], self._options)

    def reduce(
        self,
        body: Callable[..., Any],
        offsets: np.ndarray[Any, Any],
        values: np.ndarray[Any, Any],
        dtype: Any,
        *settings: Any,
    ) -> np.ndarray[Any, Any]:
        """Reduce each segment of values to one; 0 where a body stores nothing."""
        out = empty(len(offsets) - 1, dtype)
        out[...] = 0
        self.run_segments(compilable(body), offsets, [values, *settings, out])
        return out

    def run_segments(
        self, body: CompilableFunction, offsets: np.ndarray[Any, Any], arrays: Sequence[Any]
    ) -> None:
        """Call ``body(block, length, offsets, *arrays)`` for each block of so many segments."""
        segments = len(offsets) - 1
        length = max(1, -(-segments // _BLOCKS_MAX))
        given = [np.int64(length), offsets, *arrays]
        run_body(body, -(-segments // length), given, self._options)
