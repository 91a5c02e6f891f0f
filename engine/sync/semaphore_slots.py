"""The slots of a semaphore: how many are free, and who holds how many.

`VALUE` is how many slots are free.  A table says how many each process holds; both are
changed together, inside a guard and by one journal (see `engine.words.guard`), so that
they agree whenever somebody dies.  What a killed process held is given back by the next
who looks around, which each waiter does after a slice.

A semaphore may also count signals: some processes only release it, others only acquire.
Then what a process "holds" are signals that it consumed, and its death must not bring
them back.  So the first release by a process that holds nothing marks the semaphore as
`SIGNALS`, and from then on the dead keep what they had.

No wake-up is lost: a waiter counts itself in `PARKED` and only then looks at `VALUE` once
more; whoever releases changes `VALUE`, then `RELEASED`, and only then looks at `PARKED`.
Waiters sleep on `RELEASED`, which never has the same value again, and not on `VALUE`, which
is 0 again when others were quicker; so a release knows what it means that nobody slept, and
forgets those that were killed in their sleep (see `engine.sync.sleepers`).  If the one that
was woken is killed, the others look for themselves after a slice.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba import njit, types

from engine.atomics import EVERYONE, load, pause, store, store_after
from engine.sync.shared_words import base_of, me_of, members_of, words_of
from engine.sync.sleepers import get_up, lie_down, wake_counted
from engine.sync.waiting import SPINS, check_signals, deadline_after, park_apart, slice_ns
from engine.words.guard import GUARD_WORDS, commit, enter, leave, note
from engine.words.members import WORD, is_dead, was_killed

__all__ = [
    "ACQUIRED",
    "BOUND",
    "HOLDERS",
    "HOLDER_WORDS",
    "PARKED",
    "SEMAPHORE_WORDS",
    "VALUE",
    "VALUE_MAX",
    "acquire_semaphore",
    "release_semaphore",
    "semaphore_value",
    "try_semaphore",
]

# Words.
VALUE = 0
PARKED = 1  # how many sleep, see `engine.sync.sleepers`
SIGNALS = 2
BOUND = 3  # the most that VALUE may be; 0: no bound
ACQUIRED = 4  # how often; for statistics
RELEASED = 5  # how often; what waiters sleep on
GUARD = 16
HOLDERS = GUARD + GUARD_WORDS
_HOLDERS_MAX = 128
HOLDER_WORDS = 2  # number, and how many slots it holds
SEMAPHORE_WORDS = HOLDERS + _HOLDERS_MAX * HOLDER_WORDS

VALUE_MAX = (1 << 31) - 1


@njit(cache=True)
def _enter(key):
    enter(base_of(key), words_of(key) + WORD * GUARD, members_of(key), me_of(key))


@njit(cache=True)
def _leave(key):
    leave(words_of(key) + WORD * GUARD)


@njit(cache=True)
def _entry_of_me(key):
    """Find the caller's entry, or room for it; 0 if there is none."""
    me = me_of(key)
    table = words_of(key) + WORD * HOLDERS
    room = 0
    for at in range(_HOLDERS_MAX):
        entry = table + WORD * HOLDER_WORDS * ((me + at) % _HOLDERS_MAX)
        who = load(entry)
        if who == me:
            return entry
        if who == 0:
            # Entries are never emptied but by `_give_back_of_dead`, which leaves them
            # in use for who comes later; so nobody's entry lies behind an empty one.
            return entry if room == 0 else room
        if room == 0 and load(entry + WORD) == 0 and is_dead(members_of(key), who):
            room = entry
    return room


@njit(cache=True)
def _change(key, value, holds):
    """Write VALUE and how many slots the caller holds, both or none; inside the guard."""
    base = base_of(key)
    guard = words_of(key) + WORD * GUARD
    entry = _entry_of_me(key)
    note(base, guard, 0, words_of(key) + WORD * VALUE, value)
    count = 1
    if entry != 0:
        note(base, guard, 1, entry + WORD, holds)
        note(base, guard, 2, entry, me_of(key))
        count = 3
    commit(base, guard, count)


@njit(cache=True)
def _count_release(semaphore):
    """Let nobody fall asleep who has not seen the change of VALUE; inside the guard, after it."""
    # Nobody else writes this word now, and `leave`, which is sequentially consistent, stands
    # between it and the look at PARKED.
    store_after(semaphore + WORD * RELEASED, load(semaphore + WORD * RELEASED) + 1)


