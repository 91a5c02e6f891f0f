"""parallel_rolling: functions of the last so many elements."""

from __future__ import annotations

import importlib
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.inputs.arguments import is_arrow, run_call
from engine.algorithms.inputs.operands import check_outputs, refuse_masked
from engine.algorithms.phases.bodies import run_body
from engine.checks import whole_number
from engine.memory.arrays import empty, is_shared_array
from engine.memory.ledger import count_copy
from engine.pool.functions import compilable

if TYPE_CHECKING:
    from engine.pool.native import CallOptions
    from engine.pool.pool import Pool

__all__ = ["parallel_rolling"]

# Ends of windows that are one piece of work; with larger windows more, because each piece reads a
# window of elements that precede it.
BLOCK = 1 << 13
_WINDOWS_PER_BLOCK = 4

# For each operation the module and the name of its body, and what that is given at the end.
_OPERATIONS: dict[str, tuple[str, str, tuple[Any, ...]]] = {
    "count": ("kernels.loops.rolling", "rolling_count_block", ()),
    "max": ("kernels.loops.rolling", "rolling_extreme_block", (np.float64(1.0),)),
    "mean": ("kernels.loops.rolling_sums", "rolling_sum_block", (np.True_,)),
    "median": ("kernels.loops.rolling_median", "rolling_median_block", ()),
    "min": ("kernels.loops.rolling", "rolling_extreme_block", (np.float64(-1.0),)),
    "std": ("kernels.loops.rolling", "rolling_spread_block", (np.True_,)),
    "sum": ("kernels.loops.rolling_sums", "rolling_sum_block", (np.False_,)),
    "var": ("kernels.loops.rolling", "rolling_spread_block", (np.False_,)),
}


def parallel_rolling(
    op: str,
    x: Any,
    window: int,
    *,
    min_count: int | None = None,
    ddof: float = 0,
    axis: int = -1,
    out: np.ndarray[Any, Any] | None = None,
    pool: Pool | None = None,
    timeout: float | None = None,
) -> Any:
    """Compute a function of each element and the ``window - 1`` before it, on every core.

    Parameters
    ----------
    op : {"sum", "mean", "var", "std", "min", "max", "count", "median"}
    x : array_like
        Booleans, integers or floats of at most 64 bits; of any shape.  Or one Arrow
        array of such a type.
    window : int
        Number of elements of a window, 1 or more.
    min_count : int, optional
        How many elements of a window must be there for a result; otherwise it is
        missing.  0 to `window`, by default `window`, but 0 for ``"count"``, as the
        ``min_periods`` of pandas, which counts rows instead for ``"count"``.
    ddof : float, default 0
        "var" and "std" divide by the number of elements less this, as in NumPy; pandas
        takes 1.
    axis : int, default -1
        Along which windows lie.
    out : ndarray, optional
        Where to write the result: float32 or float64 and of the shape of `x`.
    pool, timeout
        As in `parallel_map`.

    Returns
    -------
    ndarray, pyarrow.Array or pyarrow.ChunkedArray
        Of the shape of `x`, float32 if `x` is, of float16 too, else float64; in
        shared memory.  What is missing is NaN, in Arrow data null.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        Naming the argument that does not fit; nothing has been written then.

    Notes
    -----
    NaN and nulls are missing elements, which are passed over as in pandas and
    bottleneck.  An infinity is an element like any other, unlike in pandas: it shows in
    the windows that hold it and not in later ones.  Everything is computed in float64,
    so integers beyond 2**53 are rounded.  Sums are made of the elements of their own
    window alone, never by subtracting what leaves it; variances of differences from an
    element of the window.  Long windows and those of extremes are joined of two runs
    [1]_; sums of up to 192 elements are trees, in which finite numbers that overflow
    may do so to infinities of both signs, whose sum is NaN.  The sum of no elements is
    0, its mean and the like are NaN.  Where pieces of the work begin depends on the
    shape and the window alone.  An array that is not in shared memory is copied once if
    workers are needed.

    References
    ----------
    .. [1] M. van Herk, "A fast algorithm for local minimum and maximum filters on
       rectangular and octagonal kernels", Pattern Recognition Letters 13 (7), 1992.

    Examples
    --------
    >>> import engine
    >>> engine.parallel_rolling("mean", [1.0, 3.0, 5.0, 11.0], 2)
    array([nan,  2.,  4.,  8.])
    >>> engine.parallel_rolling("max", [1, 3, 2, 0], 2, min_count=1)
    array([1., 3., 3., 2.])
    """
    if op not in tuple(_OPERATIONS):
        message = f"op {op!r} is not known; take one of {', '.join(_OPERATIONS)}"
        raise ValueError(message)
    window = whole_number(window, "window", 1)
    if min_count is None:
        least = 0 if op == "count" else window
    else:
        least = whole_number(min_count, "min_count", 0)
    if least > window:
        message = f"min_count must be at most the window, but {least} > {window}"
        raise ValueError(message)
    rest = _rest(op, ddof)
    if is_arrow(x):
        # Late, because importing pyarrow takes a third of the time of importing this.
        from engine.algorithms.windows.arrow_rolling import roll_arrow

        if out is not None:
            message = "out= is for NumPy arrays; Arrow data give new Arrow data"
            raise TypeError(message)
        _axis(axis, 1)

        def run(options: CallOptions) -> Any:
            return roll_arrow(op, x, (window, least, rest), options)

    else:
        refuse_masked([x])
        array = _checked(np.asarray(x))
        position = _axis(axis, array.ndim)
        dtype = np.dtype(np.float32 if array.dtype in (np.float16, np.float32) else np.float64)
        if out is not None:
            (out,) = check_outputs(out, 1, array.shape, is_tuple=False)
            if out.dtype not in (np.float32, np.float64):
                message = f"out= must have dtype float32 or float64, not {out.dtype}"
                raise TypeError(message)

        def run(options: CallOptions) -> Any:
            return _roll_array(op, array, out, (position, dtype), (window, least, rest), options)

    return run_call(run, pool=pool, grain=None, timeout=timeout, progress=False, what=op)


