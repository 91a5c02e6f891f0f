"""Condition: processes that wait, with a lock, until another says that something changed.

What happens to the words is in `engine.sync.condition_places`; here is what Python code
and numba see of it.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numba.extending import overload_method

from engine.memory.arrays import address_of
from engine.sync.compiled import SharedWordsType, key_of, limit_of, register
from engine.sync.condition_lock import (
    FOREIGN,
    KIND_AT,
    LOCK_AT,
    OF_LOCK,
    OF_RLOCK,
    acquire_condition,
    release_condition,
)
from engine.sync.condition_places import (
    CONDITION_WORDS,
    NOTIFIED,
    PLACE_WORDS,
    PLACES,
    PLACES_MAX,
    WAITS,
    leave_place,
    notify,
    notify_some,
    regain,
    take_place,
    wait_at_place,
    wait_for_notice,
    wait_in_turn,
)
from engine.sync.lock import Lock
from engine.sync.rlock import RLock
from engine.sync.shared_words import SharedWords, direct
from engine.sync.waiting import limit_ns

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["Condition", "ConditionType"]

_wait = direct(wait_in_turn)
_regain = direct(regain)
_take = direct(take_place)
_wait_at = direct(wait_at_place)
_leave = direct(leave_place)
_notify = direct(notify)
_notify_unchecked = direct(notify_some)


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

    _WORD_COUNT = CONDITION_WORDS

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
            self._key_words[LOCK_AT] = self._lock._key  # noqa: SLF001 - a friend
            self._key_words[KIND_AT] = OF_RLOCK if isinstance(self._lock, RLock) else OF_LOCK
        else:
            self._key_words[KIND_AT] = FOREIGN

    @property
    def _is_foreign(self) -> bool:
        return bool(self._key_words[KIND_AT] == FOREIGN)

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
        limit = limit_ns(True, timeout)
        # What a wait has done is known to who ends it, however it ends.
        word = np.zeros(1, np.int64)
        turn = address_of(word)
        if self._is_foreign:
            return self._wait_with_foreign_lock(turn, limit)
        try:
            return bool(_wait(self._key, turn, limit))
        finally:
            _regain(self._key, turn)

    def _wait_with_foreign_lock(self, turn: int, limit: int) -> bool:
        try:
            _take(self._key, turn)
            self._lock.release()
            # An exception of a signal handler in this very moment leaves the lock free, as it
            # does in multiprocessing's conditions; there is no asking a foreign lock.
            try:
                return bool(_wait_at(self._key, turn, limit))
            finally:
                self._lock.acquire()
        finally:
            _leave(self._key, turn)

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
        self.notify(PLACES_MAX)

    def statistics(self) -> dict[str, Any]:
        """Count notices so far and who waits now, beside the statistics of the lock."""
        states = [self._word(PLACES + PLACE_WORDS * at) for at in range(PLACES_MAX)]
        waiting = sum(
            state & 3 == WAITS and self._family.pid_of(state >> 2) is not None for state in states
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
    return lambda self: notify(key_of(self), PLACES_MAX)
