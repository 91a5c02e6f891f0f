"""Bells: waiting for a change of words that somebody else makes.

A bell is three words, and goes with any condition on other words:

    while not condition:                change the words
        seen = listen(bell)             ring(bell, 1)
        if condition: break
        park(bell, seen, ...)

No wake-up is lost.  `listen` reads the bell and then counts the call; the waiter looks at
the condition once more after that.  Who changes the words does so before it reads
the number of calls.  In the one order that all these operations have (they are
sequentially consistent), either the waiter's look comes after the change and
it does not park, or the call comes before the ringer's look at the calls: then the
ringer adds one to the bell, and the waiter, which parks only while the bell has
the value that it read before the call, is woken or does not fall asleep.  That also holds
if a third has undone the change before the waiter looks: no call is taken for answered
whose waiter read the bell after it rang.

A ring costs a system call only if somebody called since the last ring that found
nobody asleep.  So waiters that were killed cost one such call, and are forgotten.

There are two ways to know whether to wake anybody, because neither serves all.  A bell is for
words that may come back to what they were, as the work that is left of a queue does, for
ringing before anything has changed, as a queue does when a message is still to be packed, and
for whoever need not know how many sleep.  A waiter adds a call and never takes it back, and a
ringer need not have looked at anything before it changed the words.  The price is a system
call in vain after the last of some waiters has gone on.  Where one wants to know how many
sleep, or would pay that price often, `engine.sync.sleepers` is the other way.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba import njit

from engine.atomics import fetch_add, load, store, wake
from engine.words.members import WORD

__all__ = ["BELL_WORDS", "listen", "ring"]

# Words: how often it rang, on which waiters park; how many calls there were; how many of
# these were there when a ring found nobody asleep.
_RANG, _CALLS, _ANSWERED = 0, 1, 2
BELL_WORDS = 3


@njit(cache=True)
def listen(bell):
    """Announce a waiter; return what it is to park on the bell with."""
    seen = load(bell + WORD * _RANG)
    fetch_add(bell + WORD * _CALLS, 1)
    return seen


@njit(cache=True)
def ring(bell, count):
    """Wake at most `count` of those who wait."""
    calls = load(bell + WORD * _CALLS)
    if calls == load(bell + WORD * _ANSWERED):
        return
    fetch_add(bell + WORD * _RANG, 1)
    if wake(bell + WORD * _RANG, count) == 0:
        # Whoever called so far is awake or will find that the bell has rung.  Should a later
        # ring have stored more already, the price is one more system call.
        store(bell + WORD * _ANSWERED, calls)
