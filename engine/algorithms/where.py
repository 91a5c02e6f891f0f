"""parallel_where: one of two values where a condition holds, or the places where it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from engine.algorithms.inputs.arguments import is_arrow, run_call
from engine.algorithms.inputs.operands import check_castable, check_outputs, refuse_masked
from engine.algorithms.inputs.words import WORDS, refuse_objects
from engine.algorithms.map import map_within
from engine.algorithms.phases.blocks import run_blocks
from engine.algorithms.selection.compaction import Compaction
from engine.memory.arrays import empty
from kernels.loops import selection

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from engine.pool.native import CallOptions
    from engine.pool.pool import Pool

__all__ = ["parallel_where"]


def parallel_where(
    condition: ArrayLike,
    x: Any = None,
    y: Any = None,
    *,
    out: np.ndarray[Any, Any] | None = None,
    pool: Pool | None = None,
    timeout: float | None = None,
) -> Any:
    """Choose from `x` where a condition is true and from `y` elsewhere, as `numpy.where`.

    Parameters
    ----------
    condition : array_like of bool
        Numbers count as true where they are not 0; NaN is true.
    x, y : array_like, optional
        Of any shapes that broadcast with the condition, or scalars; both or neither.  Elements
        of 1, 2, 4, 8 or 16 bytes.
    out : ndarray, optional
        Where to store the result; may be `x` or `y`.  Not with Arrow, nor without `x` and `y`.
    pool, timeout
        As in `parallel_map`.

    Returns
    -------
    ndarray, pyarrow.Array or ChunkedArray
        In the broadcast shape and the dtype that NumPy promotes `x` and `y` to, in shared
        memory.  If one of the three is Arrow, Arrow, as of `pyarrow.compute.if_else`: null
        where the condition or what it chooses is null.
    tuple of ndarray, or pyarrow.Array
        Without `x` and `y`: the indices along each axis where the condition holds, as
        `numpy.nonzero`; from Arrow as `pyarrow.compute.indices_nonzero`.

    Raises
    ------
    ValueError
        Shapes do not broadcast, or only one of `x` and `y` is given.
    TypeError
        Elements are Python objects or have another size.

    Notes
    -----
    What has another dtype than the result is converted first, in the caller.  Arrow types of
    no fixed width are left to pyarrow.  Concurrency: any thread.

    Examples
    --------
    >>> import numpy as np
    >>> from engine import parallel_where
    >>> x = np.array([1.0, -2.0, 3.0])
    >>> parallel_where(x > 0, x, 0)
    array([1., 0., 3.])
    >>> parallel_where(x > 0)
    (array([0, 2]),)
    """
    if (x is None) != (y is None):
        message = "give both x and y, or neither to find where the condition holds"
        raise ValueError(message)

    def run(options: CallOptions) -> Any:
        if any(is_arrow(one) for one in (condition, x, y)):
            if out is not None:
                message = "out= takes NumPy arrays; results of Arrow inputs are new Arrow arrays"
                raise TypeError(message)
            # Late, because importing pyarrow takes a third of the time of importing this.
            from engine.algorithms.selection import arrow_where

            if x is None:
                return arrow_where.nonzero_arrow(condition, options)
            return arrow_where.where_arrow(condition, x, y, options)
        refuse_masked([condition, x, y])
        truth = _truth(np.asarray(condition), options)
        if x is not None:
            return chosen(truth, x, y, out, options)
        if out is not None:
            message = "out= needs x and y; the number of places is not known before"
            raise TypeError(message)
        return _nonzero(truth, options)

    return run_call(
        run, pool=pool, grain=None, timeout=timeout, progress=False, what="parallel_where"
    )


@njit(cache=True)
def _select(condition: Any, x: Any, y: Any) -> Any:
    return x if condition else y


def _truth(condition: np.ndarray[Any, Any], options: CallOptions) -> np.ndarray[Any, Any]:
    """Bring a condition into booleans."""
    refuse_objects(condition, "condition")
    if condition.dtype == np.bool_:
        return condition
    if condition.dtype.kind not in "iufc":
        return condition.astype(np.bool_)
    return np.asarray(map_within(options, np.not_equal, (condition, 0)))


def chosen(
    truth: np.ndarray[Any, Any], x: Any, y: Any, out: Any, options: CallOptions
) -> np.ndarray[Any, Any]:
    """Choose elementwise between two arrays or scalars by booleans."""
    given = [_typed(one, name) for one, name in ((x, "x"), (y, "y"))]
    dtype = np.result_type(*given)
    if dtype.itemsize not in WORDS:
        message = f"x and y give dtype {dtype}, whose elements are not of 1, 2, 4, 8 or 16 bytes"
        raise TypeError(message)
    word = WORDS[dtype.itemsize]
    # A signalling NaN that becomes wider is nothing to warn of, and NumPy's `where` does not.
    with np.errstate(invalid="ignore"):
        words = [np.asarray(one, dtype).view(word) for one in given]
    shape = np.broadcast_shapes(truth.shape, *(one.shape for one in words))
    if out is not None:
        check_outputs(out, 1, shape, is_tuple=False)
        check_castable("parallel_where", (dtype,), (out.dtype,))
    target = out if out is not None and out.dtype == dtype else empty(shape, dtype)
    map_within(options, _select, (truth, *words), out=target.view(word))
    if out is None or target is out:
        return target
    np.copyto(out, target, casting="same_kind")
    return out


def _typed(value: Any, name: str) -> Any:
    """Bring an argument into NumPy, but leave the numbers that take the other's dtype."""
    if type(value) in (int, float, complex):
        return value
    array = np.asarray(value)
    refuse_objects(array, name)
    return array


def _nonzero(truth: np.ndarray[Any, Any], options: CallOptions) -> tuple[np.ndarray[Any, Any], ...]:
    if not truth.ndim:
        message = "condition is a scalar; pass an array of at least one dimension"
        raise ValueError(message)
    flat = Compaction(truth.reshape(-1).view(np.uint8), options).positions()
    if truth.ndim == 1:
        return (flat,)
    axes = empty((truth.ndim, len(flat)), np.int64)
    shape = np.array(truth.shape, np.int64)
    run_blocks(selection.coordinates, len(flat), (flat, shape, axes), options)
    return tuple(axes)
