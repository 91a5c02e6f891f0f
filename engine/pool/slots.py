"""The job slots of a pool that are free, and the right to one of them; the numbers of jobs."""

from __future__ import annotations

import itertools
import queue
import time
import weakref
from typing import TYPE_CHECKING

from engine.pool.board import SLOT_COUNT

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.pool.board import Board

__all__ = ["FreeSlots", "Slot", "next_serial"]

# Whoever waits for a slot looks this often whether there is still a reason to wait.
_SLICE_S = 0.05

_serials = itertools.count(1)


def next_serial() -> int:
    """Give a number that no job had before."""
    return next(_serials)


class Slot:
    """The right to use one slot of the board until this object dies.

    An object, and no number, because Ctrl-C may come between any two steps of the
    call that holds it: the slot then goes back with whatever the call leaves behind.
    The right to a slot that workers may still touch must be kept alive.
    """

    __slots__ = ("_home", "address")

    def __init__(self, address: int, home: weakref.ref[queue.SimpleQueue[Slot]]) -> None:
        self.address = address
        self._home = home

    def __del__(self) -> None:
        """Make the slot free, unless the pool is gone."""
        home = self._home()
        if home is not None:
            # By its type, because modules are emptied before the last objects die.
            home.put(type(self)(self.address, self._home))


class FreeSlots:
    """The free slots of a board.

    Notes
    -----
    Concurrency: any thread.  Of the standard library's queues this one alone may be
    used by the collector while the same thread is inside it.
    """

    def __init__(self, board: Board) -> None:
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        home = weakref.ref(self._free)
        for index in range(SLOT_COUNT):
            self._free.put(Slot(board.slot(index), home))
        # Each operation on a list is atomic.
        self._kept: list[Slot] = []

    def count(self) -> int:
        """How many there are."""
        return self._free.qsize() + len(self._kept)

    def take_kept(self) -> Slot | None:
        """Take a slot that was given to `keep`, which is quicker; None if there is none."""
        try:
            return self._kept.pop()
        except IndexError:
            return None

    def keep(self, slot: Slot | None) -> None:
        """Take back a slot of a job that nobody is in, for the next job of this kind."""
        if slot is not None:
            self._kept.append(slot)

    def take(self, timeout_s: float | None, check: Callable[[], None]) -> Slot:
        """Take a slot; waits while there is none.

        Parameters
        ----------
        check : callable
            Raises when waiting has become useless.

        Raises
        ------
        TimeoutError
            None became free in time.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            kept = self.take_kept() if self._free.empty() else None
            if kept is not None:
                return kept
            left_s = _SLICE_S if until is None else until - time.monotonic()
            try:
                return self._free.get(timeout=min(max(left_s, 0.0), _SLICE_S))
            except queue.Empty:
                check()
                if left_s <= 0:
                    raise TimeoutError from None
