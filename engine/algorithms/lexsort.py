"""parallel_lexsort: where rows stand when they are sorted by several columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

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


def parallel_lexsort(
    keys: Any, *, axis: int = -1, pool: Pool | None = None, timeout: float | None = None
) -> Any:
    """Find the indices that sort rows by several columns, as ``numpy.lexsort``.

    Parameters
    ----------
    keys : sequence of array_like and Arrow arrays, array, or Arrow table
        Columns of one shape, each of a dtype that `parallel_sort` takes; of an array, its entries
        along the first axis.  The last is the one that counts most.
    axis : int, default -1
        Along which columns of several dimensions are sorted.
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
        Columns have different shapes.
    numpy.exceptions.AxisError
        Columns have no such axis.
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
        if len(shapes) != 1:
            message = f"keys must be of one length or shape, not of shapes {sorted(shapes)}"
            raise ValueError(message)
        order = _lexsort(columns, normalize_axis_index(axis, columns[0].ndim), options)
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
    if not np.iterable(keys):
        message = f"keys must be a sequence of columns, not {type(keys).__name__}"
        raise TypeError(message)
    columns: list[np.ndarray[Any, Any]] = []
    for position, one in enumerate(keys):
        if is_arrow(one):
            from engine.algorithms.sorting.arrow import sort_keys

            with_arrow = True
            columns += sort_keys(one, position)
        else:
            columns.append(sortable(one, "parallel_lexsort", f"key {position}"))
    return columns, with_arrow


def _lexsort(
    columns: list[np.ndarray[Any, Any]], axis: int, options: CallOptions
) -> np.ndarray[Any, Any]:
    order = argsort_array(columns[0], axis, options)
    if not order.size or len(columns) == 1:
        return order
    lines = np.moveaxis(order, axis, -1)
    index, _ = lines_of(order, axis)
    for column in columns[1:]:
        rows, _ = lines_of(column, axis)
        step = argsort_array(_gathered(rows, index, options), 1, options)
        index = _gathered(index, step, options)
    if axis == order.ndim - 1:
        return index.reshape(order.shape)
    # The result of the first step has the shape, and nobody else's memory.
    np.copyto(lines, index.reshape(lines.shape))
    return order


def _gathered(
    elements: np.ndarray[Any, Any], index: np.ndarray[Any, Any], options: CallOptions
) -> np.ndarray[Any, Any]:
    """Bring the elements of each contiguous row into the order of the same row of an index."""
    if len(index) > 1:
        among_all = empty(index.shape, np.int64)
        np.add(index, np.arange(len(index))[:, np.newaxis] * index.shape[1], out=among_all)
        index = among_all
    result = empty(index.shape, elements.dtype)
    length = np.int64(BLOCK_LENGTH)
    blocks = int(-(-index.size // length))
    arrays = (bits_of(elements).reshape(-1), index.reshape(-1), length, bits_of(result).reshape(-1))
    run_body(_GATHER, blocks, arrays, options)
    return result
