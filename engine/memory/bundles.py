"""Bundles: blocks that hold other blocks, on their way through a channel.

A bundle has one holder at a time: the member that makes it, then the channel that
it is put into, then the member that takes it out.  So it needs no counting of uses in
these members, unless somebody wants to keep its bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.memory.arena import arena_of
from engine.memory.lending import Handle, adopt
from engine.memory.records import BUNDLE
from engine.words.members import WORD

if TYPE_CHECKING:
    from engine.memory.family import Family
    from engine.memory.leases import Lease

__all__ = ["drop_bundle", "keep_bundle", "make_bundle"]


def make_bundle(family: Family, nbytes: int) -> Handle:
    """Make a bundle that holds nothing, with room for so many bytes, manifest included.

    It has to be given to a channel or dropped.
    """
    home = arena_of(family)
    block = home.lease(nbytes).disown()
    try:
        # It says how much it holds before others may take it for a bundle.
        family.view[block[0] : block[0] + WORD] = bytes(WORD)
        record, serial = family.lend(*block, BUNDLE)
    except BaseException:
        home.take_back(block)
        raise
    return record, serial, *block


def drop_bundle(family: Family, bundle: Handle) -> None:
    """Hold a bundle no more, and with that nothing of what it holds."""
    block = family.drop(bundle[0])
    if block is not None:
        arena_of(family).take_back(block)


def keep_bundle(family: Family, bundle: Handle) -> Lease:
    """Keep the bytes of a bundle as long as the lease lives, but not what the bundle holds."""
    lease = adopt(family, bundle)
    family.unpack(bundle[0])
    return lease
