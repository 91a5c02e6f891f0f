"""Grouping: the rows with equal codes side by side, groups in the order of their codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.phases.bodies import run_body
from engine.algorithms.sorting.lines import argsort_lines, lines_of
from engine.algorithms.sorting.order import bits_of, order_of
from engine.algorithms.sorting.runs import runs_of
from engine.memory.arrays import empty
from engine.pool.functions import compilable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.pool.functions import CompilableFunction
    from engine.pool.native import CallOptions

__all__ = ["Grouping"]

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
        self._options = options
        self.order, ordered = (empty(codes.shape, np.int64) for _ in range(2))
        if codes.size:
            keys, _ = lines_of(codes, 0)
            into = self.order.reshape(1, -1), options, bits_of(ordered).reshape(1, -1)
            argsort_lines(bits_of(keys), order_of(codes.dtype), *into)
        runs = runs_of(ordered, options)
        self.codes = runs.values
        self.offsets = empty(len(self.codes) + 1, np.int64)
        self.offsets[:-1] = runs.starts
        self.offsets[-1] = len(codes)

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
