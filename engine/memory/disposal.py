"""Disposal: what becomes of a block that nobody holds, and of what the dead leave.

`dispose` gives such a block back: to its home, the member in whose range it lies, or if
that is gone, to the family.  What it held itself, as a bundle or a channel, is looked at
next.  `sweep` does for the dead what they cannot do any more: it strikes them off the table
of members and frees their ranges, but for the blocks in them that others hold.  The ranges
of a member that has living heirs, children forked from it that see its memory, wait for
these to end.

Each step may be done twice, so that whoever dies in one is no loss: what was not done is
found undone by the sweep that follows a death.
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
    ORPHANS,
    RANGES_USED,
    RECORDS_USED,
)
from engine.memory.ranges import FREE, OFFSET, OWNER, SIZE, free_range, range_at
from engine.memory.records import (
    BLOCK,
    BUNDLE,
    BUNDLES,
    BYTES,
    CHANNEL,
    HOME,
    KIND,
    LIVE,
    PLACE,
    STATE,
    enter_tables,
    free_record,
    is_held,
    leave_tables,
    manifest_of,
    record_at,
    return_home,
)
from engine.system import PAGE_BYTES
from engine.words.guard import commit, note
from engine.words.members import HEIR_OF, KILLED, MEMBER_WORDS, NUMBER, WORD, is_dead, was_killed

__all__ = ["dispose", "let_go", "let_go_of_contents", "release_orphans", "sweep"]

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
def _punch_edges(base, start, end, fd):
    """Give back the pages at both ends of what is free now, if others of them are free as well."""
    if (start | end) % PAGE_BYTES == 0:
        return
    for index in range(load(base + WORD * RANGES_USED)):
        entry = range_at(base, index)
        first = load(entry + WORD * OFFSET)
        last = first + load(entry + WORD * SIZE)
        if load(entry + WORD * OWNER) == FREE and first <= start < last:
            low = max(start // PAGE_BYTES * PAGE_BYTES, first)
            high = min(-(-end // PAGE_BYTES) * PAGE_BYTES, last)
            _fallocate(fd, low, high - low)
            return


@njit(cache=True)
def _free_gap(base, owner, start, end, fd):
    """Free a part of a dead member's range in which nothing is held; False if it cannot be."""
    _fallocate(fd, start, end - start)
    if not free_range(base, owner, start, end - start):
        return False
    _punch_edges(base, start, end, fd)
    return True


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
            record = record_at(base, number)
            place = load(record + WORD * PLACE)
            if load(record + WORD * STATE) == LIVE and at <= place < block:
                block = place
                block_end = place + load(record + WORD * BYTES)
        if block > at and not _free_gap(base, owner, at, block, fd):
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
def _free_around(base, place, owner, fd):
    """Free the gap of a dead member's range in which a block was, between those that are held."""
    for at in range(load(base + WORD * RANGES_USED)):
        entry = range_at(base, at)
        low = load(entry + WORD * OFFSET)
        high = low + load(entry + WORD * SIZE)
        if load(entry + WORD * OWNER) != owner or not low <= place < high:
            continue
        for number in range(load(base + WORD * RECORDS_USED)):
            record = record_at(base, number)
            if load(record + WORD * STATE) == LIVE:
                other = load(record + WORD * PLACE)
                if low <= other < place:
                    low = max(low, other + load(record + WORD * BYTES))
                elif place < other < high:
                    high = other
        _free_gap(base, owner, low, high, fd)
        return


@njit(cache=True)
def _give_back(base, index, fd):
    """Give a block that holds nothing itself to its home, or to the family."""
    record = record_at(base, index)
    home = load(record + WORD * HOME)
    if not is_dead(base + MEMBERS_AT, home):
        return_home(base, index)
        return
    # What is around it may be some other dead member's block by now; so the range is looked
    # for, and if this process dies here, freed by the sweep that follows its death.
    place = load(record + WORD * PLACE)
    free_record(base, index)
    if not _has_heirs(base, home):
        _free_around(base, place, home, fd)


