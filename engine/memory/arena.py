"""The arena: this process's part of the family's segment, in blocks recycled warm.

A process takes ranges of the segment from its family (`engine.memory.family`), and it
alone gives out and takes back blocks of them.  The segment is as large as most of the
machine's memory and pages are taken as blocks are needed, so one descriptor and one
mapping serve for the life of the process, and a place is named by its offset alone.

Touching a fresh shared page costs ten times what copying into a warm one does.
So the next array gets the block that was just freed, if that is of its size class;
other freed blocks go on a stack of their class and wait there for an array of it.
Ranges are in one of four states:

``bare``
    address space without pages; the family's.
``warm``
    has pages, belongs to nobody, merged with its neighbours.
``cached``
    has pages, belongs to nobody, kept whole on the stack of its size class.
``live``
    leased: some array's bytes.

bare -> warm (grow) -> live (allocate) -> live (handed over) or -> cached (collect)
-> live (allocate, the short way) or -> warm (consolidate) -> bare (trim).
"""

from __future__ import annotations

import functools
import os
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

from engine import system
from engine.errors import SharedMemoryFull
from engine.memory.extents import Extents
from engine.memory.families import home_family, home_is_open
from engine.memory.family import Family
from engine.memory.leases import Lease, lease_type

__all__ = [
    "Arena",
    "ArenaStatistics",
    "arena",
    "arena_of",
    "is_open",
    "owner_of",
]

# One cache line, and what Arrow asks of its buffers.
ALIGNMENT_BYTES = 64

# Blocks below this size come in powers of two, those above in eighths of one.
_LARGE_BYTES = 64 * 1024

# Of more blocks that came back the books are to know, so that the next one is the
# warmest and not the oldest.
_HANDED_OVER_MAX = 4

# A program asks for arrays of few sizes, again and again.
_SIZES_KNOWN = 256

# The least that is taken from the system at a time.
_GROW_BYTES = 1024 * 1024

# Free pages beyond this share of the machine's memory go back to the system.
_KEEP_FRACTION = 0.25


@dataclass(frozen=True, slots=True)
class ArenaStatistics:
    """What the arena holds, in bytes.

    Attributes
    ----------
    reserved_bytes : int
        Room for data in the segment, of which the system gives pages as they are used.
    mapped_bytes : int
        Pages of the segment that exist, the tables of the family and the data of all of its
        processes included: what all of this takes from the machine.
    live_bytes, live_blocks : int
        Blocks that objects of this process use.
    cached_bytes : int
        Blocks of this process that wait for another object of their size.
    warm_bytes : int
        Pages outside any block that this process has not given back yet.
    """

    reserved_bytes: int
    mapped_bytes: int
    live_bytes: int
    cached_bytes: int
    warm_bytes: int
    live_blocks: int


