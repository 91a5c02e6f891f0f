"""Arguments of functions that count: elements without nulls, and their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.inputs.arguments import is_arrow
from engine.algorithms.inputs.operands import refuse_masked
from engine.algorithms.phases.blocks import block_count, run_blocks
from engine.memory.arrays import empty
from kernels.loops import selection

if TYPE_CHECKING:
    from engine.pool.native import CallOptions

__all__ = ["as_counted", "as_weights", "bounds_of", "summed"]

_NO_WEIGHTS = np.zeros(0)


def as_counted(value: Any, name: str, *, weighted: bool = False) -> np.ndarray[Any, Any]:
    """Bring what is counted into NumPy; nulls of Arrow data are left out.

    Raises
    ------
    ValueError
        There are nulls, and weights that would be shifted against the rest.
    """
    if not is_arrow(value):
        refuse_masked([value])
        return np.asarray(value)
    # Late, because importing pyarrow takes a third of the time of importing this.
    from engine.algorithms.selection import arrow_take

    column = arrow_take.one_array(value, name)
    return arrow_take.as_numpy(column if weighted else column.drop_null(), name)


def as_weights(weights: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any] | None:
    """Check weights against the shape of what they belong to.

    Raises
    ------
    TypeError, ValueError
    """
    if weights is None:
        return None
    array = as_counted(weights, "weights", weighted=True)
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
