"""Guards: short exclusive sections of compiled code, which survive who dies in them.

A guard is one word: 0 while free, else the number of the member inside.  Beside it
stands a *journal*.  A change of more than one word is written down there first,

    note(journal, 0, a, x)      what is going to be written, and where
    note(journal, 1, b, y)
    commit(base, journal, 2)    from here on it happens

so that whoever finds the member inside dead takes the guard over and carries out
what was committed (`enter` does it).  Killed before the commit, a member has
changed nothing; killed after it, everything.  Carrying a journal out twice is the
same as once, because it holds values and not differences.

Places are offsets from the segment's first byte, because each process has mapped
it at another address.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba import njit

from engine.atomics import compare_exchange, load, park, pause, store
from engine.words.members import WORD, is_dead

__all__ = ["GUARD_WORDS", "NOTES_MAX", "commit", "enter", "leave", "note"]

# Words from a guard's address on: the guard, how many notes are committed, the notes.
JOURNAL = 1
NOTES_MAX = 31
GUARD_WORDS = 2 + 2 * NOTES_MAX

# A section takes well under a microsecond, unless the one inside was put off its core.
_SPINS = 200
_PARK_NS = 100_000


@njit(cache=True)
def _carry_out(base, guard):
    count = load(guard + WORD * JOURNAL)
    first = guard + 2 * WORD
    for at in range(count):
        place = load(first + 2 * WORD * at)
        store(base + place, load(first + 2 * WORD * at + WORD))
    store(guard + WORD * JOURNAL, 0)


@njit(cache=True)
def enter(base, guard, members, me):
    """Wait until nobody else is inside; finish first what a dead one had committed.

    Parameters
    ----------
    base, guard, members : address
        Of the segment, the guard and the table of members.
    me : int
        Number of the calling member.

    Returns
    -------
    bool
        Whether somebody died inside.
    """
    spins = 0
    while True:
        inside = compare_exchange(guard, 0, me)
        if inside == 0:
            return False
        if is_dead(members, inside):
            if compare_exchange(guard, inside, me) == inside:
                _carry_out(base, guard)
                return True
        elif spins < _SPINS:
            spins += 1
            pause()
        else:
            # Not woken by who leaves, which then needs no system call.
            park(guard, inside, _PARK_NS)


@njit(cache=True)
def leave(guard):
    """Let the next one in; all that was written inside is visible to it."""
    store(guard, 0)


@njit(cache=True)
def note(base, guard, at, address, value):
    """Write down as number `at` that `value` is going to be written to `address`."""
    place = guard + 2 * WORD + 2 * WORD * at
    store(place, address - base)
    store(place + WORD, value)


@njit(cache=True)
def commit(base, guard, count):
    """Carry out the first `count` notes, now or by whoever comes after."""
    store(guard + WORD * JOURNAL, count)
    _carry_out(base, guard)
