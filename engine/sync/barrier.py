"""Barrier: processes that wait for each other.

One word, `STATE`, says all that decides, so that every step is one compare-exchange:

    bits 0-11    how many have arrived
    bit 12       broken: everybody who waits or comes gets an error, until ``reset``
    bits 16-47   the generation: how often the barrier has opened or was reset
    bits 48-62   of the last 15 generations: which ended by ``reset``, the latest lowest

The last one to arrive opens the barrier: it sets the count to 0 and the generation one
higher.  The others wait for another generation, and find in the upper bits whether it
began because the barrier opened or because it was reset, which breaks their wait.

No wake-up is lost: before it parks, a waiter adds itself to `PARKED` and only then looks
at the state once more; whoever opens changes the state and only then looks at `PARKED`.
In the single order of these four operations one of the two sees the other.  A waiter
that is killed leaves `PARKED` too high, which costs a system call a phase and nothing
else.

Who takes part is noted in `PARTY` before it arrives for the first time.  If one of
these is killed, wherever, the barrier does not open again and is broken by the next
who looks around, which each waiter does after a slice and the last one to arrive before
it opens.  A process that ended in an
orderly way may have been done with the barrier, and breaks nothing.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numba import njit, types
from numba.extending import overload_attribute, overload_method

from engine import system
from engine.atomics import (
    EVERYONE,
    compare_exchange,
    fetch_add,
    load,
    monotonic_ns,
    pause,
    wake,
)
from engine.errors import BarrierBrokenError
from engine.sync.compiled import SharedWordsType, is_none, key_of, limit_of, register
from engine.sync.shared_words import SharedWords, direct, me_of, members_of, words_of
from engine.sync.waiting import (
    check_signals,
    deadline_after,
    limit_ns,
    park_apart,
    raise_ready,
    signals_failed,
    slice_ns,
)
from engine.words.members import WORD, is_dead, was_killed

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Barrier", "BarrierType"]

# Words.
STATE = 0
PARKED = 16  # how many are; in a cache line of its own, which spinning waiters do not touch
PARTIES = 32
SPIN_NS = 33
HAS_ACTION = 34
DEFAULT_LIMIT = 35
PARTY_USED = 36  # no entry from here on was ever used
PARTY = 48
_PARTY_MAX = 64
_WORD_COUNT = PARTY + _PARTY_MAX

_COUNT = (1 << 12) - 1
_BROKEN = 1 << 12
_GENERATION_AT = 16
_GENERATION = (1 << 32) - 1
_HISTORY_AT = 48
_HISTORY = (1 << 15) - 1
_HISTORY_LENGTH = 15

_PARTIES_MAX = _COUNT

# As long as it takes others who are on their cores to arrive after work of even size.
_SPIN_NS = 100_000
_SPINS_PER_CLOCK = 64

_NO_WAIT = -2


@njit(cache=True)
def _next_generation(state, was_reset):
    generation = (state >> _GENERATION_AT) & _GENERATION
    history = ((state >> _HISTORY_AT) << 1 | was_reset) & _HISTORY
    return history << _HISTORY_AT | ((generation + 1) & _GENERATION) << _GENERATION_AT


@njit(cache=True)
def _ended_by_reset(state, generation):
    ago = ((state >> _GENERATION_AT) - generation - 1) & _GENERATION
    # So far back nobody remembers; a generation that others have left behind had opened.
    return ago < _HISTORY_LENGTH and (state >> (_HISTORY_AT + ago)) & 1 != 0


@njit(cache=True)
def _wake_all(barrier):
    if load(barrier + WORD * PARKED) > 0:
        wake(barrier, EVERYONE)


@njit(cache=True)
def _take_part(key):
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
def _lost_one(key):
    """Tell whether a process that took part was killed."""
    barrier = words_of(key)
    for at in range(load(barrier + WORD * PARTY_USED)):
        who = load(barrier + WORD * (PARTY + at))
        if who != 0 and was_killed(members_of(key), who):
            return True
    return False


@njit(types.void(types.intp), cache=True)
def abort_barrier(key):
    """Break the barrier."""
    barrier = words_of(key)
    while True:
        state = load(barrier)
        if state & _BROKEN or compare_exchange(barrier, state, state | _BROKEN) == state:
            _wake_all(barrier)
            return


@njit(types.void(types.intp), cache=True)
def reset_barrier(key):
    """Make the barrier as new; whoever waits gets an error."""
    barrier = words_of(key)
    party = barrier + WORD * PARTY
    for at in range(_PARTY_MAX):
        who = load(party + WORD * at)
        if who != 0 and is_dead(members_of(key), who):
            compare_exchange(party + WORD * at, who, 0)
    while True:
        state = load(barrier)
        # Nobody waits: then nothing is taken from anybody.
        idle = state & _COUNT == 0
        fresh = state & ~_BROKEN if idle else _next_generation(state, 1)
        if compare_exchange(barrier, state, fresh) == state:
            _wake_all(barrier)
            return


@njit(types.boolean(types.intp), cache=True)
def open_barrier(key):
    """Let everybody go, when all have arrived; False if it broke meanwhile."""
    barrier = words_of(key)
    while True:
        state = load(barrier)
        if state & _BROKEN:
            return False
        if compare_exchange(barrier, state, _next_generation(state, 0)) == state:
            _wake_all(barrier)
            return True


@njit(cache=True)
def _arrive(key, deadline):
    """Arrive; the index of arrival, with the generation above it."""
    barrier = words_of(key)
    parties = load(barrier + WORD * PARTIES)
    _take_part(key)
    while True:
        state = load(barrier)
        if state & _BROKEN:
            raise BarrierBrokenError
        count = state & _COUNT
        if count < parties:
            # Without an action the last one opens the barrier in the same step.
            last = count == parties - 1
            if last and _lost_one(key):
                abort_barrier(key)
                continue
            opens = last and load(barrier + WORD * HAS_ACTION) == 0
            arrived = _next_generation(state, 0) if opens else state + 1
            if compare_exchange(barrier, state, arrived) == state:
                if opens:
                    _wake_all(barrier)
                return ((state >> _GENERATION_AT) & _GENERATION) << 12 | count
        else:
            # All are there, and the last of them still runs the action.
            rest = slice_ns(deadline)
            if rest == 0:
                abort_barrier(key)
                raise BarrierBrokenError
            if _lost_one(key):
                abort_barrier(key)
            fetch_add(barrier + WORD * PARKED, 1)
            if load(barrier) == state:
                park_apart(barrier, state, rest)
            fetch_add(barrier + WORD * PARKED, -1)
            check_signals()


@njit(cache=True)
def _go_away(barrier, generation):
    """Take an arrival back, if its generation has not ended."""
    while True:
        state = load(barrier)
        if (state >> _GENERATION_AT) & _GENERATION != generation or state & _COUNT == 0:
            return
        if compare_exchange(barrier, state, state - 1) == state:
            return


@njit(cache=True)
def _has_ended(barrier, generation):
    """Tell whether a generation is over; raises if it did not end by opening."""
    state = load(barrier)
    if (state >> _GENERATION_AT) & _GENERATION != generation:
        if _ended_by_reset(state, generation):
            raise BarrierBrokenError
        return True
    if state & _BROKEN:
        raise BarrierBrokenError
    return False


@njit(types.int64(types.intp, types.int64), nogil=True, cache=True)
def wait_for_all(key, limit):
    """Arrive and wait for the others.

    Returns
    -------
    int
        The index of arrival.  The last one to arrive returns at once if the barrier
        has an action, and is the one to run it and then call `open_barrier`.

    Raises
    ------
    BarrierBrokenError
    """
    barrier = words_of(key)
    deadline = deadline_after(limit)
    arrival = _arrive(key, deadline)
    index, generation = arrival & _COUNT, arrival >> 12
    if index == load(barrier + WORD * PARTIES) - 1:
        return index
    spin_ns = load(barrier + WORD * SPIN_NS)
    if spin_ns > 0:
        until = monotonic_ns() + spin_ns
        while True:
            for _ in range(_SPINS_PER_CLOCK):
                if _has_ended(barrier, generation):
                    return index
                pause()
            if monotonic_ns() >= until:
                break
    while not _has_ended(barrier, generation):
        rest = slice_ns(deadline)
        if rest == 0 or _lost_one(key):
            abort_barrier(key)
            continue
        state = load(barrier)
        fetch_add(barrier + WORD * PARKED, 1)
        if (state >> _GENERATION_AT) & _GENERATION == generation and load(barrier) == state:
            park_apart(barrier, state, rest)
        fetch_add(barrier + WORD * PARKED, -1)
        if signals_failed():
            _go_away(barrier, generation)
            raise_ready()
    return index


_wait = direct(wait_for_all)
_open = direct(open_barrier)
_abort = direct(abort_barrier)
_reset = direct(reset_barrier)


class Barrier(SharedWords):
    """Processes that wait for each other, as `multiprocessing.Barrier`; also in kernels.

    Parameters
    ----------
    parties : int
        How many there are, from 1 to 4095.
    action : callable, optional
        Called by one of them when all have arrived, before any goes on.  Waits inside
        compiled kernels cannot run it and raise an error.
    timeout : float, optional
        Default for `wait`, in seconds.

    Notes
    -----
    A process that is killed after it has waited here for the first time breaks the
    barrier, within a tenth of a second.  Concurrency: any process, any thread.
    """

    __slots__ = ("_action", "_timeout")

    _WORD_COUNT = _WORD_COUNT

    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        if not 1 <= parties <= _PARTIES_MAX:
            message = f"parties must be between 1 and {_PARTIES_MAX}, not {parties}"
            raise ValueError(message)
        super().__init__()
        self._action = action
        self._timeout = timeout
        self._set_word(PARTIES, parties)
        # More parties than cores have to make room for each other.
        self._set_word(SPIN_NS, _SPIN_NS if parties <= system.cpu_budget() else 0)
        self._set_word(HAS_ACTION, action is not None)
        self._set_word(DEFAULT_LIMIT, limit_ns(True, timeout))

    def _more(self) -> tuple[Any, ...]:
        return self._action, self._timeout

    def _take_more(self, *more: Any) -> None:
        self._action, self._timeout = more

    def wait(self, timeout: float | None = None) -> int:
        """Wait until all parties have arrived.

        Parameters
        ----------
        timeout : float, optional
            Seconds after which the barrier is broken, by default that of the barrier.

        Returns
        -------
        int
            Which this one is, from 0 to ``parties - 1``; each once.

        Raises
        ------
        threading.BrokenBarrierError
            The barrier was broken or reset, the time was over, or a party was killed.
        """
        limit = limit_ns(True, self._timeout if timeout is None else timeout)
        index = int(_wait(self._key, limit))
        if self._action is not None and index == self.parties - 1:
            try:
                self._action()
            except BaseException:
                _abort(self._key)
                raise
            if not _open(self._key):
                raise BarrierBrokenError
        return index

    def reset(self) -> None:
        """Make the barrier as new; whoever waits gets `threading.BrokenBarrierError`."""
        _reset(self._key)

    def abort(self) -> None:
        """Break the barrier: all who wait or come get `threading.BrokenBarrierError`."""
        _abort(self._key)

    @property
    def parties(self) -> int:
        """How many have to arrive."""
        return self._word(PARTIES)

    @property
    def n_waiting(self) -> int:
        """How many have arrived and wait."""
        state = self._word(STATE)
        return 0 if state & _BROKEN else state & _COUNT

    @property
    def broken(self) -> bool:
        """Whether the barrier is broken."""
        return bool(self._word(STATE) & _BROKEN)

    def statistics(self) -> dict[str, Any]:
        """Count how often the barrier opened or was reset, and who waits now."""
        generation = (self._word(STATE) >> _GENERATION_AT) & _GENERATION
        return {"generation": generation, "waiters": self.n_waiting}

    def __repr__(self) -> str:
        """Say how many wait, or that it is broken."""
        state = "broken" if self.broken else f"waiters={self.n_waiting}/{self.parties}"
        return f"<Barrier({state})>"


@register
class BarrierType(SharedWordsType):  # type: ignore[misc]
    """numba's type of a Barrier."""