@njit(cache=True)
def let_go(base, index, fd):
    """Give back what somebody else than its home has stopped holding, if nobody holds it now."""
    record = record_at(base, index)
    if load(record + WORD * STATE) != LIVE or is_held(base, record):
        return
    if load(record + WORD * KIND) == BLOCK:
        _give_back(base, index, fd)
    else:
        # What holds others is done by `release_orphans`, so that nothing here recurs.
        store(base + WORD * ORPHANS, 1)


@njit(cache=True)
def let_go_of_contents(base, record, fd):
    """Let go of what a bundle holds, from the end of its manifest on."""
    guard = base + GUARD_AT
    manifest = manifest_of(base, record)
    while load(manifest) > 0:
        count = load(manifest)
        other = load(manifest + WORD * (2 * count - 1))
        carried = record_at(base, other)
        note(base, guard, 0, carried + WORD * BUNDLES, load(carried + WORD * BUNDLES) - 1)
        note(base, guard, 1, manifest, count - 1)
        commit(base, guard, 2)
        let_go(base, other, fd)


@njit(cache=True)
def dispose(base, me, index, fd):
    """Give back what nobody holds; True if the caller is its home and has it again at once."""
    record = record_at(base, index)
    kind = load(record + WORD * KIND)
    if kind == BUNDLE:
        let_go_of_contents(base, record, fd)
    elif kind == CHANNEL:
        # Whatever names this channel is an orphan as soon as its record is not live.
        store(base + WORD * ORPHANS, 1)
    if load(record + WORD * HOME) == me:
        free_record(base, index)
        return True
    _give_back(base, index, fd)
    return False


@njit(cache=True)
def release_orphans(base, fd):
    """Dispose of what was held by something that is gone, until nothing is left to do."""
    while load(base + WORD * ORPHANS) != 0:
        again = 0
        for index in range(load(base + WORD * RECORDS_USED)):
            record = record_at(base, index)
            if load(record + WORD * STATE) != LIVE or is_held(base, record):
                continue
            kind = load(record + WORD * KIND)
            if kind == BUNDLE:
                let_go_of_contents(base, record, fd)
            if kind != BLOCK:
                again = 1
            _give_back(base, index, fd)
        # Not before: who dies in the middle leaves the flag up.
        store(base + WORD * ORPHANS, again)


@njit(cache=True)
def _some_died(base):
    members = base + MEMBERS_AT
    for index in range(load(base + WORD * MEMBERS_USED)):
        number = load(members + WORD * (MEMBER_WORDS * index + NUMBER))
        if number != 0 and is_dead(members, number):
            return True
    return False


@njit(cache=True)
def _strike_off(base):
    """Free the entries of dead members; return how many there were."""
    members = base + MEMBERS_AT
    count = 0
    struck = True
    # Heirs first: when the last of them is struck off, their parent's memory goes too.
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
    return count


@njit(cache=True)
def sweep(base, me, fd):
    """Clear up after members that ended; return how many were struck off."""
    if not _some_died(base) and load(base + WORD * ORPHANS) == 0:
        return 0
    members = base + MEMBERS_AT
    enter_tables(base, me)
    count = 0
    struck = -1
    # Until nobody was struck off whose holds had not been looked at: another may have died
    # meanwhile.  The flag is up all the time, for who comes next if this process dies.
    while struck != 0:
        store(base + WORD * ORPHANS, 1)
        release_orphans(base, fd)
        store(base + WORD * ORPHANS, 1)
        struck = _strike_off(base)
        count += struck
    index = 0
    # The table may change at each step: what a step frees joins other entries.
    while index < load(base + WORD * RANGES_USED):
        owner = load(range_at(base, index) + WORD * OWNER)
        if owner > FREE and is_dead(members, owner) and not _has_heirs(base, owner):
            _free_gaps(base, index, fd)
        index += 1
    store(base + WORD * ORPHANS, 0)
    leave_tables(base)
    return count
