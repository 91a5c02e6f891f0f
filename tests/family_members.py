"""Members of a family for tests: in this process, though each may die as a process does."""

import os
import threading
from unittest import mock

import numpy as np
from leaks import eventually

from engine import system
from engine.memory import arena as arena_module
from engine.memory import family as family_module
from engine.memory import layout, lending, ranges, stations
from engine.memory.arena import arena_of
from engine.memory.family import Family
from engine.memory.lending import handle_of
from engine.memory.records import BLOCK
from engine.words.members import is_dead

__all__ = ["Member", "owners_of", "ranges_of", "used_bytes"]


class Member:
    """A member whose life is that of a thread, by which the kernel tells it as by a process.

    Parameters
    ----------
    other : Member, optional
        Of the same family; without it a new family is founded.
    nbytes : int
        That a new family may hold.
    """

    def __init__(self, other=None, nbytes=4 << 20):
        self._end = threading.Event()
        with mock.patch.object(family_module, "_live_by", self._live_by):
            if other is None:
                self.family = Family.found(nbytes)
            else:
                self.family = Family(os.dup(other.family.fd), other.family.nbytes)
        self.me = self.family.me
        self.arena = arena_of(self.family)
        self.leases = []
        self.bundles = []

    def _live_by(self, address):
        marks = []
        locked = threading.Event()

        def live():
            marks.append(system.lock_for_life(address))
            locked.set()
            self._end.wait()

        self._thread = threading.Thread(target=live)
        self._thread.start()
        locked.wait()
        return marks[0]

    def lend(self, nbytes, kind=BLOCK):
        """Lease a block and lend it; give the lease."""
        lease = self.arena.lease(nbytes)
        handle_of(lease, kind)
        self.leases.append(lease)
        return lease

    def borrow(self, handle):
        """Borrow what another member has lent."""
        lease = lending.borrow(self.family, handle)
        self.leases.append(lease)
        return lease

    def drop(self, lease):
        """Forget one use of a lease."""
        at = next(at for at, one in enumerate(self.leases) if one is lease)
        del self.leases[at]

    def read(self, offset, nbytes):
        """Bytes of the segment."""
        return self.family.mapping[offset : offset + nbytes]

    def write(self, offset, data):
        """Write to the segment."""
        self.family.mapping[offset : offset + len(data)] = data

    def is_dead(self):
        """Tell whether others take it for dead."""
        return is_dead(self.family.base + layout.MEMBERS_AT, self.me)

    def die(self):
        """End without a word: nothing that it held is given back by itself."""
        for lease in self.leases:
            lease._give_back = lambda _: None  # noqa: SLF001 - the dead say nothing
        for bundle in self.bundles:
            bundle.turn = -1
        self._end.set()
        self._thread.join()
        assert eventually(self.is_dead)

    def close(self):
        """Be gone, mapping and all."""
        if self._thread.is_alive():
            self.die()
        self.leases.clear()
        self.bundles.clear()
        self.family.view.release()
        # A forked child would hold again what this member held.
        lending._holdings.pop(self.family, None)  # noqa: SLF001 - nobody else ever leaves
        arena_module._arenas.pop(self.family, None)  # noqa: SLF001 - likewise
        stations.strike_off(self.family.station)
        del self.family._words  # noqa: SLF001 - the last view of the mapping
        self.family.mapping.close()
        os.close(self.family.fd)


def ranges_of(family):
    """The entries in use of a family's table, as ``(offset, size, owner)``, sorted."""
    head = np.frombuffer(family.mapping, np.int64, 8)
    count = int(head[layout.RANGES_USED])
    table = np.frombuffer(
        family.mapping, np.int64, count * layout.RANGE_WORDS, layout.RANGES_AT
    ).reshape(count, layout.RANGE_WORDS)
    # Copies, because a view keeps the mapping open.
    return sorted(
        (int(one[ranges.OFFSET]), int(one[ranges.SIZE]), int(one[ranges.OWNER]))
        for one in table
        if one[ranges.OWNER]
    )


def owners_of(family):
    """Who has how many bytes; checks that the entries cover all of the data once."""
    owners = {}
    place = layout.DATA_AT
    free_before = False
    for offset, size, owner in ranges_of(family):
        assert offset == place, "a gap" if offset > place else "an overlap"
        assert size > 0
        assert not (free_before and owner == ranges.FREE), "free ranges that are not joined"
        free_before = owner == ranges.FREE
        place += size
        owners[owner] = owners.get(owner, 0) + size
    assert place == family.nbytes
    return owners


def used_bytes(family):
    """Memory that a family's segment takes."""
    return os.fstat(family.fd).st_blocks * 512
