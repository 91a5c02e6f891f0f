"""Which lease an address belongs to, where the object there does not say.

A NumPy array leads to its lease by its bases.  An Arrow buffer does not, and neither
does a buffer that some other library made of one.  So the leases of Arrow data, and
those of blocks that came from other processes, are noted here.  An array whose memory NumPy frees
has no base either; leases of such memory are kept alive here, until NumPy frees it.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left, bisect_right
from functools import partial
from typing import Any

import numpy as np

from engine.memory.arrays import address_of
from engine.memory.leases import Lease, watch, watched_at

__all__ = ["lease_at", "lease_below", "note_lease", "owned"]

# Leases of memory that NumPy frees, by address: see `engine.memory.allocator`.
owned: dict[int, Lease] = {}

_starts: list[int] = []
_lock = threading.Lock()


def note_lease(lease: Lease) -> None:
    """Note a lease, to be found as long as it lives."""
    with _lock:
        start = lease.address
        if watched_at(start) is not lease:
            watch(lease, partial(lease._give_back, (lease.offset, lease.nbytes)))  # noqa: SLF001
        at = bisect_left(_starts, start)
        if at == len(_starts) or _starts[at] != start:
            _starts.insert(at, start)
        # The dead go as others come: two at a time keep the list as long as the living are.
        for _ in range(2):
            _forget_one()


_next_look = 0


def _forget_one() -> None:
    """Look at one start, the next time at the one before, and forget it if its lease is dead."""
    global _next_look  # noqa: PLW0603 - guarded by the lock
    _next_look = min(_next_look, len(_starts)) - 1
    if _next_look < 0:
        _next_look = len(_starts) - 1
    if _starts and watched_at(_starts[_next_look]) is None:
        del _starts[_next_look]


def lease_below(owner: Any) -> Lease | None:
    """Find the lease that keeps the memory of an array, or of a view of one, alive."""
    while not isinstance(owner, Lease):
        if isinstance(owner, np.ndarray):
            if owner.flags.owndata:
                return owned.get(address_of(owner))
            owner = owner.base
        elif isinstance(owner, memoryview):
            owner = owner.obj
        else:
            return None
    return owner


def lease_at(address: int) -> Lease | None:
    """Find the noted lease of the block in which an address lies, or that of an array's memory."""
    return _noted_at(address) or next(
        (one for start, one in owned.copy().items() if start <= address < start + one.nbytes), None
    )


def _noted_at(address: int) -> Lease | None:
    with _lock:
        at = bisect_right(_starts, address)
        while at > 0:
            at -= 1
            found = watched_at(_starts[at])
            if found is not None:
                return found if address < found.address + found.nbytes else None
            del _starts[at]
        return None


def _unlock_in_child() -> None:
    global _lock  # noqa: PLW0603 - its holder does not exist in the child
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_unlock_in_child)
