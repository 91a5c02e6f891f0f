"""Where a chunk's arguments come from: views of arrays, made in the worker.

Arrays in the arena and in mapped files are viewed in place.  Private arrays are
read from the caller's memory, one chunk at a time; where the system forbids that,
the caller puts each chunk into the arena when a worker asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.memory.arrays import bytes_at
from engine.memory.refs import INLINE, PRIVATE, Mapped, refer
from engine.pool import peers
from engine.pool.tasks import ArrayRef

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ArraySource", "Grid", "describe_array", "open_array"]


@dataclass(frozen=True, slots=True)
class Grid:
    """Chunks of an axis: chunk k is ``[k * chunk_length, ...)``, cut at `length`.

    Attributes
    ----------
    length : int
        Of the axis.
    chunk_length : int
        Of every chunk but the last.
    halo : int
        Elements beyond each end of a chunk that its view also shows, as far as
        the axis reaches.
    """

    length: int
    chunk_length: int
    halo: int = 0

    @property
    def count(self) -> int:
        """Number of chunks."""
        # An empty axis is one empty chunk: that is how its result gets a type.
        return max(-(-self.length // self.chunk_length), 1)

    def bounds(self, chunk: int) -> tuple[int, int]:
        """The chunk's own range, without halo."""
        start = chunk * self.chunk_length
        return start, min(start + self.chunk_length, self.length)

    def view_bounds(self, chunk: int) -> tuple[int, int]:
        """The range that a chunk's views show."""
        start, stop = self.bounds(chunk)
        return max(start - self.halo, 0), min(stop + self.halo, self.length)


def describe_array(array: np.ndarray[Any, Any], *, writable: bool = False) -> ArrayRef:
    """Describe an array so that a worker can open it."""
    return ArrayRef(refer(array, writable=writable), array.dtype, array.shape, array.strides)


def open_array(one: ArrayRef, mapped: Mapped, *, writable: bool = False) -> np.ndarray[Any, Any]:
    """View a described array, which must not be private, in this process."""
    if not prod(one.shape):
        view = np.empty(one.shape, one.dtype)
    elif one.ref.kind == INLINE:
        view = np.ndarray(one.shape, one.dtype, one.ref.data or b"", one.ref.place, one.strides)
    else:
        low, high = _span(mapped.address(one.ref), one.dtype, one.shape, one.strides)
        room = bytes_at(low, high - low)
        first = mapped.address(one.ref) - low
        view = np.ndarray(one.shape, one.dtype, room.data, first, one.strides)
    view.flags.writeable = writable
    return view


def _span(
    address: int, dtype: np.dtype[Any], shape: tuple[int, ...], strides: tuple[int, ...]
) -> tuple[int, int]:
    """Bounds of the bytes that a non-empty strided array reaches."""
    reaches = [(length - 1) * step for length, step in zip(shape, strides, strict=True)]
    low = address + sum(reach for reach in reaches if reach < 0)
    return low, address + dtype.itemsize + sum(reach for reach in reaches if reach > 0)


@dataclass(frozen=True, slots=True)
class ArraySource:
    """Chunks along the first axis of NumPy arrays.

    Attributes
    ----------
    grid : Grid
    arrays : tuple of ArrayRef
    whole : tuple of bool
        Which arrays every chunk gets as a whole.
    with_bounds : bool
        Whether the chunk's own range comes before the views.
    """

    grid: Grid
    arrays: tuple[ArrayRef, ...]
    whole: tuple[bool, ...]
    with_bounds: bool = False

    def open(
        self, mapped: Mapped, caller_pid: int, stage: Callable[[int], int]
    ) -> Callable[[int], tuple[Any, ...]]:
        """Make the function that gives a chunk's arguments."""
        readers = []
        for one, whole in zip(self.arrays, self.whole, strict=True):
            if one.ref.kind == PRIVATE:
                readers.append(_private_reader(one, caller_pid, whole=whole))
            else:
                readers.append(_view_reader(open_array(one, mapped), whole=whole))

        def read(chunk: int) -> tuple[Any, ...]:
            start, stop = self.grid.view_bounds(chunk)
            views = tuple(reader(start, stop) for reader in readers)
            return (self.grid.bounds(chunk), *views) if self.with_bounds else views

        return read


def _view_reader(array: np.ndarray[Any, Any], *, whole: bool) -> Callable[[int, int], Any]:
    return (lambda start, stop: array) if whole else (lambda start, stop: array[start:stop])


def _private_reader(one: ArrayRef, pid: int, *, whole: bool) -> Callable[[int, int], Any]:
    vectors = np.empty(peers.VECTOR_WORDS, np.int64)
    dtype = one.dtype

    def read(start: int, stop: int) -> Any:
        if whole:
            return _read_strided(pid, vectors, one.ref.place, dtype, one.shape, one.strides)
        address = one.ref.place + start * one.strides[0]
        shape = (stop - start, *one.shape[1:])
        return _read_strided(pid, vectors, address, dtype, shape, one.strides)

    if not whole:
        return read
    cached: list[Any] = []

    def read_once(start: int, stop: int) -> Any:
        if not cached:
            cached.append(read(start, stop))
        return cached[0]

    return read_once


# A strided array is read with all that lies between its elements, unless that is
# more than so many times what is wanted.
_SPAN_WASTE_MAX = 4


def _read_strided(
    pid: int,
    vectors: np.ndarray[Any, Any],
    address: int,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    strides: tuple[int, ...],
) -> np.ndarray[Any, Any]:
    """Read an array of any strides from another process."""
    wanted = prod(shape) * dtype.itemsize
    if wanted == 0:
        return np.empty(shape, dtype)
    low, high = _span(address, dtype, shape, strides)
    if high - low <= _SPAN_WASTE_MAX * wanted or not shape:
        room = np.empty(high - low, np.uint8)
        peers.copy_from_peer(pid, vectors, room.ctypes.data, low, high - low)
        view = np.ndarray(shape, dtype, room.data, address - low, strides)
    elif len(shape) == 1:
        view = np.empty(shape, dtype)
        peers.gather_from_peer(
            pid, vectors, view.ctypes.data, address, strides[0], shape[0], dtype.itemsize
        )
    else:
        view = np.empty(shape, dtype)
        for index in range(shape[0]):
            part = _read_strided(
                pid, vectors, address + index * strides[0], dtype, shape[1:], strides[1:]
            )
            view[index] = part
    view.flags.writeable = False
    return view
