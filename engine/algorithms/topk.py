"""parallel_topk: the largest or smallest elements, and where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.argsort import argsort_array
from engine.algorithms.inputs.arguments import is_arrow, run_call
from engine.algorithms.sorting.buckets import collect, count_in_buckets, draw_sample
from engine.algorithms.sorting.lines import lines_of
from engine.algorithms.sorting.order import bits_of, order_of, sortable
from engine.checks import whole_number
from engine.memory.arrays import empty
from kernels.loops.sorting.keys import keys_at

if TYPE_CHECKING:
    from engine.pool.native import CallOptions
    from engine.pool.pool import Pool

__all__ = ["parallel_topk", "topk_array"]

# So few elements are sorted whole in the time that it takes to prepare a call of several phases.
ALONE_LENGTH_MAX = 1 << 13


def parallel_topk(
    x: Any,
    k: int,
    *,
    largest: bool = True,
    pool: Pool | None = None,
    timeout: float | None = None,
) -> tuple[Any, Any]:
    """Find the k largest or smallest elements of an array, and where they are.

    Parameters
    ----------
    x : array_like or Arrow array
        One-dimensional, of a dtype that `parallel_sort` takes.
    k : int
        How many, at least 0; all if there are fewer.
    largest : bool, default True
        Whether to find the largest ones, the smallest if not.
    pool, timeout
        As in `parallel_map`.

    Returns
    -------
    values : ndarray, or pyarrow.Array or pyarrow.ChunkedArray for Arrow data
        The best first, of the dtype of `x`, in shared memory.
    indices : ndarray of int64, or pyarrow.UInt64Array for Arrow data
        Where each is.  Of what compares as equal, the earlier comes first and is taken
        first.  NaN and NaT are no results unless fewer than `k` others are there: they
        come last in either direction, and nulls after them, in the order in which they stand.

    Raises
    ------
    TypeError
        `x` has a dtype without an order.
    ValueError
        `x` has not one dimension, or `k` is no whole number or negative.
    TimeoutError, WorkerDiedError, PoolClosedError, SharedMemoryFull
        See there.

    Notes
    -----
    Splitters from a sample tell in one pass over the data how many elements there are
    between any two; only those are sorted that lie where the k best can be.

    Examples
    --------
    >>> import numpy as np
    >>> from engine import parallel_topk
    >>> parallel_topk(np.array([3.0, np.nan, 5.0, 4.0]), 2)
    (array([5., 4.]), array([2, 3]))
    """
    wanted = whole_number(k, "k", 0)

    def run(options: CallOptions) -> tuple[Any, Any]:
        if is_arrow(x):
            # Late, because importing pyarrow takes a third of the time of importing this.
            from engine.algorithms.sorting.arrow import topk_arrow

            return topk_arrow(x, wanted, bool(largest), options)
        array = sortable(x, "parallel_topk")
        if array.ndim != 1:
            message = f"x must have one dimension, not shape {array.shape}"
            raise ValueError(message)
        return topk_array(array, min(wanted, len(array)), bool(largest), options)

    return run_call(
        run, pool=pool, grain=None, timeout=timeout, progress=False, what="parallel_topk"
    )


def topk_array(
    array: np.ndarray[Any, Any], count: int, largest: bool, options: CallOptions
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Find the best of an array, of which there are at least `count`; see `parallel_topk`."""
    dtype = array.dtype.newbyteorder("=")
    values, indices = empty(count, dtype), empty(count, np.int64)
    if not count:
        return values, indices
    ((elements,), _) = lines_of(array, 0)
    bits, order = bits_of(elements), order_of(dtype)
    # The key of NaN and NaT, which is above all others.
    missing = order[-1] if dtype.kind in "fmM" else None
    where = None
    if len(bits) > ALONE_LENGTH_MAX:
        bits, where = _candidates(bits, order, missing, count, largest, options)
    keys = keys_at(bits, np.arange(len(bits)), order)
    if largest:
        # Turned round; that of what is missing passes zero and stays above all others.
        keys = (order[-1] if missing is None else missing - np.uint64(1)) - keys
    best = argsort_array(keys, 0, options)[:count]
    np.take(bits, best, out=bits_of(values))
    indices[...] = best if where is None else where[best]
    return values, indices


def _candidates(
    bits: np.ndarray[Any, Any],
    order: np.ndarray[Any, Any],
    missing: Any,
    count: int,
    largest: bool,
    options: CallOptions,
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
    """Copy the elements of as many buckets as have the best, and where they stand."""
    splitters = draw_sample(bits, order).splitters
    present = len(splitters) + 1
    if missing is not None:
        # What is missing gets a bucket of its own, behind those that are looked at.
        splitters = np.union1d(splitters, missing - np.uint64(1))
        present = int(np.searchsorted(splitters, missing))
    counted = count_in_buckets(bits, order, splitters, options)
    totals = counted.counts.sum(axis=0)[:present]
    if totals.sum() < count:
        return bits, None
    enough = int(np.searchsorted(np.cumsum(totals[::-1] if largest else totals), count))
    if largest:
        return collect(bits, counted, present - 1 - enough, present - 1, options)
    return collect(bits, counted, 0, enough, options)
