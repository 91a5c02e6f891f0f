"""The family: the processes that share one segment.

The first process that needs shared memory makes a segment; its workers, and whoever
is sent something that lives in it, join (see `engine.memory.families`).  In a family an
offset means the same bytes to everybody, so handles are small, and any member may make
what any other uses.

A member that ends, by whatever death, leaves nothing behind: `sweep` gives its
memory back, but for the blocks that others hold.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any

import numpy as np

from engine import system
from engine.atomics import store_word
from engine.memory import disposal, holding, layout, ranges, records, stations
from engine.words.members import (
    HEIR_OF,
    KILLED,
    LEAVING,
    MARK,
    MEMBER_WORDS,
    MEMBERS_MAX,
    NUMBER,
    PID,
    RETURNS,
    WORD,
    is_dead,
)

__all__ = ["Family"]

# Records get their pages so many at a time.
_RECORDS_STEP = 256

_RESERVE_FRACTION = 0.9
_RESERVE_BYTES_MIN = 64 * 1024 * 1024


class Family:
    """A segment with its tables, and this process's membership.

    Parameters
    ----------
    fd : int
        Of the segment; kept.
    nbytes : int
        Size of the segment.

    Attributes
    ----------
    mapping : mmap
    view : memoryview
        The bytes of the segment.
    base : int
        Its address in this process.
    me : int
        This process's number in the family.
    station : int64 array
        What compiled code needs to know, at an address that stays: `me`, the address
        of the table of members, that of the segment, that of its end, and its descriptor.

    Notes
    -----
    Concurrency: any thread.  A forked child is a member of its own, with the same
    mapping.
    """

    def __init__(self, fd: int, nbytes: int, mapping: Any = None) -> None:
        self.fd = fd
        self.nbytes = nbytes
        self.mapping = mapping or system.map_segment(fd, nbytes)
        self.view = memoryview(self.mapping)
        self.base = system.mapping_address(self.mapping)
        self._words = np.frombuffer(self.mapping, np.int64, layout.DATA_AT // WORD)
        self.station = np.array(
            [0, self.base + layout.MEMBERS_AT, self.base, self.base + nbytes, fd], np.int64
        )
        self._lock = threading.Lock()
        self._join()
        # Never unmapped, not even when the interpreter ends: the kernel notes this process's
        # death in the segment, by this mapping.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.mapping))
        stations.enlist(self.station)

    @classmethod
    def found(cls, reserve_bytes: int | None = None) -> Family:
        """Make a segment and be its first member.

        Parameters
        ----------
        reserve_bytes : int, optional
            The most that all arrays together may hold.  Default 90 % of the machine's
            memory.
        """
        wanted = reserve_bytes or int(system.physical_memory_bytes() * _RESERVE_FRACTION)
        wanted = -(-wanted // system.PAGE_BYTES) * system.PAGE_BYTES
        while True:
            nbytes = layout.DATA_AT + wanted
            fd = system.create_segment(nbytes)
            try:
                mapping = system.map_segment(fd, nbytes)
                break
            except OSError:
                # A limit on address space (ulimit -v): reserve less.
                os.close(fd)
                if wanted // 2 < _RESERVE_BYTES_MIN:
                    raise
                wanted = wanted // 2 // system.PAGE_BYTES * system.PAGE_BYTES
        try:
            system.grow_segment(fd, 0, layout.RECORDS_AT + _RECORDS_STEP * _RECORD_BYTES)
        except BaseException:
            os.close(fd)
            raise
        first = np.frombuffer(mapping, np.int64, 3, layout.RANGES_AT)
        first[:] = layout.DATA_AT, wanted, ranges.FREE
        head = np.frombuffer(mapping, np.int64, 8)
        head[layout.RECORDS_READY] = _RECORDS_STEP
        head[layout.RANGES_USED] = 1
        head[layout.NEXT_SERIAL] = 1
        return cls(fd, nbytes, mapping)

    @property
    def me(self) -> int:
        """The number of this process."""
        return int(self.station[0])

    @property
    def data_bytes(self) -> int:
        """The most that all blocks together may hold."""
        return self.nbytes - layout.DATA_AT

    def take_range(self, nbytes: int) -> int | None:
        """Take address space without pages; None if there is not so much in one piece."""
        # Compiled code takes no number beyond 64 bits, and none of them fits if this does not.
        nbytes = min(nbytes, self.data_bytes + 1)
        offset = holding.take(self.base, self.me, nbytes)
        if offset < 0 and self.sweep():
            offset = holding.take(self.base, self.me, nbytes)
        return None if offset < 0 else int(offset)

    def give_range(self, offset: int, nbytes: int) -> None:
        """Give back address space whose pages are with the system already."""
        holding.yield_range(self.base, self.me, offset, nbytes)

    def largest_free(self) -> int:
        """Bytes of the largest range that nobody has."""
        return int(ranges.largest_free(self.base))

    def lend(self, offset: int, nbytes: int, kind: int = records.BLOCK) -> tuple[int, int]:
        """Make a record for a block of this process; return its index and serial."""
        while True:
            index, serial = holding.lend(self.base, self.me, offset, nbytes, kind)
            if index >= 0:
                return index, serial
            with self._lock:
                self._add_records()

    def _add_records(self) -> None:
        """Have more records to lend by, of the dead or on new pages."""
        if self.sweep():
            return
        ready = int(self._words[layout.RECORDS_READY])
        if ready == layout.RECORDS_MAX:
            message = f"more than {ready} blocks are shared by processes"
            raise MemoryError(message)
        at = layout.RECORDS_AT + ready * _RECORD_BYTES
        system.grow_segment(self.fd, at, _RECORDS_STEP * _RECORD_BYTES)
        # Should another process do the same, the pages are taken twice, which
        # is as good as once, and the word may for a while say too little.
        store_word(self.base + WORD * layout.RECORDS_READY, ready + _RECORDS_STEP)

    def hold(self, index: int, serial: int) -> bool:
        """Become a holder of a lent block; False if nobody holds it any more."""
        answer = holding.hold(self.base, self.me, index, serial)
        if answer < 0:
            return bool(holding.keep(self.base, self.me, index, serial))
        return bool(answer)

    def keep(self, index: int, serial: int) -> None:
        """Keep a lent block as long as its home lives."""
        holding.keep(self.base, self.me, index, serial)

    def enclose(self, bundle: int, index: int, serial: int) -> bool:
        """Have a bundle of this process hold a block; False if nobody else holds it any more."""
        return bool(holding.enclose(self.base, self.me, bundle, index, serial))

    def consign(self, index: int, channel: int) -> None:
        """Have a channel hold a bundle instead of this process."""
        holding.consign(self.base, self.me, index, channel)

    def claim(self, index: int, serial: int, channel: int) -> bool:
        """Hold a bundle instead of a channel; False if the channel does not hold it."""
        return bool(holding.claim(self.base, self.me, index, serial, channel))

    def unpack(self, bundle: int) -> None:
        """Let go of what a bundle holds that only this process holds."""
        holding.unpack(self.base, self.me, bundle, self.fd)

    def drop(self, index: int, serial: int) -> tuple[int, int] | None:
        """Stop being a holder; offset and size of the block if it is this process's own again."""
        offset, nbytes = holding.drop(self.base, self.me, index, serial, self.fd)
        return (offset, nbytes) if offset >= 0 else None

    def drop_bundle(self, index: int, serial: int, turn: int) -> tuple[int, int] | None:
        """As `drop`, for a bundle; does nothing if another has it by now."""
        offset, nbytes = holding.drop_bundle(self.base, self.me, index, serial, turn, self.fd)
        return (offset, nbytes) if offset >= 0 else None

    def collect(self) -> tuple[int, int] | None:
        """Take back a block of this process that others were the last to hold, if there is one.

        Returns
        -------
        offset, nbytes : int
        """
        offset, nbytes = holding.collect(self.base, self.me)
        return (offset, nbytes) if offset >= 0 else None

    def sweep(self) -> int:
        """Clear up after members that ended; return how many there were."""
        return int(disposal.sweep(self.base, self.me, self.fd))

    def pid_of(self, number: int) -> int | None:
        """Process number of a member; None if it is gone."""
        if is_dead(self.base + layout.MEMBERS_AT, number):
            return None
        return int(self._entry(number % MEMBERS_MAX)[PID])

    def leave_orderly(self) -> None:
        """Note that this process ends as it should, and was not killed."""
        if self.me:
            self._entry(self.me % MEMBERS_MAX)[LEAVING] = 1

    def leave(self) -> None:
        """End the membership and unmap the segment; nothing of it may be used any more.

        Only on the thread that joined, and only for a family that was `found` for some
        purpose of its own: a process stays in its home as long as it lives.
        """
        stations.strike_off(self.station)
        entry = self._entry(self.me % MEMBERS_MAX)
        system.unlock_life(entry.ctypes.data)
        entry[NUMBER] = 0
        del entry, self._words
        self.view.release()
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(self.mapping))
        self.mapping.close()
        os.close(self.fd)

    def rejoin(self) -> None:
        """Become a member of one's own, in a forked child, and heir of its parent."""
        parent = self.me
        self.station[0] = 0
        self._lock = threading.Lock()
        self._join(parent)

    def _entry(self, index: int) -> np.ndarray[Any, Any]:
        first = layout.MEMBERS_AT // WORD + index * MEMBER_WORDS
        return self._words[first : first + MEMBER_WORDS]

    def _join(self, parent: int = 0) -> None:
        """Take an entry of the table of members, and lock its mutex for life."""
        with system.exclusive(self.fd):
            serial = int(self._words[layout.NEXT_SERIAL])
            # Round about, so that it is remembered long who was killed.
            order = ((serial + at) % MEMBERS_MAX for at in range(MEMBERS_MAX))
            index = next((at for at in order if not self._entry(at)[NUMBER]), None)
            if index is None:
                message = f"more than {MEMBERS_MAX} processes share one segment"
                raise OSError(message)
            entry = self._entry(index)
            number = serial * MEMBERS_MAX + index
            self._words[layout.NEXT_SERIAL] += 1
            # Nobody is known by the new number yet, so the order does not matter until
            # the number itself is written.
            entry[:KILLED] = 0
            entry[PID] = os.getpid()
            entry[HEIR_OF] = parent
            entry[RETURNS] = 0
            entry[MARK] = _live_by(entry.ctypes.data)
            # By an atomic store, before which all of the entry is written for whoever sees it.
            store_word(entry.ctypes.data + WORD * NUMBER, number)
            self._words[layout.MEMBERS_USED] = max(self._words[layout.MEMBERS_USED], index + 1)
        self.station[0] = number
        # Entries of the dead become vacant, so that any number of processes can come and go.
        self.sweep()


_RECORD_BYTES = layout.RECORD_WORDS * WORD


def _live_by(address: int) -> int:
    """Lock the mutex at an address in a thread that lives as long as the process."""
    if threading.current_thread() is threading.main_thread():
        return system.lock_for_life(address)
    marks: list[int] = []
    locked = threading.Event()

    def live() -> None:
        marks.append(system.lock_for_life(address))
        locked.set()
        threading.Event().wait()

    threading.Thread(target=live, name="numcrew-life", daemon=True).start()
    locked.wait()
    return marks[0]
