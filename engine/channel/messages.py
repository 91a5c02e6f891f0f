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
from engine.memory.ledger import count_copy
from engine.memory.lending import borrow, handle_of, within_family
from engine.memory.records import BUNDLE
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
            _copy(lease, 0, data)
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


def _copy(lease: Any, offset: int, data: np.ndarray[Any, Any]) -> None:
    """Copy bytes into a block; other threads run meanwhile."""
    np.copyto(np.ndarray(data.size, np.uint8, lease, offset), data)
    count_copy("message", data.size)


def pack(value: Any, family: Family) -> bytes | Lease:
    """Turn an object into a message.

    Returns
    -------
    bytes or Lease
        The message, or its bundle, which this process holds and may name to others.

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


def pack_bytes(data: Any, family: Family) -> Lease:
    """Make a bundle of bytes that carries nothing."""
    return _bundle(memoryview(data), _Cargo(family), family)


def _bundle(data: memoryview, cargo: _Cargo, family: Family) -> Lease:
    count = len(cargo.blocks)
    head = 1 + 2 * count
    words = head + 3 + 4 * count + 4 * len(cargo.buffers)
    at = end = WORD * words + data.nbytes
    for number, private in cargo.private:
        at = -(-end // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        cargo.buffers[number] = (_SELF, at, *cargo.buffers[number][2:])
        end = at + private.size
    lease = arena_of(family).lease(end)
    handles = [handle_of(one) for one in cargo.blocks]
    table = array("q", bytes(WORD * head))
    table.extend((count, len(cargo.buffers), data.nbytes))
    for row in (*handles, *cargo.buffers):
        table.extend(row)
    block: Any = lease
    whole = memoryview(block).cast("B")
    first = WORD * words
    # It carries nothing yet, and says so, before others may take it for a bundle.
    whole[:first] = memoryview(table).cast("B")
    handle_of(lease, BUNDLE)
    for record, serial, _, _ in handles:
        family.enclose(lease.record, record, serial)
    whole[first : first + data.nbytes] = data
    for number, private in cargo.private:
        _copy(lease, cargo.buffers[number][1], private)
    return lease


def _parts(lease: Any) -> tuple[list[_Four], list[_Four], memoryview, memoryview]:
    """Handles, buffers and pickle of a bundle, and all its bytes."""
    whole = memoryview(lease).cast("B")
    (count,) = _COUNT.unpack_from(whole)
    first = WORD * (1 + 2 * count)
    _, buffers, nbytes = _SIZES.unpack_from(whole, first)
    first += _SIZES.size
    rows = []
    for _ in range(count + buffers):
        rows.append(_ROW.unpack_from(whole, first))
        first += _ROW.size
    return rows[:count], rows[count:], whole[first : first + nbytes], whole


def unpack(message: memoryview | bytes | Lease, family: Family) -> Any:
    """Make the object of a message.

    Its arrays and tables are views of the blocks that the message carried, and hold them.
    """
    if isinstance(message, bytes | memoryview):
        return pickle.loads(message)  # noqa: S301 - as `multiprocessing`
    handles, buffers, data, whole = _parts(message)
    leases: list[Any] = [borrow(family, handle) for handle in handles]
    views = [memoryview(one).cast("B") for one in leases]
    views.append(whole)
    outside = []
    for number, offset, nbytes, readonly in buffers:
        view = views[number][offset : offset + nbytes]
        outside.append(view.toreadonly() if readonly else view)
    if not handles:
        return pickle.loads(data, buffers=outside)  # noqa: S301
    with within_family(family):
        value = pickle.loads(data, buffers=outside)  # noqa: S301
    if any(number == _SELF for number, *_ in buffers):
        # Who keeps a small array is not to keep all the blocks that came with it.
        family.unpack(message.record)
    return value


def unpack_bytes(message: memoryview | Lease, family: Family) -> bytes:
    """Bytes of a message: those that were packed, or a pickle that carries all that it needs."""
    if isinstance(message, memoryview):
        return bytes(message)
    handles, buffers, data, _ = _parts(message)
    if handles or buffers:
        return pickle.dumps(unpack(message, family), 5)
    return bytes(data)
