"""parallel_take: entries of an array by index."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.inputs.arguments import is_arrow, run_call
from engine.algorithms.inputs.counted import bounds_of
from engine.algorithms.inputs.operands import check_castable, check_outputs, refuse_masked
from engine.algorithms.inputs.words import as_words, refuse_objects
from engine.algorithms.phases.blocks import run_blocks, within_reach
from engine.memory.arrays import empty, is_shared_array
from engine.memory.ledger import count_copy
from engine.pool.context import in_worker
from kernels.loops import selection

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from engine.pool.native import CallOptions
    from engine.pool.pool import Pool

__all__ = ["as_indices", "check_range", "gathered", "parallel_take"]

# As the kernels know them.
MODES = {"raise": 0, "wrap": 1, "clip": 2}


def parallel_take(
    x: ArrayLike,
    indices: ArrayLike,
    *,
    axis: int | None = 0,
    mode: str = "raise",
    out: np.ndarray[Any, Any] | None = None,
    pool: Pool | None = None,
    timeout: float | None = None,
) -> Any:
    """Take entries along an axis by index, as `numpy.take`.

    Parameters
    ----------
    x : array_like
        A NumPy array of any shape and any dtype without Python objects, or an Arrow array or
        chunked array of any type.
    indices : array_like of int
        Of any shape.  Negative ones count from the end if `x` is a NumPy array.  Beside an
        Arrow `x` they have one dimension, and a null gives a null.
    axis : int or None, default 0
        None takes from the flattened array.
    mode : {'raise', 'wrap', 'clip'}
        What is done with an index out of range: an error, counting on from the other end, or
        the nearer end (then negative ones mean the first entry).
    out : ndarray, optional
        Where to store the result; of its shape and a dtype of the same kind.  Not with Arrow.
    pool, timeout
        As in `parallel_map`.

    Returns
    -------
    ndarray, pyarrow.Array or ChunkedArray
        Of shape ``x.shape[:axis] + indices.shape + x.shape[axis + 1:]`` and the dtype of `x`,
        in shared memory.  From an Arrow `x` an Arrow result, as of `pyarrow.compute.take`.

    Raises
    ------
    IndexError
        An index is out of range, which it names; nothing was written to `out` then.
    TypeError
        The indices are no integers, or elements are Python objects.
    ValueError
        `axis`, `mode` or `out` do not fit.

    Notes
    -----
    With ``mode="raise"`` a first phase looks for the smallest and the largest index.  Private
    arrays are copied once into shared memory when workers are needed, other layouts than C's
    into that.  Arrow types of no fixed width are taken by pyarrow, in the caller.
    Concurrency: any thread.

    Examples
    --------
    >>> import numpy as np
    >>> from engine import parallel_take
    >>> parallel_take(np.array([10.0, 20.0, 30.0]), [2, 0, -1])
    array([30., 10., 30.])
    """
    if mode not in tuple(MODES):
        message = f"mode must be 'raise', 'wrap' or 'clip', not {mode!r}"
        raise ValueError(message)

    def run(options: CallOptions) -> Any:
        if is_arrow(x):
            if out is not None:
                message = "out= takes NumPy arrays; the result of an Arrow x is a new Arrow array"
                raise TypeError(message)
            if axis is not None:
                np.lib.array_utils.normalize_axis_index(axis, 1)
            # Late, because importing pyarrow takes a third of the time of importing this.
            from engine.algorithms.selection import arrow_take

            return arrow_take.take_arrow(x, indices, mode, options)
        refuse_masked([x])
        array = np.asarray(x)
        refuse_objects(array, "x")
        return _take(array, as_indices(indices), axis, mode, out, options)

    return run_call(
        run, pool=pool, grain=None, timeout=timeout, progress=False, what="parallel_take"
    )


def as_indices(indices: Any) -> np.ndarray[Any, Any]:
    """Bring indices into an integer array of native byte order."""
    if is_arrow(indices):
        from engine.algorithms.selection import arrow_take

        indices = arrow_take.as_numpy(indices, "indices")
    refuse_masked([indices])
    array = np.asarray(indices)
    if not array.size and not isinstance(indices, np.ndarray):
        # An empty list has no kind of its own.
        array = array.astype(np.int64)
    if not np.can_cast(array.dtype, np.int64, "safe"):
        message = f"indices must be integers that fit into int64, not {array.dtype}"
        raise TypeError(message)
    if array.dtype == np.bool_ or not array.dtype.isnative:
        array = array.astype(np.int64)
    return array


def _take(
    array: np.ndarray[Any, Any],
    indices: np.ndarray[Any, Any],
    axis: int | None,
    mode: str,
    out: Any,
    options: CallOptions,
) -> np.ndarray[Any, Any]:
    if axis is None or not array.ndim:
        # A scalar has one entry along its only axis, as for NumPy.
        axis = 0 if axis is None else np.lib.array_utils.normalize_axis_index(axis, 1)
        array = array.reshape(-1)
    axis = np.lib.array_utils.normalize_axis_index(axis, array.ndim)
    shape = (*array.shape[:axis], *indices.shape, *array.shape[axis + 1 :])
    if out is not None:
        check_outputs(out, 1, shape, is_tuple=False)
        check_castable("parallel_take", (array.dtype,), (out.dtype,))
    flat = within_reach(np.ascontiguousarray(indices.reshape(-1)))
    if mode == "raise":
        check_range(flat, array.shape[axis], f"axis {axis}", options)
    elif flat.size and not array.shape[axis]:
        message = f"nothing can be taken from axis {axis}, which has no entries"
        raise IndexError(message)
    target = out if _may_be_written(out, array, indices) else empty(shape, array.dtype)
    gathered(array, flat, axis, mode, target, options)
    if out is None or target is out:
        return target
    count_copy("results for an out= that workers cannot write to", out.nbytes)
    np.copyto(out, target, casting="same_kind")
    return out


def _may_be_written(out: Any, array: np.ndarray[Any, Any], indices: np.ndarray[Any, Any]) -> bool:
    """Tell whether a result may be written in place, also again after a worker's death."""
    return (
        out is not None
        and out.dtype == array.dtype
        and out.flags.c_contiguous
        and (is_shared_array(out) or in_worker())
        and not np.may_share_memory(out, array)
        and not np.may_share_memory(out, indices)
    )


