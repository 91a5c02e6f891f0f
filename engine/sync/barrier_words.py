"""The words of a barrier, at which processes wait for each other.

One word, `STATE`, says all that decides, so that every step is one compare-exchange:

    bits 0-11    how many have arrived
    bit 12       broken: everybody who waits or comes gets an error, until ``reset``
    bits 16-47   the generation: how often the barrier has opened or was reset
    bits 48-62   of the last 15 generations: which ended by ``reset``, the latest lowest

The last one to arrive opens the barrier: it sets the count to 0 and the generation one
higher.  The others wait for another generation, and find in the upper bits whether it
began because the barrier opened or because it was reset, which breaks their wait.

No wake-up is lost: before it sleeps on `STATE`, a waiter counts itself in `PARKED` and only
then looks at the state once more; whoever opens changes the state and only then looks at
`PARKED`.  In the single order of these four operations one of the two sees the other.  Who
is killed in its sleep is forgotten when the barrier opens (see `engine.sync.sleepers`).
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba import njit, types

from engine.atomics import (
    EVERYONE,
    POLITE_NS,
    compare_exchange,
    give_way,
    load,
    monotonic_ns,
    pause,
    store,
)
from engine.errors import BarrierBrokenError
from engine.sync.barrier_party import has_lost_one, strike_off_the_dead, take_part
from engine.sync.shared_words import words_of
from engine.sync.sleepers import get_up, lie_down, wake_counted
from engine.sync.waiting import (
    check_signals,
    deadline_after,
    park_apart,
    raise_ready,
    signals_failed,
    slice_ns,
)
from engine.words.members import WORD

__all__ = [
    "BROKEN",
    "BY_DEFAULT",
    "COUNT",
    "DEFAULT_LIMIT",
    "GENERATION",
    "GENERATION_AT",
    "HAS_ACTION",
    "PARKED",
    "PARTIES",
    "PARTIES_MAX",
    "SPIN_NS",
    "STATE",
    "abort_barrier",
    "arrived_now",
    "break_in_turn",
    "open_barrier",
    "reset_barrier",
    "wait_for_all",
    "wait_in_kernel",
    "wait_to_act",
]

# Words.
STATE = 0
PARKED = 16  # how many are; in a cache line of its own, which spinning waiters do not touch
PARTIES = 32
SPIN_NS = 33
HAS_ACTION = 34
DEFAULT_LIMIT = 35
# 36 and from 48 on: who takes part; see `engine.sync.barrier_party`.

COUNT = (1 << 12) - 1
BROKEN = 1 << 12
GENERATION_AT = 16
GENERATION = (1 << 32) - 1
_HISTORY_AT = 48
_HISTORY = (1 << 15) - 1
_HISTORY_LENGTH = 15

PARTIES_MAX = COUNT

_SPINS_PER_CLOCK = 64

BY_DEFAULT = -2


@njit(cache=True)
def _next_generation(state, was_reset):
    generation = (state >> GENERATION_AT) & GENERATION
    history = ((state >> _HISTORY_AT) << 1 | was_reset) & _HISTORY
    return history << _HISTORY_AT | ((generation + 1) & GENERATION) << GENERATION_AT


@njit(cache=True)
def _ended_by_reset(state, generation):
    ago = ((state >> GENERATION_AT) - generation - 1) & GENERATION
    # So far back nobody remembers; a generation that others have left behind had opened.
    return ago < _HISTORY_LENGTH and (state >> (_HISTORY_AT + ago)) & 1 != 0


@njit(cache=True)
def _wake_all(barrier, counted):
    """Wake who sleeps on the state, after a change; `counted` is PARKED before the change."""
    wake_counted(barrier + WORD * PARKED, barrier, EVERYONE, counted)


@njit(types.void(types.intp), cache=True)
def abort_barrier(key):
    """Break the barrier."""
    barrier = words_of(key)
    while True:
        counted = load(barrier + WORD * PARKED)
        state = load(barrier)
        if state & BROKEN or compare_exchange(barrier, state, state | BROKEN) == state:
            _wake_all(barrier, counted)
            return


@njit(types.void(types.intp), cache=True)
def reset_barrier(key):
    """Make the barrier as new; whoever waits gets an error."""
    barrier = words_of(key)
    strike_off_the_dead(key)
    while True:
        counted = load(barrier + WORD * PARKED)
        state = load(barrier)
        # Nobody waits: then nothing is taken from anybody.
        idle = state & COUNT == 0
        fresh = state & ~BROKEN if idle else _next_generation(state, 1)
        if compare_exchange(barrier, state, fresh) == state:
            _wake_all(barrier, counted)
            return


@njit(types.boolean(types.intp), cache=True)
def open_barrier(key):
    """Let everybody go, when all have arrived; False if it broke meanwhile."""
    barrier = words_of(key)
    while True:
        counted = load(barrier + WORD * PARKED)
        state = load(barrier)
        if state & BROKEN:
            return False
        if compare_exchange(barrier, state, _next_generation(state, 0)) == state:
            _wake_all(barrier, counted)
            return True


@njit(cache=True)
def _arrive(key, deadline):
    """Arrive; the index of arrival, with the generation above it."""
    barrier = words_of(key)
    parties = load(barrier + WORD * PARTIES)
    take_part(key)
    while True:
        state = load(barrier)
        if state & BROKEN:
            raise BarrierBrokenError
        count = state & COUNT
        if count < parties:
            # Without an action the last one opens the barrier in the same step.
            last = count == parties - 1
            if last and has_lost_one(key):
                abort_barrier(key)
                continue
            opens = last and load(barrier + WORD * HAS_ACTION) == 0
            counted = load(barrier + WORD * PARKED) if opens else 0
            arrived = _next_generation(state, 0) if opens else state + 1
            if compare_exchange(barrier, state, arrived) == state:
                if opens:
                    _wake_all(barrier, counted)
                return ((state >> GENERATION_AT) & GENERATION) << 12 | count
        else:
            # All are there, and the last of them still runs the action.
            rest = slice_ns(deadline)
            if rest == 0:
                abort_barrier(key)
                raise BarrierBrokenError
            if has_lost_one(key):
                abort_barrier(key)
            counted_in = lie_down(barrier + WORD * PARKED)
            if load(barrier) == state:
                park_apart(barrier, state, rest)
            get_up(barrier + WORD * PARKED, counted_in)
            check_signals()


@njit(cache=True)
def _go_away(barrier, generation):
    """Take an arrival back, if its generation has not ended and is not about to.

    When all are there, the last of them runs the action; with one less, who comes next would
    be the last once more, and the barrier opened twice.
    """
    parties = load(barrier + WORD * PARTIES)
    while True:
        state = load(barrier)
        count = state & COUNT
        if (state >> GENERATION_AT) & GENERATION != generation or count in (0, parties):
            return
        if compare_exchange(barrier, state, state - 1) == state:
            return


@njit(cache=True)
def _has_ended(barrier, generation):
    """Tell whether a generation is over; raises if it did not end by opening."""
    state = load(barrier)
    if (state >> GENERATION_AT) & GENERATION != generation:
        if _ended_by_reset(state, generation):
            raise BarrierBrokenError
        return True
    if state & BROKEN:
        raise BarrierBrokenError
    return False


@njit(cache=True)
def _wait_after_arrival(key, arrival, deadline):
    """Wait until the barrier opens; the last one to arrive does not."""
    barrier = words_of(key)
    index, generation = arrival & COUNT, arrival >> 12
    if index == load(barrier + WORD * PARTIES) - 1:
        return index
    spin_ns = load(barrier + WORD * SPIN_NS)
    if spin_ns > 0:
        begun = monotonic_ns()
        while True:
            for _ in range(_SPINS_PER_CLOCK):
                if _has_ended(barrier, generation):
                    return index
                pause()
            waited_ns = monotonic_ns() - begun
            if waited_ns >= spin_ns:
                break
            if waited_ns >= POLITE_NS:
                give_way()
    while not _has_ended(barrier, generation):
        rest = slice_ns(deadline)
        if rest == 0 or has_lost_one(key):
            abort_barrier(key)
            continue
        state = load(barrier)
        counted_in = lie_down(barrier + WORD * PARKED)
        if (state >> GENERATION_AT) & GENERATION == generation and load(barrier) == state:
            park_apart(barrier, state, rest)
        get_up(barrier + WORD * PARKED, counted_in)
        if signals_failed():
            _go_away(barrier, generation)
            raise_ready()
    return index


@njit(types.int64(types.intp, types.int64), nogil=True, cache=True)
def wait_for_all(key, limit):
    """Arrive and wait for the others.

    Returns
    -------
    int
        The index of arrival.

    Raises
    ------
    BarrierBrokenError
    """
    deadline = deadline_after(limit)
    return _wait_after_arrival(key, _arrive(key, deadline), deadline)


@njit(types.int64(types.intp, types.intp, types.int64), nogil=True, cache=True)
def wait_to_act(key, turn, limit):
    """Arrive and wait for the others, at a barrier with an action.

    Python code may be left by a signal handler's exception when this has returned, before
    it knows what.  So who has to run the action finds that in memory, too.

    Parameters
    ----------
    turn : address
        Of a word of the caller's own memory that is -1: the arrival of the last one to
        arrive, who returns at once, and has to run the action and call `open_barrier`.

    Raises
    ------
    BarrierBrokenError
    """
    deadline = deadline_after(limit)
    arrival = _arrive(key, deadline)
    if arrival & COUNT == load(words_of(key) + WORD * PARTIES) - 1:
        store(turn, arrival)
    return _wait_after_arrival(key, arrival, deadline)


@njit(types.void(types.intp, types.intp), cache=True)
def break_in_turn(key, turn):
    """Break the barrier if the caller had to open it and has not."""
    barrier = words_of(key)
    arrival = load(turn)
    while arrival >= 0:
        counted = load(barrier + WORD * PARKED)
        state = load(barrier)
        if state & BROKEN or (state >> GENERATION_AT) & GENERATION != arrival >> 12:
            return
        if compare_exchange(barrier, state, state | BROKEN) == state:
            _wake_all(barrier, counted)
            return


@njit(nogil=True, cache=True)
def wait_in_kernel(key, limit):
    """Wait for the others, as `Barrier.wait` in compiled code."""
    barrier = words_of(key)
    if load(barrier + WORD * HAS_ACTION) != 0:
        raise ValueError("a barrier with an action cannot be waited for in compiled code")
    return wait_for_all(key, load(barrier + WORD * DEFAULT_LIMIT) if limit == BY_DEFAULT else limit)


@njit(cache=True)
def arrived_now(key):
    """How many have arrived and wait."""
    state = load(words_of(key))
    return 0 if state & BROKEN else state & COUNT
