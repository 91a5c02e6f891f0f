"""Bundles: blocks that hold other blocks, on their way through a channel.

A bundle has one holder at a time: the member that makes it, then the channel that
it is put into, then the member that takes it out.  So it needs no counting of uses in
these members, unless somebody wants to keep its bytes.  Or its maker keeps it, and
others borrow it as any block.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from engine.errors import BlockGoneError
from engine.memory.arena import arena_of
from engine.memory.lending import Handle, adopt, borrow
from engine.memory.records import BUNDLE
from engine.words.members import WORD

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.memory.family import Family
    from engine.memory.leases import Lease

__all__ = ["GONE", "MADE", "TAKEN", "BorrowedBundle", "Bundle", "make_bundle"]

# Turns of a bundle when it is with its maker and with its taker; in between it is in a channel.
# None: this process has no more to do with it.
MADE, TAKEN, GONE = 0, 2, -1


class Bundle:
    """A bundle that this process holds, or may hold; dropped when this object dies.

    Parameters
    ----------
    family : Family
    handle : Handle
    turn : int
        When this process is, or would be, its holder.  If the bundle is at another, because a
        channel has it by now or never gave it away, the object's death changes nothing.
    """

    __slots__ = ("family", "handle", "turn")

    def __init__(self, family: Family, handle: Handle, turn: int = TAKEN) -> None:
        self.family = family
        self.handle = handle
        self.turn = turn

    @property
    def view(self) -> memoryview:
        """All its bytes; not to be used when the object is dead."""
        _, _, offset, nbytes = self.handle
        return self.family.view[offset : offset + nbytes]

    def enclose(self, handle: Handle) -> None:
        """Hold a block."""
        record, serial, _, nbytes = handle
        if not self.family.enclose(self.handle[0], record, serial):
            raise BlockGoneError(nbytes=nbytes)

    def keep(self) -> Lease:
        """Keep its bytes as long as the lease lives, but not what it holds."""
        self.family.unpack(self.handle[0])
        # Before there is a lease: an interrupt then costs the block and not what it holds.
        self.turn = GONE
        return adopt(self.family, self.handle)

    def __del__(self, is_ending: Callable[[], bool] = sys.is_finalizing) -> None:
        """Hold it no more, and with that nothing of what it holds."""
        if self.turn == GONE or is_ending():
            # When modules are being taken apart, it is left to others to sweep.
            return
        record, serial, _, _ = self.handle
        block = self.family.drop_bundle(record, serial, self.turn)
        if block is not None:
            arena_of(self.family).take_back(block)


class BorrowedBundle:
    """A bundle that its holder keeps while this process reads it.

    Parameters
    ----------
    family : Family
    handle : Handle

    Raises
    ------
    BlockGoneError
        Its holder has dropped it.
    """

    __slots__ = ("_lease", "family")

    def __init__(self, family: Family, handle: Handle) -> None:
        self.family = family
        self._lease = borrow(family, handle)

    @property
    def view(self) -> memoryview:
        """All its bytes."""
        block: Any = self._lease
        return memoryview(block).cast("B")

    def keep(self) -> Lease:
        """Keep its bytes, and what it holds, as long as the lease lives."""
        return self._lease


def make_bundle(family: Family, nbytes: int) -> Bundle:
    """Make a bundle that holds nothing, with room for so many bytes, manifest included."""
    home = arena_of(family)
    lease = home.lease(nbytes)
    offset = lease.offset
    # It says how much it holds before others may take it for a bundle.
    family.view[offset : offset + WORD] = bytes(WORD)
    block = lease.disown()
    record, serial = family.lend(*block, BUNDLE)
    return Bundle(family, (record, serial, *block), MADE)
