"""Lending: blocks that several processes use, as this process sees them.

A *handle* names a lent block to other members of the family: the index of its record,
which of the record's lives it is, its offset and its size.  Each process holds a block
once, however many objects of it use the block; they share one `Lease`, and when that
dies the process drops its hold.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import weakref
from collections import deque
from functools import partial
from multiprocessing import context, reduction
from typing import TYPE_CHECKING, Any

from engine.errors import BlockGoneError
from engine.memory.addresses import note_lease
from engine.memory.arena import arena_of, owner_of
from engine.memory.families import home_family, join_family
from engine.memory.family import Family
from engine.memory.leases import Lease, lease_over, watch, watched_at
from engine.memory.records import BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

__all__ = ["Handle", "adopt", "borrow", "carried", "handle_of", "travelling", "within_family"]

Handle = tuple[int, int, int, int]
"""Record, serial, offset, size in bytes."""


class _Hold:
    """A record among whose holders this process is.

    Attributes
    ----------
    serial : int
    place : address
        Where its block is.
    uses : int
        Leases of it that have not died, or whose death was not seen to yet.
    """

    __slots__ = ("place", "serial", "uses")

    def __init__(self, serial: int, place: int) -> None:
        self.serial = serial
        self.place = place
        self.uses = 0


class _Holdings:
    """What this process holds of one family's lent blocks.

    Concurrency: a lease may die on any thread at any moment, also inside one of the
    functions here.  It therefore only notes its record on a deque, and whoever holds
    the lock, or takes it next, does the dropping.
    """

    def __init__(self, family: Family) -> None:
        self._family = family
        self._lock = threading.Lock()
        self._holds: dict[int, _Hold] = {}
        self._dead: deque[tuple[int, int]] = deque()

    def lend(self, lease: Lease, kind: int) -> None:
        """Make a record for a leased block of this process, at first need."""
        with self._lock:
            if lease.record < 0:
                record, serial = self._family.lend(lease.offset, lease.nbytes, kind)
                hold = self._holds[record] = _Hold(serial, lease.address)
                self._count(lease, record, hold)
        self._bury()

    def borrow(self, handle: Handle) -> Lease:
        """Hold a block that another member has lent."""
        record, serial, _, nbytes = handle
        with self._lock:
            hold = self._holds.get(record)
            if hold is None:
                if not self._family.hold(record, serial):
                    raise BlockGoneError(nbytes=nbytes)
                hold = self._note(handle)
            elif hold.serial != serial:
                raise BlockGoneError(nbytes=nbytes)
            found = watched_at(hold.place) or self._lease(handle, hold)
        self._bury()
        return found

    def adopt(self, handle: Handle) -> Lease:
        """Lease a block among whose holders this process is, which nothing here knows yet."""
        with self._lock:
            found = self._lease(handle, self._note(handle))
        self._bury()
        return found

    def _note(self, handle: Handle) -> _Hold:
        record, serial, offset, _ = handle
        hold = self._holds[record] = _Hold(serial, self._family.base + offset)
        return hold

    def _lease(self, handle: Handle, hold: _Hold) -> Lease:
        """Make a lease of a block that this process holds, with the lock."""
        record, _, offset, nbytes = handle
        lease = lease_over(self._family.base, offset, nbytes)
        self._count(lease, record, hold)
        note_lease(lease)
        return lease

    def _count(self, lease: Lease, record: int, hold: _Hold) -> None:
        hold.uses += 1
        watch(lease, partial(self._note_death, (record, hold.serial)))
        lease.serial = hold.serial
        # Last, because it is what makes the lease one of a lent block.
        lease.record = record

    def holds_some(self) -> bool:
        """Tell whether a child would inherit anything."""
        return bool(self._holds)

    def stop(self) -> None:
        """Drop nothing, and let nobody borrow, until `go_on`; before a fork."""
        self._lock.acquire()

    def go_on(self) -> None:
        """Go on, in the parent of a fork."""
        self._lock.release()
        self._bury()

    def hold_all(self) -> None:
        """Hold everything again, under the number of a forked child, and go on."""
        for record, hold in list(self._holds.items()):
            if not self._family.hold(record, hold.serial):
                del self._holds[record]
        self._lock = threading.Lock()
        self._bury()

    def _note_death(
        self, record: tuple[int, int], is_ending: Callable[[], bool] = sys.is_finalizing
    ) -> None:
        if is_ending():
            # Modules are being taken apart; when the process is gone, others sweep.
            return
        self._dead.append(record)
        self._bury()

    def _bury(self) -> None:
        """Drop what died, unless another thread is about to."""
        while self._dead and self._lock.acquire(blocking=False):
            try:
                record, serial = self._dead.popleft()
                hold = self._holds.get(record)
                if hold is None or hold.serial != serial:
                    continue
                hold.uses -= 1
                if hold.uses == 0:
                    del self._holds[record]
                    block = self._family.drop(record, serial)
                    if block is not None:
                        arena_of(self._family).take_back(block)
            except IndexError:
                pass
            finally:
                self._lock.release()


_holdings: weakref.WeakKeyDictionary[Family, _Holdings] = weakref.WeakKeyDictionary()
_making = threading.Lock()
_within = threading.local()


def _holdings_in(family: Family) -> _Holdings:
    with _making:
        found = _holdings.get(family)
        if found is None:
            found = _holdings[family] = _Holdings(family)
        return found


def handle_of(lease: Lease, kind: int = BLOCK) -> Handle:
    """Name a block of this process, or one that it borrowed, to other members.

    Parameters
    ----------
    lease : Lease
    kind : int
        What others are to take the block for, if it has not been named before; see
        `engine.memory.records`.

    Raises
    ------
    ValueError
        The block is another process's, and was not lent when this one was forked from it.
    """
    if lease.record < 0:
        home = owner_of(lease)
        if home is None:
            message = (
                "this memory belongs to the process that this one was forked from, and "
                "may be used by it for something else at any time; send a copy"
            )
            raise ValueError(message)
        _holdings_in(home.family).lend(lease, kind)
    return lease.record, lease.serial, lease.offset, lease.nbytes


def borrow(family: Family, handle: Handle) -> Lease:
    """Get hold of a block that another member has named.

    Raises
    ------
    BlockGoneError
        Nobody holds it any more.
    """
    return _holdings_in(family).borrow(handle)


def adopt(family: Family, handle: Handle) -> Lease:
    """Lease a block of which this process was made a holder, by other ways than `borrow`."""
    return _holdings_in(family).adopt(handle)


class within_family:  # noqa: N801 - used like a function
    """While this is entered, what this thread pickles and unpickles stays in a family.

    Pickles then name the segment by nothing; otherwise they carry its descriptor, and
    whoever unpickles them joins the family.

    Parameters
    ----------
    family : Family, optional
        Default: the one in whose segment this process allocates.
    leases : list of Lease, optional
        Where those of the blocks that are named go.  Somebody has to hold them until all is
        unpickled.  Then it is those that somebody held.
    """

    def __init__(self, family: Family | None = None, leases: list[Lease] | None = None) -> None:
        self.family = family or home_family()
        self.leases = [] if leases is None else leases

    def __enter__(self) -> Self:
        """Begin."""
        self._outer = getattr(_within, "entered", None)
        _within.entered = self
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        _within.entered = self._outer


def carried(number: int) -> Lease:
    """Give one of the blocks that came with what this thread unpickles."""
    lease: Lease = _within.entered.leases[number]
    return lease


def travelling(family: Family, lease: Lease) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Give what a pickle needs to `borrow` a block in another process.

    What goes to a process that is being started is kept until that process has ended.
    Otherwise, outside `within_family`, nobody knows when, if ever, the pickle is read, and
    the block is kept as long as its home lives.
    """
    handle = handle_of(lease)
    inside = getattr(_within, "entered", None)
    if inside is not None and inside.family is family:
        inside.leases.append(lease)
        return _borrow_within, handle
    popen = context.get_spawning_popen()
    if popen is None:
        family.keep(lease.record, lease.serial)
        return _borrow_and_join, (reduction.DupFd(family.fd), family.nbytes, *handle)
    sent = _sent.setdefault(popen, {}).get(family)
    if sent is None:
        # One descriptor for all of a family: a process can be given few.
        sent = _sent[popen][family] = (reduction.DupFd(family.fd), [])
    sent[1].append(lease)
    return _borrow_and_join, (sent[0], family.nbytes, *handle)


