"""Event: a flag that processes wait for.

The word `STATE` holds the flag in bit 0, whether somebody may be parked in bit 1, and in
the bits above how often the event was set.  A waiter is let go when the flag is up *or*
the number has changed, so that nobody misses a set that is followed at once by a clear.

No wake-up is lost: a waiter puts bit 1 into the word it saw by compare-exchange and parks
only while the word keeps that value; who sets the event exchanges the whole word, and
so either sees the bit or was there before it, when the waiter's compare-exchange fails.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from typing import Any

from numba import njit, types
from numba.extending import overload_method

from engine.atomics import EVERYONE, compare_exchange, load, pause, wake
from engine.sync.compiled import SharedWordsType, key_of, limit_of, register
from engine.sync.shared_words import SharedWords, direct, words_of
from engine.sync.sleepers import HOW_MANY, forget_all, get_up, lie_down
from engine.sync.waiting import SPINS, check_signals, deadline_after, limit_ns, park_apart, slice_ns
from engine.words.members import WORD

__all__ = ["WAITERS", "Event", "EventType"]

# Words.
STATE = 0
WAITERS = 1  # how many sleep, for statistics; see `engine.sync.sleepers`
_WORD_COUNT = 8

# Bits of the state.
_SET, _PARKED = 1, 2
_ONE_MORE = 4


@njit(types.void(types.intp), cache=True)
def set_event(key):
    """Raise the flag and let everybody go who waits."""
    event = words_of(key)
    while True:
        state = load(event)
        if state & _SET:
            return
        raised = (state & ~_PARKED) + _ONE_MORE + _SET
        if compare_exchange(event, state, raised) == state:
            if state & _PARKED:
                # Whoever counts itself from here on finds the flag up, or waits for the next time.
                forget_all(event + WORD * WAITERS)
                wake(event, EVERYONE)
            return


@njit(types.void(types.intp), cache=True)
def clear_event(key):
    """Take the flag down."""
    event = words_of(key)
    while True:
        state = load(event)
        if not state & _SET or compare_exchange(event, state, state & ~_SET) == state:
            return


@njit(types.boolean(types.intp), cache=True)
def event_is_set(key):
    """Tell whether the flag is up."""
    return load(words_of(key)) & _SET != 0


@njit(types.boolean(types.intp, types.int64), nogil=True, cache=True)
def wait_for_event(key, limit):
    """Wait until the flag is up, or was; False when `limit` nanoseconds have passed."""
    event = words_of(key)
    first = load(event)
    if first & _SET:
        return True
    times = first // _ONE_MORE
    for _ in range(SPINS if limit != 0 else 0):
        if load(event) // _ONE_MORE != times:
            return True
        pause()
    deadline = deadline_after(limit)
    while True:
        state = load(event)
        rest = slice_ns(deadline)
        if state // _ONE_MORE != times or rest == 0:
            return state // _ONE_MORE != times
        wanted = state | _PARKED
        if state == wanted or compare_exchange(event, state, wanted) == state:
            counted_in = lie_down(event + WORD * WAITERS)
            park_apart(event, wanted, rest)
            get_up(event + WORD * WAITERS, counted_in)
            check_signals()


_set = direct(set_event)
_clear = direct(clear_event)
_is_set = direct(event_is_set)
_wait = direct(wait_for_event)


class Event(SharedWords):
    """A flag between processes, as `multiprocessing.Event`; also inside compiled kernels.

    Concurrency: any process, any thread.
    """

    __slots__ = ()

    _WORD_COUNT = _WORD_COUNT

    def is_set(self) -> bool:
        """Tell whether the flag is up."""
        return bool(_is_set(self._key))

    def set(self) -> None:
        """Raise the flag; everybody who waits is let go."""
        _set(self._key)

    def clear(self) -> None:
        """Take the flag down."""
        _clear(self._key)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is up.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most.

        Returns
        -------
        bool
            Whether it was up, even if it is down again by now.
        """
        return bool(_wait(self._key, limit_ns(True, timeout)))

    def statistics(self) -> dict[str, Any]:
        """Count how often the event was set, and who waits for it now."""
        waiters = self._word(WAITERS) & HOW_MANY
        return {"sets": self._word(STATE) // _ONE_MORE, "waiters": waiters}

    def __repr__(self) -> str:
        """Say whether it is set."""
        return f"<Event at {id(self):#x} {'set' if self.is_set() else 'unset'}>"


@register
class EventType(SharedWordsType):  # type: ignore[misc]
    """numba's type of an Event."""


Event._numba_type_ = EventType("Event")


@overload_method(EventType, "set")
def _event_set(self):
    return lambda self: set_event(key_of(self))


@overload_method(EventType, "clear")
def _event_clear(self):
    return lambda self: clear_event(key_of(self))


@overload_method(EventType, "is_set")
def _event_is_set(self):
    return lambda self: event_is_set(key_of(self))


@overload_method(EventType, "wait")
def _event_wait(self, timeout=None):
    def wait(self, timeout=None):
        return wait_for_event(key_of(self), limit_of(True, timeout))

    return wait
