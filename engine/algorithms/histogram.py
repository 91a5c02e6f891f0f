"""parallel_histogram: how many elements, or points, lie between given edges."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.inputs.arguments import is_arrow, run_call
from engine.algorithms.inputs.counted import as_counted, as_weights, summed
from engine.algorithms.phases.blocks import block_count, run_blocks, run_groups, within_reach
from engine.memory.arrays import empty
from kernels.loops import counting

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from engine.pool.native import CallOptions
    from engine.pool.pool import Pool

__all__ = ["parallel_histogram"]

# How far, in roundings of one operation, a guess of a bin and the edges themselves may be off.
_ROUNDINGS = 16

# A guess is worth while if it decides at least for half of the width of a bin.
_NEAR_MAX = 0.25


def parallel_histogram(
    x: ArrayLike | tuple[ArrayLike, ...],
    bins: Any = 10,
    range: Any = None,  # noqa: A002 - the name that NumPy's users know
    weights: ArrayLike | None = None,
    density: bool = False,
    *,
    pool: Pool | None = None,
    timeout: float | None = None,
) -> tuple[np.ndarray[Any, Any], Any]:
    """Count elements by bin, as `numpy.histogram`, or points, as `numpy.histogramdd`.

    Parameters
    ----------
    x : array_like, shape (n,) or (n, d), or tuple of d array_like of shape (n,)
        Numbers of at most 64 bits, no float16 and no complex ones.  An array of one dimension,
        a scalar or an Arrow array is counted by element; anything else by point, with the d
        coordinates of a point in a row or in d arrays.  What is null in Arrow data, or has a
        weight or a coordinate that is, is left out.
    bins : int, str or array_like, or a sequence of d of these
        How many bins of equal width, a rule of `numpy.histogram_bin_edges` (not for points), or
        the edges, which do not decrease.
    range : (float, float), or a sequence of d of these or None, optional
        Lowest and highest edge; by default the smallest and the largest element.
    weights : array_like, shape (n,), optional
        What an element counts; by default 1.
    density : bool
        Divide by the sum and by the width of each bin.

    Returns
    -------
    counts : ndarray, shape (bins,), or (bins, ..., bins) for points
        int64, or of the dtype of the weights; float64 for points and densities.
    edges : ndarray, or tuple of d ndarrays
        As NumPy gives them.

    Raises
    ------
    ValueError
        Bins, range, weights or shapes do not fit; an element is not finite and there is no
        range.  In NumPy's words.
    TypeError
        `x`, `weights` or edges are not numbers that can be counted here.

    Notes
    -----
    Counts are NumPy's exactly: a bin has its lower edge and not its upper one, the last bin has
    both, and what rounding might put on the wrong side of an edge is compared with the edges.
    Elements outside of the range, and with a range or edges NaNs too, are not counted.  Weights
    are summed as float64, in an order that depends on the number of elements and bins alone;
    NumPy adds them in another order.  Coordinates are compared as float64, or as integers if they
    and all edges are.  Private arrays are copied once into shared memory when workers are needed.
    Concurrency: any thread.

    Examples
    --------
    >>> import numpy as np
    >>> from engine import parallel_histogram
    >>> parallel_histogram(np.array([0.1, 0.4, 0.5, 1.0]), bins=2, range=(0, 1))
    (array([2, 2]), array([0. , 0.5, 1. ]))
    """
    has_points = isinstance(x, tuple) or (not is_arrow(x) and np.ndim(x) > 1)

    def run(options: CallOptions) -> Any:
        columns, summands = as_counted(x if isinstance(x, tuple) else [x], weights)
        if has_points:
            points = _points(columns, is_one=not isinstance(x, tuple))
            return _count_points(points, bins, range, summands, density, options)
        return _count_elements(_numbers(columns[0]), bins, range, summands, density, options)

    return run_call(
        run, pool=pool, grain=None, timeout=timeout, progress=False, what="parallel_histogram"
    )


def _numbers(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Check that elements can be counted; booleans are counted as 0 and 1."""
    if array.dtype == np.bool_:
        return array.view(np.uint8)
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8 or array.dtype == np.float16:  # noqa: PLR2004
        message = (
            f"x has dtype {array.dtype}, which cannot be counted in bins here; convert it to "
            "float64, float32 or an integer dtype"
        )
        raise TypeError(message)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _points(columns: list[np.ndarray[Any, Any]], *, is_one: bool) -> np.ndarray[Any, Any]:
    """Bring points into rows, from one array of them or from a column for each coordinate."""
    if is_one:
        (array,) = columns
        if array.ndim != 2:  # noqa: PLR2004
            message = f"x has shape {array.shape}; pass a row of coordinates for each point"
            raise ValueError(message)
        return _numbers(array)
    shapes = {one.shape for one in columns}
    if len(shapes) != 1 or columns[0].ndim != 1:
        message = f"the arrays of x must have one length, but have shapes {sorted(shapes)}"
        raise ValueError(message)
    return _numbers(np.stack(columns, axis=1))


def _extremes(points: np.ndarray[Any, Any], options: CallOptions) -> np.ndarray[Any, Any]:
    """Return the smallest and the largest coordinates, shape (2, d), or (0, d) of no points."""
    if not points.size:
        return points[:0]
    ends = empty((block_count(len(points)), 2, points.shape[1]), points.dtype)
    run_blocks(counting.block_extremes, len(points), (points, ends), options)
    return np.stack([ends[:, 0].min(axis=0), ends[:, 1].max(axis=0)])


