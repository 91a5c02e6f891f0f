"""What a team is to one of its processes: its words, which rank it is, memory that all ranks see.

What users call is in `engine.team.team`.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from engine import system
from engine.atomics import load_word, store_word
from engine.memory.addresses import note_lease
from engine.memory.arena import arena, arena_of
from engine.memory.arrays import address_of
from engine.memory.families import home_family
from engine.memory.lending import borrow, handle_of
from engine.sync.barrier_words import PARTIES, SPIN_NS, abort_barrier
from engine.sync.lock_word import CORES
from engine.sync.shared_words import SharedWords, direct
from engine.sync.waiting import FOREVER
from engine.sync.waiting import SPIN_NS as SHORT_NS
from engine.team import words
from engine.team.collective import teams
from engine.words.members import WORD

if TYPE_CHECKING:
    from engine.memory.family import Family
    from engine.memory.leases import Lease
    from engine.memory.lending import Handle

__all__ = ["Membership"]

_meet = direct(words.meet)
_abort = direct(abort_barrier)
_take_core = direct(words.take_core)

_JITTER_NS = 200_000


class Membership(SharedWords):
    """The words of a team, as one of its ranks has them.

    Attributes
    ----------
    rank : int
        Which one this is, from 0; -1 before it has joined.
    """

    __slots__ = ("_blocks", "_keys", "rank")

    def __init__(self, size: int, *, family: Family | None = None, jitter: bool = False) -> None:
        home = arena() if family is None else arena_of(family)
        first = words.area_at(size)
        lease: Any = home.lease(first + 2 * size * words.ROOM_BYTES)
        ctypes.memset(lease.address, 0, lease.nbytes)
        self._bind(home.family, lease)
        for at, word in enumerate(handle_of(lease)):
            self._set_word(words.HANDLE + at, word)
        self._set_word(words.SIZE, size)
        self._set_word(words.JITTER_NS, _JITTER_NS if jitter else 0)
        self._set_word(words.AREA, lease.offset + first)
        self._set_word(words.AREA_BYTES, words.ROOM_BYTES)
        cores = system.cpu_budget()
        self._set_word(words.BARRIER_AT + PARTIES, size)
        # More ranks than cores have to make room for each other.
        self._set_word(words.BARRIER_AT + SPIN_NS, SHORT_NS if size <= cores else 0)
        self._set_word(words.LOCK_AT + CORES, cores)

    def _bind(self, family: Family, lease: Lease) -> None:
        super()._bind(family, lease)
        station = self._key_words[1]
        self._keys = [
            np.array([lease.address + WORD * at, station, 0, 0, 0, 0], np.int64)
            for at in (words.BARRIER_AT, words.LOCK_AT)
        ]
        for at, key in zip((words.BARRIER_KEY, words.LOCK_KEY), self._keys, strict=True):
            self._key_words[at] = address_of(key)
        self._blocks: list[Any] = []
        self.rank = -1

    @classmethod
    def borrowed(cls, family: Family, handle: Handle) -> Self:
        """Give the team that another process has named."""
        self = cls.__new__(cls)
        self._bind(family, borrow(family, handle))
        return self

    @classmethod
    def of_key(cls, key: int) -> Self:
        """Give the team of a kernel that runs where nobody has made one."""
        at = int(load_word(key))
        handle = [int(load_word(at + WORD * (words.HANDLE + k))) for k in range(words.NOTE_WORDS)]
        self = cls.borrowed(home_family(), tuple(handle))  # type: ignore[arg-type]
        self.join(int(load_word(key + WORD * words.RANK)))
        store_word(key + WORD * words.ASKED, 1)
        return self

    def block(self) -> np.ndarray[Any, Any]:
        """The team's words, as an array."""
        count = words.area_at(self.size) // WORD
        return np.ndarray(count, np.int64, self._lease)  # type: ignore[arg-type]

    @property
    def handle(self) -> Handle:
        """Name of the team, for other processes."""
        return handle_of(self._lease)

    def join(self, rank: int) -> None:
        """Be one of the ranks from now on, until `leave`."""
        self.rank = rank
        self._key_words[words.RANK] = rank
        _take_core(self._key)
        teams[self._key] = self

    def leave(self) -> None:
        """Be none any more."""
        for block in self._blocks:
            if isinstance(block, Membership):
                block.leave()
        teams.pop(self._key, None)

    def abort(self) -> None:
        """Have every meeting of this team fail, in all ranks."""
        _abort(self._key_words[words.BARRIER_KEY])

    @property
    def size(self) -> int:
        """How many ranks there are."""
        return self._word(words.SIZE)

    # Memory that all ranks see ----------------------------------------------------------

    def new_block(self, nbytes: int) -> Lease:
        """Lease a new block of zeros in all ranks, until they leave; each has to call it."""
        lease: Any
        if self.rank == 0:
            try:
                lease = arena_of(self._family).lease(nbytes)
                ctypes.memset(lease.address, 0, nbytes)
                self._note(handle_of(lease))
            except BaseException:
                self.abort()
                raise
        _meet(self._key, FOREVER)
        if self.rank != 0:
            lease = borrow(self._family, self._noted())
        note_lease(lease)
        self._blocks.append(lease)
        # Until here rank 0 holds the block for all, and writes no other name.
        _meet(self._key, FOREVER)
        return lease  # type: ignore[no-any-return]

    def make_room(self, nbytes: int) -> None:
        """Make the exchange area large enough; each rank has to call it."""
        room = -(-nbytes // 64) * 64
        lease = self.new_block(2 * self.size * room)
        if self.rank == 0:
            self._set_word(words.AREA, lease.offset)
            self._set_word(words.AREA_BYTES, room)
        _meet(self._key, FOREVER)

    def _note(self, handle: tuple[int, ...]) -> None:
        for at, word in enumerate(handle):
            self._set_word(words.NOTE + at, word)

    def _noted(self) -> Any:
        return tuple(self._word(words.NOTE + at) for at in range(words.NOTE_WORDS))
