"""Cells: what one argument of a kernel is at one index, and how it is stored.

A kernel is called once an index with one cell from each argument.  A cell is a
scalar, or an array of the argument's core dimensions.  What the function sees
(`Cell.type`) may differ from what memory holds (`Cell.storage`): Arrow's booleans
are bits and its dates 32-bit integers, and float16 is computed in float32.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import types
from numba.core.errors import NumbaNotImplementedError
from numba.np import numpy_support

__all__ = ["BIT", "INDEX", "Cell", "array_cell", "bit_cell", "index_cell", "scalar_cell"]

# Stored as one bit; its "address" counts bits, so that base + i * step holds.
BIT = "bit"
# Not stored at all: the value is the index itself.
INDEX = "index"

# Cells of a program's commonest types, which are made and compared at every call.
_CELLS_MAX = 256


@dataclass(frozen=True, slots=True)
class Cell:
    """One argument of a kernel.

    Attributes
    ----------
    type : numba type
        The element type that the function works with.
    storage : str
        `BIT`, `INDEX` or a NumPy type string such as ``'<f8'``.
    ndim : int
        Number of core dimensions; 0 for a scalar.
    layout : str
        Of the core dimensions: ``'C'`` when contiguous, else ``'A'``.
    writable : bool
        Whether the function may write to it; scalars never are, array cells of
        private inputs are not.
    """

    type: Any
    storage: str
    ndim: int = 0
    layout: str = "A"
    writable: bool = False

    def __hash__(self) -> int:
        # Without the type, which takes long to hash and hardly ever differs when all else is equal.
        return hash((self.storage, self.ndim, self.layout, self.writable))

    @property
    def argument_type(self) -> Any:
        """The numba type of what the function receives."""
        if self.ndim == 0:
            return self.type
        return types.Array(self.type, self.ndim, self.layout, readonly=not self.writable)

    @property
    def item_bytes(self) -> int:
        """Bytes of one stored element; 0 for bits and indices."""
        return 0 if self.storage in (BIT, INDEX) else np.dtype(self.storage).itemsize


def element_type(dtype: np.dtype[Any]) -> Any:
    """The numba type that stands for a NumPy dtype inside kernels.

    Raises
    ------
    TypeError
        No compiled kernel can work on this dtype.
    """
    if dtype == np.float16:
        return types.float32
    try:
        if dtype.kind in "biufcmM":
            return numpy_support.from_dtype(dtype.newbyteorder("="))
    except NumbaNotImplementedError:
        pass  # longdouble and its complex twin: no LLVM type is sure to match them
    message = f"elements of dtype {dtype} have no compiled form"
    raise TypeError(message)


@functools.lru_cache(maxsize=_CELLS_MAX)
def scalar_cell(dtype: np.dtype[Any]) -> Cell:
    """A scalar stored as the given dtype."""
    return Cell(element_type(dtype), dtype.str)


@functools.lru_cache(maxsize=_CELLS_MAX)
def array_cell(dtype: np.dtype[Any], ndim: int, *, contiguous: bool, writable: bool) -> Cell:
    """An array of core dimensions."""
    if dtype == np.float16:
        message = "float16 arrays have no compiled form; convert them to float32"
        raise TypeError(message)
    return Cell(element_type(dtype), dtype.str, ndim, "C" if contiguous else "A", writable)


def bit_cell() -> Cell:
    """A boolean stored as one bit, least significant first, as Arrow does."""
    return Cell(types.boolean, BIT)


def index_cell() -> Cell:
    """The index that the function is called for."""
    return Cell(types.int64, INDEX)
