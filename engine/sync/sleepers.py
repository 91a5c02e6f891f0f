"""Sleepers: how many processes sleep on a word, by a count that forgets the dead.

Whoever changes what others wait for would rather not ask the system whom to wake when nobody
sleeps.  So those who are about to sleep count themselves in a word beside, and take themselves
off when they are awake.  One that is killed in between does not take itself off, and the count
would be too high for ever.  Therefore the word is

    bits 0-31     how many sleep or are about to, and died while they did
    bits 32-62    the round

and a waker who has learned that nobody is asleep any more begins a new round with 0.  Whoever
counted itself in an earlier round is not counted now, and takes nothing off.

    waiter                              waker
    1  look at what it sleeps on        a  counted = the word
    2  count itself                     b  change what is waited for, and what is slept on
    3  look at what it waits for        c  if anybody is counted:
    4  sleep while what it saw in       d      wake so many
       1 is still there                 e      if fewer slept, and the word is still
    5  take itself off                         what it was in a: a new round

Nobody falls asleep who is not counted.  Who is in `counted` did 2 before a, and so did 1 before
b.  If it sleeps when d is done, d has woken as many as it should, and e is not done.  If it is
not asleep then, it will not fall asleep any more, because 4 compares what b has changed; it goes
on with 5, and with 1 if it has to wait longer.  Who comes after a has changed the word, so that
the compare-exchange of e fails, and the next waker does it.

All these steps are sequentially consistent: 2 and 3 here, b and c there are two sides of which
each writes one word and then looks at the other's.  Of these four one side's look comes last.

Where a bit beside what is waited for says whether anybody may sleep, as in a lock and an
event, that bit decides whom to wake, and the count is for statistics and for `crowded`
waiters; `forget` is all that these need.  A flag that goes up lets everybody go, so the round
ends there whoever takes itself off at that moment (`forget_all`).

There is another way, the bell (`engine.words.bell`), whose waiters add a call and never take it
back.  So it cannot say how many sleep, which a lock has to know when it chooses whether to
spin, and which `statistics()` of locks and events tell; and the first release after the last
wait would ask the system in vain.  Sleepers cannot take a bell's place either: each change has
to change what is slept on as well, whether anybody sleeps or not, to a value that was never
there before, and whoever makes it has to read the count first.  A semaphore and a barrier have
such a word anyhow.  Of a queue the work that is left comes back to 0 again and again, and who
waits for a message is woken before there is any.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba import njit

from engine.atomics import compare_exchange, fetch_add, load, wake

__all__ = ["HOW_MANY", "forget", "forget_all", "get_up", "lie_down", "wake_counted"]

HOW_MANY = (1 << 32) - 1
_ROUND_AT = 32
_ROUND = (1 << 31) - 1


@njit(cache=True)
def lie_down(sleepers):
    """Count the caller; return the round."""
    return fetch_add(sleepers, 1) >> _ROUND_AT


@njit(cache=True)
def get_up(sleepers, counted_in):
    """Take the caller off, if the round in which it was counted is not over."""
    while True:
        seen = load(sleepers)
        if seen >> _ROUND_AT != counted_in or compare_exchange(sleepers, seen, seen - 1) == seen:
            return


@njit(cache=True)
def forget(sleepers, counted):
    """Begin a new round with 0, unless somebody has counted or uncounted itself meanwhile."""
    following = ((counted >> _ROUND_AT) + 1) & _ROUND
    compare_exchange(sleepers, counted, following << _ROUND_AT)


@njit(cache=True)
def forget_all(sleepers):
    """Begin a new round with 0, although others count and uncount themselves meanwhile."""
    while True:
        seen = load(sleepers)
        following = ((seen >> _ROUND_AT) + 1) & _ROUND
        if compare_exchange(sleepers, seen, following << _ROUND_AT) == seen:
            return


@njit(cache=True)
def wake_counted(sleepers, address, many, counted):
    """Wake at most so many of those who sleep on a word, and forget the dead if nobody is left.

    Parameters
    ----------
    sleepers : address
        Of the count.
    address : address
        Of the word on which they sleep.
    many : int
    counted : int
        What stood in the count before the caller changed that word.
    """
    if load(sleepers) & HOW_MANY != 0 and wake(address, many) < many:
        forget(sleepers, counted)