Barrier._numba_type_ = BarrierType("Barrier")


@njit(nogil=True, cache=True)
def _wait_in_kernel(key, limit):
    barrier = words_of(key)
    if load(barrier + WORD * HAS_ACTION) != 0:
        raise ValueError("a barrier with an action cannot be waited for in compiled code")
    return wait_for_all(key, load(barrier + WORD * DEFAULT_LIMIT) if limit == _NO_WAIT else limit)


@overload_method(BarrierType, "wait")
def _barrier_wait(self, timeout=None):
    if is_none(timeout):
        return lambda self, timeout=None: _wait_in_kernel(key_of(self), _NO_WAIT)

    def wait(self, timeout=None):
        return _wait_in_kernel(key_of(self), limit_of(True, timeout))

    return wait


@overload_method(BarrierType, "abort")
def _barrier_abort(self):
    return lambda self: abort_barrier(key_of(self))


@overload_method(BarrierType, "reset")
def _barrier_reset(self):
    return lambda self: reset_barrier(key_of(self))


@overload_attribute(BarrierType, "parties")
def _barrier_parties(self):
    return lambda self: load(words_of(key_of(self)) + WORD * PARTIES)


@overload_attribute(BarrierType, "broken")
def _barrier_broken(self):
    return lambda self: load(words_of(key_of(self))) & _BROKEN != 0


@njit(cache=True)
def _waiting(key):
    state = load(words_of(key))
    return 0 if state & _BROKEN else state & _COUNT


@overload_attribute(BarrierType, "n_waiting")
def _barrier_n_waiting(self):
    return lambda self: _waiting(key_of(self))
