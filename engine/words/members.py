"""Members: the processes that share a segment, and whether they live.

A process that joins gets an entry of a table in the segment, and a number that is
never used again: ``serial * MEMBERS_MAX + index``.  Whoever holds something writes
its number into the word that says so.

The entry begins with a *robust* mutex, which the process locks when it joins and
never unlocks.  When the thread that locked it ends, by whatever death, the kernel
itself writes ``FUTEX_OWNER_DIED`` into it (robust_list(2), get_robust_list(2),
https://docs.kernel.org/locking/robust-futexes.html).  So anybody, compiled code
too, learns by one load whether a member lives: at once, without a system call,
also while the dead are zombies, and whoever has their process number by now.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba import njit

from engine.atomics import load

__all__ = [
    "HEIR_OF",
    "KILLED",
    "LEAVING",
    "LIFE",
    "LIFE_BYTES",
    "MARK",
    "MEMBERS_MAX",
    "MEMBER_WORDS",
    "NUMBER",
    "PID",
    "RETURNS",
    "WORD",
    "is_dead",
    "was_killed",
]

WORD = 8
MEMBERS_MAX = 1024

# Words of an entry.
LIFE = 0  # the mutex
LIFE_BYTES = 64  # room for it: 40 bytes on x86-64, 48 on aarch64
NUMBER = 8  # the member's number, 0 while the entry is free
MARK = 9  # the bits of the first word that the kernel sets at death
PID = 10
LEAVING = 11  # 1: the process is ending in an orderly way, and holds nothing on purpose
KILLED = 12  # number of the last one who had this entry and did not end in an orderly way
HEIR_OF = 13  # number of the member that it was forked from, whose memory it sees; or 0
RETURNS = 14  # offset of the first of its blocks that others were the last to hold, or 0
MEMBER_WORDS = 16


@njit(cache=True)
def is_dead(members, number):
    """Tell whether the process that had a number is gone.

    Parameters
    ----------
    members : address
        Of the table of members.
    """
    entry = members + WORD * MEMBER_WORDS * (number % MEMBERS_MAX)
    if load(entry + WORD * NUMBER) != number:
        return True
    return load(entry + WORD * LIFE) & load(entry + WORD * MARK) != 0


@njit(cache=True)
def was_killed(members, number):
    """Tell whether a process is gone that did not end in an orderly way.

    It is remembered until its entry has had another member that was killed, which is a
    thousand processes later; then the answer is no.
    """
    entry = members + WORD * MEMBER_WORDS * (number % MEMBERS_MAX)
    if load(entry + WORD * NUMBER) != number:
        return load(entry + WORD * KILLED) == number
    if load(entry + WORD * LEAVING) != 0:
        return False
    return load(entry + WORD * LIFE) & load(entry + WORD * MARK) != 0
