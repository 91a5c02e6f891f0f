"""Names for arrays that travel between processes while the bytes stay.

A reference says where an array's bytes can be found by another process, in one
of four ways:

``arena``
    in the shared segment, at an offset: the other process maps the same pages.
``file``
    in a file that this process has mapped: the other process maps it too.
``inline``
    so few that they travel inside the reference itself.
``private``
    in this process's own memory: the other process must read them from there.
"""

from __future__ import annotations

import ctypes
import mmap
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import system
from engine.memory import arena as arena_module
from engine.memory.arrays import address_of
from engine.memory.ledger import count_copy

if TYPE_CHECKING:
    from engine.memory.arena import Arena

__all__ = [
    "ARENA",
    "FILE",
    "INLINE",
    "PRIVATE",
    "BytesRef",
    "Mapped",
    "private_in_reach",
    "refer",
    "refer_bytes",
    "set_private_in_reach",
]

ARENA = "arena"
FILE = "file"
INLINE = "inline"
PRIVATE = "private"

# Below this size, carrying the bytes along is cheaper than any other way.
_INLINE_BYTES_MAX = 4096

# Looking up which file is mapped where costs up to a millisecond, so it has to
# be worth while.
_FILE_BYTES_MIN = 1024 * 1024


@dataclass(frozen=True, slots=True)
class BytesRef:
    """Where the bytes of one array or buffer are.

    Attributes
    ----------
    kind : str
        `ARENA`, `FILE`, `INLINE` or `PRIVATE`.
    place : int
        Of the byte named ``address`` when the reference was made: its offset in
        the segment or file, its index in `data`, or its address in the process
        that made the reference.
    file : FileMapping, optional
        The file, for `FILE`.
    data : bytes, optional
        The bytes, for `INLINE`.
    lease : Lease, optional
        Of a copy made for this reference; it lives as long as the reference does
        in the process that made it, and does not travel.
    """

    kind: str
    place: int
    file: system.FileMapping | None = None
    data: bytes | None = None
    lease: Any = field(default=None, compare=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel without the lease."""
        return BytesRef, (self.kind, self.place, self.file, self.data)


# Whether other processes may read this one's memory: a fact about the system, found
# out by the first worker.
_reach = {"private": True}


def private_in_reach() -> bool:
    """Tell whether workers can read private memory, as far as is known."""
    return _reach["private"]


def set_private_in_reach(*, reachable: bool) -> None:
    """Note whether workers can read this process's private memory.

    Where they cannot, private inputs are copied into the arena, and counted.
    """
    _reach["private"] = reachable


def _private(address: int, low: int, high: int) -> BytesRef:
    """Refer to private memory, by a copy if nobody else can read it."""
    if _reach["private"]:
        return BytesRef(PRIVATE, address)
    owner = arena_module.arena()
    lease = owner.lease(high - low)
    ctypes.memmove(lease.address, low, high - low)
    count_copy("private memory out of the workers' reach", high - low)
    return BytesRef(ARENA, lease.offset + address - low, lease=lease)


def refer_bytes(address: int, low: int, high: int, *, mapped: bool) -> BytesRef:
    """Make a reference to an address whose data spans [low, high).

    Parameters
    ----------
    address : int
        The byte that the reference names, inside [low, high).
    low, high : int
        Bounds of all bytes that may be reached from it.
    mapped : bool
        Whether the bytes may come from a mapped file, which is looked up.
    """
    if arena_module.is_open():
        offset = arena_module.arena().offset_of(address)
        if offset is not None:
            return BytesRef(ARENA, offset)
    if mapped and high - low >= _FILE_BYTES_MIN:
        file = system.mapped_file(low, high - low)
        if file is not None:
            return BytesRef(FILE, file.offset + address - low, file=file)
    return _private(address, low, high)


def refer(array: np.ndarray[Any, Any], *, writable: bool = False) -> BytesRef:
    """Make a reference to an array's first element.

    Parameters
    ----------
    array : ndarray
        Any strides.
    writable : bool
        Whether the receiver is going to write; small arrays then do not travel
        inline and files are not mapped.
    """
    address = address_of(array)
    if arena_module.is_open():
        offset = arena_module.arena().offset_of(address)
        if offset is not None:
            return BytesRef(ARENA, offset)
    low, high = np.lib.array_utils.byte_bounds(array) if array.size else (address, address)
    if not writable:
        if high - low <= _INLINE_BYTES_MAX:
            data = _bytes_between(array, low, high)
            return BytesRef(INLINE, address - low, data=data)
        return refer_bytes(address, low, high, mapped=not _owns_memory(array))
    return BytesRef(PRIVATE, address)


def _bytes_between(array: np.ndarray[Any, Any], low: int, high: int) -> bytes:

    return ctypes.string_at(low, high - low) if array.size else b""


def _owns_memory(array: np.ndarray[Any, Any]) -> bool:
    """Tell whether the memory was allocated by NumPy, and so is no mapped file."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if base.flags.owndata:
            return True
        base = base.base
    return False


class Mapped:
    """Turns references into addresses, in a process that maps the same segment.

    Keeps file mappings open; `forget_files` leaves the `FILES_MAX` used last.

    Notes
    -----
    Concurrency: one thread.
    """

    FILES_MAX = 16

    def __init__(self, segment_address: int) -> None:
        self._segment_address = segment_address
        self._files: OrderedDict[tuple[str, int, int, int], tuple[mmap.mmap, int]] = OrderedDict()

    @classmethod
    def of(cls, arena: Arena) -> Mapped:
        """Resolver for the process that owns the arena."""
        return cls(arena.base)

    def address(self, ref: BytesRef) -> int:
        """Address of the referenced byte here; meaningless for `PRIVATE` and `INLINE`.

        Raises
        ------
        FileNotFoundError
            The mapped file was replaced since the reference was made.
        """
        if ref.kind == ARENA:
            return self._segment_address + ref.place
        if ref.file is None:
            message = f"a reference of kind {ref.kind!r} has no address in this process"
            raise ValueError(message)
        # The size belongs to the key: a file that grew has to be mapped anew.
        key = (ref.file.path, ref.file.device, ref.file.inode, ref.file.size)
        found = self._files.get(key)
        if found is None:
            mapping = system.map_file(*key[:3])
            found = self._files[key] = (mapping, system.mapping_address(mapping))
        self._files.move_to_end(key)
        return found[1] + ref.place

    def forget_files(self) -> None:
        """Unmap all but the last few files; nothing may use their addresses any more."""
        while len(self._files) > self.FILES_MAX:
            self._files.popitem(last=False)
