"""parallel_lexsort: where rows stand when they are sorted by several columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.argsort import argsort_array
from engine.algorithms.inputs.arguments import is_arrow, run_call
from engine.algorithms.phases.bodies import run_body
from engine.algorithms.sorting.lines import lines_of
from engine.algorithms.sorting.order import bits_of, sortable
from engine.memory.arrays import empty
from engine.pool.functions import compilable
from kernels.loops.sorting.gather import gather

if TYPE_CHECKING:
    from engine.pool.native import CallOptions
    from engine.pool.pool import Pool

__all__ = ["parallel_lexsort"]

# Rows of a block.
BLOCK_LENGTH = 1 << 14

_GATHER = compilable(gather)


def parallel_lexsort(keys: Any, *, pool: Pool | None = None, timeout: float | None = None) -> Any:
    """Find the indices that sort rows by several columns, as ``numpy.lexsort``.

    Parameters
    ----------
    keys : sequence of array_like and Arrow arrays, 2-D array, or Arrow table
        Columns of one length, each of a dtype that `parallel_sort` takes.  The last is
        the one that counts most.
    pool, timeout
        As in `parallel_map`.

    Returns
    -------
    ndarray of int64, or pyarrow.UInt64Array if any of the columns is Arrow data
        In shared memory.  Rows that are equal in all columns keep their order; NaN and NaT
        come last in each column, and nulls after them.

    Raises
    ------
    TypeError
        There is no column, or one has a dtype without an order.
    ValueError
        Columns have different lengths or more than one dimension.
    TimeoutError, WorkerDiedError, PoolClosedError, SharedMemoryFull
        See there.

    Notes
    -----
    Sorts by one column after the other, stably, from the least to the most important.

    Examples
    --------
    >>> from engine import parallel_lexsort
    >>> parallel_lexsort(([2, 1, 0], [1, 1, 0]))
    array([2, 1, 0])
    """

    def run(options: CallOptions) -> Any:
        columns, with_arrow = _columns(keys)
        if not columns:
            message = "keys is empty; pass at least one column"
            raise TypeError(message)
        shapes = {one.shape for one in columns}
        if len(shapes) != 1 or columns[0].ndim != 1:
            message = (
                f"keys must be one-dimensional and of one length, not of shapes {sorted(shapes)}"
            )
            raise ValueError(message)
        order = _lexsort(columns, options)
        if not with_arrow:
            return order
        from engine.algorithms.sorting.arrow_values import index_array

        return index_array(order)

    return run_call(
        run, pool=pool, grain=None, timeout=timeout, progress=False, what="parallel_lexsort"
    )


def _columns(keys: Any) -> tuple[list[np.ndarray[Any, Any]], bool]:
    """Bring keys into arrays, of which Arrow data with nulls has two; tell if any is Arrow data."""
    with_arrow = is_arrow(keys)
    if with_arrow:
        # Late, because importing pyarrow takes a third of the time of importing this.
        from engine.algorithms.inputs.arrow_columns import as_arrow

        keys = as_arrow(keys)
    columns: list[np.ndarray[Any, Any]] = []
    for position, one in enumerate(keys):
        if is_arrow(one):
            from engine.algorithms.sorting.arrow import sort_keys

            with_arrow = True
            columns += sort_keys(one, position)
        else:
            columns.append(sortable(one, "parallel_lexsort", f"key {position}"))
    return columns, with_arrow


def _lexsort(columns: list[np.ndarray[Any, Any]], options: CallOptions) -> np.ndarray[Any, Any]:
    order = argsort_array(columns[0], 0, options)
    for column in columns[1:]:
        if not len(column):
            continue
        ((elements,), _) = lines_of(column, 0)
        step = argsort_array(_gathered(elements, order, options), 0, options)
        order = _gathered(order, step, options)
    return order


def _gathered(
    elements: np.ndarray[Any, Any], index: np.ndarray[Any, Any], options: CallOptions
) -> np.ndarray[Any, Any]:
    """Bring elements into the order of an index."""
    result = empty(index.shape, elements.dtype)
    length = np.int64(BLOCK_LENGTH)
    blocks = int(-(-len(index) // length))
    run_body(_GATHER, blocks, (bits_of(elements), index, length, bits_of(result)), options)
    return result
