"""Holding: how members take part of the segment, lend blocks of it, and hold and drop them."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba import njit

from engine.atomics import load, store
from engine.memory.disposal import dispose, let_go_of_contents, release_orphans
from engine.memory.layout import (
    GUARD_AT,
    MEMBERS_AT,
    RECORDS_FREE,
    RECORDS_READY,
    RECORDS_USED,
)
from engine.memory.ranges import cut_range, free_range
from engine.memory.records import (
    BUNDLES,
    BYTES,
    HOLDERS,
    HOLDERS_MAX,
    HOME,
    IN_CHANNEL,
    KEPT,
    KIND,
    LIVE,
    NEXT,
    PLACE,
    RETURNED_BYTES,
    RETURNED_NEXT,
    SERIAL,
    STATE,
    TURN,
    enter_tables,
    find_record,
    is_held,
    leave_tables,
    manifest_of,
    note_claimed,
    note_consigned,
    record_at,
    returns_of,
    room_for_holder,
)
from engine.words.guard import commit, note
from engine.words.members import WORD, is_dead

__all__ = [
    "claim",
    "collect",
    "consign",
    "drop",
    "drop_bundle",
    "enclose",
    "hold",
    "keep",
    "lend",
    "take",
    "unpack",
    "yield_range",
]


@njit(cache=True)
def take(base, me, nbytes):
    """Take a range for a member; return its offset, or -1."""
    enter_tables(base, me)
    offset = cut_range(base, me, nbytes)
    leave_tables(base)
    return offset


@njit(cache=True)
def yield_range(base, me, offset, nbytes):
    """Give up a range whose pages are with the system already."""
    enter_tables(base, me)
    done = free_range(base, me, offset, nbytes)
    leave_tables(base)
    return done


@njit(cache=True)
def lend(base, me, offset, nbytes, kind):
    """Make a record for a block of the calling member, which is its first holder.

    Returns
    -------
    index, serial : int
        Of the record; -1 if all that have pages are in use.
    """
    enter_tables(base, me)
    guard = base + GUARD_AT
    index = load(base + WORD * RECORDS_FREE) - 1
    fresh = index < 0
    if fresh:
        index = load(base + WORD * RECORDS_USED)
        if index >= load(base + WORD * RECORDS_READY):
            leave_tables(base)
            return -1, 0
    record = record_at(base, index)
    serial = load(record + WORD * SERIAL) + 1
    # Nobody looks at a record that is not in use, so only its state is written last.
    store(record + WORD * PLACE, offset)
    store(record + WORD * BYTES, nbytes)
    store(record + WORD * HOME, me)
    store(record + WORD * KEPT, 0)
    store(record + WORD * SERIAL, serial)
    store(record + WORD * KIND, kind)
    store(record + WORD * BUNDLES, 0)
    store(record + WORD * IN_CHANNEL, 0)
    store(record + WORD * TURN, 0)
    store(record + WORD * HOLDERS, me)
    for at in range(1, HOLDERS_MAX):
        store(record + WORD * (HOLDERS + at), 0)
    note(base, guard, 0, record + WORD * STATE, LIVE)
    if fresh:
        note(base, guard, 1, base + WORD * RECORDS_USED, index + 1)
    else:
        note(base, guard, 1, base + WORD * RECORDS_FREE, load(record + WORD * NEXT))
    commit(base, guard, 2)
    leave_tables(base)
    return index, serial


@njit(cache=True)
def hold(base, me, index, serial):
    """Add a member to a record's holders; does nothing if it is one.

    Returns
    -------
    int
        1, or 0 if nobody holds the block any more, -1 if there are too many holders.
    """
    enter_tables(base, me)
    record = find_record(base, index, serial)
    answer = 0
    if record != 0:
        room = room_for_holder(base, record, me)
        answer = -1
        if room >= 0:
            store(record + WORD * (HOLDERS + room), me)
            answer = 1
    leave_tables(base)
    return answer


@njit(cache=True)
def keep(base, me, index, serial):
    """Keep a block for as long as its home lives, whoever holds it; False if either is gone."""
    enter_tables(base, me)
    record = find_record(base, index, serial)
    live = record != 0 and not is_dead(base + MEMBERS_AT, load(record + WORD * HOME))
    if live:
        store(record + WORD * KEPT, 1)
    leave_tables(base)
    return live


@njit(cache=True)
def enclose(base, me, bundle, index, serial):
    """Have a bundle of the caller's hold a block, and enter it in the manifest.

    Returns
    -------
    bool
        False if nobody holds the block any more.
    """
    enter_tables(base, me)
    guard = base + GUARD_AT
    record = find_record(base, index, serial)
    if record != 0:
        manifest = manifest_of(base, record_at(base, bundle))
        count = load(manifest)
        # Entries that the count does not cover are nobody's yet.
        store(manifest + WORD * (2 * count + 1), index)
        store(manifest + WORD * (2 * count + 2), serial)
        note(base, guard, 0, record + WORD * BUNDLES, load(record + WORD * BUNDLES) + 1)
        note(base, guard, 1, manifest, count + 1)
        commit(base, guard, 2)
    leave_tables(base)
    return record != 0


@njit(cache=True)
def consign(base, me, index, channel):
    """Have a channel hold a bundle that the caller alone holds, and the caller no more."""
    enter_tables(base, me)
    commit(base, base + GUARD_AT, note_consigned(base, 0, index, channel))
    leave_tables(base)


@njit(cache=True)
def claim(base, me, index, serial, channel):
    """Hold a bundle that a channel holds, and have it hold it no more.

    Returns
    -------
    bool
        False if the channel does not hold it.
    """
    enter_tables(base, me)
    record = find_record(base, index, serial)
    mine = record != 0 and load(record + WORD * IN_CHANNEL) == channel
    if mine:
        commit(base, base + GUARD_AT, note_claimed(base, 0, index, me))
    leave_tables(base)
    return mine


@njit(cache=True)
def unpack(base, me, bundle, fd):
    """Let go of all that a bundle holds which only the caller holds, before it is dropped."""
    enter_tables(base, me)
    let_go_of_contents(base, record_at(base, bundle), fd)
    release_orphans(base, fd)
    leave_tables(base)


@njit(cache=True)
def _end_drop(base, me, index, record, fd):
    """Give back what nobody holds any more, and leave the tables; a record of 0 is nothing."""
    place, nbytes = -1, 0
    if record != 0 and not is_held(base, record):
        block, size = load(record + WORD * PLACE), load(record + WORD * BYTES)
        if dispose(base, me, index, fd):
            place, nbytes = block, size
    release_orphans(base, fd)
    leave_tables(base)
    return place, nbytes


@njit(cache=True)
def drop(base, me, index, serial, fd):
    """Take a member off a record's holders; give the block back if it was the last.

    Does nothing if the record is another block's by now.

    Returns
    -------
    offset, nbytes : int
        Of the block if it is the caller's own again, to be used for something else; or -1.
    """
    enter_tables(base, me)
    record = find_record(base, index, serial)
    if record != 0:
        for at in range(HOLDERS_MAX):
            if load(record + WORD * (HOLDERS + at)) == me:
                store(record + WORD * (HOLDERS + at), 0)
    return _end_drop(base, me, index, record, fd)


@njit(cache=True)
def drop_bundle(base, me, index, serial, turn, fd):
    """As `drop`, for a bundle that the caller holds since it last changed its holder.

    If that is not so, because somebody else has it by now, nothing is done.
    """
    enter_tables(base, me)
    record = find_record(base, index, serial)
    if record != 0 and load(record + WORD * TURN) == turn and load(record + WORD * HOLDERS) == me:
        store(record + WORD * HOLDERS, 0)
    else:
        record = 0
    return _end_drop(base, me, index, record, fd)


@njit(cache=True)
def collect(base, me):
    """Take back one block of the calling member's that others were the last to hold.

    Returns
    -------
    offset, nbytes : int
        Of the block; -1 if there is none.
    """
    returns = returns_of(base, me)
    if load(returns) == 0:
        return -1, 0
    enter_tables(base, me)
    place = load(returns)
    nbytes = 0
    if place != 0:
        nbytes = load(base + place + WORD * RETURNED_BYTES)
        store(returns, load(base + place + WORD * RETURNED_NEXT))
    leave_tables(base)
    return (place, nbytes) if place != 0 else (-1, 0)
