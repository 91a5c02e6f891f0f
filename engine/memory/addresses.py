"""Which lease an address belongs to, where the object there does not say.

A NumPy array leads to its lease by its bases.  An Arrow buffer does not, and neither
does a buffer that some other library made of one.  So the leases of Arrow data, and
those of blocks that came from other processes, are noted here.
"""

from __future__ import annotations

import os
import threading
import weakref
from bisect import bisect_right, insort
from typing import Any

import numpy as np

from engine.memory.leases import Lease

__all__ = ["lease_at", "lease_below", "note_lease"]

_leases: weakref.WeakValueDictionary[int, Lease] = weakref.WeakValueDictionary()
_starts: list[int] = []
_lock = threading.Lock()

# Starts of dead leases are thrown out when they are more than the living, and this.
_DEAD_MAX = 64


def note_lease(lease: Lease) -> None:
    """Note a lease, to be found as long as it lives."""
    with _lock:
        start = lease.address
        if start not in _leases:
            if len(_starts) > 2 * len(_leases) + _DEAD_MAX:
                _starts[:] = sorted(_leases)
            insort(_starts, start)
        _leases[start] = lease


def lease_below(owner: Any) -> Lease | None:
    """Find the lease that keeps the memory of an array, or of a view of one, alive."""
    while not isinstance(owner, Lease):
        if isinstance(owner, np.ndarray):
            owner = owner.base
        elif isinstance(owner, memoryview):
            owner = owner.obj
        else:
            return None
    return owner


def lease_at(address: int) -> Lease | None:
    """Find the noted lease of the block in which an address lies."""
    with _lock:
        at = bisect_right(_starts, address)
        while at > 0:
            at -= 1
            found = _leases.get(_starts[at])
            if found is not None:
                return found if address < found.address + found.nbytes else None
            del _starts[at]
        return None


def _unlock_in_child() -> None:
    global _lock  # noqa: PLW0603 - its holder does not exist in the child
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_unlock_in_child)
