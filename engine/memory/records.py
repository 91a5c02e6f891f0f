"""Records: blocks that several members hold, and who holds them.

A block of an arena is the business of one process until it is *lent*: named to
others.  Then it gets a record, in which every member that uses it has its number, and
it goes back to its home, the member in whose range it lies, when the last of them has
dropped it or died.  If its home is gone, it goes back to the family.

    FREE ──lend──▶ LIVE ──last drop──▶ RETURNED ──home collects──▶ FREE
                     └──last drop, by or without its home──▶ FREE

`sweep` does for the dead what they cannot do any more: it strikes them off every
record and frees their ranges, but for the blocks in them that others hold.  The ranges
of a member that has living heirs, children forked from it that see its memory, wait for
these to end.  Each of
its steps may be done twice, so that whoever dies in a sweep is no loss either.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from engine.atomics import load, store
from engine.memory.layout import (
    GUARD_AT,
    MEMBERS_AT,
    MEMBERS_USED,
    RANGES_USED,
    RECORD_WORDS,
    RECORDS_AT,
    RECORDS_READY,
    RECORDS_USED,
)
from engine.memory.ranges import FREE, OFFSET, OWNER, SIZE, cut_range, free_range, range_at
from engine.words.guard import commit, enter, leave, note
from engine.words.members import HEIR_OF, KILLED, MEMBER_WORDS, NUMBER, WORD, is_dead, was_killed

__all__ = [
    "HOLDERS_MAX",
    "collect",
    "drop",
    "hold",
    "keep",
    "lend",
    "serial_of",
    "sweep",
    "take",
    "yield_range",
]

# Words of a record.
STATE, PLACE, BYTES, HOME, KEPT, SERIAL, HOLDERS = 0, 1, 2, 3, 4, 5, 6
HOLDERS_MAX = RECORD_WORDS - HOLDERS

# States.
UNUSED, LIVE, RETURNED = 0, 1, 2

_PUNCH = 0x03  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
_I32, _I64 = ir.IntType(32), ir.IntType(64)


@intrinsic
def _fallocate(typingctx: Any, fd: Any, offset: Any, nbytes: Any) -> Any:
    """Give pages back to the system; what fails here costs pages and nothing else."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_I32, [_I32, _I32, _I64, _I64])
        function = cgutils.get_or_insert_function(builder.module, kind, "fallocate")
        fd = builder.trunc(args[0], _I32)
        builder.call(function, [fd, ir.Constant(_I32, _PUNCH), args[1], args[2]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@njit(cache=True)
def _record(base, index):
    return base + RECORDS_AT + index * RECORD_WORDS * WORD


@njit(cache=True)
def _enter(base, me):
    enter(base, base + GUARD_AT, base + MEMBERS_AT, me)


@njit(cache=True)
def _leave(base):
    leave(base + GUARD_AT)


@njit(cache=True)
def take(base, me, nbytes):
    """Take a range for a member; return its offset, or -1."""
    _enter(base, me)
    offset = cut_range(base, me, nbytes)
    _leave(base)
    return offset


@njit(cache=True)
def yield_range(base, me, offset, nbytes):
    """Give up a range whose pages are with the system already."""
    _enter(base, me)
    done = free_range(base, me, offset, nbytes)
    _leave(base)
    return done


@njit(cache=True)
def lend(base, me, offset, nbytes):
    """Make a record for a block of the calling member, which is its first holder.

    Returns
    -------
    int
        The record's index; -1 if all that have pages are in use.
    """
    _enter(base, me)
    used = load(base + WORD * RECORDS_USED)
    index = used
    for at in range(used):
        if load(_record(base, at) + WORD * STATE) == UNUSED:
            index = at
            break
    if index >= load(base + WORD * RECORDS_READY):
        _leave(base)
        return -1
    record = _record(base, index)
    # Nobody looks at a record that is not in use, so only its state is written last.
    store(record + WORD * PLACE, offset)
    store(record + WORD * BYTES, nbytes)
    store(record + WORD * HOME, me)
    store(record + WORD * KEPT, 0)
    # So that a name from an earlier life of the record is known as such.
    store(record + WORD * SERIAL, load(record + WORD * SERIAL) + 1)
    store(record + WORD * HOLDERS, me)
    for at in range(1, HOLDERS_MAX):
        store(record + WORD * (HOLDERS + at), 0)
    note(base, base + GUARD_AT, 0, record + WORD * STATE, LIVE)
    note(base, base + GUARD_AT, 1, base + WORD * RECORDS_USED, max(used, index + 1))
    commit(base, base + GUARD_AT, 2)
    _leave(base)
    return index


@njit(cache=True)
def serial_of(base, index):
    """How many blocks have had a record so far."""
    return load(_record(base, index) + WORD * SERIAL)


@njit(cache=True)
def hold(base, me, index, serial):
    """Add a member to a record's holders; does nothing if it is one.

    Returns
    -------
    int
        1, or 0 if nobody holds the block any more, -1 if there are too many holders.
    """
    _enter(base, me)
    record = _record(base, index)
    answer = 0
    if load(record + WORD * STATE) == LIVE and load(record + WORD * SERIAL) == serial:
        answer = -1
        room = -1
        for at in range(HOLDERS_MAX):
            holder = load(record + WORD * (HOLDERS + at))
            if holder == me:
                answer = 1
            elif room < 0 and (holder == 0 or is_dead(base + MEMBERS_AT, holder)):
                room = at
        if answer < 0 and room >= 0:
            store(record + WORD * (HOLDERS + room), me)
            answer = 1
    _leave(base)
    return answer


@njit(cache=True)
def keep(base, me, index):
    """Keep a block for as long as its home lives, whoever holds it."""
    _enter(base, me)
    store(_record(base, index) + WORD * KEPT, 1)
    _leave(base)


@njit(cache=True)
def _is_held(base, record):
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
def _free_gaps(base, index, fd):
    """Free a dead member's range, but for the blocks in it that are held."""
    entry = range_at(base, index)
    owner = load(entry + WORD * OWNER)
    at = load(entry + WORD * OFFSET)
    end = at + load(entry + WORD * SIZE)
    while at < end:
        # The first block that begins at or behind `at`.
        block = end
        block_end = end
        for number in range(load(base + WORD * RECORDS_USED)):
            record = _record(base, number)
            place = load(record + WORD * PLACE)
            if load(record + WORD * STATE) == LIVE and at <= place < block:
                block = place
                block_end = place + load(record + WORD * BYTES)
        if block > at:
            _fallocate(fd, at, block - at)
            if not free_range(base, owner, at, block - at):
                return
        at = block_end


@njit(cache=True)
def _has_heirs(base, number):
    """Tell whether a forked child of a member may still read what the member had."""
    members = base + MEMBERS_AT
    for index in range(load(base + WORD * MEMBERS_USED)):
        entry = members + WORD * MEMBER_WORDS * index
        if load(entry + WORD * NUMBER) != 0 and load(entry + WORD * HEIR_OF) == number:
            return True
    return False


@njit(cache=True)
def _dispose(base, me, record, fd):
    """Free what nobody holds; True if the caller is its home and has it back."""
    home = load(record + WORD * HOME)
    if home == me:
        store(record + WORD * STATE, UNUSED)
        return True
    if not is_dead(base + MEMBERS_AT, home):
        store(record + WORD * STATE, RETURNED)
        return False
    # The range is now one of a dead member's, which whoever comes next may finish freeing.
    place = load(record + WORD * PLACE)
    store(record + WORD * STATE, UNUSED)
    if _has_heirs(base, home):
        return False
    for index in range(load(base + WORD * RANGES_USED)):
        entry = range_at(base, index)
        first = load(entry + WORD * OFFSET)
        if load(entry + WORD * OWNER) == home and first <= place < first + load(
            entry + WORD * SIZE
        ):
            _free_gaps(base, index, fd)
            break
    return False


@njit(cache=True)
def drop(base, me, index, fd):
    """Take a member off a record's holders; free the block if it was the last.

    Returns
    -------
    bool
        True if the block is the caller's own again, to be used for something else.
    """
    _enter(base, me)
    record = _record(base, index)
    mine = False
    if load(record + WORD * STATE) == LIVE:
        for at in range(HOLDERS_MAX):
            if load(record + WORD * (HOLDERS + at)) == me:
                store(record + WORD * (HOLDERS + at), 0)
        if not _is_held(base, record):
            mine = _dispose(base, me, record, fd)
    _leave(base)
    return mine


@njit(cache=True)
def collect(base, me, index):
    """Take back a block of the calling member's that the last holder has dropped."""
    record = _record(base, index)
    if load(record + WORD * STATE) != RETURNED or load(record + WORD * HOME) != me:
        return False
    # Only its home takes a returned block, so this needs no guard.
    store(record + WORD * STATE, UNUSED)
    return True


@njit(cache=True)
def sweep(base, me, fd):
    """Clear up after members that ended; return how many were struck off."""
    members = base + MEMBERS_AT
    dead = 0
    for index in range(load(base + WORD * MEMBERS_USED)):
        number = load(members + WORD * (MEMBER_WORDS * index + NUMBER))
        if number != 0 and is_dead(members, number):
            dead += 1
    if dead == 0:
        return 0
    _enter(base, me)
    for index in range(load(base + WORD * RECORDS_USED)):
        record = _record(base, index)
        if load(record + WORD * STATE) == LIVE and not _is_held(base, record):
            if load(record + WORD * HOME) == me:
                # Its home looks for returned blocks, and finds its own so too.
                store(record + WORD * STATE, RETURNED)
            else:
                _dispose(base, me, record, fd)
        elif load(record + WORD * STATE) == RETURNED and is_dead(
            members, load(record + WORD * HOME)
        ):
            store(record + WORD * STATE, UNUSED)
    # Heirs first: when the last of them is struck off, their parent's memory goes too.
    count = 0
    struck = True
    while struck:
        struck = False
        for index in range(load(base + WORD * MEMBERS_USED)):
            entry = members + WORD * MEMBER_WORDS * index
            number = load(entry + WORD * NUMBER)
            if number == 0 or not is_dead(members, number) or _has_heirs(base, number):
                continue
            if was_killed(members, number):
                store(entry + WORD * KILLED, number)
            store(entry + WORD * NUMBER, 0)
            struck = True
            count += 1
    index = 0
    # The table may change at each step: what a step frees joins other entries.
    while index < load(base + WORD * RANGES_USED):
        owner = load(range_at(base, index) + WORD * OWNER)
        if owner > FREE and is_dead(members, owner) and not _has_heirs(base, owner):
            _free_gaps(base, index, fd)
        index += 1
    _leave(base)
    return count
