"""Records: blocks that several members use, and who holds them.

A block of an arena is the business of one process until it is *lent*: named to
others.  Then it gets a record, and lives as long as somebody holds it:

a member
    whose number stands among the record's holders;
a bundle
    a block that is a message, which holds what it carries: the first words of its
    bytes are a *manifest*, their number and for each the index and serial of its record;
a channel
    a block with the words of a queue or pipe, which holds the messages in it.  Its
    number, made of its own record's serial and index, stands in the records of these.

When nobody does, the record is free, and the block goes back to its home, the member in
whose range it lies, on a list that the home collects from; or, if the home is gone, to the
family.

Every function here is called inside the guard of the tables, unless it says otherwise.
What changes more than one word is one committed journal.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba import njit

from engine.atomics import load
from engine.memory.layout import (
    GUARD_AT,
    MEMBERS_AT,
    RECORD_WORDS,
    RECORDS_AT,
    RECORDS_FREE,
    RECORDS_MAX,
)
from engine.words.guard import commit, enter, leave, note
from engine.words.members import MEMBER_WORDS, MEMBERS_MAX, RETURNS, WORD, is_dead

__all__ = [
    "BLOCK",
    "BUNDLE",
    "BUNDLES",
    "BYTES",
    "CHANNEL",
    "HOLDERS",
    "HOLDERS_MAX",
    "HOME",
    "IN_CHANNEL",
    "KEPT",
    "KIND",
    "LIVE",
    "NEXT",
    "PLACE",
    "RETURNED_BYTES",
    "RETURNED_NEXT",
    "SERIAL",
    "STATE",
    "TURN",
    "UNUSED",
    "channel_number",
    "enter_tables",
    "find_record",
    "free_record",
    "is_held",
    "leave_tables",
    "manifest_of",
    "note_claimed",
    "note_consigned",
    "record_at",
    "return_home",
    "returns_of",
    "room_for_holder",
]

# Words of a record.
STATE, PLACE, BYTES, HOME = 0, 1, 2, 3
KEPT = 4  # 1: held as long as its home lives
SERIAL = 5  # how many blocks have had the record, so that an earlier one's name is known as such
KIND = 6
NEXT = 7  # in the list of free records: index + 1
BUNDLES = 8  # how many bundles hold it
IN_CHANNEL = 9  # number of the channel that holds it, or 0
TURN = 10  # how often a bundle has changed its holder
HOLDERS = 11
HOLDERS_MAX = RECORD_WORDS - HOLDERS

# States.
UNUSED, LIVE = 0, 1

# Words of a block that was returned: offset of the next in the list of its home, or 0; its size.
RETURNED_NEXT, RETURNED_BYTES = 0, 1

# Kinds.
BLOCK, BUNDLE, CHANNEL = 0, 1, 2


@njit(cache=True)
def enter_tables(base, me):
    """Enter the guard of the tables."""
    enter(base, base + GUARD_AT, base + MEMBERS_AT, me)


@njit(cache=True)
def leave_tables(base):
    """Leave it."""
    leave(base + GUARD_AT)


@njit(cache=True)
def record_at(base, index):
    """Address of a record."""
    return base + RECORDS_AT + index * RECORD_WORDS * WORD


@njit(cache=True)
def manifest_of(base, record):
    """Address of a bundle's manifest."""
    return base + load(record + WORD * PLACE)


@njit(cache=True)
def returns_of(base, member):
    """Address of the word that begins the list of a member's returned blocks."""
    return base + MEMBERS_AT + WORD * (MEMBER_WORDS * (member % MEMBERS_MAX) + RETURNS)


@njit(cache=True)
def channel_number(index, serial):
    """Number of a channel with a record: never used again, and not 0."""
    return serial * RECORDS_MAX + index


@njit(cache=True)
def find_record(base, index, serial):
    """Address of the record that a name means; 0 if that block is gone.

    Inside the guard of the tables, and good until that is left.
    """
    record = record_at(base, index)
    if load(record + WORD * STATE) == LIVE and load(record + WORD * SERIAL) == serial:
        return record
    return 0


@njit(cache=True)
def is_held(base, record):
    """Tell whether anybody who is not gone holds a live record's block."""
    if load(record + WORD * BUNDLES) > 0:
        return True
    channel = load(record + WORD * IN_CHANNEL)
    if channel != 0 and find_record(base, channel % RECORDS_MAX, channel // RECORDS_MAX) != 0:
        return True
    if load(record + WORD * KEPT) != 0 and not is_dead(
        base + MEMBERS_AT, load(record + WORD * HOME)
    ):
        return True
    for at in range(HOLDERS_MAX):
        holder = load(record + WORD * (HOLDERS + at))
        if holder != 0 and not is_dead(base + MEMBERS_AT, holder):
            return True
    return False


@njit(cache=True)
def room_for_holder(base, record, me):
    """Where among a record's holders a member stands or may be written; -1 if they are too many."""
    room = -1
    for at in range(HOLDERS_MAX):
        holder = load(record + WORD * (HOLDERS + at))
        if holder == me:
            return at
        if room < 0 and (holder == 0 or is_dead(base + MEMBERS_AT, holder)):
            room = at
    return room


@njit(cache=True)
def free_record(base, index):
    """Put a record where `lend` finds it."""
    guard = base + GUARD_AT
    record = record_at(base, index)
    note(base, guard, 0, record + WORD * STATE, UNUSED)
    note(base, guard, 1, record + WORD * NEXT, load(base + WORD * RECORDS_FREE))
    note(base, guard, 2, base + WORD * RECORDS_FREE, index + 1)
    commit(base, guard, 3)


@njit(cache=True)
def return_home(base, index):
    """Put a block that nobody holds on the list of its home, which lives; free the record."""
    guard = base + GUARD_AT
    record = record_at(base, index)
    place = load(record + WORD * PLACE)
    returns = returns_of(base, load(record + WORD * HOME))
    # The block's first words say now what its record said; not before the commit, because until
    # then they may be a manifest.
    note(base, guard, 0, base + place + WORD * RETURNED_NEXT, load(returns))
    note(base, guard, 1, base + place + WORD * RETURNED_BYTES, load(record + WORD * BYTES))
    note(base, guard, 2, record + WORD * STATE, UNUSED)
    note(base, guard, 3, record + WORD * NEXT, load(base + WORD * RECORDS_FREE))
    note(base, guard, 4, base + WORD * RECORDS_FREE, index + 1)
    note(base, guard, 5, returns, place)
    commit(base, guard, 6)


# A bundle is held by one member or one channel at a time, so the first place among the
# holders is always the one.


@njit(cache=True)
def note_consigned(base, at, index, channel):
    """Note down, from number `at` on, that a channel holds a bundle and its holder no more."""
    guard = base + GUARD_AT
    record = record_at(base, index)
    note(base, guard, at, record + WORD * IN_CHANNEL, channel)
    note(base, guard, at + 1, record + WORD * HOLDERS, 0)
    note(base, guard, at + 2, record + WORD * TURN, load(record + WORD * TURN) + 1)
    return at + 3


@njit(cache=True)
def note_claimed(base, at, index, me):
    """Note down, from number `at` on, that a member holds a bundle and no channel does."""
    guard = base + GUARD_AT
    record = record_at(base, index)
    note(base, guard, at, record + WORD * IN_CHANNEL, 0)
    note(base, guard, at + 1, record + WORD * HOLDERS, me)
    note(base, guard, at + 2, record + WORD * TURN, load(record + WORD * TURN) + 1)
    return at + 3
