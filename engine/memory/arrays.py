"""NumPy arrays whose bytes live in the arena."""

from __future__ import annotations

import ctypes
import operator
import platform
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.memory import arena as arena_module
from engine.memory.ledger import count_copy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, DTypeLike

__all__ = [
    "address_of",
    "bytes_at",
    "dense",
    "empty",
    "full",
    "is_shared_array",
    "share_array",
    "zeros",
]


class _Bytes:
    """Memory at an address, in the clothes that NumPy knows; becomes an array's base.

    Parameters
    ----------
    owner : object
        Kept alive as long as any array over the memory: a lease, or None.
    """

    __slots__ = ("__array_interface__", "_owner")

    def __init__(self, owner: Any, address: int, shape: tuple[int, ...], typestr: str) -> None:
        self._owner = owner
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": typestr,
            "data": (address, False),
        }


def bytes_at(address: int, nbytes: int) -> np.ndarray[Any, Any]:
    """View memory that somebody else keeps alive as an array of bytes."""
    return np.asarray(_Bytes(None, address, (nbytes,), "|u1"))


def empty(
    shape: int | Sequence[int], dtype: DTypeLike = np.float64, order: str = "C"
) -> np.ndarray[Any, Any]:
    """Make an array in shared memory without setting its elements.

    Parameters
    ----------
    shape : int or sequence of int
    dtype : dtype, default float64
        Any fixed-size dtype; not object.
    order : {'C', 'F'}
        Memory layout.

    Returns
    -------
    ndarray
        Ordinary in every way, but workers see its bytes without a copy.  The
        memory is recycled when the last view of it dies.

    Raises
    ------
    SharedMemoryFull
        The machine or the arena has no room for it.

    Notes
    -----
    Concurrency: any thread.
    """
    dtype = np.dtype(dtype)
    if dtype.hasobject:
        message = f"dtype {dtype} holds Python objects, which cannot live in shared memory"
        raise TypeError(message)
    if order not in ("C", "F"):
        message = f"order must be 'C' or 'F', not {order!r}"
        raise ValueError(message)
    dims = tuple(map(operator.index, shape if np.iterable(shape) else (shape,)))
    count = 1
    for dim in dims:
        if dim < 0:
            message = f"shape {dims}: negative dimensions are not allowed"
            raise ValueError(message)
        count *= dim
    in_memory = dims if order == "C" else dims[::-1]
    if dtype.fields is None and dtype.subdtype is None:
        array = dense(in_memory, dtype, count)
    else:
        raw = dense((count * dtype.itemsize,), np.dtype(np.uint8), count * dtype.itemsize)
        array = raw.view(dtype).reshape(in_memory)
    return array if order == "C" else array.T


def dense(shape: tuple[int, ...], dtype: np.dtype[Any], count: int) -> np.ndarray[Any, Any]:
    """Make a C-ordered array of `count` elements of a plain dtype; checks nothing."""
    lease = arena_module.arena().lease(count * dtype.itemsize)
    block: Any = lease  # a buffer, which type checkers cannot see
    return np.ndarray(shape, dtype, block)


def zeros(
    shape: int | Sequence[int], dtype: DTypeLike = np.float64, order: str = "C"
) -> np.ndarray[Any, Any]:
    """Make an array of zeros in shared memory; otherwise as `empty`."""
    array = empty(shape, dtype, order)
    # Not fill(0), which would write the text "0" into strings.
    array[...] = np.zeros((), array.dtype)
    return array


def full(
    shape: int | Sequence[int], fill_value: Any, dtype: DTypeLike | None = None, order: str = "C"
) -> np.ndarray[Any, Any]:
    """Make an array of one value in shared memory; otherwise as `empty`.

    The dtype defaults to that of `fill_value`, as in `numpy.full`.
    """
    array = empty(shape, np.asarray(fill_value).dtype if dtype is None else dtype, order)
    array[...] = fill_value
    return array


def share_array(array: ArrayLike) -> np.ndarray[Any, Any]:
    """Return an array with the same contents whose bytes are in the arena.

    An array that is there already is returned as it is; any other is copied once.
    """
    if isinstance(array, np.ma.MaskedArray):
        message = (
            "a masked array would lose its mask; share pyarrow.array(x), whose nulls are kept, or "
            "x.filled(value)"
        )
        raise TypeError(message)
    array = np.asarray(array)
    if is_shared_array(array):
        return array
    columns_first = array.flags.f_contiguous and not array.flags.c_contiguous
    shared = empty(array.shape, array.dtype, "F" if columns_first else "C")
    np.copyto(shared, array)
    count_copy("share", array.nbytes)
    return shared


def is_shared_array(array: np.ndarray[Any, Any]) -> bool:
    """Tell whether an array's bytes live in this process's arena."""
    if not arena_module.is_open():
        return False
    return arena_module.arena().offset_of(address_of(array)) is not None


def _interface_address(array: np.ndarray[Any, Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


# The data pointer is the first field behind the object header, by NumPy's public ABI
# (struct tagPyArrayObject_fields in numpy/ndarraytypes.h).  Reading it there takes a
# tenth of the 1.5 us that building the interface dictionary takes, and a small call
# needs three addresses.
_DATA_OFFSET = object.__basicsize__


def _field_address(array: np.ndarray[Any, Any]) -> int:
    return ctypes.c_size_t.from_address(id(array) + _DATA_OFFSET).value


def _choose_address_of() -> Callable[[np.ndarray[Any, Any]], int]:
    """Take the quick way if it tells the truth on this interpreter."""
    if platform.python_implementation() != "CPython":
        return _interface_address
    probe = np.empty(3)[1:]
    quick = _field_address(probe) == _interface_address(probe)
    return _field_address if quick else _interface_address


# Address of an array's first element.
address_of = _choose_address_of()
