"""Lock: held by one process at a time, and what all locks have in common.

What happens to the words is in `engine.sync.lock_word`; here is what Python code and
numba see of it.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from numba import cfunc, njit
from numba.extending import overload_method

from engine import system
from engine.sync.compiled import SharedWordsType, key_of, limit_of, register
from engine.sync.lock_word import (
    ACQUIRED,
    CORES,
    DIED,
    GOT,
    LOCK_WORDS,
    STATE,
    WAITERS,
    acquire_lock,
    recover_lock,
    release_lock,
    try_lock,
    unlock,
)
from engine.sync.methods import ACQUIRE, RELEASE, SIGNATURE, Method, done, key_from, otherwise
from engine.sync.shared_words import SharedWords, direct
from engine.sync.sleepers import HOW_MANY
from engine.sync.waiting import limit_ns

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from engine.memory.family import Family
    from engine.memory.leases import Lease

__all__ = ["ACQUIRE_DOC", "RELEASE_DOC", "Lock", "LockBase", "LockType"]

_acquire = direct(acquire_lock)
_release = direct(release_lock)


@njit(cache=True)
def _try_unlock(key):
    return unlock(key) == GOT


@cfunc(SIGNATURE, cache=True)
def _acquire_code(self, arguments, count, names):
    key = key_from(self)
    if count == 0 and names == 0 and try_lock(key):
        return done(key, ACQUIRE)
    return otherwise(key, ACQUIRE, arguments, count, names)


@cfunc(SIGNATURE, cache=True)
def _release_code(self, arguments, count, names):
    key = key_from(self)
    if count == 0 and names == 0 and _try_unlock(key):
        return done(key, RELEASE)
    return otherwise(key, RELEASE, arguments, count, names)


def _acquire_slowly(key: int, block: bool = True, timeout: float | None = None) -> bool:
    return bool(_acquire(key, limit_ns(block, timeout)))


ACQUIRE_DOC = """acquire($self, block=True, timeout=None)
--

Acquire the lock.

Parameters
----------
block : bool
    Whether to wait for it.
timeout : float, optional
    Seconds to wait at most; a negative number is as good as 0.

Returns
-------
bool
    Whether the lock is held now.

Raises
------
OwnerDiedError
    The process that held it has ended.
"""

RELEASE_DOC = """release($self)
--

Release the lock; an RLock is free when released as often as acquired.

Raises
------
ValueError
    Of a Lock: nobody holds it.
AssertionError
    Of an RLock: this thread does not hold it.
OwnerDiedError
    The process that held it has ended.
"""

_acquire_method = Method("acquire", ACQUIRE_DOC, _acquire_code, ACQUIRE, result=True)
_release_method = Method("release", RELEASE_DOC, _release_code, RELEASE, result=None)


class LockBase(SharedWords):
    """What Lock and RLock have in common.

    `acquire` and `release` are builtin functions made for each object, as they are of
    `multiprocessing`'s locks; see `engine.sync.methods`.
    """

    __slots__ = ("acquire", "release")

    _WORD_COUNT = LOCK_WORDS
    _METHODS: ClassVar[tuple[tuple[Method, Callable[..., Any]], tuple[Method, Callable[..., Any]]]]

    acquire: Callable[..., bool]
    release: Callable[[], None]

    def __init__(self) -> None:
        super().__init__()
        self._set_word(CORES, system.cpu_budget())

    def _bind(self, family: Family, lease: Lease) -> None:
        super()._bind(family, lease)
        self.acquire, self.release = (
            method.bind(self._key_words, self._key, partial(slow, self._key), lease)
            for method, slow in self._METHODS
        )

    def __enter__(self) -> bool:
        """Acquire the lock."""
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the lock."""
        self.release()

    def recover(self) -> bool:
        """Make the lock free again after its holder died.

        Returns
        -------
        bool
            False if no holder has died, or another process has recovered it already.
        """
        return bool(recover_lock(self._key))

    def statistics(self) -> dict[str, Any]:
        """Count what happened to the lock, and say who holds it now.

        Returns
        -------
        dict
            ``acquisitions`` so far, ``waiters`` now, and ``owner``, the number of the
            process that holds it (its pid), None if nobody does.
        """
        state = self._word(STATE)
        owner = self._family.pid_of(state >> 2) if state > DIED else None
        return {
            "acquisitions": self._word(ACQUIRED),
            "waiters": self._word(WAITERS) & HOW_MANY,
            "owner": owner,
        }

    def __repr__(self) -> str:
        """Say who holds it."""
        state = self._word(STATE)
        if state > DIED:
            return f"<{type(self).__name__}(owner={self._family.pid_of(state >> 2)})>"
        return f"<{type(self).__name__}(owner={'died' if state == DIED else None})>"


class Lock(LockBase):
    """A lock between processes, as `multiprocessing.Lock`; also inside compiled kernels.

    Any process or thread may release it.  If the process that acquired it ends without
    releasing it, whoever waits or comes later gets `OwnerDiedError` until somebody calls
    `recover`.

    Examples
    --------
    >>> lock = Lock()
    >>> with lock:
    ...     pass
    """

    __slots__ = ()

    _METHODS = ((_acquire_method, _acquire_slowly), (_release_method, _release))


@register
class LockType(SharedWordsType):  # type: ignore[misc]
    """numba's type of a Lock."""


Lock._numba_type_ = LockType("Lock")


@overload_method(LockType, "acquire")
def _overload_acquire(self, block=True, timeout=None):
    def acquire(self, block=True, timeout=None):
        return acquire_lock(key_of(self), limit_of(block, timeout))

    return acquire


@overload_method(LockType, "release")
def _overload_release(self):
    return lambda self: release_lock(key_of(self))


@overload_method(LockType, "recover")
def _overload_recover(self):
    return lambda self: recover_lock(key_of(self))
