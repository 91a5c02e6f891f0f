"""The places of a condition, at which processes wait until they are notified.

Each waiter has a place in a table, two words: who waits there and whether it has been
notified, and a ticket.  ``notify`` picks the lowest tickets, so that those who waited
longest go first and nobody who comes later takes their turn; it passes over the dead.

    0                       free
    number << 2 | 1         that member waits here
    number << 2 | 2         it has been notified

A waiter gives up by changing its word back from 1 to 0; if the compare-exchange fails it
has been notified in that moment.  Each sleeps on its own word, so that only those that
are notified wake.  The table is changed with the lock held, but for giving up.

No wake-up is lost: a waiter takes its place before it releases the lock, and ``notify``
needs the lock; between taking the place and falling asleep the kernel compares the word
once more.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba import njit, types

from engine.atomics import compare_exchange, load, pause, store, wake
from engine.sync.condition_lock import acquire_fully, holds_lock, release_fully
from engine.sync.shared_words import me_of, members_of, words_of
from engine.sync.waiting import (
    SPINS,
    deadline_after,
    park_apart,
    raise_ready,
    signals_failed,
    slice_ns,
)
from engine.words.members import WORD, is_dead

__all__ = [
    "CONDITION_WORDS",
    "NOTIFIED",
    "PLACES",
    "PLACES_MAX",
    "PLACE_WORDS",
    "WAITS",
    "leave_place",
    "notify",
    "notify_some",
    "regain",
    "take_place",
    "wait_at_place",
    "wait_for_notice",
    "wait_in_turn",
]

# Words.
TICKETS = 0
NOTIFIED = 1  # how many were; for statistics
PLACES = 8
PLACES_MAX = 252
PLACE_WORDS = 2
CONDITION_WORDS = PLACES + PLACES_MAX * PLACE_WORDS

WAITS, _GOES = 1, 2


@njit(cache=True)
def _take_place(key):
    """Find a place, and wait there from now on; 0 if all are taken."""
    condition = words_of(key)
    for at in range(PLACES_MAX):
        place = condition + WORD * (PLACES + PLACE_WORDS * at)
        state = load(place)
        if state == 0 or is_dead(members_of(key), state >> 2):
            ticket = load(condition + WORD * TICKETS)
            store(condition + WORD * TICKETS, ticket + 1)
            store(place + WORD, ticket)
            store(place, me_of(key) << 2 | WAITS)
            return place
    return 0


@njit(cache=True)
def _sleep(key, place, deadline):
    """Wait at a place and leave it.

    Returns
    -------
    int
        1 if notified, 0 if the time is over, -1 if a signal handler raised: then the
        exception stands ready.
    """
    # Not what stands there now: the notice may have come already.
    waiting = me_of(key) << 2 | WAITS
    answer = 1
    while load(place) == waiting:
        for _ in range(SPINS):
            if load(place) != waiting:
                break
            pause()
        rest = slice_ns(deadline)
        if rest > 0:
            park_apart(place, waiting, rest)
            if load(place) != waiting or not signals_failed():
                continue
            answer = -1
        else:
            answer = 0
        if compare_exchange(place, waiting, 0) == waiting:
            # Given up; the place may be another's already.
            return answer
        # Notified in this moment, which counts, but for a handler's exception.
        if answer == 0:
            answer = 1
        break
    store(place, 0)
    return answer


@njit(cache=True)
def _find_place(key):
    place = _take_place(key)
    if place == 0:
        raise RuntimeError("more processes wait for one condition than it has places for")
    return place


@njit(cache=True)
def _begin_wait(key):
    """Take a place to wait at, if the caller holds the lock."""
    if not holds_lock(key):
        raise AssertionError("must acquire() condition before using wait()")
    return _find_place(key)


# Python code may be left by a signal handler's exception whenever a call has returned, before it
# has so much as stored the result.  So what a wait has done stands in a word of the caller's own
# memory, its *turn*, which compiled code writes together with doing it; and what is left to do
# is done by who finds it there.


@njit(types.boolean(types.intp, types.intp, types.int64), nogil=True, cache=True)
def wait_in_turn(key, turn, limit):
    """Release the lock and wait until notified; `regain` has to follow, in any case.

    Parameters
    ----------
    turn : address
        Of a word that is 0: how often the lock has to be acquired again.
    """
    place = _begin_wait(key)
    store(turn, release_fully(key))
    answer = _sleep(key, place, deadline_after(limit))
    if answer < 0:
        raise_ready()
    return answer > 0


@njit(types.void(types.intp, types.intp), nogil=True, cache=True)
def regain(key, turn):
    """Acquire the lock as often as `wait_in_turn` has released it."""
    depth = load(turn)
    if depth > 0:
        acquire_fully(key, depth)


@njit(types.void(types.intp, types.intp), cache=True)
def take_place(key, turn):
    """Take a place, for Python code whose lock is not ours; `leave_place` has to follow.

    Parameters
    ----------
    turn : address
        Of a word that is 0: the place.
    """
    store(turn, _find_place(key))


@njit(types.boolean(types.intp, types.intp, types.int64), nogil=True, cache=True)
def wait_at_place(key, turn, limit):
    """Wait at the place that was taken, and leave it."""
    answer = _sleep(key, load(turn), deadline_after(limit))
    # From here on it may be another's.
    store(turn, 0)
    if answer < 0:
        raise_ready()
    return answer > 0


@njit(types.void(types.intp, types.intp), cache=True)
def leave_place(key, turn):
    """Leave the place that was taken, if that was not done."""
    place = load(turn)
    waiting = me_of(key) << 2 | WAITS
    if place != 0 and compare_exchange(place, waiting, 0) != waiting:
        # Notified in this moment; the notice is lost with the wait.
        store(place, 0)


@njit(nogil=True, cache=True)
def wait_for_notice(key, limit):
    """Release the lock, wait until notified, and acquire the lock again.

    What a signal handler raises ends the wait without the lock, because compiled code
    does not release it on the way out.
    """
    place = _begin_wait(key)
    depth = release_fully(key)
    answer = _sleep(key, place, deadline_after(limit))
    if answer < 0:
        raise_ready()
    acquire_fully(key, depth)
    return answer > 0


@njit(types.void(types.intp, types.int64), cache=True)
def notify_some(key, count):
    """Let the `count` that have waited longest go on, whoever holds the lock."""
    condition = words_of(key)
    while count > 0:
        first = 0
        lowest = 0
        for at in range(PLACES_MAX):
            place = condition + WORD * (PLACES + PLACE_WORDS * at)
            state = load(place)
            if state & 3 != WAITS:
                continue
            if is_dead(members_of(key), state >> 2):
                compare_exchange(place, state, 0)
            elif first == 0 or load(place + WORD) < lowest:
                first = place
                lowest = load(place + WORD)
        if first == 0:
            return
        state = load(first)
        # Whoever gives up in this moment uses up no notice.
        if state & 3 == WAITS and compare_exchange(first, state, state + 1) == state:
            store(condition + WORD * NOTIFIED, load(condition + WORD * NOTIFIED) + 1)
            wake(first, 1)
            count -= 1


@njit(types.void(types.intp, types.int64), cache=True)
def notify(key, count):
    """Let the `count` that have waited longest go on."""
    if not holds_lock(key):
        raise AssertionError("lock is not owned")
    notify_some(key, count)
