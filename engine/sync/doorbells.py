"""Doorbells: how processes wait for an element of an array, and who writes it wakes them.

A number has no room for a note that somebody waits for it.  So each segment has a table of
`BELL_COUNT` doorbells, and a number's doorbell follows from the place of the number in
the segment, on which all processes agree.  Numbers that share a doorbell wake each other's
waiters now and then, which look again and go on waiting.

A doorbell is two words, `{ count, parked }`, as in `engine.atomics`, but for any number of
waiters and ringers:

    waiter                          ringer
    1  seen = count                 a  write the number
    2  parked = 1                   b  if parked != 0:
    3  look at the number           c      parked = 0
    4  sleep while count == seen    d      count += 1
                                    e      wake everybody who sleeps

No wake-up is lost.  All these steps are sequentially consistent, so they have one order.
Suppose that a ringer's write (a) makes true what a waiter waits for, and the waiter did not see
it in step 3.  Then 2 and 3 came before a, and before b.

- If the ringer finds parked != 0 in b, its d comes after the waiter's 1: the waiter's sleep
  does not begin, because the kernel compares the count once more, or it is ended by e.
- If it finds 0, another ringer did c between the waiter's 2 and this b.  That one's d comes
  after its c, so after the waiter's 1, and the waiter does not sleep or is woken, as above.
  It begins again with 1, maybe after that d and before a; but then it does 2 and 3 again, and
  all of this holds for these.

A waiter that is killed leaves parked = 1 behind, which costs the next ringer one system call
and nothing else.  A ringer that is killed between c and e leaves waiters asleep, but no
longer than a slice (see `engine.sync.waiting`), after which they look for themselves.
The count may wrap around in its low half, which the kernel compares: only if a multiple of
2**32 rings fell between 1 and 4 would a waiter sleep for a slice in vain.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba import njit, types

from engine.atomics import EVERYONE, fetch_add, load, store, wake
from engine.memory.layout import BELL_COUNT, BELL_WORDS, BELLS_AT
from engine.memory.stations import BASE, station_of
from engine.words.members import WORD

__all__ = ["announce", "announce_sleep", "bell_of"]

# Words of a doorbell.
COUNT, PARKED = 0, 1

# Knuth's multiplicative hashing: the golden ratio as a fraction of 2**32, which spreads
# neighbours and regular steps alike (The Art of Computer Programming, volume 3, section 6.4).
_GOLDEN = 2654435769
_BELL_BITS = BELL_COUNT.bit_length() - 1


@njit(types.intp(types.intp), cache=True)
def bell_of(address):
    """Address of the doorbell of a number; 0 if the number is in no segment."""
    station = station_of(address)
    if station == 0:
        return 0
    base = load(station + WORD * BASE)
    # By the word in which the number lies, so that views of other widths find it too.
    word = (address - base) // WORD
    line = (word * _GOLDEN & 0xFFFFFFFF) >> (32 - _BELL_BITS)
    return base + BELLS_AT + line * (BELL_WORDS * WORD)


@njit(types.void(types.intp), cache=True)
def _ring(bell):
    # A ringer that comes between these two sees 0 and leaves the ringing to this one.
    store(bell + WORD * PARKED, 0)
    fetch_add(bell + WORD * COUNT, 1)
    wake(bell + WORD * COUNT, EVERYONE)


@njit(types.void(types.intp), cache=True)
def announce(address):
    """Wake who waits for a number, after an atomic write to it."""
    bell = bell_of(address)
    if bell != 0 and load(bell + WORD * PARKED) != 0:
        _ring(bell)


@njit(types.int64(types.intp), cache=True)
def announce_sleep(bell):
    """Say that somebody is about to sleep; return the count to sleep by.

    Between this and the sleep the waiter has to look at its number once more.
    """
    seen = load(bell + WORD * COUNT)
    store(bell + WORD * PARKED, 1)
    return seen
