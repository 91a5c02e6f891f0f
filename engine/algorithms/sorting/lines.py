"""Lines of elements sorted, each by itself: the rows of an array, or one long line.

Short lines are sorted whole, many at a time.  A long one is parted into buckets, which are sorted
like lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.phases.bodies import run_body
from engine.algorithms.sorting.buckets import draw_sample, follows, part
from engine.memory.arrays import empty, is_shared_array
from engine.memory.ledger import count_copy
from engine.pool.functions import compilable
from kernels.loops.sorting import segments

if TYPE_CHECKING:
    from engine.pool.native import CallOptions

__all__ = ["argsort_lines", "is_long", "lines_of", "sort_lines", "sort_segments"]

# Longer lines are parted: a bucket of them fits into the cache, and there is one for everybody.
LINE_LENGTH_MAX = 1 << 17

# Of a few lines shorter ones are, too.
_FEW_LINES = 16
FEW_LENGTH_MAX = 1 << 14

_SORT = compilable(segments.sort_segments)
_SORT_PAIRS = compilable(segments.sort_pairs)
_SORT_INDEX = compilable(segments.sort_index)


def is_long(lines: int, length: int) -> bool:
    """Tell whether lines are parted before they are sorted."""
    return length > (FEW_LENGTH_MAX if lines < _FEW_LINES else LINE_LENGTH_MAX)


def lines_of(array: np.ndarray[Any, Any], axis: int) -> tuple[np.ndarray[Any, Any], bool]:
    """Bring an array's lines along an axis into rows, contiguous and in shared memory.

    Returns
    -------
    rows : 2-D array of a native dtype
    is_own : bool
        Whether they are a copy.
    """
    moved = np.moveaxis(array, axis, -1)
    shape = (-1, array.shape[axis])
    is_dense = moved.flags.c_contiguous and moved.flags.aligned and array.dtype.isnative
    if is_dense and is_shared_array(array):
        return moved.reshape(shape), False
    rows = empty(moved.shape, array.dtype.newbyteorder("="))
    np.copyto(rows, moved)
    count_copy("core layout" if is_shared_array(array) else "share", array.nbytes)
    return rows.reshape(shape), True


def _line_bounds(lines: int, length: int) -> np.ndarray[Any, Any]:
    starts = np.arange(lines, dtype=np.int64) * length
    return np.stack((starts, starts + length), axis=1)


def sort_lines(
    bits: np.ndarray[Any, Any],
    order: np.ndarray[Any, Any],
    into: np.ndarray[Any, Any],
    options: CallOptions,
) -> None:
    """Sort every row of a contiguous array of words into another.

    Parameters
    ----------
    bits, into : 2-D arrays of the same unsigned dtype, in shared memory
        They may be the same array if `is_long`, else they must not overlap.
    order : ndarray
        From `order_of`.
    """
    lines, length = bits.shape
    if not is_long(lines, length):
        bounds = _line_bounds(lines, length)
        sort_segments(bits.reshape(-1), bounds, order, into.reshape(-1), options)
        return
    for line, target in zip(bits, into, strict=True):
        sample = draw_sample(line, order)
        if sample.direction and follows(line, order, sample.direction, options):
            target[...] = line[:: sample.direction]
            continue
        parted = part(line, order, sample.splitters, options, with_index=False)
        sort_segments(parted.moved, parted.bounds, order, target, options)


def sort_segments(
    bits: np.ndarray[Any, Any],
    bounds: np.ndarray[Any, Any],
    order: np.ndarray[Any, Any],
    into: np.ndarray[Any, Any],
    options: CallOptions,
) -> None:
    """Sort ranges of an array into the same places of another; `bounds` has start and stop."""
    run_body(_SORT, len(bounds), (bits, bounds, order, into), options)


def argsort_lines(
    bits: np.ndarray[Any, Any],
    order: np.ndarray[Any, Any],
    into_index: np.ndarray[Any, Any],
    options: CallOptions,
    into: np.ndarray[Any, Any] | None = None,
) -> None:
    """Write for every row of a contiguous array where its elements stand in order.

    Parameters
    ----------
    bits : 2-D array of an unsigned dtype, in shared memory
    order : ndarray
        From `order_of`.
    into_index : int64 array of the same shape, in shared memory
    into : array of the shape and dtype of `bits`, optional
        Where to write the elements in order.
    """
    lines, length = bits.shape
    if not is_long(lines, length):
        index = empty((lines, length), np.uint32)
        index[...] = np.arange(length, dtype=np.uint32)
        wanted = None if into is None else into.reshape(-1)
        flat = bits.reshape(-1), index.reshape(-1), _line_bounds(lines, length), order
        _sort_index(*flat, wanted, into_index.reshape(-1), options)
        return
    for at, (line, target) in enumerate(zip(bits, into_index, strict=True)):
        wanted = None if into is None else into[at]
        sample = draw_sample(line, order)
        if sample.direction and follows(line, order, sample.direction, options):
            target[...] = np.arange(length)[:: sample.direction]
            if wanted is not None:
                wanted[...] = line[:: sample.direction]
            continue
        parted = part(line, order, sample.splitters, options, with_index=True)
        _sort_index(parted.moved, parted.index, parted.bounds, order, wanted, target, options)


def _sort_index(
    bits: np.ndarray[Any, Any],
    index: Any,
    bounds: np.ndarray[Any, Any],
    order: np.ndarray[Any, Any],
    into: np.ndarray[Any, Any] | None,
    into_index: np.ndarray[Any, Any],
    options: CallOptions,
) -> None:
    """Sort segments with their indices; the elements themselves only if they are wanted."""
    if into is None:
        arrays: tuple[Any, ...] = (bits, index, bounds, order, into_index)
        run_body(_SORT_INDEX, len(bounds), arrays, options)
    else:
        arrays = (bits, index, bounds, order, into, into_index)
        run_body(_SORT_PAIRS, len(bounds), arrays, options)
