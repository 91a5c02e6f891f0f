"""parallel_searchsorted: where values belong in a sorted array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.inputs.arguments import is_arrow, run_call
from engine.algorithms.phases.bodies import run_body
from engine.algorithms.sorting.lines import lines_of
from engine.algorithms.sorting.order import bits_of, order_of, sortable
from engine.memory.arrays import empty
from engine.pool.functions import compilable
from kernels.loops.sorting.search import search_sorted

if TYPE_CHECKING:
    from engine.pool.native import CallOptions
    from engine.pool.pool import Pool

__all__ = ["elements_of", "order_of_sorter", "parallel_searchsorted", "search_array"]

# NumPy finds so few in the time that it takes to prepare a call.
ALONE_LENGTH_MAX = 1 << 9

# Values of a block.
BLOCK_LENGTH = 1 << 12

_SIDES = ("left", "right")

_SEARCH = compilable(search_sorted)


def parallel_searchsorted(
    sorted: Any,  # noqa: A002 - what it is, and no other name says it
    values: Any,
    *,
    side: str = "left",
    sorter: Any = None,
    pool: Pool | None = None,
    timeout: float | None = None,
) -> Any:
    """Find where values belong in a sorted array, as ``numpy.searchsorted``.

    Parameters
    ----------
    sorted : array_like or Arrow array
        One-dimensional, of a dtype that `parallel_sort` takes, in ascending order with NaN
        and NaT last, and all nulls at one end; or in that order by `sorter`.  Not checked: if it
        is not sorted, the result means nothing.
    values : array_like or Arrow array
        Of any shape; both are compared in the dtype that NumPy promotes them to.
    side : {'left', 'right'}
        Whether a value belongs before or after the elements that are equal to it.
    sorter : array_like of int, optional
        Indices that sort `sorted`, as from `parallel_argsort`; the elements are then
        copied in this order.
    pool, timeout
        As in `parallel_map`.

    Returns
    -------
    ndarray of int64, int64 for a single value, or pyarrow.UInt64Array for Arrow `values`
        Of the shape of `values`, in shared memory.  Nulls belong nowhere and give nulls, as in
        `pyarrow.compute.search_sorted`.

    Raises
    ------
    TypeError
        A dtype has no order, or `sorter` holds no integers.
    ValueError
        `sorted` has another number of dimensions than one, `side` is no side, or `sorter`
        has another length or an index out of range.
    TimeoutError, WorkerDiedError, PoolClosedError, SharedMemoryFull
        See there.

    Notes
    -----
    A few values are left to NumPy.  More are searched by halves, sixteen at a time, so that
    the waiting for memory of one overlaps that of the others.

    Examples
    --------
    >>> from engine import parallel_searchsorted
    >>> parallel_searchsorted([1.0, 2.0, 2.0, 3.0], [2.0, 9.0])
    array([1, 4])
    """
    if side not in _SIDES:
        message = f"side must be 'left' or 'right', not {side!r}"
        raise ValueError(message)

    def run(options: CallOptions) -> Any:
        if is_arrow(sorted) or is_arrow(values):
            # Late, because importing pyarrow takes a third of the time of importing this.
            from engine.algorithms.sorting.arrow import search_arrow

            return search_arrow(sorted, values, side, sorter, options)
        wanted = sortable(values, "parallel_searchsorted", "values")
        return search_array(elements_of(sorted, sorter), wanted, side, options)

    return run_call(
        run, pool=pool, grain=None, timeout=timeout, progress=False, what="parallel_searchsorted"
    )


def elements_of(sorted_: Any, sorter: Any) -> np.ndarray[Any, Any]:
    """Bring elements into an array, in the order that a sorter gives if there is one."""
    elements = sortable(sorted_, "parallel_searchsorted", "sorted")
    if elements.ndim != 1:
        message = f"sorted must have one dimension, not shape {elements.shape}"
        raise ValueError(message)
    return elements if sorter is None else elements[order_of_sorter(sorter, len(elements))]


def order_of_sorter(sorter: Any, count: int) -> np.ndarray[Any, Any]:
    """Check the indices that bring `count` elements into order.

    Raises
    ------
    TypeError, ValueError
        They are no integers, not as many, or out of range.
    """
    order = np.asarray(sorter)
    if order.dtype.kind not in "iu":
        message = f"sorter must hold integers, not {order.dtype}"
        raise TypeError(message)
    if order.shape != (count,):
        message = f"sorter has shape {order.shape}, but sorted has shape {(count,)}"
        raise ValueError(message)
    if order.size and (order.min() < 0 or order.max() >= count):
        message = f"sorter has an index that is not in [0, {count})"
        raise ValueError(message)
    return order


def search_array(
    elements: np.ndarray[Any, Any], values: np.ndarray[Any, Any], side: Any, options: CallOptions
) -> Any:
    """Find where values belong among elements in order; see `parallel_searchsorted`."""
    result = empty(values.shape, np.int64)
    if values.size <= ALONE_LENGTH_MAX or not elements.size:
        result[...] = np.searchsorted(elements, values, side)
        return result if result.ndim else result[()]
    dtype = np.result_type(elements, values)
    ((among,), _) = lines_of(elements.astype(dtype, copy=False), 0)
    ((wanted,), _) = lines_of(values.reshape(-1).astype(dtype, copy=False), 0)
    length = np.int64(BLOCK_LENGTH)
    blocks = int(-(-values.size // length))
    right = np.bool_(side == "right")
    order = order_of(dtype)
    arrays = (bits_of(among), bits_of(wanted), order, length, right, result.reshape(-1))
    run_body(_SEARCH, blocks, arrays, options)
    return result
