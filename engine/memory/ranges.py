"""Ranges: which member of the family has which part of the segment.

A range is ``[offset, offset + nbytes)`` of the segment, and belongs to the member
whose number stands in its entry, or to nobody (`FREE`: it has no pages then).  The
entries in use cover all of the data, once.  A member cuts its own ranges into blocks
as it likes; see `engine.memory.arena`.

Every function here is called inside the guard of the tables, and changes entries by
one committed journal, so that a death leaves the table as before or as after.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba import njit

from engine.atomics import load
from engine.memory.layout import (
    GUARD_AT,
    RANGE_WORDS,
    RANGES_AT,
    RANGES_MAX,
    RANGES_USED,
)
from engine.words.guard import commit, note
from engine.words.members import WORD

__all__ = ["FREE", "OFFSET", "OWNER", "SIZE", "cut_range", "free_range", "largest_free", "range_at"]

# Words of an entry.
OFFSET, SIZE, OWNER = 0, 1, 2

# Owners that are no member: an entry not in use, and a range that anybody may take.
UNUSED, FREE = 0, 1

_STEP = RANGE_WORDS * WORD


@njit(cache=True)
def range_at(base, index):
    """Address of an entry."""
    return base + RANGES_AT + index * _STEP


@njit(cache=True)
def _unused_entry(base, beside):
    """Find an entry that is not in use, other than `beside`; -1 if the table is full."""
    used = load(base + WORD * RANGES_USED)
    for index in range(used):
        if index != beside and load(range_at(base, index) + WORD * OWNER) == UNUSED:
            return index
    index = used + 1 if used == beside else used
    return index if index < RANGES_MAX else -1


@njit(cache=True)
def _note_entry(base, at, index, offset, size, owner):
    """Note down all of an entry; return the number of the next note."""
    guard = base + GUARD_AT
    entry = range_at(base, index)
    note(base, guard, at, entry + WORD * OFFSET, offset)
    note(base, guard, at + 1, entry + WORD * SIZE, size)
    note(base, guard, at + 2, entry + WORD * OWNER, owner)
    at += 3
    if index >= load(base + WORD * RANGES_USED):
        note(base, guard, at, base + WORD * RANGES_USED, index + 1)
        at += 1
    return at


@njit(cache=True)
def cut_range(base, owner, nbytes):
    """Give the smallest free range that is large enough, or its beginning, to a member.

    Returns
    -------
    int
        Its offset; -1 if there is none or the table is full.
    """
    used = load(base + WORD * RANGES_USED)
    best = -1
    best_size = 0
    for index in range(used):
        entry = range_at(base, index)
        size = load(entry + WORD * SIZE)
        if load(entry + WORD * OWNER) == FREE and size >= nbytes and (best < 0 or size < best_size):
            best = index
            best_size = size
    if best < 0:
        return -1
    offset = load(range_at(base, best) + WORD * OFFSET)
    # What the owner has right before it grows; otherwise the table would fill up.
    own = -1
    for index in range(used):
        entry = range_at(base, index)
        ends = load(entry + WORD * OFFSET) + load(entry + WORD * SIZE)
        if load(entry + WORD * OWNER) == owner and ends == offset:
            own = index
    if best_size == nbytes:
        at = _note_entry(base, 0, best, offset, nbytes, UNUSED if own >= 0 else owner)
    else:
        at = _note_entry(base, 0, best, offset + nbytes, best_size - nbytes, FREE)
        if own < 0:
            index = _unused_entry(base, -1)
            if index < 0:
                return -1
            at = _note_entry(base, at, index, offset, nbytes, owner)
    if own >= 0:
        entry = range_at(base, own)
        own_size = load(entry + WORD * SIZE)
        at = _note_entry(base, at, own, offset - own_size, own_size + nbytes, owner)
    commit(base, base + GUARD_AT, at)
    return offset


@njit(cache=True)
def _free_part(base, index, offset, nbytes):
    """Free a part of one owned range; False if the table has no room for the rest."""
    entry = range_at(base, index)
    first = load(entry + WORD * OFFSET)
    size = load(entry + WORD * SIZE)
    owner = load(entry + WORD * OWNER)
    before = offset - first
    after = first + size - (offset + nbytes)
    # The entry itself keeps what comes before, else what comes after, else nothing.
    at = 0
    if before > 0:
        at = _note_entry(base, at, index, first, before, owner)
    elif after > 0:
        at = _note_entry(base, at, index, offset + nbytes, after, owner)
    else:
        at = _note_entry(base, at, index, first, size, UNUSED)
    spare = -1
    if before > 0 and after > 0:
        spare = _unused_entry(base, -1)
        if spare < 0:
            return False
        at = _note_entry(base, at, spare, offset + nbytes, after, owner)
    # The freed part joins the free ranges that it touches.
    low = -1
    high = -1
    for other in range(load(base + WORD * RANGES_USED)):
        entry = range_at(base, other)
        if load(entry + WORD * OWNER) == FREE:
            starts = load(entry + WORD * OFFSET)
            if starts == offset + nbytes:
                high = other
            elif starts + load(entry + WORD * SIZE) == offset:
                low = other
    freed_at = offset
    freed = nbytes
    if high >= 0:
        size = load(range_at(base, high) + WORD * SIZE)
        at = _note_entry(base, at, high, freed_at + freed, size, UNUSED)
        freed += size
    if low >= 0:
        size = load(range_at(base, low) + WORD * SIZE)
        freed_at -= size
        freed += size
    elif high >= 0:
        low = high
    elif before == 0 and after == 0:
        low = index
    else:
        low = _unused_entry(base, spare)
        if low < 0:
            return False
    at = _note_entry(base, at, low, freed_at, freed, FREE)
    commit(base, base + GUARD_AT, at)
    return True


@njit(cache=True)
def free_range(base, owner, offset, nbytes):
    """Free a part of what a member has; its pages are with the system already.

    Returns
    -------
    bool
        False if the table is full: the rest then stays with its owner, without
        pages, and only address space is lost until the owner ends.
    """
    while nbytes > 0:
        found = -1
        for index in range(load(base + WORD * RANGES_USED)):
            entry = range_at(base, index)
            first = load(entry + WORD * OFFSET)
            if load(entry + WORD * OWNER) == owner and first <= offset < first + load(
                entry + WORD * SIZE
            ):
                found = index
        if found < 0:
            return False
        entry = range_at(base, found)
        part = min(nbytes, load(entry + WORD * OFFSET) + load(entry + WORD * SIZE) - offset)
        if not _free_part(base, found, offset, part):
            return False
        offset += part
        nbytes -= part
    return True


@njit(cache=True)
def largest_free(base):
    """Bytes of the largest free range."""
    largest = 0
    for index in range(load(base + WORD * RANGES_USED)):
        entry = range_at(base, index)
        if load(entry + WORD * OWNER) == FREE:
            largest = max(largest, load(entry + WORD * SIZE))
    return largest
