"""Lending: blocks that several processes use, as this process sees them.

A *handle* names a lent block to other members of the family: the index of its record,
its offset and its size.  Each process holds a block once, however many objects of it
use the block; they share one `Lease`, and when that dies the process drops its hold.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections import Counter, deque
from functools import partial
from multiprocessing import context, reduction
from typing import TYPE_CHECKING, Any

from engine.errors import BlockGoneError
from engine.memory import arena as arena_module
from engine.memory.arena import Lease, lease_over
from engine.memory.family import Family, home_family, join_family

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Handle", "borrow", "handle_of", "travelling", "within_family"]

Handle = tuple[int, int, int]
"""Record, offset, size in bytes."""


class _Ledger:
    """What this process holds of one family's lent blocks.

    Concurrency: a lease may die on any thread at any moment, also inside one of the
    functions here.  It therefore only notes its record on a deque, and whoever holds
    the lock, or takes it next, does the dropping.
    """

    def __init__(self, family: Family) -> None:
        self._family = family
        self._lock = threading.Lock()
        self._uses: Counter[int] = Counter()
        self._leases: weakref.WeakValueDictionary[int, Lease] = weakref.WeakValueDictionary()
        self._dead: deque[tuple[int, Any]] = deque()

    def lend(self, lease: Lease, home: arena_module.Arena) -> int:
        """Make a record for a leased block, at first need."""
        with self._lock:
            if lease.record < 0:
                record = self._family.lend(lease.offset, lease.nbytes)
                self._uses[record] = 1
                self._leases[record] = lease
                lease._give_back = partial(self._note_death, record, home.lent(lease, record))  # noqa: SLF001 - a friend
                lease.record = record
        self._bury()
        return lease.record

    def borrow(self, handle: Handle) -> Lease:
        """Hold a block that another member has lent."""
        record, offset, nbytes = handle
        with self._lock:
            found = self._leases.get(record)
            if found is None:
                # Counted before it is held, so that the death of an earlier lease, which
                # may be noted at any moment, does not drop what is held here.
                self._uses[record] += 1
                if not self._family.hold(record):
                    self._uses[record] -= 1
                    raise BlockGoneError(nbytes=nbytes)
                found = lease_over(
                    self._family.base, offset, nbytes, partial(self._note_death, record, None)
                )
                found.record = record
                self._leases[record] = found
        self._bury()
        return found

    def hold_all(self) -> None:
        """Hold everything again, under the number of a forked child."""
        self._lock = threading.Lock()
        for record, uses in self._uses.items():
            if uses:
                self._family.hold(record)

    def _note_death(
        self,
        record: int,
        take_back: Callable[[], None] | None,
        _: Any,
        is_ending: Callable[[], bool] = sys.is_finalizing,
    ) -> None:
        if is_ending():
            # Modules are being taken apart; when the process is gone, others sweep.
            return
        self._dead.append((record, take_back))
        self._bury()

    def _bury(self) -> None:
        """Drop what died, unless another thread is about to."""
        while self._dead and self._lock.acquire(blocking=False):
            try:
                record, take_back = self._dead.popleft()
                self._uses[record] -= 1
                if self._uses[record] == 0:
                    del self._uses[record]
                    if self._family.drop(record) and take_back is not None:
                        take_back()
            except IndexError:
                pass
            finally:
                self._lock.release()


_ledgers: weakref.WeakKeyDictionary[Family, _Ledger] = weakref.WeakKeyDictionary()
_making = threading.Lock()
_within = threading.local()


def _ledger(family: Family) -> _Ledger:
    with _making:
        found = _ledgers.get(family)
        if found is None:
            found = _ledgers[family] = _Ledger(family)
        return found


def handle_of(lease: Lease) -> Handle:
    """Name a block of this process, or one that it borrowed, to other members."""
    if lease.record < 0:
        home = arena_module.arena()
        _ledger(home.family).lend(lease, home)
    return lease.record, lease.offset, lease.nbytes


def borrow(family: Family, handle: Handle) -> Lease:
    """Get hold of a block that another member has named.

    Raises
    ------
    BlockGoneError
        Nobody holds it any more.
    """
    return _ledger(family).borrow(handle)


class within_family:  # noqa: N801 - used like a function
    """While this is entered, what is pickled on this thread goes to other members.

    Pickles then name the segment by nothing; otherwise they carry its descriptor, and
    whoever unpickles them joins the family.
    """

    def __enter__(self) -> None:
        """Begin."""
        _within.depth = getattr(_within, "depth", 0) + 1

    def __exit__(self, *_: object) -> None:
        """End."""
        _within.depth -= 1


def travelling(family: Family, handle: Handle) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Give what a pickle needs to `borrow` a block in another process.

    Outside `within_family` nobody knows when, if ever, the pickle is read, so its home
    keeps the block as long as it lives.
    """
    if getattr(_within, "depth", 0):
        return _borrow_at_home, handle
    family.keep(handle[0])
    return _borrow_and_join, (_descriptor(family), family.nbytes, *handle)


def _borrow_at_home(*handle: int) -> tuple[Family, Lease]:
    family = home_family()
    return family, borrow(family, handle)  # type: ignore[arg-type]


def _borrow_and_join(descriptor: Any, nbytes: int, *handle: int) -> tuple[Family, Lease]:
    family = join_family(descriptor.detach(), nbytes)
    return family, borrow(family, handle)  # type: ignore[arg-type]


# The descriptor that goes to a process which is being started, once for all objects.
_sent: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def _descriptor(family: Family) -> Any:
    popen = context.get_spawning_popen()
    if popen is None:
        return reduction.DupFd(family.fd)
    found = _sent.get(popen)
    if found is None:
        found = _sent[popen] = reduction.DupFd(family.fd)
    return found


def _hold_all_in_child() -> None:
    global _making  # noqa: PLW0603 - its holder does not exist in the child
    _making = threading.Lock()
    for ledger in _ledgers.values():
        ledger.hold_all()


os.register_at_fork(after_in_child=_hold_all_in_child)
