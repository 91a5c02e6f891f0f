"""The lock of a condition, of whichever kind, as compiled code finds it.

Which lock it is stands in the words of the condition's key, so it costs compiled code one
look, and both kinds of lock give a condition of the same type.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from numba import njit

from engine.atomics import load, store
from engine.sync.lock_word import DEPTH, THREAD, acquire_lock, release_lock
from engine.sync.rlock import acquire_rlock, is_mine, release_rlock
from engine.sync.shared_words import me_of, words_of
from engine.sync.waiting import FOREVER, thread_token
from engine.words.members import WORD

__all__ = [
    "FOREIGN",
    "KIND_AT",
    "LOCK_AT",
    "OF_LOCK",
    "OF_RLOCK",
    "acquire_condition",
    "acquire_fully",
    "holds_lock",
    "release_condition",
    "release_fully",
]

# Words of the key, beside those of every key: the lock's key, and what kind of lock it is.
LOCK_AT, KIND_AT = 2, 3

# Of locks that are not ours, which only Python code can acquire.
OF_LOCK, OF_RLOCK, FOREIGN = 0, 1, 2


@njit(cache=True)
def _lock_of(key):
    return load(key + WORD * LOCK_AT)


@njit(cache=True)
def _is_rlock(key):
    kind = load(key + WORD * KIND_AT)
    if kind == FOREIGN:
        raise TypeError("in compiled code the lock of a condition must be an engine.Lock or RLock")
    return kind == OF_RLOCK


@njit(cache=True)
def holds_lock(key):
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
def release_fully(key):
    """Release the lock, however often it was acquired; return how often."""
    lock = _lock_of(key)
    if not _is_rlock(key):
        release_lock(lock)
        return 1
    depth = load(words_of(lock) + WORD * DEPTH)
    store(words_of(lock) + WORD * DEPTH, 1)
    release_rlock(lock)
    return depth


@njit(cache=True)
def acquire_fully(key, depth):
    """Acquire the lock as often as it was acquired before `release_fully`."""
    acquire_condition(key, FOREVER)
    if _is_rlock(key):
        words = words_of(_lock_of(key))
        store(words + WORD * DEPTH, depth)
        store(words + WORD * THREAD, thread_token())