@njit(cache=True)
def _my_holds(key):
    entry = _entry_of_me(key)
    return load(entry + WORD) if entry != 0 and load(entry) == me_of(key) else 0


@njit(types.boolean(types.intp), cache=True)
def try_semaphore(key):
    """Take a slot if one is free."""
    semaphore = words_of(key)
    if load(semaphore + WORD * VALUE) <= 0:
        return False
    _enter(key)
    value = load(semaphore + WORD * VALUE)
    if value > 0:
        _change(key, value - 1, _my_holds(key) + 1)
        store(semaphore + WORD * ACQUIRED, load(semaphore + WORD * ACQUIRED) + 1)
    _leave(key)
    return value > 0


@njit(cache=True)
def _give_back_of_dead(key):
    """Free the slots of processes that were killed."""
    semaphore = words_of(key)
    base = base_of(key)
    guard = semaphore + WORD * GUARD
    inside = load(guard)
    if inside != 0 and is_dead(members_of(key), inside):
        # What it had committed is carried out, which may be the slot that all wait for.
        _enter(key)
        _leave(key)
    freed = 0
    counted = load(semaphore + WORD * PARKED)
    for at in range(_HOLDERS_MAX):
        entry = semaphore + WORD * (HOLDERS + HOLDER_WORDS * at)
        who = load(entry)
        if who == 0 or load(entry + WORD) == 0 or not is_dead(members_of(key), who):
            continue
        _enter(key)
        holds = load(entry + WORD)
        if load(entry) == who and holds != 0:
            note(base, guard, 0, entry + WORD, 0)
            value = load(semaphore + WORD * VALUE)
            if (
                holds > 0
                and load(semaphore + WORD * SIGNALS) == 0
                and was_killed(members_of(key), who)
            ):
                value += holds
                freed += holds
            note(base, guard, 1, semaphore + WORD * VALUE, value)
            commit(base, guard, 2)
            _count_release(semaphore)
        _leave(key)
    if freed > 0:
        wake_counted(semaphore + WORD * PARKED, semaphore + WORD * RELEASED, EVERYONE, counted)


@njit(types.boolean(types.intp, types.int64), nogil=True, cache=True)
def acquire_semaphore(key, limit):
    """Take a slot; False when `limit` nanoseconds have passed."""
    semaphore = words_of(key)
    if try_semaphore(key):
        return True
    if limit == 0:
        _give_back_of_dead(key)
        return try_semaphore(key)
    for _ in range(SPINS):
        if load(semaphore + WORD * VALUE) > 0 and try_semaphore(key):
            return True
        pause()
    deadline = deadline_after(limit)
    while True:
        rest = slice_ns(deadline)
        _give_back_of_dead(key)
        if try_semaphore(key):
            return True
        if rest == 0:
            return False
        seen = load(semaphore + WORD * RELEASED)
        counted_in = lie_down(semaphore + WORD * PARKED)
        if load(semaphore + WORD * VALUE) <= 0:
            park_apart(semaphore + WORD * RELEASED, seen, rest)
        get_up(semaphore + WORD * PARKED, counted_in)
        if try_semaphore(key):
            return True
        check_signals()


@njit(types.void(types.intp), cache=True)
def release_semaphore(key):
    """Give a slot back, or one more than there were.

    Raises
    ------
    ValueError
        There are more free slots already than there may be.
    """
    semaphore = words_of(key)
    _enter(key)
    value = load(semaphore + WORD * VALUE)
    bound = load(semaphore + WORD * BOUND)
    if (bound != 0 and value >= bound) or value >= VALUE_MAX:
        _leave(key)
        raise ValueError("semaphore or lock released too many times")
    holds = _my_holds(key)
    if holds <= 0:
        store(semaphore + WORD * SIGNALS, 1)
    counted = load(semaphore + WORD * PARKED)
    _change(key, value + 1, holds - 1)
    _count_release(semaphore)
    _leave(key)
    wake_counted(semaphore + WORD * PARKED, semaphore + WORD * RELEASED, 1, counted)


@njit(cache=True)
def semaphore_value(key):
    """How many slots are free."""
    return load(words_of(key) + WORD * VALUE)
