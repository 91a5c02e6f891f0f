"""parallel_partition: some elements in their places in order, the others on the right side."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from engine.algorithms.inputs.arguments import is_arrow, run_call
from engine.algorithms.sort import ALONE_LENGTH_MAX
from engine.algorithms.sorting.buckets import draw_sample, part
from engine.algorithms.sorting.lines import is_long, lines_of, sort_lines, sort_segments
from engine.algorithms.sorting.order import bits_of, order_of, sortable
from engine.memory.arrays import empty

if TYPE_CHECKING:
    from engine.pool.native import CallOptions
    from engine.pool.pool import Pool

__all__ = ["parallel_partition", "partition_array", "places_of"]


def parallel_partition(
    x: Any,
    kth: Any,
    *,
    axis: int | None = -1,
    pool: Pool | None = None,
    timeout: float | None = None,
) -> Any:
    """Copy an array with the k-th elements where sorting would put them, as ``numpy.partition``.

    Parameters
    ----------
    x : array_like or Arrow array
        As in `parallel_sort`.
    kth : int or sequence of int
        Places along the axis, counted from the end if negative.
    axis : int or None, default -1
        Along which; None takes the flattened array.
    pool, timeout
        As in `parallel_map`.

    Returns
    -------
    ndarray or pyarrow.Array or pyarrow.ChunkedArray
        In shared memory.  What stands before place `kth` is not greater than the element
        there, and what stands after it not smaller; NaN and NaT are greater than all
        others, and nulls greater than they.  The order of the others is the same for any
        number of workers, but not NumPy's.

    Raises
    ------
    TypeError
        As `parallel_sort`; or `kth` holds no integers.
    ValueError
        `kth` is out of range, of an array that is not empty.
    numpy.exceptions.AxisError
        `x` has no such axis.
    TimeoutError, WorkerDiedError, PoolClosedError, SharedMemoryFull
        See there.

    Notes
    -----
    Parts a long line as `parallel_sort` does, and sorts only the parts in which one of the
    places is.  Short lines are sorted.

    Examples
    --------
    >>> import numpy as np
    >>> from engine import parallel_partition
    >>> int(parallel_partition(np.array([7, 1, 5, 3]), 1)[1])
    3
    """

    def run(options: CallOptions) -> Any:
        if is_arrow(x):
            # Late, because importing pyarrow takes a third of the time of importing this.
            from engine.algorithms.sorting.arrow import partition_arrow

            return partition_arrow(x, kth, axis, options)
        array, along = sortable(x, "parallel_partition"), axis
        if along is None:
            array, along = array.reshape(-1), 0
        along = normalize_axis_index(along, array.ndim)
        places = places_of(kth, array.shape[along]) if array.size else []
        result = empty(array.shape, array.dtype.newbyteorder("="))
        partition_array(array, places, along, result, options)
        return result

    return run_call(
        run, pool=pool, grain=None, timeout=timeout, progress=False, what="parallel_partition"
    )


def places_of(kth: Any, length: int) -> list[int]:
    """Check the places along an axis and count them all from the start.

    Raises
    ------
    TypeError, ValueError
        They are no whole numbers, or out of range.
    """
    places = []
    for one in np.atleast_1d(np.asarray(kth)).ravel().tolist():
        try:
            place = operator.index(one)
        except TypeError:
            message = f"kth must hold whole numbers, not {one!r}"
            raise TypeError(message) from None
        if not -length <= place < length:
            message = f"kth={place} is out of range for an axis of length {length}"
            raise ValueError(message)
        places.append(place % length)
    return sorted(set(places))


def partition_array(
    array: np.ndarray[Any, Any],
    places: list[int],
    axis: int,
    result: np.ndarray[Any, Any],
    options: CallOptions,
) -> None:
    """Partition an array whose dtype is sortable; see `parallel_partition`.

    `result` is of its shape and native dtype, contiguous, in shared memory.
    """
    if array.size <= ALONE_LENGTH_MAX:
        result[...] = np.sort(array, axis, kind="stable")
        return
    rows, _ = lines_of(array, axis)
    lines = result if axis == array.ndim - 1 else empty(rows.shape, rows.dtype)
    into, order = bits_of(lines.reshape(rows.shape)), order_of(rows.dtype)
    if is_long(*rows.shape):
        for line, target in zip(bits_of(rows), into, strict=True):
            parted = part(
                line, order, draw_sample(line, order).splitters, options, with_index=False
            )
            chosen = np.unique(np.searchsorted(parted.bounds[:, 1], places, "right"))
            target[...] = parted.moved
            sort_segments(parted.moved, parted.bounds[chosen], order, target, options)
    else:
        sort_lines(bits_of(rows), order, into, options)
    if lines is not result:
        moved = lines.reshape(np.moveaxis(array, axis, -1).shape)
        np.copyto(result, np.moveaxis(moved, -1, axis))
