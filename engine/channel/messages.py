"""Messages: any Python object on its way to another process of the family.

A small message is its pickle.  Any other is a *bundle*, a block of shared memory
that holds what the message carries (see `engine.memory.records`):

    manifest   how many blocks it carries, and the index and serial of each record
    words      sizes of what follows
    blocks     the handle of each block that it carries
    buffers    of each buffer that stands outside the pickle: in which block, where, how
               large, and whether it may be written
    pickle
    bytes      of private buffers of middling size

Buffers outside of the pickle are those of its protocol 5 (PEP 574), which NumPy,
pyarrow and pandas use.  A buffer in shared memory is carried as it is.  A private one is
copied once: into the pickle if it is small, into the bundle, or if it is large into a block of its
own, so that it can be kept without the others.
"""

from __future__ import annotations

import io
import pickle
import struct
from array import array
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.channel.reducers import REDUCERS
from engine.memory.addresses import lease_at, lease_below
from engine.memory.arena import arena_of, owner_of
from engine.memory.arrays import address_of
from engine.memory.bundles import Bundle, make_bundle
from engine.memory.ledger import count_copy
from engine.memory.lending import borrow, handle_of, within_family
from engine.words.members import WORD

if TYPE_CHECKING:
    from engine.memory.family import Family
    from engine.memory.leases import Lease

__all__ = ["INLINE_BYTES_MAX", "pack", "pack_bytes", "unpack", "unpack_bytes"]

# Messages up to this size go without a bundle.
INLINE_BYTES_MAX = 16 * 1024

# Private buffers below this size are part of the pickle, those from the other on have a
# block of their own.
_BUFFER_BYTES_MIN = 2 * 1024
_BLOCK_BYTES_MIN = 64 * 1024

_ALIGNMENT_BYTES = 64

# Of which nothing can refer to memory.
_PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None)})

_Four = tuple[int, int, int, int]
_COUNT, _SIZES, _ROW = struct.Struct("=q"), struct.Struct("=3q"), struct.Struct("=4q")

# Instead of the number of a block: the bundle itself.
_SELF = -1


class _Cargo:
    """What one message carries besides its pickle.

    Attributes
    ----------
    blocks : list of Lease
    buffers : list of (int, int, int, int)
        Number of the block, offset in it, size, 1 if it is read-only.
    private : list of (int, array of bytes)
        Which of the buffers are to stand in the bundle, and what they are.
    """

    def __init__(self, family: Family) -> None:
        self._family = family
        self._numbers: dict[int, int] = {}
        self.blocks: list[Lease] = []
        self.buffers: list[_Four] = []
        self.private: list[tuple[int, np.ndarray[Any, Any]]] = []

    def number_of(self, lease: Lease) -> int:
        """Number of a block among those carried."""
        number = self._numbers.setdefault(lease.address, len(self.blocks))
        if number == len(self.blocks):
            self.blocks.append(lease)
        return number

    def add(self, buffer: pickle.PickleBuffer) -> bool:
        """Take a buffer out of the pickle; True if it is to stay in it."""
        view = buffer.raw()
        data = np.frombuffer(view, np.uint8)
        lease = self._shared(view.obj, data)
        place = 0
        if lease is not None:
            number = self.number_of(lease)
            place = address_of(data) - lease.address
        elif view.nbytes < _BUFFER_BYTES_MIN:
            return True
        elif view.nbytes < _BLOCK_BYTES_MIN:
            number = _SELF
            self.private.append((len(self.buffers), data))
        else:
            lease = arena_of(self._family).lease(view.nbytes)
            _copy(self._family, lease.offset, data)
            number = self.number_of(lease)
        self.buffers.append((number, place, view.nbytes, int(view.readonly)))
        return False

    def _shared(self, owner: Any, data: np.ndarray[Any, Any]) -> Lease | None:
        """Find the block in which a buffer lies, if other processes may hold it."""
        address = address_of(data)
        if not data.size or arena_of(self._family).offset_of(address) is None:
            return None
        lease = lease_below(owner) or lease_at(address)
        if lease is None or (lease.record < 0 and owner_of(lease) is None):
            return None
        return lease


