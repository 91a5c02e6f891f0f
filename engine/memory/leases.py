"""Leases: the right to use a block of shared memory, for as long as any view of it lives."""

from __future__ import annotations

import ctypes
import functools
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Lease", "lease_over", "lease_type", "watch", "watched_at"]


class Lease:
    """The right to use one block until this object dies; a buffer over its bytes.

    Every array over the block holds the lease, through ``ndarray.base`` or as the
    owner of an Arrow buffer, so the block goes back when its last view dies, in
    whatever order views die.

    Attributes
    ----------
    offset, nbytes, address : int
        Where the block is in the segment, how large, and where in this process.

    Notes
    -----
    The class of each size is a ctypes array as well: that is the quickest way from
    an address to an array that keeps an object alive (0.5 us; the array interface
    takes 1.5 us), and every result array goes it.

    Concurrency: may die on any thread at any moment, also inside the arena's own
    lock when the garbage collector runs there.  It therefore only appends to a
    deque, which is atomic; the next `lease` takes the block from there, or has the
    arena collect it.
    """

    # A weakref.finalize would say the same in eight times the time (2 us).

    # All that `__del__` needs belongs to the class: ctypes calls no `__init__`, an
    # interrupt may come as soon as there is an object, and at the end of the interpreter
    # modules are emptied before the last arrays die.
    nbytes: int
    record = -1  # of a block that is lent, and which of the record's lives; see
    serial = 0  # `engine.memory.lending`
    base: int
    _give_back: Callable[[tuple[int, int]], None]
    _addressof: Callable[[Any], int] = ctypes.addressof

    @property
    def address(self) -> int:
        """Where the block is in this process."""
        return self._addressof(self)

    @property
    def offset(self) -> int:
        """Where the block is in the segment."""
        return self._addressof(self) - self.base

    def disown(self) -> tuple[int, int]:
        """Leave the block, its offset and size, to the caller; it does not go back any more."""
        block = self.offset, self.nbytes
        self._give_back = _leave_alone
        return block

    def __del__(self) -> None:
        """Give the block back."""
        self._give_back((self._addressof(self) - self.base, self.nbytes))


# The weak references of leases that are watched, by address.  Reentrant, because a lease may
# die wherever the garbage collector runs.
_watches: dict[int, weakref.ref[Lease]] = {}
_lock = threading.RLock()


def watch(lease: Lease, note: Callable[[], None]) -> None:
    """Have `note` called when a lease has died, in place of what its death did before.

    From then on it may be found by `watched_at`.  Others it must not: an object that runs its
    `__del__` can still be had from a weak reference, but none whose references were cleared,
    which is before their callbacks are called.
    """
    address = lease.address

    def see(reference: weakref.ref[Lease]) -> None:
        with _lock:
            if _watches.get(address) is reference:
                del _watches[address]
        note()

    # First: an interrupt then costs the block, and does not give it back twice.
    lease._give_back = _leave_alone  # noqa: SLF001 - a friend
    with _lock:
        _watches[address] = weakref.ref(lease, see)


def watched_at(address: int) -> Lease | None:
    """Give the watched lease whose block begins at an address, if it lives."""
    reference = _watches.get(address)
    return None if reference is None else reference()


def _leave_alone(_: tuple[int, int]) -> None:
    """Do nothing when a lease dies."""


def lease_type(nbytes: int, base: int, give_back: Callable[[tuple[int, int]], None]) -> type[Any]:
    """Make the class of the leases of one size, in the segment at `base`."""
    members = {"nbytes": nbytes, "base": base, "_give_back": staticmethod(give_back)}
    return type("Lease", (Lease, ctypes.c_char * nbytes), members)


@functools.cache
def _borrowed_type(nbytes: int, base: int) -> type[Any]:
    return lease_type(nbytes, base, _leave_alone)


def lease_over(base: int, offset: int, nbytes: int) -> Lease:
    """Make the lease of a block of another process; who wants to know of its death says so."""
    lease: Lease = _borrowed_type(nbytes, base).from_address(base + offset)
    return lease


def _unlock_in_child() -> None:
    global _lock  # noqa: PLW0603 - its holder does not exist in the child
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_unlock_in_child)
