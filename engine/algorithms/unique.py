"""parallel_unique: each value once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.inputs.arguments import is_arrow, run_call
from engine.algorithms.sorting.lines import argsort_lines, is_long, lines_of, sort_lines
from engine.algorithms.sorting.order import bits_of, order_of, sortable
from engine.algorithms.sorting.runs import runs_of
from engine.memory.arrays import empty, share_array

if TYPE_CHECKING:
    from engine.pool.native import CallOptions
    from engine.pool.pool import Pool

__all__ = ["parallel_unique", "unique_array"]

# NumPy is done with so few in the time that it takes to prepare a call of several phases.
ALONE_LENGTH_MAX = 1 << 13


def parallel_unique(
    x: Any,
    *,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    pool: Pool | None = None,
    timeout: float | None = None,
) -> Any:
    """Find the distinct elements of an array in ascending order, as ``numpy.unique``.

    Parameters
    ----------
    x : array_like or Arrow array
        Of a dtype that `parallel_sort` takes and any shape; it is seen as flattened.
    return_index : bool, default False
        Whether to give the index of the first of each in the flattened array.
    return_inverse : bool, default False
        Whether to give for each element, in the shape of `x`, the index in the result.
    return_counts : bool, default False
        Whether to give how often each occurs.
    pool, timeout
        As in `parallel_map`.

    Returns
    -------
    ndarray, pyarrow.Array or pyarrow.ChunkedArray, or a tuple of such
        The distinct elements, and then what was asked for, as int64, in shared memory.  Of
        elements that compare as equal, the two zeros for instance, the first is taken; all
        NaNs count as one, and so do all NaTs.  Arrow data gives Arrow data, in which null, if
        there is one, comes last; indices are then uint64.

    Raises
    ------
    TypeError
        `x` has a dtype without an order.
    TimeoutError, WorkerDiedError, PoolClosedError, SharedMemoryFull
        See there.

    Notes
    -----
    Sorts, and then reads where one element differs from the next.

    Examples
    --------
    >>> import numpy as np
    >>> from engine import parallel_unique
    >>> parallel_unique(np.array([3, 1, 3]), return_counts=True)
    (array([1, 3]), array([1, 2]))
    """
    extras = (bool(return_index), bool(return_inverse), bool(return_counts))

    def run(options: CallOptions) -> tuple[Any, ...]:
        if is_arrow(x):
            # Late, because importing pyarrow takes a third of the time of importing this.
            from engine.algorithms.sorting.arrow import unique_arrow

            return unique_arrow(x, extras, options)
        return unique_array(sortable(x, "parallel_unique"), extras, options)

    results = run_call(
        run, pool=pool, grain=None, timeout=timeout, progress=False, what="parallel_unique"
    )
    chosen = (results[0], *(one for one in results[1:] if one is not None))
    return chosen if any(extras) else chosen[0]


def unique_array(
    array: np.ndarray[Any, Any], extras: tuple[bool, bool, bool], options: CallOptions
) -> tuple[Any, ...]:
    """Give the distinct elements, and None for what is not wanted besides."""
    with_index, with_inverse, with_counts = extras
    if array.size <= ALONE_LENGTH_MAX:
        return _unique_alone(array, extras)
    rows, is_own = lines_of(array.reshape(-1), 0)
    dtype, order = rows.dtype, order_of(rows.dtype)
    index = None
    if with_index or with_inverse:
        index, ordered = empty(rows.shape, np.int64), empty(rows.shape, dtype)
        argsort_lines(bits_of(rows), order, index, options, into=bits_of(ordered))
        index = index.reshape(-1)
    else:
        ordered = rows if is_own and is_long(*rows.shape) else empty(rows.shape, dtype)
        sort_lines(bits_of(rows), order, bits_of(ordered), options)
    runs = runs_of(ordered.reshape(-1), options)
    starts, found = runs.starts, len(runs.starts)
    firsts = inverse = occurrences = None
    if index is not None and with_index:
        firsts = empty(found, np.int64)
        np.take(index, starts, out=firsts)
    if index is not None and with_inverse:
        inverse = runs.numbers(index, options).reshape(array.shape)
    if with_counts:
        occurrences = empty(found, np.int64)
        np.subtract(np.append(starts[1:], rows.size), starts, out=occurrences)
    return runs.values, firsts, inverse, occurrences


def _unique_alone(array: np.ndarray[Any, Any], extras: tuple[bool, bool, bool]) -> tuple[Any, ...]:
    """Have NumPy do it; of equal elements it takes the first only if it says which."""
    flat = array.reshape(-1)
    _, index, inverse, counts = np.unique(
        flat, return_index=True, return_inverse=True, return_counts=True
    )
    wanted = (index, inverse.reshape(array.shape), counts)
    values = empty(index.shape, array.dtype.newbyteorder("="))
    values[...] = flat[index]
    given = [share_array(one) if asked else None for one, asked in zip(wanted, extras, strict=True)]
    return (values, *given)
