"""RLock: a lock whose holder counts how often it has acquired it.

It is a Lock with two words more: which thread of the holder holds it, and how many times
over.  `THREAD` is written after the lock is taken and cleared before it is released, so a
thread finds its own number there only if it holds the lock itself.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba import cfunc, njit, types
from numba.extending import overload_method

from engine.atomics import load, store_after
from engine.errors import OwnerDiedError
from engine.sync.compiled import SharedWordsType, key_of, limit_of, register
from engine.sync.lock import ACQUIRE_DOC, RELEASE_DOC, LockBase
from engine.sync.lock_word import DEPTH, DIED, THREAD, acquire_lock, recover_lock, try_lock, unlock
from engine.sync.methods import ACQUIRE, RELEASE, SIGNATURE, Method, done, key_from, otherwise
from engine.sync.shared_words import direct, me_of, words_of
from engine.sync.waiting import limit_ns, thread_token
from engine.words.members import WORD

__all__ = ["RLock", "RLockType", "acquire_rlock", "is_mine", "release_rlock"]


@njit(cache=True)
def is_mine(key):
    """Tell whether the calling thread holds an RLock."""
    lock = words_of(key)
    return load(lock) >> 2 == me_of(key) and load(lock + WORD * THREAD) == thread_token()


@njit(cache=True)
def _hold_once(key):
    lock = words_of(key)
    store_after(lock + WORD * DEPTH, 1)
    store_after(lock + WORD * THREAD, thread_token())


@njit(cache=True)
def _try_rlock(key):
    lock = words_of(key)
    if is_mine(key):
        store_after(lock + WORD * DEPTH, load(lock + WORD * DEPTH) + 1)
        return True
    if not try_lock(key):
        return False
    _hold_once(key)
    return True


@njit(types.boolean(types.intp, types.int64), nogil=True, cache=True)
def acquire_rlock(key, limit):
    """Acquire an RLock, or once more if the calling thread holds it already."""
    if _try_rlock(key):
        return True
    if not acquire_lock(key, limit):
        return False
    _hold_once(key)
    return True


@njit(types.void(types.intp), cache=True)
def release_rlock(key):
    """Release an RLock once.

    Raises
    ------
    AssertionError
        The calling thread does not hold it.
    OwnerDiedError
        Its holder died.
    """
    lock = words_of(key)
    if not is_mine(key):
        if load(lock) == DIED:
            raise OwnerDiedError
        raise AssertionError("attempt to release recursive lock not owned by thread")
    depth = load(lock + WORD * DEPTH) - 1
    store_after(lock + WORD * DEPTH, depth)
    if depth == 0:
        store_after(lock + WORD * THREAD, 0)
        unlock(key)


@njit(cache=True)
def _try_runlock(key):
    if not is_mine(key):
        return False
    release_rlock(key)
    return True


@cfunc(SIGNATURE, cache=True)
def _acquire_code(self, arguments, count, names):
    key = key_from(self)
    if count == 0 and names == 0 and _try_rlock(key):
        return done(key, ACQUIRE)
    return otherwise(key, ACQUIRE, arguments, count, names)


@cfunc(SIGNATURE, cache=True)
def _release_code(self, arguments, count, names):
    key = key_from(self)
    if count == 0 and names == 0 and _try_runlock(key):
        return done(key, RELEASE)
    return otherwise(key, RELEASE, arguments, count, names)


_acquire = direct(acquire_rlock)
_release = direct(release_rlock)


def _acquire_slowly(key: int, block: bool = True, timeout: float | None = None) -> bool:
    return bool(_acquire(key, limit_ns(block, timeout)))


_acquire_method = Method("acquire", ACQUIRE_DOC, _acquire_code, ACQUIRE, result=True)
_release_method = Method("release", RELEASE_DOC, _release_code, RELEASE, result=None)


class RLock(LockBase):
    """A lock that the thread which holds it may acquire again; see `Lock`."""

    __slots__ = ()

    _METHODS = ((_acquire_method, _acquire_slowly), (_release_method, _release))


@register
class RLockType(SharedWordsType):  # type: ignore[misc]
    """numba's type of an RLock."""


RLock._numba_type_ = RLockType("RLock")


@overload_method(RLockType, "acquire")
def _overload_acquire(self, block=True, timeout=None):
    def acquire(self, block=True, timeout=None):
        return acquire_rlock(key_of(self), limit_of(block, timeout))

    return acquire


@overload_method(RLockType, "release")
def _overload_release(self):
    return lambda self: release_rlock(key_of(self))


@overload_method(RLockType, "recover")
def _overload_recover(self):
    return lambda self: recover_lock(key_of(self))
