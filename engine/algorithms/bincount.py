"""parallel_bincount: how often each whole number from 0 on occurs."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.inputs.arguments import run_call
from engine.algorithms.inputs.counted import as_counted, as_weights, bounds_of, summed
from engine.algorithms.phases.blocks import run_groups, within_reach
from kernels.loops import counting

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from engine.pool.native import CallOptions
    from engine.pool.pool import Pool

__all__ = ["parallel_bincount"]


def parallel_bincount(
    x: ArrayLike,
    weights: ArrayLike | None = None,
    minlength: int = 0,
    *,
    pool: Pool | None = None,
    timeout: float | None = None,
) -> np.ndarray[Any, Any]:
    """Count how often each whole number occurs, as `numpy.bincount`.

    Parameters
    ----------
    x : array_like of int, shape (n,)
        None of them negative.  Nulls of Arrow arrays are left out, as are elements whose weights
        are null.
    weights : array_like, shape (n,), optional
        What an element counts, as float64; by default 1.
    minlength : int
        The result has at least so many entries.
    pool, timeout
        As in `parallel_map`.

    Returns
    -------
    ndarray, shape (max(x.max() + 1, minlength),)
        int64, or float64 with weights, in shared memory.

    Raises
    ------
    ValueError
        An element or `minlength` is negative, an element does not fit into int64, or shapes do
        not fit.
    TypeError
        The elements are no integers, or the weights are not real.

    Notes
    -----
    Each group of blocks of rows fills a table of its own; the tables are added up in their
    order, so that sums of weights are the same bits for any number of workers.  There are the
    fewer groups the larger the table is; with more entries than an eighth of the elements a
    single one fills it.  Concurrency: any thread.

    Examples
    --------
    >>> import numpy as np
    >>> from engine import parallel_bincount
    >>> parallel_bincount(np.array([0, 2, 2, 5]))
    array([1, 0, 2, 0, 0, 1])
    """
    least = operator.index(minlength)
    if least < 0:
        message = f"minlength must be 0 or more, not {least}"
        raise ValueError(message)

    def run(options: CallOptions) -> np.ndarray[Any, Any]:
        (keys,), summands = as_counted([x], weights)
        if keys.ndim != 1:
            message = f"x has {keys.ndim} dimensions; it must have one"
            raise ValueError(message)
        if not keys.size and not isinstance(x, np.ndarray):
            # An empty list has no kind of its own.
            keys = keys.astype(np.int64)
        if keys.dtype.kind not in "biu":
            message = f"x must hold integers, not {keys.dtype}"
            raise TypeError(message)
        given = as_weights(summands, keys.shape)
        if given is not None and given.dtype.kind == "c":
            message = f"weights has dtype {given.dtype}; they must be real"
            raise TypeError(message)
        if keys.dtype == np.bool_:
            keys = keys.view(np.uint8)
        elif keys.dtype.kind == "u" and keys.dtype.itemsize == np.dtype(np.int64).itemsize:
            # As for NumPy, numbers beyond int64 are negative ones.
            keys = keys.astype(np.uint64, copy=False).view(np.int64)
        keys = within_reach(keys)
        entries = max(_largest(keys, options) + 1, least)
        return summed(
            given,
            lambda parts, dtype: run_groups(
                counting.count_keys, len(keys), entries, dtype, (keys, 0, parts), options
            ),
        )

    return run_call(
        run, pool=pool, grain=None, timeout=timeout, progress=False, what="parallel_bincount"
    )


def _largest(keys: np.ndarray[Any, Any], options: CallOptions) -> int:
    """Return the largest key, -1 if there is none."""
    if not keys.size:
        return -1
    low, high = bounds_of(keys, options)
    if low < 0:
        message = f"x has the negative element {low}; only 0 and more are counted"
        raise ValueError(message)
    return high