@functools.lru_cache(maxsize=_SIZES_KNOWN)
def size_class(nbytes: int) -> int:
    """Round a size up to its class: at most 1/8 is wasted above 64 KiB."""
    if nbytes <= ALIGNMENT_BYTES:
        return ALIGNMENT_BYTES
    power = 1 << (nbytes - 1).bit_length()
    if power <= _LARGE_BYTES:
        return power
    step = max(power >> 4, system.PAGE_BYTES)
    return -(-nbytes // step) * step


class Arena:
    """Allocator over one shared segment.

    Parameters
    ----------
    family : Family
        Whose segment it is.

    Notes
    -----
    Concurrency: any thread of the process that made it.  A forked child inherits
    the mapping and may read and write what stands there, but must allocate from
    an arena of its own; `arena` sees to that.
    """

    def __init__(self, family: Family) -> None:
        self.family = family
        self.fd = family.fd
        self.mapping = family.mapping
        self.base = family.base
        self.end = family.base + family.nbytes
        self._keep_bytes = int(system.physical_memory_bytes() * _KEEP_FRACTION)
        # Reentrant so that it can be told who has it: nobody acquires it twice.
        self._lock = threading.RLock()
        self._warm = Extents()
        self._cached: dict[int, list[int]] = {}
        self._cached_bytes = 0
        self._live_bytes = 0
        self._live_blocks = 0
        self._returned: deque[tuple[int, int]] = deque()
        self._lease_types: dict[int, Any] = {}

    def lease(self, nbytes: int) -> Lease:
        """Lease a block of at least `nbytes` bytes, aligned to 64; contents undefined.

        Raises
        ------
        SharedMemoryFull
            Neither recycled pages nor the system can provide the block.
        """
        block_bytes = size_class(nbytes)
        kind = self._lease_types.get(block_bytes) or self._make_lease_type(block_bytes)
        offset = -1
        if 0 < len(self._returned) <= _HANDED_OVER_MAX:
            # A loop gives back one result and asks for the next of the same size: the
            # block goes from hand to hand, warm, and no book needs to know.  Each
            # operation on the deque is atomic, so this takes no lock.  The oldest
            # first, so that a block of another size is found and put into the books.
            try:
                returned = self._returned.popleft()
            except IndexError:
                pass  # another thread was quicker
            else:
                if returned[1] == block_bytes:
                    offset = returned[0]
                else:
                    self._returned.appendleft(returned)
        if offset < 0:
            offset = self._allocate(block_bytes, nbytes)
        lease: Lease = kind.from_address(self.base + offset)
        return lease

    def is_in_hands_of_this_thread(self) -> bool:
        """Tell whether this thread is in the middle of a change of the books.

        The garbage collector may run there, and in it whatever code of the user's, which then must
        not ask for a block.
        """
        # What threading.Condition asks of its lock as well.
        held: bool = self._lock._is_owned()  # type: ignore[attr-defined]  # noqa: SLF001
        return held

    def _check_turn(self) -> None:
        if self.is_in_hands_of_this_thread():
            message = (
                "shared memory was asked for while it was being handed out, by a finalizer that "
                "the garbage collector ran; make shared arrays elsewhere than in __del__"
            )
            raise RuntimeError(message)

    def take_back(self, block: tuple[int, int]) -> None:
        """Take a lent block back that this process was the last to hold; takes no lock."""
        self._returned.append(block)

    def owns(self, lease: Lease) -> bool:
        """Tell whether a lease is of this arena, and not of an ancestor's or borrowed."""
        return type(lease) is self._lease_types.get(lease.nbytes)

    def _collect_lent(self) -> None:
        """Take back lent blocks that others were the last to hold; called with the lock."""
        while (block := self.family.collect()) is not None:
            self._returned.append(block)

    def _make_lease_type(self, block_bytes: int) -> Any:
        """Make the class of the leases of one size."""
        try:
            kind = lease_type(block_bytes, self.base, self._returned.append)
        except (OverflowError, ValueError):
            return None  # larger than any address space, which `_allocate` is to say
        return self._lease_types.setdefault(block_bytes, kind)

    def _allocate(self, block_bytes: int, asked_bytes: int) -> int:
        """Take a block of a size class out of the books."""
        self._check_turn()
        with self._lock:
            if self._returned:
                self._collect()
            stack = self._cached.get(block_bytes)
            if not stack:
                self._collect_lent()
                self._collect()
                stack = self._cached.get(block_bytes)
            if stack:
                offset = stack.pop()
                self._cached_bytes -= block_bytes
            else:
                offset = self._carve(block_bytes, asked_bytes)
            self._live_bytes += block_bytes
            self._live_blocks += 1
        return offset

    def offset_of(self, address: int) -> int | None:
        """Offset of an address in the segment, or None if it lies elsewhere."""
        return address - self.base if self.base <= address < self.end else None

    def statistics(self) -> ArenaStatistics:
        """Count what the arena holds now."""
        self._check_turn()
        with self._lock:
            self.family.sweep()
            self._collect_lent()
            self._collect()
            return ArenaStatistics(
                reserved_bytes=self.family.data_bytes,
                mapped_bytes=system.allocated_bytes(self.fd),
                live_bytes=self._live_bytes,
                cached_bytes=self._cached_bytes,
                warm_bytes=self._warm.total_bytes,
                live_blocks=self._live_blocks,
            )

    def trim(self) -> None:
        """Give every page that no array uses back to the system."""
        self._check_turn()
        with self._lock:
            self.family.sweep()
            self._collect_lent()
            self._collect()
            self._consolidate()
            self._punch()

    def _carve(self, block_bytes: int, asked_bytes: int) -> int:
        """Find room for a block that no stack holds: warm pages first, then new ones."""
        # Small blocks are cut from a common supply, so that they fill whole pages.
        supply = max(block_bytes, _LARGE_BYTES)
        offset = self._warm.take(supply)
        if offset is None and self._cached_bytes >= supply:
            self._consolidate()
            offset = self._warm.take(supply)
        if offset is None:
            offset = self._grow(supply, asked_bytes)
        if block_bytes < supply:
            stack = self._cached.setdefault(block_bytes, [])
            stack.extend(range(offset + supply - block_bytes, offset, -block_bytes))
            self._cached_bytes += supply - block_bytes
        return offset

    def _grow(self, nbytes: int, asked_bytes: int) -> int:
        """Take pages from the system; on its refusal give back idle ones and try again."""
        for attempt in range(2):
            taken = max(nbytes, _GROW_BYTES)
            offset = self.family.take_range(taken)
            if offset is None:
                taken = nbytes
                offset = self.family.take_range(taken)
            if offset is not None:
                try:
                    system.grow_segment(self.fd, offset, taken)
                except system.SegmentLimitError:
                    self.family.give_range(offset, taken)
                else:
                    if taken > nbytes:
                        self._warm.put(offset + nbytes, taken - nbytes)
                    return offset
            if attempt == 0:
                self._consolidate()
                self._punch()
        available = min(self.family.largest_free(), system.available_memory_bytes())
        raise SharedMemoryFull(
            asked_bytes=asked_bytes, in_use_bytes=self._live_bytes, free_bytes=available
        )

    def _collect(self) -> None:
        """Put the blocks of dead leases on the stacks of their size classes."""
        while True:
            try:
                offset, block_bytes = self._returned.popleft()
            except IndexError:
                break  # asked, not looked at before: `lease` takes from it without the lock
            self._cached.setdefault(block_bytes, []).append(offset)
            self._cached_bytes += block_bytes
            self._live_bytes -= block_bytes
            self._live_blocks -= 1
        if self._cached_bytes + self._warm.total_bytes > self._keep_bytes:
            self._consolidate()
            self._punch()

    def _consolidate(self) -> None:
        """Merge every cached block into the warm ranges."""
        # Taken away first: an interrupt in the middle may then lose blocks, but never
        # leave one in two places.
        cached, self._cached, self._cached_bytes = self._cached, {}, 0
        for block_bytes, stack in cached.items():
            for offset in stack:
                self._warm.put(offset, block_bytes)

    def _punch(self) -> None:
        """Give the whole pages of every warm range back to the system."""
        page = system.PAGE_BYTES
        warm, self._warm = self._warm, Extents()
        for offset, nbytes in warm:
            first = -(-offset // page) * page
            last = (offset + nbytes) // page * page
            if first >= last:
                self._warm.put(offset, nbytes)
                continue
            system.punch_segment(self.fd, first, last - first)
            self.family.give_range(first, last - first)
            if offset < first:
                self._warm.put(offset, first - offset)
            if last < offset + nbytes:
                self._warm.put(last, offset + nbytes - last)


# This process's arenas: in the family in whose segment it allocates, and in those others
# that it has sent something to.
_current: Arena | None = None
_arenas: dict[Family, Arena] = {}

# Those of ancestors, which the leases of inherited arrays refer to.
_inherited: list[Arena] = []
_creation = threading.RLock()


def arena() -> Arena:
    """Give this process's arena, made at first use."""
    global _current  # noqa: PLW0603 - the one arena of the process is the point
    if _current is None:
        with _creation:
            if _current is None:
                _current = arena_of(home_family())
    return _current


def arena_of(family: Family) -> Arena:
    """Give this process's arena in one of the families that it is a member of."""
    found = _arenas.get(family)
    if found is None:
        with _creation:
            found = _arenas.get(family)
            if found is None:
                found = _arenas[family] = Arena(family)
    return found


def owner_of(lease: Lease) -> Arena | None:
    """Give the arena of this process that a lease is of."""
    return next((one for one in list(_arenas.values()) if one.owns(lease)), None)


def is_open() -> bool:
    """Tell whether anything may be shared in this process: its own, or what it was sent."""
    return home_is_open()


def _start_afresh_in_child() -> None:
    """Leave the parent's blocks to the parent: two allocators over one range would collide."""
    global _current, _arenas, _creation  # noqa: PLW0603
    _inherited.extend(_arenas.values())
    _arenas = {}
    _current = None
    _creation = threading.RLock()


os.register_at_fork(after_in_child=_start_afresh_in_child)
