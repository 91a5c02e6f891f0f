"""Values that ranks exchange, as Python code gives them: numbers, arrays, and tuples of both."""

from __future__ import annotations

import ctypes
import zlib
from typing import Any

import numpy as np

from engine.memory.arrays import address_of

__all__ = ["OPERATIONS", "Packed", "checked", "identity_of"]

OPERATIONS: dict[str, Any] = {
    "sum": np.add,
    "prod": np.multiply,
    "min": np.minimum,
    "max": np.maximum,
}
"""What values are combined by."""

# So that every dtype is aligned.
_ALIGNMENT_BYTES = 16

_KINDS = "biufc"


class Packed:
    """A value as the arrays that it is made of.

    Parameters
    ----------
    value : number, array, or tuple of them

    Attributes
    ----------
    parts : list of array
    nbytes : int
        What all of them take.
    kind : int
        Alike for values of the same types and shapes, and hardly ever for others.

    Raises
    ------
    TypeError
        It is made of something else.
    """

    def __init__(self, value: Any) -> None:
        self._value = value
        self.parts = [np.ascontiguousarray(one).reshape(np.shape(one)) for one in _leaves(value)]
        for part in self.parts:
            if part.dtype.kind not in _KINDS or not part.dtype.isnative:
                message = (
                    "ranks exchange numbers, arrays of numbers and tuples of them, not "
                    f"{type(value).__name__} of dtype {part.dtype}; send others through a Queue"
                )
                raise TypeError(message)
        self._places = []
        self.nbytes = 0
        for part in self.parts:
            self._places.append(self.nbytes)
            self.nbytes += -(-part.nbytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES

    @property
    def kind(self) -> int:
        """A checksum of the types and shapes of the parts, with what they take."""
        looks = repr([(part.dtype.str, part.shape) for part in self.parts])
        return zlib.crc32(looks.encode()) << 31 | self.nbytes & 0x7FFF_FFFF

    def write(self, address: int) -> None:
        """Copy the parts into a room."""
        for part, place in zip(self.parts, self._places, strict=True):
            ctypes.memmove(address + place, address_of(part), part.nbytes)

    def read(self, address: int) -> list[np.ndarray[Any, Any]]:
        """Copy the parts of a value that looks alike out of a room."""
        found = []
        for part, place in zip(self.parts, self._places, strict=True):
            copy = np.empty_like(part)
            ctypes.memmove(address_of(copy), address + place, part.nbytes)
            found.append(copy)
        return found

    def restored(self, parts: list[Any]) -> Any:
        """Make a value of other parts that has the same shape as this one."""
        return _rebuilt(self._value, iter(parts))


def checked(operation: str, value: Any) -> Any:
    """Give a value that an operation is to combine: integers for booleans, which have no sum.

    Raises
    ------
    ValueError
        There is no such operation.
    """
    if operation not in OPERATIONS:
        message = f"operation must be one of {', '.join(OPERATIONS)}, not {operation!r}"
        raise ValueError(message)
    if operation in ("min", "max"):
        return value
    if isinstance(value, tuple):
        return _rebuilt(value, iter([checked(operation, one) for one in _leaves(value)]))
    is_truth = np.asarray(value).dtype.kind == "b"
    return np.asarray(value, np.int64)[()] if is_truth else value


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, tuple):
        return [leaf for one in value for leaf in _leaves(one)]
    return [value]


def _rebuilt(like: Any, parts: Any) -> Any:
    if isinstance(like, tuple):
        found = [_rebuilt(one, parts) for one in like]
        return type(like)(*found) if hasattr(like, "_fields") else tuple(found)
    part = next(parts)
    if isinstance(like, np.ndarray):
        return np.asarray(part)
    # A part is an array of no dimension where it has not been combined with another.
    number = np.asarray(part)
    return number.item() if isinstance(like, int | float | complex) else number[()]


def identity_of(operation: str, like: np.ndarray[Any, Any]) -> Any:
    """Give what changes nothing in an operation, as often as `like` has elements.

    Raises
    ------
    TypeError
        Complex numbers have no least and no largest.
    """
    if operation in ("sum", "prod"):
        return np.full_like(like, operation == "prod")
    if like.dtype.kind == "c":
        message = f"complex numbers have no {operation}imum"
        raise TypeError(message)
    if like.dtype.kind == "b":
        return np.full_like(like, operation == "min")
    if like.dtype.kind == "f":
        return np.full_like(like, np.inf if operation == "min" else -np.inf)
    limits = np.iinfo(like.dtype)
    return np.full_like(like, limits.max if operation == "min" else limits.min)
