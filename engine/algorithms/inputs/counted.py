"""Arguments of functions that count: elements without nulls, and their weights."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.inputs.arguments import is_arrow
from engine.algorithms.inputs.operands import refuse_masked
from engine.algorithms.phases.blocks import block_count, run_blocks
from engine.memory.arrays import empty
from kernels.loops import selection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.pool.native import CallOptions

__all__ = ["as_counted", "as_weights", "bounds_of", "summed"]

_NO_WEIGHTS = np.zeros(0)


def as_counted(
    columns: Sequence[Any], weights: Any
) -> tuple[list[np.ndarray[Any, Any]], np.ndarray[Any, Any] | None]:
    """Bring what is counted into NumPy, without the rows in which anything of Arrow's is null.

    Parameters
    ----------
    columns : sequence of array_like
        What is counted: elements, or a column for each coordinate of points.
    weights : array_like or None

    Raises
    ------
    ValueError
        There are nulls, and columns of other lengths would be shifted against them.
    """
    given = [_plain(one, "x") for one in columns]
    if weights is not None:
        given.append(_plain(weights, "weights"))
    nullable = [one for one in given if not isinstance(one, np.ndarray) and one.null_count]
    if nullable:
        shapes = [one.shape if isinstance(one, np.ndarray) else (len(one),) for one in given]
        if len({shape[:1] for shape in shapes}) != 1:
            message = f"x and weights with nulls must have one length, but have shapes {shapes}"
            raise ValueError(message)
        valid = functools.reduce(np.logical_and, [_numbers(one.is_valid()) for one in nullable])
        given = [one[valid] if isinstance(one, np.ndarray) else one.filter(valid) for one in given]
    arrays = [one if isinstance(one, np.ndarray) else _numbers(one) for one in given]
    return (arrays, None) if weights is None else (arrays[:-1], arrays[-1])


def _plain(value: Any, name: str) -> Any:
    """Bring an argument into a NumPy or a pyarrow array."""
    if not is_arrow(value):
        refuse_masked([value])
        return np.asarray(value)
    # Late, because importing pyarrow takes a third of the time of importing this.
    from engine.algorithms.selection.arrow_take import one_array

    return one_array(value, name)


def _numbers(array: Any) -> np.ndarray[Any, Any]:
    numbers: np.ndarray[Any, Any] = array.to_numpy(zero_copy_only=False)
    return numbers


def as_weights(
    array: np.ndarray[Any, Any] | None, shape: tuple[int, ...]
) -> np.ndarray[Any, Any] | None:
    """Check weights against the shape of what they belong to.

    Raises
    ------
    TypeError, ValueError
    """
    if array is None:
        return None
    if array.shape != shape:
        message = f"weights has shape {array.shape}, but what is counted has {shape}"
        raise ValueError(message)
    if not any(np.can_cast(array.dtype, wide) for wide in (np.float64, np.complex128)):
        message = (
            f"weights has dtype {array.dtype}; pass numbers that float64 or complex128 can hold"
        )
        raise TypeError(message)
    return array.reshape(-1)


def bounds_of(keys: np.ndarray[Any, Any], options: CallOptions) -> tuple[int, int]:
    """Return the smallest and the largest of some integers."""
    bounds = empty((block_count(len(keys)), 2), np.int64)
    run_blocks(selection.index_bounds, len(keys), (keys, bounds), options)
    return int(bounds[:, 0].min()), int(bounds[:, 1].max())


def summed(weights: np.ndarray[Any, Any] | None, count: Any) -> np.ndarray[Any, Any]:
    """Run ``count(weights, dtype)`` for what is to be added up.

    It is run without weights for int64, with them as float64, and once each for the two parts of
    complex ones.
    """
    if weights is None:
        return count(_NO_WEIGHTS, np.int64)
    if weights.dtype.kind == "c":
        parts = [
            count(np.ascontiguousarray(one, np.float64), np.float64)
            for one in (weights.real, weights.imag)
        ]
        return parts[0] + 1j * parts[1]
    return count(weights.astype(np.float64, copy=False), np.float64)
