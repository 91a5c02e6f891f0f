"""Condition: processes that wait, with a lock, until another says that something changed.

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

import time
from typing import TYPE_CHECKING, Any

from numba import njit, types
from numba.extending import overload_method

from engine.atomics import compare_exchange, load, pause, store, wake
from engine.sync.compiled import SharedWordsType, key_of, limit_of, register
from engine.sync.lock import (
    DEPTH,
    THREAD,
    Lock,
    RLock,
    acquire_lock,
    acquire_rlock,
    is_mine,
    release_lock,
    release_rlock,
)
from engine.sync.shared_words import SharedWords, direct, me_of, members_of, words_of
from engine.sync.waiting import (
    FOREVER,
    SPINS,
    deadline_after,
    limit_ns,
    park_apart,
    raise_ready,
    signals_failed,
    slice_ns,
    thread_token,
)
from engine.words.members import WORD, is_dead

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["Condition", "ConditionType"]

# Words of the key, beside those of every key: the lock's key, and what kind of lock it is.
_LOCK_AT, _KIND_AT = 2, 3

# Of locks that are not ours, which only Python code can acquire.
_LOCK, _RLOCK, _FOREIGN = 0, 1, 2

# Words.
TICKETS = 0
NOTIFIED = 1  # how many were; for statistics
PLACES = 8
_PLACES_MAX = 252
_PLACE_WORDS = 2
_WORD_COUNT = PLACES + _PLACES_MAX * _PLACE_WORDS

_WAITS, _GOES = 1, 2


@njit(cache=True)
def _lock_of(key):
    return load(key + WORD * _LOCK_AT)


@njit(cache=True)
def _is_rlock(key):
    kind = load(key + WORD * _KIND_AT)
    if kind == _FOREIGN:
        raise TypeError("in compiled code the lock of a condition must be an engine.Lock or RLock")
    return kind == _RLOCK


@njit(cache=True)
def _holds_lock(key):
    """Tell whether the caller holds the lock: its thread, or with a Lock its process."""
    lock = _lock_of(key)
    if _is_rlock(key):
        return is_mine(lock)
    return load(words_of(lock)) >> 2 == me_of(lock)


@njit(nogil=True, cache=True)
def acquire_condition(key, limit):
    """Acquire the lock of a condition."""
    lock = _lock_of(key)
    return acquire_rlock(lock, limit) if _is_rlock(key) else acquire_lock(lock, limit)


@njit(cache=True)
def release_condition(key):
    """Release the lock of a condition."""
    if _is_rlock(key):
        release_rlock(_lock_of(key))
    else:
        release_lock(_lock_of(key))


@njit(cache=True)
def _take_place(key):
    """Find a place, and wait there from now on; 0 if all are taken."""
    condition = words_of(key)
    for at in range(_PLACES_MAX):
        place = condition + WORD * (PLACES + _PLACE_WORDS * at)
        state = load(place)
        if state == 0 or is_dead(members_of(key), state >> 2):
            ticket = load(condition + WORD * TICKETS)
            store(condition + WORD * TICKETS, ticket + 1)
            store(place + WORD, ticket)
            store(place, me_of(key) << 2 | _WAITS)
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
    waiting = me_of(key) << 2 | _WAITS
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


@njit(types.int64(types.intp), cache=True)
def _release_fully(key):
    """Release the lock, however often it was acquired; return how often."""
    lock = _lock_of(key)
    if not _is_rlock(key):
        release_lock(lock)
        return 1
    depth = load(words_of(lock) + WORD * DEPTH)
    store(words_of(lock) + WORD * DEPTH, 1)
    release_rlock(lock)
    return depth


@njit(types.void(types.intp, types.int64), nogil=True, cache=True)
def _acquire_fully(key, depth):
    acquire_condition(key, FOREVER)
    if _is_rlock(key):
        words = words_of(_lock_of(key))
        store(words + WORD * DEPTH, depth)
        store(words + WORD * THREAD, thread_token())


@njit(types.intp(types.intp), cache=True)
def _find_place(key):
    place = _take_place(key)
    if place == 0:
        raise RuntimeError("more processes wait for one condition than it has places for")
    return place


@njit(types.intp(types.intp), cache=True)
def _begin_wait(key):
    if not _holds_lock(key):
        raise AssertionError("must acquire() condition before using wait()")
    return _find_place(key)


@njit(types.boolean(types.intp, types.intp, types.int64), nogil=True, cache=True)
def wait_at_place(key, place, limit):
    """Wait at a place that was taken; for Python code, which acquires the lock itself."""
    answer = _sleep(key, place, deadline_after(limit))
    if answer < 0:
        raise_ready()
    return answer > 0


@njit(nogil=True, cache=True)
def wait_for_notice(key, limit):
    """Release the lock, wait until notified, and acquire the lock again.

    What a signal handler raises ends the wait without the lock, because compiled code
    does not release it on the way out.
    """
    place = _begin_wait(key)
    depth = _release_fully(key)
    answer = _sleep(key, place, deadline_after(limit))
    if answer < 0:
        raise_ready()
    _acquire_fully(key, depth)
    return answer > 0


@njit(types.void(types.intp, types.int64), cache=True)
def _notify_some(key, count):
    condition = words_of(key)
    while count > 0:
        first = 0
        lowest = 0
        for at in range(_PLACES_MAX):
            place = condition + WORD * (PLACES + _PLACE_WORDS * at)
            state = load(place)
            if state & 3 != _WAITS:
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
        if state & 3 == _WAITS and compare_exchange(first, state, state + 1) == state:
            store(condition + WORD * NOTIFIED, load(condition + WORD * NOTIFIED) + 1)
            wake(first, 1)
            count -= 1


@njit(types.void(types.intp, types.int64), cache=True)
def notify(key, count):
    """Let the `count` that have waited longest go on."""
    if not _holds_lock(key):
        raise AssertionError("lock is not owned")
    _notify_some(key, count)


_begin = direct(_begin_wait)
_release_all = direct(_release_fully)
_acquire_all = direct(_acquire_fully)
_wait_at = direct(wait_at_place)
_notify = direct(notify)
_find = direct(_find_place)
_notify_unchecked = direct(_notify_some)


class Condition(SharedWords):
    """Waiting for a change, as `multiprocessing.Condition`; also inside compiled kernels.

    Parameters
    ----------
    lock : Lock or RLock, optional
        By default an RLock of its own.  Any other lock that has ``acquire`` and
        ``release`` will do as well, but not in compiled code, and whether the caller
        holds it is then not checked.

    Notes
    -----
    Those who wait are notified in the order in which they came, at most 252 at a time.
    If a process that holds the lock is killed, whoever wants it gets `OwnerDiedError`
    until somebody calls `recover`.  Concurrency: any process, any thread.
    """

    __slots__ = ("_lock",)

    _WORD_COUNT = _WORD_COUNT

    def __init__(self, lock: Any = None) -> None:
        if lock is None:
            lock = RLock()
        if not (hasattr(lock, "acquire") and hasattr(lock, "release")):
            message = f"lock must have acquire() and release(); a {type(lock).__name__} has not"
            raise TypeError(message)
        super().__init__()
        self._take_more(lock)

    def _more(self) -> tuple[Any, ...]:
        return (self._lock,)

    def _take_more(self, *more: Any) -> None:
        (self._lock,) = more
        if isinstance(self._lock, Lock | RLock):
            self._key_words[_LOCK_AT] = self._lock._key  # noqa: SLF001 - a friend
            self._key_words[_KIND_AT] = _RLOCK if isinstance(self._lock, RLock) else _LOCK
        else:
            self._key_words[_KIND_AT] = _FOREIGN

    @property
    def _is_foreign(self) -> bool:
        return bool(self._key_words[_KIND_AT] == _FOREIGN)

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Acquire the lock; see `Lock.acquire`."""
        return bool(self._lock.acquire(block, *(() if timeout is None else (timeout,))))

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()

    def recover(self) -> bool:
        """Make the lock free again after its holder died; see `Lock.recover`."""
        return self._lock.recover()

    def wait(self, timeout: float | None = None) -> bool:
        """Release the lock, wait until notified, and acquire the lock again.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most, not counting those until the lock is free.

        Returns
        -------
        bool
            Whether it was notified.

        Raises
        ------
        AssertionError
            The caller does not hold the lock.
        OwnerDiedError
            The process that held the lock meanwhile has ended.
        """
        if self._is_foreign:
            place = _find(self._key)
            self._lock.release()
            try:
                return bool(_wait_at(self._key, place, limit_ns(True, timeout)))
            finally:
                self._lock.acquire()
        place = _begin(self._key)
        depth = _release_all(self._key)
        try:
            return bool(_wait_at(self._key, place, limit_ns(True, timeout)))
        finally:
            _acquire_all(self._key, depth)

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until a condition is true.

        Parameters
        ----------
        predicate : callable
            Called with the lock held, at first and after each notice.
        timeout : float, optional
            Seconds to wait at most.

        Returns
        -------
        object
            The last value of the predicate.
        """
        until = None if timeout is None else time.monotonic() + timeout
        result = predicate()
        while not result:
            left_s = None if until is None else until - time.monotonic()
            if left_s is not None and left_s <= 0:
                break
            self.wait(left_s)
            result = predicate()
        return result

    def notify(self, n: int = 1) -> None:
        """Let the `n` that have waited longest go on, once the lock is free.

        Raises
        ------
        AssertionError
            The caller does not hold the lock.
        """
        (_notify_unchecked if self._is_foreign else _notify)(self._key, n)

    def notify_all(self) -> None:
        """Let everybody go on who waits."""
        self.notify(_PLACES_MAX)

    def statistics(self) -> dict[str, Any]:
        """Count notices so far and who waits now, beside the statistics of the lock."""
        states = [self._word(PLACES + _PLACE_WORDS * at) for at in range(_PLACES_MAX)]
        waiting = sum(
            state & 3 == _WAITS and self._family.pid_of(state >> 2) is not None for state in states
        )
        lock = {} if self._is_foreign else self._lock.statistics()
        return {**lock, "waiters": waiting, "notices": self._word(NOTIFIED)}

    def __enter__(self) -> bool:
        """Acquire the lock."""
        return bool(self._lock.acquire())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the lock."""
        self._lock.release()

    def __repr__(self) -> str:
        """Say which lock it has, and how many wait."""
        return f"<Condition({self._lock!r}, {self.statistics()['waiters']})>"


@register
class ConditionType(SharedWordsType):  # type: ignore[misc]
    """numba's type of a Condition."""


Condition._numba_type_ = ConditionType("Condition")


@overload_method(ConditionType, "acquire")
def _condition_acquire(self, block=True, timeout=None):
    def acquire(self, block=True, timeout=None):
        return acquire_condition(key_of(self), limit_of(block, timeout))

    return acquire


@overload_method(ConditionType, "release")
def _condition_release(self):
    return lambda self: release_condition(key_of(self))


@overload_method(ConditionType, "wait")
def _condition_wait(self, timeout=None):
    def wait(self, timeout=None):
        return wait_for_notice(key_of(self), limit_of(True, timeout))

    return wait


@overload_method(ConditionType, "notify")
def _condition_notify(self, n=1):
    return lambda self, n=1: notify(key_of(self), n)


@overload_method(ConditionType, "notify_all")
def _condition_notify_all(self):
    return lambda self: notify(key_of(self), _PLACES_MAX)
