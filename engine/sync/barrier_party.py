"""The party of a barrier: which processes take part, so that the death of one is noticed.

Who takes part is noted in `PARTY` before it arrives for the first time.  If one of these is
killed, wherever, the barrier does not open again and is broken by the next who looks around,
which each waiter does after a slice and the last one to arrive before it opens.  A process
that ended in an orderly way may have been done with the barrier, and breaks nothing.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba import njit

from engine.atomics import compare_exchange, load
from engine.sync.shared_words import me_of, members_of, words_of
from engine.words.members import WORD, is_dead, was_killed

__all__ = ["BARRIER_WORDS", "has_lost_one", "strike_off_the_dead", "take_part"]

# Words, behind those of `engine.sync.barrier_words`.
PARTY_USED = 36  # no entry from here on was ever used
PARTY = 48
_PARTY_MAX = 64
BARRIER_WORDS = PARTY + _PARTY_MAX


@njit(cache=True)
def take_part(key):
    """Note that this process uses the barrier, at its first wait."""
    barrier = words_of(key)
    members = members_of(key)
    me = me_of(key)
    used = load(barrier + WORD * PARTY_USED)
    for at in range(used):
        if load(barrier + WORD * (PARTY + at)) == me:
            return
    for at in range(_PARTY_MAX):
        entry = barrier + WORD * (PARTY + at)
        who = load(entry)
        vacant = who == 0 or (is_dead(members, who) and not was_killed(members, who))
        if vacant and compare_exchange(entry, who, me) == who:
            while (
                used <= at and compare_exchange(barrier + WORD * PARTY_USED, used, at + 1) != used
            ):
                used = load(barrier + WORD * PARTY_USED)
            return


@njit(cache=True)
def has_lost_one(key):
    """Tell whether a process that took part was killed."""
    barrier = words_of(key)
    for at in range(load(barrier + WORD * PARTY_USED)):
        who = load(barrier + WORD * (PARTY + at))
        if who != 0 and was_killed(members_of(key), who):
            return True
    return False


@njit(cache=True)
def strike_off_the_dead(key):
    """Forget those who have ended, in whatever way."""
    barrier = words_of(key)
    party = barrier + WORD * PARTY
    for at in range(_PARTY_MAX):
        who = load(party + WORD * at)
        if who != 0 and is_dead(members_of(key), who):
            compare_exchange(party + WORD * at, who, 0)