def check_range(
    indices: np.ndarray[Any, Any],
    count: int,
    where: str,
    options: CallOptions,
    *,
    lowest: int | None = None,
) -> None:
    """Check that indices are in range.

    Parameters
    ----------
    indices : ndarray, 1-d
    count : int
        Number of entries to choose from.
    where : str
        What has the entries, for the message.
    lowest : int, optional
        The smallest index allowed; by default ``-count``.

    Raises
    ------
    IndexError
        Naming the first index that is not.
    """
    if not indices.size:
        return
    low = -count if lowest is None else lowest
    smallest, largest = bounds_of(indices, options)
    if smallest >= low and largest < count:
        return
    bad = int(indices[np.argmax((indices < low) | (indices >= count))])
    message = f"index {bad} is out of bounds for {where} with size {count}"
    raise IndexError(message)


def gathered(
    array: np.ndarray[Any, Any],
    indices: np.ndarray[Any, Any],
    axis: int,
    mode: str,
    out: np.ndarray[Any, Any],
    options: CallOptions,
) -> None:
    """Fetch entries along an axis into a C-ordered array of the dtype of the first."""
    if not out.nbytes:
        return
    number = MODES[mode]
    if array.ndim == 1:
        source, target = as_words(array), as_words(out.reshape(-1))
        if source.ndim == 1:
            arrays = (indices, number, source, target)
            run_blocks(selection.gather, len(indices), arrays, options)
            return
    outer, count = prod(array.shape[:axis]), array.shape[axis]
    rows = as_words(array.reshape(outer * count, *array.shape[axis + 1 :]))
    target = as_words(out.reshape(outer * len(indices), *array.shape[axis + 1 :]))
    arrays = (
        indices,
        number,
        rows.reshape(outer, count, -1),
        target.reshape(outer, len(indices), -1),
    )
    run_blocks(selection.gather_rows, outer * len(indices), arrays, options)
