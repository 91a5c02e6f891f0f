"""Which dtypes can be sorted, and the order of their elements as words for compiled loops."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from engine.algorithms.inputs.operands import refuse_masked

__all__ = ["bits_of", "order_of", "sortable"]

_KINDS = "biufmM"
_ITEM_BYTES_MAX = 8
_WORD = 1 << 64


def sortable(x: Any, what: str, name: str = "x") -> np.ndarray[Any, Any]:
    """Bring an argument into an array that can be sorted.

    Raises
    ------
    TypeError
        Its dtype has no order that compiled loops know.
    """
    refuse_masked([x])
    array = np.asarray(x)
    if array.dtype.kind not in _KINDS or array.dtype.itemsize > _ITEM_BYTES_MAX:
        message = (
            f"{what} sorts booleans, integers, floats of up to 64 bits, dates and times, but "
            f"{name} has dtype {array.dtype}; use numpy.sort, or convert it"
        )
        raise TypeError(message)
    return array


def bits_of(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """View a native array's elements as unsigned integers of their size."""
    return array.view(f"u{array.dtype.itemsize}")


def order_of(dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """The order of NumPy's sort as words for `kernels.loops.sorting.keys`; NaN and NaT are last."""
    return _order(dtype.kind, dtype.itemsize)


@cache
def _order(kind: str, item_bytes: int) -> np.ndarray[Any, Any]:
    sign = 1 << (8 * item_bytes - 1)
    words = (0, 0, 0, 0, _WORD - 1)
    if kind == "i":
        words = (0, sign, 0, 0, _WORD - 1)
    elif kind in "mM":
        words = (0, sign, 0, 1, _WORD - 1)
    elif kind == "f":
        infinity = int(bits_of(np.array([np.inf], f"f{item_bytes}"))[0])
        # Of minus infinity every bit is turned, and one is added.
        lowest = 2 * sign - 1 - (sign | infinity) + 1
        words = (sign - 1, sign, 1, lowest, (sign | infinity) - lowest + 1)
    order = np.array((8 * item_bytes - 1, *words), np.uint64)
    order.flags.writeable = False
    return order