# What a process was given that is being started or runs.
_sent: weakref.WeakKeyDictionary[Any, dict[Family, tuple[Any, list[Lease]]]]
_sent = weakref.WeakKeyDictionary()


def _borrow_within(*handle: int) -> tuple[Family, Lease]:
    inside = getattr(_within, "entered", None)
    family = home_family() if inside is None else inside.family
    return family, borrow(family, handle)  # type: ignore[arg-type]


def _borrow_and_join(descriptor: Any, nbytes: int, *handle: int) -> tuple[Family, Lease]:
    family = join_family(descriptor.detach(), nbytes)
    return family, borrow(family, handle)  # type: ignore[arg-type]


# A fork waits until its child holds what it inherited; else its parent might drop it first.
# No thread drops anything meanwhile, and what dies in the child before it is a member by
# itself is not dropped in its parent's name.
_forks = threading.local()

_CHILD_MS = 10_000


def _before_fork() -> None:
    holdings = list(_holdings.values())
    pipe = None
    if any(one.holds_some() for one in holdings):
        # Without descriptors left the fork does not wait, and may lose what is dropped then.
        with contextlib.suppress(OSError):
            # Only the child has the writing end in the end, so that its death is seen as well.
            pipe = os.pipe()
    for one in holdings:
        one.stop()
    _forks.__dict__.setdefault("begun", []).append((holdings, pipe))


def _after_fork_in_parent() -> None:
    holdings, pipe = _forks.begun.pop()
    try:
        if pipe is not None:
            os.close(pipe[1])
            poll = select.poll()
            poll.register(pipe[0], select.POLLIN)
            poll.poll(_CHILD_MS)
            os.close(pipe[0])
    finally:
        for one in holdings:
            one.go_on()


def _hold_all_in_child() -> None:
    global _making  # noqa: PLW0603 - its holder does not exist in the child
    _making = threading.Lock()
    holdings, pipe = _forks.begun.pop()
    for one in holdings:
        one.hold_all()
    if pipe is not None:
        os.write(pipe[1], b"h")
        os.close(pipe[0])
        os.close(pipe[1])


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_hold_all_in_child,
)
