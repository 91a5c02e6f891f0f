"""Runs: where one element of a sorted array differs from the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.phases.bodies import run_body
from engine.algorithms.sorting.order import bits_of, order_of
from engine.memory.arrays import empty
from engine.pool.functions import compilable
from kernels.loops.sorting.runs import count_runs, note_runs, number_runs

if TYPE_CHECKING:
    from engine.pool.native import CallOptions

__all__ = ["Runs", "runs_of"]

# Elements of a block.
_BLOCK_LENGTH = 1 << 16

_COUNT = compilable(count_runs)
_NOTE = compilable(note_runs)
_NUMBER = compilable(number_runs)


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs of equal elements of a sorted array.

    Attributes
    ----------
    values : ndarray, shape (runs,)
        The first element of each.
    starts : ndarray of int64, shape (runs,)
        Where each begins.
    before : ndarray of int64, shape (blocks,)
        How many begin before each block.
    """

    values: np.ndarray[Any, Any]
    starts: np.ndarray[Any, Any]
    before: np.ndarray[Any, Any]

    def numbers(self, index: np.ndarray[Any, Any], options: CallOptions) -> np.ndarray[Any, Any]:
        """Say for each element, where it stood before it was sorted, the number of its run.

        `index` says where each sorted element stood.
        """
        numbers = empty(len(index), np.int64)
        arrays = (index, self.starts, np.int64(_BLOCK_LENGTH), self.before, numbers)
        run_body(_NUMBER, len(self.before), arrays, options)
        return numbers


def runs_of(ordered: np.ndarray[Any, Any], options: CallOptions) -> Runs:
    """Find the runs of an array of one dimension, sorted and in shared memory."""
    bits, order = bits_of(ordered), order_of(ordered.dtype)
    length = np.int64(_BLOCK_LENGTH)
    blocks = int(-(-len(bits) // length))
    counts = empty(blocks, np.int64)
    run_body(_COUNT, blocks, (bits, order, length, counts), options)
    ends = np.cumsum(counts)
    before, found = ends - counts, int(ends[-1]) if blocks else 0
    values, starts = empty(found, ordered.dtype), empty(found, np.int64)
    arrays = (bits, order, length, before, bits_of(values), starts)
    run_body(_NOTE, blocks, arrays, options)
    return Runs(values, starts, before)