def _copy(family: Family, offset: int, data: np.ndarray[Any, Any]) -> None:
    """Copy bytes into the segment; other threads run meanwhile."""
    np.copyto(np.frombuffer(family.view, np.uint8, data.size, offset), data)
    count_copy("message", data.size)


def pack(value: Any, family: Family) -> bytes | Bundle:
    """Turn an object into a message.

    Raises
    ------
    SharedMemoryFull
    Exception
        Whatever pickling raises.
    """
    if type(value) in _PLAIN:
        data = pickle.dumps(value, 5)
        return data if len(data) <= INLINE_BYTES_MAX else pack_bytes(data, family)
    cargo = _Cargo(family)
    file = io.BytesIO()
    pickler = pickle.Pickler(file, 5, buffer_callback=cargo.add)
    pickler.dispatch_table = REDUCERS
    with within_family(family) as inside:
        pickler.dump(value)
    for lease in inside.leases:
        cargo.number_of(lease)
    view = file.getbuffer()
    if cargo.buffers or cargo.blocks or view.nbytes > INLINE_BYTES_MAX:
        return _bundle(view, cargo, family)
    return file.getvalue()


def pack_bytes(data: Any, family: Family) -> Bundle:
    """Make a bundle of bytes that carries nothing."""
    return _bundle(memoryview(data), _Cargo(family), family)


def _bundle(data: memoryview, cargo: _Cargo, family: Family) -> Bundle:
    handles = [handle_of(one) for one in cargo.blocks]
    count = len(handles)
    head = 1 + 2 * count
    words = head + 3 + 4 * count + 4 * len(cargo.buffers)
    end = WORD * words + data.nbytes
    for number, private in cargo.private:
        at = -(-end // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        cargo.buffers[number] = (_SELF, at, *cargo.buffers[number][2:])
        end = at + private.size
    bundle = make_bundle(family, end)
    for handle in handles:
        bundle.enclose(handle)
    table = array("q", (count, len(cargo.buffers), data.nbytes))
    for row in (*handles, *cargo.buffers):
        table.extend(row)
    first = WORD * words
    whole = bundle.view
    whole[WORD * head : first] = memoryview(table).cast("B")
    whole[first : first + data.nbytes] = data
    for number, private in cargo.private:
        _copy(family, bundle.handle[2] + cargo.buffers[number][1], private)
    return bundle


def _parts(whole: memoryview) -> tuple[list[_Four], list[_Four], memoryview]:
    """Handles, buffers and pickle of a bundle."""
    (count,) = _COUNT.unpack_from(whole)
    first = WORD * (1 + 2 * count)
    _, buffers, nbytes = _SIZES.unpack_from(whole, first)
    first += _SIZES.size
    rows = []
    for _ in range(count + buffers):
        rows.append(_ROW.unpack_from(whole, first))
        first += _ROW.size
    return rows[:count], rows[count:], whole[first : first + nbytes]


def unpack(message: memoryview | bytes | Bundle) -> Any:
    """Make the object of a message.

    Its arrays and tables are views of the blocks that the message carried, and hold them.
    """
    if isinstance(message, bytes | memoryview):
        return pickle.loads(message)  # noqa: S301 - as `multiprocessing`
    handles, buffers, data = _parts(message.view)
    blocks: list[Any] = [borrow(message.family, handle) for handle in handles]
    if any(number == _SELF for number, *_ in buffers):
        blocks.append(message.keep())
    outside = []
    for number, place, length, readonly in buffers:
        view = memoryview(blocks[number]).cast("B")[place : place + length]
        outside.append(view.toreadonly() if readonly else view)
    with within_family(message.family):
        return pickle.loads(data, buffers=outside)  # noqa: S301


def unpack_bytes(message: memoryview | Bundle) -> bytes:
    """Bytes of a message: those that were packed, or a pickle that carries all that it needs."""
    if isinstance(message, memoryview):
        return bytes(message)
    handles, buffers, data = _parts(message.view)
    return pickle.dumps(unpack(message), 5) if handles or buffers else bytes(data)
