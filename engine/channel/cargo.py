"""Cargo: what one message carries besides its pickle, gathered while that is written.

Buffers outside of the pickle are those of its protocol 5 (PEP 574), which pyarrow, pandas
and others use.  Arrays go a way of their own, which is shorter, and works for dates and
arrays that are not contiguous as well.  What is in shared memory is carried as it is.
Private bytes are copied once: into the pickle if they are few, into the bundle, or into a
block of their own if they are many, so that one can be kept without the others.
"""

from __future__ import annotations

import copyreg
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.channel.reducers import reducer_of
from engine.memory.addresses import lease_at, lease_below
from engine.memory.arena import arena_of, owner_of
from engine.memory.arrays import address_of
from engine.memory.leases import Lease
from engine.memory.ledger import count_copy
from engine.memory.lending import carried

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.memory.family import Family

__all__ = ["SELF", "Cargo", "array_at", "copy_into"]

# Private bytes below this size are part of the pickle, those from the other on have a block of
# their own.
_BUNDLE_BYTES_MIN = 2 * 1024
_BLOCK_BYTES_MIN = 64 * 1024

# Instead of the number of a block: the bundle itself.
SELF = -1


class Cargo:
    """What one message carries, and the dispatch table of its pickler.

    Parameters
    ----------
    family : Family

    Attributes
    ----------
    blocks : list of Lease
        By the numbers that the pickle knows them by.
    buffers : list of (int, int, int, int)
        Number of the block, offset in it, size, 1 if it is read-only.
    private : list of (int, array of bytes)
        Which of the buffers are to stand in the bundle, and what they are.
    others : mapping
        Reducers of classes that are no array and no table.
    """

    def __init__(self, family: Family) -> None:
        self._family = family
        self._base = family.base
        self._numbers: dict[int, int] = {}
        self.blocks: list[Lease] = []
        self.buffers: list[tuple[int, int, int, int]] = []
        self.others: Any = copyreg.dispatch_table
        self.private: list[tuple[int, np.ndarray[Any, Any]]] = []

    def __getitem__(self, cls: type) -> Callable[[Any], Any]:
        """Find the reducer of a class; none is a KeyError."""
        return self.reduce_array if cls is np.ndarray else reducer_of(cls, self.others)

    def add(self, buffer: pickle.PickleBuffer) -> bool:
        """Take a buffer out of the pickle; True if it is to stay in it."""
        view = buffer.raw()
        data = np.frombuffer(view, np.uint8)
        lease = self._shared(view.obj, data)
        place = 0
        if lease is not None:
            number = self._number_of(lease)
            place = address_of(data) - lease.address
        elif view.nbytes < _BUNDLE_BYTES_MIN:
            return True
        elif view.nbytes < _BLOCK_BYTES_MIN:
            number = SELF
            self.private.append((len(self.buffers), data))
        else:
            lease = arena_of(self._family).lease(view.nbytes)
            copy_into(self._family, lease.offset, data)
            number = self._number_of(lease)
        self.buffers.append((number, place, view.nbytes, int(view.readonly)))
        return False

    def reduce_array(self, array: np.ndarray[Any, Any]) -> Any:
        """Give what an array is made of by `pickle`: mostly `array_at` and its arguments."""
        dtype, flags = array.dtype, array.flags
        block: Any = array.base
        if not isinstance(block, Lease) or block.record < 0 or block.base != self._base:
            # It is not plain that this is a lent block of the family.
            if dtype.hasobject or not dtype.itemsize:
                return array.__reduce_ex__(5)
            block = self._shared(array, array)
        if block is None:
            if array.nbytes < _BLOCK_BYTES_MIN:
                return _reduce_small(array)
            block = arena_of(self._family).lease(array.nbytes)
            order: Any = "F" if flags.f_contiguous and not flags.c_contiguous else "C"
            copy = np.ndarray(array.shape, dtype, block, order=order)
            np.copyto(copy, array)
            count_copy("message", array.nbytes)
            array = copy
        place = address_of(array) - block.address
        where = self._number_of(block), place, array.shape, array.strides
        return array_at, (*where, _name_of(dtype), flags.writeable)

    def _number_of(self, lease: Lease) -> int:
        """Number of a block among those carried."""
        number = self._numbers.setdefault(lease.address, len(self.blocks))
        if number == len(self.blocks):
            self.blocks.append(lease)
        return number

    def _shared(self, owner: Any, data: np.ndarray[Any, Any]) -> Lease | None:
        """Find the block in which bytes lie, if other processes may hold it."""
        address = address_of(data)
        if not data.size or arena_of(self._family).offset_of(address) is None:
            return None
        lease = lease_below(owner) or lease_at(address)
        if lease is None or (lease.record < 0 and owner_of(lease) is None):
            return None
        return lease


def _name_of(dtype: np.dtype[Any]) -> Any:
    """Name a dtype, if it has no parts; that takes a third of the time."""
    return dtype.str if dtype.isbuiltin == 1 else dtype


def _reduce_small(array: np.ndarray[Any, Any]) -> Any:
    """Reduce to a buffer of bytes, which is there for every dtype."""
    array = array if array.flags.f_contiguous else np.ascontiguousarray(array)
    span: Any = array.reshape(-1, order="A").view(np.uint8)
    buffer = pickle.PickleBuffer(span)
    return np.ndarray, (array.shape, _name_of(array.dtype), buffer, 0, array.strides)


def array_at(
    number: int,
    place: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: Any,
    writeable: bool,
) -> np.ndarray[Any, Any]:
    """View an array in one of the blocks of the message that is being read."""
    block: Any = carried(number)
    array: np.ndarray[Any, Any] = np.ndarray(shape, dtype, block, place, strides)
    if not writeable:
        array.flags.writeable = False
    return array


def copy_into(family: Family, offset: int, data: np.ndarray[Any, Any]) -> None:
    """Copy bytes into the segment; other threads run meanwhile."""
    np.copyto(np.frombuffer(family.view, np.uint8, data.size, offset), data)
    count_copy("message", data.size)