def _roll_array(
    op: str,
    array: np.ndarray[Any, Any],
    out: np.ndarray[Any, Any] | None,
    along: tuple[int, np.dtype[Any]],
    how: tuple[int, int, tuple[Any, ...]],
    options: CallOptions,
) -> np.ndarray[Any, Any]:
    """Compute into `out`, or into a new array."""
    axis, dtype = along
    if out is not None and is_shared_array(out) and not np.may_share_memory(array, out):
        roll(op, array, out, axis, how, options)
        return out
    # Also where the input is overwritten: what may be computed twice must find it as it was.
    result = empty(array.shape, dtype if out is None else out.dtype)
    roll(op, array, result, axis, how, options)
    if out is None:
        return result
    out[...] = result
    return out


def roll(
    op: str,
    array: np.ndarray[Any, Any],
    out: np.ndarray[Any, Any],
    axis: int,
    how: tuple[int, int, tuple[Any, ...]],
    options: CallOptions,
) -> None:
    """Write the results of one operation along an axis to a shared array.

    Parameters
    ----------
    how : tuple
        Window, least number of elements, and the last arguments of the body.
    """
    if not array.size:
        return
    window, least, rest = how
    length = array.shape[axis]
    # Numbers of any size fit, because nothing is larger than all elements and one more.
    window, least = min(window, length), min(least, length + 1)
    if array.dtype == np.float16:
        count_copy("dtype", array.nbytes * 2)
        array = array.astype(np.float32)
    elif not array.dtype.isnative:
        count_copy("byte order", array.nbytes)
        array = array.astype(array.dtype.newbyteorder("="))
    elif array.dtype == np.bool_:
        array = array.view(np.uint8)
    target = np.moveaxis(out, axis, -1).reshape(-1, length)
    if not np.may_share_memory(target, out):
        # Rows that no steps lead through are written apart.
        target = empty(target.shape, target.dtype)
    block = max(BLOCK, _WINDOWS_PER_BLOCK * window)
    module, name, _ = _OPERATIONS[op]
    numbers = [np.int64(one) for one in (window, least, block)]
    rows = np.moveaxis(array, axis, -1).reshape(-1, length)
    if not np.may_share_memory(rows, array):
        count_copy("core layout", array.nbytes)
    pieces = len(rows) * -(-length // block)
    body = getattr(importlib.import_module(module), name)
    run_body(compilable(body), pieces, [rows, target, *numbers, *rest], options)
    if not np.may_share_memory(target, out):
        moved = np.moveaxis(out, axis, -1)
        moved[...] = target.reshape(moved.shape)


def _rest(op: str, ddof: Any) -> tuple[Any, ...]:
    """What the body is given at the end."""
    rest = _OPERATIONS[op][2]
    if op not in ("var", "std"):
        return rest
    try:
        return (np.float64(float(ddof)), *rest)
    except (TypeError, ValueError):
        message = f"ddof must be a number, not {ddof!r}"
        raise TypeError(message) from None


def _checked(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Refuse what has no windows.

    Raises
    ------
    TypeError, ValueError
    """
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > np.dtype(np.float64).itemsize:
        message = f"x has dtype {array.dtype}; it must hold booleans, integers or floats"
        raise TypeError(message)
    if array.ndim == 0:
        message = "x has no dimension along which a window could move"
        raise ValueError(message)
    return array


def _axis(axis: Any, ndim: int) -> int:
    try:
        position = operator.index(axis)
    except TypeError:
        message = f"axis must be a whole number, not {axis!r}"
        raise TypeError(message) from None
    if not -ndim <= position < ndim:
        raise np.exceptions.AxisError(position, ndim)
    return position % ndim
