"""The word of a lock: it names the process which holds it.

The word `STATE` is

    0                   free
    number << 2         held by the member of that number
    number << 2 | 1     held, and somebody may be parked: whoever releases it wakes one
    2                   its holder died; nobody gets it before ``recover``

It is Drepper's second mutex ("Futexes Are Tricky", 2011,
https://www.akkadia.org/drepper/futex.pdf) with the owner's number in place of 1.

No wake-up is lost.  A waiter sets the bit 1 by a compare-exchange on the word it saw and
parks only while the word still has that value (the kernel compares once more).  Whoever
releases exchanges the word for 0 in one step and so either sees the bit, and wakes one, or
was before the waiter's compare-exchange, which then fails.  A waiter that has parked
takes the lock with the bit set, however it gets it, because others may be parked as well.
If the one that was woken dies before it takes the lock, the others look for themselves after
a slice.

`WAITERS` wakes nobody: it is for statistics, and keeps a crowd from spinning.  A release
that finds nobody asleep forgets who is still counted (see `engine.sync.sleepers`).
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba import njit, types

from engine.atomics import (
    EVERYONE,
    compare_exchange,
    load,
    pause,
    store,
    store_after,
    wake,
)
from engine.errors import OwnerDiedError
from engine.sync.shared_words import me_of, members_of, words_of
from engine.sync.sleepers import HOW_MANY, forget, get_up, lie_down
from engine.sync.waiting import SPINS, check_signals, deadline_after, park_apart, slice_ns
from engine.words.members import WORD, is_dead

__all__ = [
    "ACQUIRED",
    "CORES",
    "DEPTH",
    "DIED",
    "FREE",
    "GOT",
    "LOCK_WORDS",
    "LOST",
    "NOT",
    "STATE",
    "THREAD",
    "WAITERS",
    "acquire_lock",
    "recover_lock",
    "release_lock",
    "try_lock",
    "unlock",
    "wait_for_lock",
]

# Words.
STATE = 0
ACQUIRED = 1  # how often; for statistics
WAITERS = 2  # how many sleep, see `engine.sync.sleepers`
THREAD = 3  # of an RLock: which thread of the holder holds it
DEPTH = 4  # of an RLock: how many times over
CORES = 5  # how many processes can run at once
LOCK_WORDS = 8

# States.
FREE, DIED = 0, 2
_PARKED = 1

# A waiter that looks at the word takes its cache line from the holder, who then waits for it
# to come back, some 100 ns each time.  If the lock is acquired so often during so many pauses,
# that is longer than the sections it protects, and whoever holds it does more in peace: then
# the waiter looks once in so many pauses, which is half a microsecond.
_GLANCE, _QUICK, _PAUSES_QUICK = 4, 2, 32

# Answers.
GOT, NOT, LOST = 1, 0, -1


@njit(cache=True)
def try_lock(key):
    """Acquire a lock if it is free."""
    lock = words_of(key)
    if compare_exchange(lock, FREE, me_of(key) << 2) != FREE:
        return False
    # Only the holder writes this word.
    store_after(lock + WORD * ACQUIRED, load(lock + WORD * ACQUIRED) + 1)
    return True


@njit(cache=True)
def wait_for_lock(key, deadline, bit):
    """Spin, then park for one slice; GOT, NOT (look again or give up) or LOST.

    Parameters
    ----------
    bit : int
        What else to write into the word of a lock that was got: 1 by who has been parked,
        because others may be parked too, and none of them was woken yet.
    """
    lock = words_of(key)
    mine = me_of(key) << 2
    # With the holder and the caller they are more than there are cores; who spins would keep
    # the others off theirs.
    asleep = load(lock + WORD * WAITERS) & HOW_MANY
    crowded = asleep + 2 > load(lock + WORD * CORES)
    if not crowded:
        # What decides here is how the caller waits, not whether it gets the lock, so any order
        # of these two loads would do.
        before = load(lock + WORD * ACQUIRED)
        for _ in range(_GLANCE):
            pause()
        quick = load(lock + WORD * ACQUIRED) - before >= _QUICK
        between = _PAUSES_QUICK if quick else 1
        for _ in range(SPINS // between):
            for _ in range(between):
                pause()
            if load(lock) == FREE and compare_exchange(lock, FREE, mine | bit) == FREE:
                return GOT
    state = load(lock)
    if state == DIED:
        return LOST
    if state == FREE:
        return GOT if compare_exchange(lock, FREE, mine | bit) == FREE else NOT
    if is_dead(members_of(key), state >> 2):
        if compare_exchange(lock, state, DIED) != state:
            return NOT
        wake(lock, EVERYONE)
        return LOST
    wanted = state | _PARKED
    if state != wanted and compare_exchange(lock, state, wanted) != state:
        return NOT
    counted_in = lie_down(lock + WORD * WAITERS)
    park_apart(lock, wanted, slice_ns(deadline))
    get_up(lock + WORD * WAITERS, counted_in)
    return GOT if compare_exchange(lock, FREE, mine | _PARKED) == FREE else NOT


@njit(types.boolean(types.intp, types.int64), nogil=True, cache=True)
def acquire_lock(key, limit):
    """Acquire a lock; False when `limit` nanoseconds have passed (-1: no limit).

    Raises
    ------
    OwnerDiedError
    """
    if try_lock(key):
        return True
    lock = words_of(key)
    deadline = deadline_after(limit)
    bit = 0
    while True:
        answer = wait_for_lock(key, deadline, bit)
        bit = _PARKED
        if answer == LOST:
            raise OwnerDiedError
        if answer == GOT:
            store_after(lock + WORD * ACQUIRED, load(lock + WORD * ACQUIRED) + 1)
            return True
        if slice_ns(deadline) == 0:
            return False
        check_signals()


@njit(cache=True)
def unlock(key):
    """Release; GOT if it was held, NOT if it was free, LOST if its holder had died."""
    lock = words_of(key)
    while True:
        state = load(lock)
        if state == FREE:
            return NOT
        if state == DIED:
            return LOST
        if state >> 2 != me_of(key) and is_dead(members_of(key), state >> 2):
            if compare_exchange(lock, state, DIED) == state:
                wake(lock, EVERYONE)
        elif not state & _PARKED:
            if compare_exchange(lock, state, FREE) == state:
                return GOT
        else:
            counted = load(lock + WORD * WAITERS)
            if compare_exchange(lock, state, FREE) == state:
                if wake(lock, 1) == 0:
                    # Who is counted still has died asleep, or is awake.
                    forget(lock + WORD * WAITERS, counted)
                return GOT


@njit(types.void(types.intp), cache=True)
def release_lock(key):
    """Release a lock, whoever acquired it.

    Raises
    ------
    ValueError
        Nobody holds it.
    OwnerDiedError
        Its holder died.
    """
    answer = unlock(key)
    if answer == NOT:
        raise ValueError("semaphore or lock released too many times")
    if answer == LOST:
        raise OwnerDiedError


@njit(cache=True)
def recover_lock(key):
    """Make a lock free whose holder died; False if that is not its state."""
    lock = words_of(key)
    state = load(lock)
    if state > DIED and is_dead(members_of(key), state >> 2):
        # Nobody else has seen the death yet.
        if compare_exchange(lock, state, DIED) != state:
            return False
        state = DIED
    # Taken for a moment, so that only one of several that recover it at once clears what
    # may be the next holder's by then.
    if state != DIED or compare_exchange(lock, DIED, me_of(key) << 2 | _PARKED) != DIED:
        return False
    store(lock + WORD * THREAD, 0)
    store(lock + WORD * DEPTH, 0)
    unlock(key)
    return True