def _count_elements(
    x: np.ndarray[Any, Any],
    bins: Any,
    limits: Any,
    weights: Any,
    density: Any,
    options: CallOptions,
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    given = as_weights(weights, x.shape)
    x = within_reach(x.reshape(-1))
    is_uniform = isinstance(bins, str) or np.ndim(bins) == 0
    if isinstance(bins, str):
        # The rules look at everything: quartiles, deviations.
        ends = x
    elif is_uniform and limits is None:
        ends = _extremes(x.reshape(-1, 1), options)[:, 0]
    else:
        ends = x[:0]
    edges = np.histogram_bin_edges(ends, bins, limits, given if isinstance(bins, str) else None)
    if len(edges) < 2:  # noqa: PLR2004
        counts = np.zeros(0, np.int64 if given is None else given.dtype)
    elif is_uniform:
        outer = limits if limits is not None else (ends.min(), ends.max()) if ends.size else (0, 1)
        counts = _count_uniform(x, given, edges, outer, options)
    else:
        counts = _count_boxes(x.reshape(-1, 1), given, [edges], options)
    if given is not None:
        counts = counts.astype(given.dtype, copy=False)
    if density:
        return counts / np.array(np.diff(edges), float) / counts.sum(), edges
    return counts, edges


def _count_uniform(
    x: np.ndarray[Any, Any],
    weights: np.ndarray[Any, Any] | None,
    edges: np.ndarray[Any, Any],
    outer: Any,
    options: CallOptions,
) -> np.ndarray[Any, Any]:
    number = edges.dtype.type
    count = len(edges) - 1
    low, high = outer
    if low == high:
        # As NumPy widens a range of no width.
        low, high = low - 0.5, high + 0.5
    first, last = number(low), number(high)
    is_whole = all(isinstance(one, int | np.integer) for one in (low, high))
    span = number(int(high) - int(low)) if is_whole else last - first
    scale = number(count / span)
    reach = max(abs(float(first)), abs(float(last))) / float(span)
    near = _ROUNDINGS * float(np.finfo(number).eps) * count * (1 + reach)
    if not near < _NEAR_MAX:
        near = 1.0
    # Integers of 64 bits are compared before they are rounded.
    is_exact = is_whole and x.dtype in (np.int64, np.uint64)
    limits = tuple(map(_limit if is_exact else number, (low, high)))
    settings = (edges, *limits, first, last, span, scale, number(near), number(1 - near))
    return summed(
        weights,
        lambda parts, dtype: run_groups(
            counting.count_uniform, len(x), count, dtype, (x, parts, *settings), options
        ),
    )


def _limit(whole: Any) -> Any:
    """Make a scalar of a whole number, exactly if there is an integer dtype for it."""
    value = int(whole)
    for dtype in (np.int64, np.uint64):
        if np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
            return dtype(value)
    return np.float64(value)


def _compared_as(points: np.ndarray[Any, Any], edges: list[np.ndarray[Any, Any]]) -> Any:
    """Choose the dtype of edges, so that integers are compared as integers, as by NumPy.

    Raises
    ------
    TypeError
        Edges are no real numbers.
    """
    for one in edges:
        # Integers beyond 64 bits are objects to NumPy.
        if one.dtype.kind not in "biufO":
            message = f"bins has edges of dtype {one.dtype}; they must be real numbers"
            raise TypeError(message)
    common = np.result_type(points.dtype, *edges)
    if common.kind not in "iu":
        return np.float64
    return np.uint64 if common == np.uint64 else np.int64


def _count_boxes(
    points: np.ndarray[Any, Any],
    weights: np.ndarray[Any, Any] | None,
    edges: list[np.ndarray[Any, Any]],
    options: CallOptions,
) -> np.ndarray[Any, Any]:
    """Count points in boxes; the counts of the last axis lie side by side."""
    begins = np.cumsum([0, *map(len, edges)])
    joined = np.concatenate(edges).astype(_compared_as(points, edges), copy=False)
    boxes = prod(len(one) - 1 for one in edges)
    return summed(
        weights,
        lambda parts, dtype: run_groups(
            counting.count_binned,
            len(points),
            boxes,
            dtype,
            (points, parts, joined, begins),
            options,
        ),
    )


def _count_points(
    points: np.ndarray[Any, Any],
    bins: Any,
    limits: Any,
    weights: Any,
    density: Any,
    options: CallOptions,
) -> tuple[np.ndarray[Any, Any], tuple[np.ndarray[Any, Any], ...]]:
    given = as_weights(weights, (len(points),))
    if given is not None and given.dtype.kind == "c":
        message = f"weights has dtype {given.dtype}; those of points must be real"
        raise TypeError(message)
    points = within_reach(points)
    all_given = hasattr(bins, "__len__") and all(np.ndim(one) for one in bins)
    needs_ends = not all_given and (limits is None or any(one is None for one in limits))
    # Of the outermost points alone NumPy makes the edges that it makes of all, or says what is
    # wrong with the arguments.
    ends = _extremes(points, options) if needs_ends else points[:0]
    empty_boxes, edges = np.histogramdd(ends, bins, limits)
    if not empty_boxes.size:
        counts = empty_boxes
    else:
        counts = _count_boxes(points, given, list(edges), options)
        counts = counts.reshape(empty_boxes.shape).astype(np.float64, copy=False)
    if density:
        total = counts.sum()
        for axis, own in enumerate(edges):
            shape = [1] * len(edges)
            shape[axis] = len(own) - 1
            counts = counts / np.diff(own).reshape(shape)
        counts = counts / total
    return counts, tuple(edges)
