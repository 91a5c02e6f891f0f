"""parallel_sort: elements in ascending order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from engine.algorithms.inputs.arguments import is_arrow, run_call
from engine.algorithms.inputs.operands import check_castable, check_outputs
from engine.algorithms.sorting.lines import is_long, lines_of, sort_lines
from engine.algorithms.sorting.order import bits_of, order_of, sortable
from engine.memory.arrays import empty, is_shared_array
from engine.memory.ledger import count_copy

if TYPE_CHECKING:
    from engine.pool.native import CallOptions
    from engine.pool.pool import Pool

__all__ = ["ALONE_LENGTH_MAX", "parallel_sort", "sort_array"]

# NumPy sorts so few elements in the time that it takes to prepare a call of several phases.
ALONE_LENGTH_MAX = 1 << 13


def parallel_sort(
    x: Any,
    *,
    axis: int | None = -1,
    out: np.ndarray[Any, Any] | None = None,
    pool: Pool | None = None,
    timeout: float | None = None,
) -> Any:
    """Sort an array on every core, stably, as ``numpy.sort(x, axis, kind="stable")``.

    Parameters
    ----------
    x : array_like or Arrow array
        Of booleans, integers, floats of up to 64 bits, dates or times, of any shape,
        layout and byte order; or a column of Arrow data of such a type.
    axis : int or None, default -1
        Along which to sort; None sorts the flattened array.
    out : ndarray, optional
        Where to write, of the result's shape; it may be `x` itself.  Not for Arrow data.
    pool, timeout
        As in `parallel_map`.

    Returns
    -------
    ndarray or pyarrow.Array or pyarrow.ChunkedArray
        A sorted copy in shared memory, of the dtype of `x` in the machine's byte order;
        or `out`.  Arrow data gives Arrow data.

    Raises
    ------
    TypeError
        `x` has another dtype, or `out` cannot hold it.
    ValueError
        `out` has another shape or is read-only.
    numpy.exceptions.AxisError
        `x` has no such axis.
    TimeoutError, WorkerDiedError, PoolClosedError, SharedMemoryFull
        See there.

    Notes
    -----
    NaN and NaT come last, and nulls after them.  What compares as equal, the two zeros
    and all NaNs included, keeps its order and its bits; so the result is the same to the
    bit for any number of workers.

    A long line is parted by splitters from a sample and its parts are sorted by radix, so
    the time grows with the length alone.  Besides the result this takes as much memory
    as `x` and two bytes an element; a private `x` is copied into shared memory, where
    the result takes the copy's place.

    Examples
    --------
    >>> import numpy as np
    >>> from engine import parallel_sort
    >>> parallel_sort(np.array([3.0, np.nan, -1.0]))
    array([-1.,  3., nan])
    """

    def run(options: CallOptions) -> Any:
        if is_arrow(x):
            # Late, because importing pyarrow takes a third of the time of importing this.
            from engine.algorithms.sorting.arrow import sort_arrow

            return sort_arrow(x, axis, out, options)
        return sort_array(sortable(x, "parallel_sort"), axis, out, options)

    return run_call(
        run, pool=pool, grain=None, timeout=timeout, progress=False, what="parallel_sort"
    )


def sort_array(
    array: np.ndarray[Any, Any], axis: int | None, out: Any, options: CallOptions
) -> np.ndarray[Any, Any]:
    """Sort an array whose dtype is sortable; see `parallel_sort`."""
    if axis is None:
        array, axis = array.reshape(-1), 0
    axis = normalize_axis_index(axis, array.ndim)
    dtype = array.dtype.newbyteorder("=")
    target = None
    if out is not None:
        (target,) = check_outputs(out, 1, array.shape, is_tuple=False)
        check_castable("parallel_sort", (dtype,), (target.dtype,))
    if array.size <= ALONE_LENGTH_MAX:
        if target is None:
            target = empty(array.shape, dtype)
        np.copyto(target, np.sort(array, axis, kind="stable"), casting="same_kind")
        return target
    rows, is_own = lines_of(array, axis)
    if target is not None and _takes_rows(target, array, axis):
        result = target.reshape(rows.shape)
    elif is_own and is_long(*rows.shape):
        result = rows
    else:
        result = empty(rows.shape, dtype)
    sort_lines(bits_of(rows), order_of(dtype), bits_of(result), options)
    lines = result.reshape(np.moveaxis(array, axis, -1).shape)
    if target is None:
        if axis == array.ndim - 1:
            return lines
        target = empty(array.shape, dtype)
    if target.ctypes.data != result.ctypes.data:
        if out is not None:
            count_copy("results for an out= that workers cannot write to", target.nbytes)
        np.copyto(target, np.moveaxis(lines, -1, axis), casting="same_kind")
    return target


def _takes_rows(target: np.ndarray[Any, Any], array: np.ndarray[Any, Any], axis: int) -> bool:
    """Tell whether sorted rows can be written to an output where it is."""
    return (
        axis == array.ndim - 1
        and target.dtype == array.dtype.newbyteorder("=")
        and target.flags.c_contiguous
        and target.flags.aligned
        and is_shared_array(target)
        and not np.may_share_memory(target, array)
    )
