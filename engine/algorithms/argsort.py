"""parallel_argsort: where elements stand in ascending order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from engine.algorithms.inputs.arguments import is_arrow, run_call
from engine.algorithms.sort import ALONE_LENGTH_MAX
from engine.algorithms.sorting.lines import argsort_lines, lines_of
from engine.algorithms.sorting.order import bits_of, order_of, sortable
from engine.memory.arrays import empty

if TYPE_CHECKING:
    from engine.pool.native import CallOptions
    from engine.pool.pool import Pool

__all__ = ["argsort_array", "parallel_argsort"]


def parallel_argsort(
    x: Any,
    *,
    axis: int | None = -1,
    pool: Pool | None = None,
    timeout: float | None = None,
) -> Any:
    """Find the indices that sort an array, as ``numpy.argsort(x, axis, kind="stable")``.

    Parameters
    ----------
    x : array_like or Arrow array
        As in `parallel_sort`.
    axis : int or None, default -1
        Along which to sort; None sorts the flattened array.
    pool, timeout
        As in `parallel_map`.

    Returns
    -------
    ndarray of int64, or pyarrow.UInt64Array for Arrow data
        Of the shape of `x`, in shared memory.  Of what compares as equal, all NaNs
        included, the earlier comes first; NaN and NaT come last, and nulls after them.

    Raises
    ------
    TypeError, numpy.exceptions.AxisError
        As `parallel_sort`.
    TimeoutError, WorkerDiedError, PoolClosedError, SharedMemoryFull
        See there.

    Notes
    -----
    As `parallel_sort`, with an index of four bytes moving along with each element (eight
    where there are 2**32 or more).

    Examples
    --------
    >>> import numpy as np
    >>> from engine import parallel_argsort
    >>> parallel_argsort(np.array([3.0, np.nan, -1.0]))
    array([2, 0, 1])
    """

    def run(options: CallOptions) -> Any:
        if is_arrow(x):
            # Late, because importing pyarrow takes a third of the time of importing this.
            from engine.algorithms.sorting.arrow import argsort_arrow

            return argsort_arrow(x, axis, options)
        return argsort_array(sortable(x, "parallel_argsort"), axis, options)

    return run_call(
        run, pool=pool, grain=None, timeout=timeout, progress=False, what="parallel_argsort"
    )


def argsort_array(
    array: np.ndarray[Any, Any], axis: int | None, options: CallOptions
) -> np.ndarray[Any, Any]:
    """Find the indices that sort an array whose dtype is sortable; see `parallel_argsort`."""
    if axis is None:
        array, axis = array.reshape(-1), 0
    axis = normalize_axis_index(axis, array.ndim)
    if array.size <= ALONE_LENGTH_MAX:
        result = empty(array.shape, np.int64)
        result[...] = np.argsort(array, axis, kind="stable")
        return result
    rows, _ = lines_of(array, axis)
    result = empty(rows.shape, np.int64)
    argsort_lines(bits_of(rows), order_of(rows.dtype), result, options)
    lines = result.reshape(np.moveaxis(array, axis, -1).shape)
    if axis == array.ndim - 1:
        return lines
    target = empty(array.shape, np.int64)
    np.copyto(target, np.moveaxis(lines, -1, axis))
    return target
