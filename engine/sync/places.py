"""Where an element of an array is, in compiled code, and what may be written there.

What depends on types only is checked when a kernel is compiled, with the messages that Python
callers get when they call; what depends on values is checked when it runs.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from typing import Any

import numpy as np
from numba import from_dtype, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import overload

from engine.sync.kinds import DTYPES, KINDS
from engine.sync.typed import as_type, type_named

__all__ = [
    "MISALIGNED",
    "OUT_OF_BOUNDS",
    "check_array",
    "check_number",
    "fitting",
    "index_type",
    "place_of",
]

_TYPES = frozenset(from_dtype(dtype) for dtype in KINDS)

MISALIGNED = (
    "the element is misaligned: its address is no multiple of its size, so no atomic operation "
    "can reach it; copy the array"
)
OUT_OF_BOUNDS = "index is out of bounds for the array"


def check_array(array: Any, *, writes: bool) -> Any:
    """Check the type of an array; give that of its elements."""
    if not isinstance(array, types.Array):
        message = f"atomic operations take an element of a NumPy array, not of {array}"
        raise TypingError(message)
    if array.dtype not in _TYPES:
        message = f"arrays of {array.dtype} have no atomic operations, only {DTYPES} have"
        raise TypingError(message)
    if writes and not array.mutable:
        message = "the array is read-only"
        raise TypingError(message)
    return array.dtype


def check_number(element: Any, value: Any) -> None:
    """Check the type of a number that an element is to be changed to or compared with."""
    allowed: Any = (types.Integer, types.Boolean)
    if isinstance(element, types.Float):
        allowed = (*allowed, types.Float)
    if not isinstance(value, allowed):
        message = f"a number of type {element} was expected, not of {value}"
        raise TypingError(message)


def index_type(array: Any, index: Any) -> Any:
    """Check the type of an index; give the one that `place_of` takes."""
    given = tuple(index) if isinstance(index, types.BaseTuple) else (index,)
    if not all(isinstance(one, types.Integer) for one in given):
        message = f"an index must be an integer or a tuple of integers, not {index}"
        raise TypingError(message)
    if len(given) != array.ndim:
        message = f"{len(given)} indices for an array of {array.ndim} dimensions"
        raise TypingError(message)
    return types.UniTuple(types.intp, len(given))


def _locate(data, shape, strides, indices, itemsize):
    for axis in range(len(indices)):
        at = indices[axis]
        if at < 0:
            at += shape[axis]
        if not 0 <= at < shape[axis]:
            raise IndexError(OUT_OF_BOUNDS)
        data += at * strides[axis]
    if data & (itemsize - 1) != 0:
        raise ValueError(MISALIGNED)
    return data


def place_of(context: Any, builder: Any, kind: Any, array: Any, indices: Any) -> Any:
    """Emit what computes the address of an element of an array of type `kind`.

    When it runs it raises an IndexError if there is no such element, and a ValueError if its
    address is no multiple of its size.
    """
    native = context.make_array(kind)(context, builder, array)
    data = builder.ptrtoint(native.data, cgutils.intp_t)
    numbers = types.UniTuple(types.intp, kind.ndim)
    signature = types.intp(types.intp, numbers, numbers, numbers, types.intp)
    arguments = (data, native.shape, native.strides, indices, native.itemsize)
    return context.compile_internal(builder, _locate, signature, arguments)


def fitting(like: Any, value: Any) -> Any:
    """Cast a number to the type of `like`, in which it must fit.

    Raises
    ------
    OverflowError
        It is an integer that does not.
    """
    raise NotImplementedError


@overload(fitting)
def _fitting(like, value):
    kind = type_named(like)
    if not isinstance(kind, types.Integer) or not isinstance(value, types.Integer):
        return lambda like, value: as_type(like, value)  # noqa: PLW0108 - numba wants a function of its own
    limits = np.iinfo(str(kind))
    given = np.iinfo(str(types.unliteral(value)))
    if limits.min <= given.min and given.max <= limits.max:
        return lambda like, value: as_type(like, value)  # noqa: PLW0108 - numba wants a function of its own

    def checked(like, value):
        cast = as_type(like, value)
        if cast != value:
            raise OverflowError("the number does not fit into the array's dtype")
        return cast

    return checked
