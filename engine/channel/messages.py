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
"""

from __future__ import annotations

import copyreg
import io
import pickle
import struct
from array import array
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.channel.cargo import SELF, Cargo, array_at, copy_into
from engine.memory.bundles import BorrowedBundle, Bundle, make_bundle
from engine.memory.lending import borrow, handle_of, within_family
from engine.words.members import WORD

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.memory.family import Family

__all__ = [
    "INLINE_BYTES_MAX",
    "PLAIN",
    "message_of",
    "pack",
    "pack_bytes",
    "pickled",
    "unpack",
    "unpack_bytes",
]

# Messages up to this size go without a bundle.
INLINE_BYTES_MAX = 16 * 1024

_ALIGNMENT_BYTES = 64

# Classes of objects that are packed in no time and carry nothing.
PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None)})

# The beginning of a pickle that calls a function: its protocol and the function's name.
_ARRAY_AT = b"\x80\x05c" + f"{array_at.__module__}\n{array_at.__name__}\n".encode()

_Four = tuple[int, int, int, int]
_COUNT, _SIZES, _ROW = struct.Struct("=q"), struct.Struct("=3q"), struct.Struct("=4q")


def pack(value: Any, family: Family) -> bytes | Bundle:
    """Turn an object into a message.

    Raises
    ------
    SharedMemoryFull
    Exception
        Whatever pickling raises.
    """
    if type(value) in PLAIN:
        data = pickle.dumps(value, 5)
        return data if len(data) <= INLINE_BYTES_MAX else pack_bytes(data, family)
    if type(value) is np.ndarray:
        # A message that is one array is what is sent most; a pickler takes half the time.
        cargo = Cargo(family)
        function, arguments, *_ = cargo.reduce_array(value)
        if function is array_at:
            data = pickle.dumps(arguments, 5)
            return _bundle(memoryview(b"".join((_ARRAY_AT, data[2:-1], b"R."))), cargo, family)
    return message_of(*pickled(value, family), family)


def pickled(
    value: Any, family: Family, make_pickler: Callable[..., Any] = pickle.Pickler
) -> tuple[memoryview, Cargo]:
    """Pickle an object and gather what it carries; `message_of` makes a message of the two.

    Parameters
    ----------
    value : object
    family : Family
    make_pickler : callable, optional
        ``(file, protocol, buffer_callback=...) -> pickler``; with a dispatch table of its own, if
        it has one, for whatever is no array and no table.
    """
    cargo = Cargo(family)
    file = io.BytesIO()
    pickler = make_pickler(file, 5, buffer_callback=cargo.add)
    cargo.others = getattr(pickler, "dispatch_table", copyreg.dispatch_table)
    pickler.dispatch_table = cargo
    with within_family(family, cargo.blocks):
        pickler.dump(value)
    return file.getbuffer(), cargo


def message_of(data: memoryview, cargo: Cargo, family: Family) -> bytes | Bundle:
    """Make a message of a pickle and what it carries."""
    if cargo.buffers or cargo.blocks or data.nbytes > INLINE_BYTES_MAX:
        return _bundle(data, cargo, family)
    return bytes(data)


def pack_bytes(data: Any, family: Family) -> Bundle:
    """Make a bundle of bytes that carries nothing."""
    return _bundle(memoryview(data), Cargo(family), family)


def _bundle(data: memoryview, cargo: Cargo, family: Family) -> Bundle:
    handles = [handle_of(one) for one in cargo.blocks]
    count = len(handles)
    head = 1 + 2 * count
    words = head + 3 + 4 * count + 4 * len(cargo.buffers)
    end = WORD * words + data.nbytes
    for number, private in cargo.private:
        at = -(-end // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        cargo.buffers[number] = (SELF, at, *cargo.buffers[number][2:])
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
        copy_into(family, bundle.handle[2] + cargo.buffers[number][1], private)
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


def unpack(message: memoryview | bytes | Bundle | BorrowedBundle) -> Any:
    """Make the object of a message.

    Its arrays and tables are views of the blocks that the message carried, and hold them.
    """
    if isinstance(message, bytes | memoryview):
        return pickle.loads(message)  # noqa: S301 - as `multiprocessing`
    handles, buffers, data = _parts(message.view)
    blocks: list[Any] = [borrow(message.family, handle) for handle in handles]
    with within_family(message.family, blocks):
        return pickle.loads(data, buffers=_outside(message, buffers, blocks))  # noqa: S301


def _outside(
    message: Bundle | BorrowedBundle, buffers: list[_Four], blocks: list[Any]
) -> list[memoryview]:
    """Views of the buffers that stand outside of the pickle."""
    own: Any = message.keep() if any(number == SELF for number, *_ in buffers) else None
    outside = []
    for number, place, length, readonly in buffers:
        view = memoryview(own if number == SELF else blocks[number]).cast("B")
        view = view[place : place + length]
        outside.append(view.toreadonly() if readonly else view)
    return outside


def unpack_bytes(message: memoryview | Bundle) -> bytes:
    """Bytes of a message: those that were packed, or a pickle that carries all that it needs."""
    if isinstance(message, memoryview):
        return bytes(message)
    handles, buffers, data = _parts(message.view)
    return pickle.dumps(unpack(message), 5) if handles or buffers else bytes(data)
