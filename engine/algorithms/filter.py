"""parallel_filter: the rows of arrays for which a condition holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.inputs.arguments import is_arrow, run_call
from engine.algorithms.inputs.operands import refuse_masked
from engine.algorithms.inputs.words import refuse_objects
from engine.algorithms.map import map_within
from engine.algorithms.selection.compaction import Compaction
from engine.pool.functions import name_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

    from engine.pool.native import CallOptions
    from engine.pool.pool import Pool

__all__ = ["parallel_filter"]


def parallel_filter(
    mask_or_predicate: ArrayLike | Callable[..., bool],
    *arrays: Any,
    pool: Pool | None = None,
    timeout: float | None = None,
) -> Any:
    """Keep the entries of arrays for which a mask or a function says so, in their order.

    Parameters
    ----------
    mask_or_predicate : array_like of bool, shape (n,), or callable
        An entry is kept where the mask is true; an Arrow mask that is null drops it.  Or an
        ``@njit`` or plain Python function of one element of each array that returns a bool,
        which is compiled and called once an element; where an Arrow element is null it is not
        called and the entry is dropped.
    *arrays : array_like, shape (n, ...)
        NumPy arrays of any dtype without Python objects, of which entries along the first axis
        are kept; with a function they have one dimension and hold numbers.  Arrow arrays and
        chunked arrays of any type.  Or one Arrow table or record batch, whose columns are the
        function's arguments.
    pool, timeout
        As in `parallel_map`.

    Returns
    -------
    ndarray, pyarrow.Array, ChunkedArray, RecordBatch or Table, or a tuple of them
        What was given, with fewer entries, in shared memory: one for one array, a tuple for
        several.  NumPy arrays keep their dtype and byte order, chunked arrays their number of
        chunks.

    Raises
    ------
    IndexError
        The mask and an array differ in length, as in NumPy.
    ValueError
        The arrays differ in length, or have too few or too many dimensions.
    TypeError
        The mask or what the function returns is not bool, or elements are Python objects.
    KernelTypeError
        The function does not compile for these elements.

    Notes
    -----
    A phase counts what each block of rows keeps, the caller adds up where each block's part of
    the result begins, and a second phase moves the entries there.  Private arrays are copied
    once into shared memory when workers are needed.  Arrow types of no fixed width (text,
    lists, structs) are filtered by pyarrow, in the caller.  NaNs are elements like any other.
    Concurrency: any thread.

    Examples
    --------
    >>> import numpy as np
    >>> from engine import parallel_filter
    >>> x = np.array([3.0, -1.0, 2.0])
    >>> parallel_filter(x > 0, x)
    array([3., 2.])
    >>> parallel_filter(lambda v, i: v > 0 and i > 0, x, np.arange(3))
    (array([2.]), array([2]))
    """
    if not arrays:
        message = "parallel_filter needs at least one array to choose from"
        raise TypeError(message)
    columns = [_whole(one, position) for position, one in enumerate(arrays)]
    if len(columns) > 1 and any(hasattr(one, "schema") for one in columns):
        message = "a table must be the only array; pass its columns to filter them with others"
        raise TypeError(message)
    lengths = [len(one) for one in columns]
    if len(set(lengths)) != 1:
        message = f"the arrays must have the same length along the first axis, but have {lengths}"
        raise ValueError(message)

    def run(options: CallOptions) -> Any:
        mask: Any = mask_or_predicate
        if callable(mask):
            mask = _called(mask, arrays, options)
        flags = _flags(mask, lengths[0], options)
        results = _filtered(columns, flags, options)
        return results if len(results) > 1 else results[0]

    name = name_of(mask_or_predicate) if callable(mask_or_predicate) else "parallel_filter"
    return run_call(run, pool=pool, grain=None, timeout=timeout, progress=False, what=name)


def _whole(value: Any, position: int) -> Any:
    """Bring an argument into NumPy or pyarrow."""
    if is_arrow(value):
        # Late, because importing pyarrow takes a third of the time of importing this.
        from engine.memory.arrow import import_arrow

        return import_arrow(value)
    refuse_masked([value])
    array = np.asarray(value)
    if not array.ndim:
        message = f"array {position} is a scalar; pass arrays of at least one dimension"
        raise ValueError(message)
    refuse_objects(array, f"array {position}")
    return array


def _called(func: Callable[..., Any], arrays: tuple[Any, ...], options: CallOptions) -> Any:
    """Evaluate a function once an element."""
    for position, one in enumerate(arrays):
        if not is_arrow(one) and np.ndim(one) != 1:
            message = (
                f"array {position} has {np.ndim(one)} dimensions; a function chooses from those "
                "of one. Compute a mask of its rows, and pass that"
            )
            raise ValueError(message)
    mask = map_within(options, func, arrays)
    kind = getattr(mask, "dtype", None) if isinstance(mask, np.ndarray) else _arrow_type(mask)
    if kind != np.bool_ and str(kind) != "bool":
        returned = "a tuple" if isinstance(mask, tuple) else str(kind)
        message = f"{name_of(func)} must return a bool, not {returned}; compare it with something"
        raise TypeError(message)
    return mask


def _arrow_type(mask: Any) -> Any:
    return getattr(mask, "type", None)


def _flags(mask: Any, count: int, options: CallOptions) -> np.ndarray[Any, Any]:
    """Bring a mask into one byte a row."""
    if is_arrow(mask):
        from engine.algorithms.selection import arrow_filter

        flags = arrow_filter.flags_of_mask(mask, options)
    else:
        refuse_masked([mask])
        given = np.asarray(mask)
        if given.dtype != np.bool_ and given.size:
            message = (
                f"the mask has dtype {given.dtype}; pass booleans, or use parallel_take to choose "
                "by index"
            )
            raise TypeError(message)
        if given.ndim != 1:
            message = f"the mask has {given.ndim} dimensions; it must have one"
            raise ValueError(message)
        flags = given.astype(np.bool_, copy=False).view(np.uint8)
    if len(flags) != count:
        message = f"the mask has {len(flags)} entries, but the arrays have {count}"
        raise IndexError(message)
    return flags


def _filtered(
    columns: list[Any], flags: np.ndarray[Any, Any], options: CallOptions
) -> tuple[Any, ...]:
    if any(not isinstance(one, np.ndarray) for one in columns):
        from engine.algorithms.selection import arrow_filter

        return arrow_filter.filter_columns(columns, flags, options)
    compaction = Compaction(flags, options)
    return tuple(compaction.move(one) for one in columns)
