"""Lock and RLock: one word that names the process which holds it.

The word `STATE` is

    0                   free
    number << 2         held by the member of that number
    number << 2 | 1     held, and somebody may be parked: whoever releases it wakes one
    2                   its holder died; nobody gets it before ``recover``

It is Drepper's second mutex ("Futexes Are Tricky", 2011,
https://www.akkadia.org/drepper/futex.pdf) with the owner's number in place of 1.

No wake-up is lost.  A waiter sets the bit 1 by a compare-exchange on the word it saw and
parks only while the word still has that value (the kernel compares once more).  Whoever
releases exchanges the word for 0 in one step and so either sees the bit, and wakes one, or
was before the waiter's compare-exchange, which then fails.  A waiter that has parked
takes the lock with the bit set, because others may be parked as well.  If the one that
was woken dies before it takes the lock, the others look for themselves after a slice.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from numba import cfunc, njit, types
from numba.extending import overload_method

from engine import system
from engine.atomics import (
    EVERYONE,
    compare_exchange,
    fetch_add,
    load,
    pause,
    store,
    store_after,
    wake,
)
from engine.errors import OwnerDiedError
from engine.sync.compiled import SharedWordsType, key_of, limit_of, register
from engine.sync.methods import ACQUIRE, RELEASE, SIGNATURE, Method, done, key_from, otherwise
from engine.sync.shared_words import SharedWords, direct, me_of, members_of, words_of
from engine.sync.waiting import (
    SPINS,
    check_signals,
    deadline_after,
    limit_ns,
    park_apart,
    slice_ns,
    thread_token,
)
from engine.words.members import WORD, is_dead

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from engine.memory.family import Family
    from engine.memory.leases import Lease

__all__ = [
    "ACQUIRED",
    "DIED",
    "FREE",
    "STATE",
    "WAITERS",
    "Lock",
    "RLock",
    "acquire_lock",
    "acquire_rlock",
    "is_mine",
    "recover_lock",
    "release_lock",
    "release_rlock",
]

# Words.
STATE = 0
ACQUIRED = 1  # how often; for statistics
WAITERS = 2  # how many wait; for statistics, and too many by those who died waiting
THREAD = 3  # of an RLock: which thread of the holder holds it
DEPTH = 4  # of an RLock: how many times over
CORES = 5  # how many there are to wait on
_WORD_COUNT = 8

# States.
FREE, DIED = 0, 2
_PARKED = 1

# Answers.
GOT, NOT, LOST = 1, 0, -1


@njit(cache=True)
def _try_lock(key):
    lock = words_of(key)
    if compare_exchange(lock, FREE, me_of(key) << 2) != FREE:
        return False
    # Only the holder writes this word.
    store_after(lock + WORD * ACQUIRED, load(lock + WORD * ACQUIRED) + 1)
    return True


@njit(cache=True)
def _wait_for_lock(key, deadline):
    """Spin, then park for one slice; GOT, NOT (look again or give up) or LOST."""
    lock = words_of(key)
    mine = me_of(key) << 2
    # More that wait than there are cores would keep the holder off its own.
    crowded = load(lock + WORD * WAITERS) >= load(lock + WORD * CORES)
    for _ in range(0 if crowded else SPINS):
        if load(lock) == FREE and compare_exchange(lock, FREE, mine) == FREE:
            return GOT
        pause()
    state = load(lock)
    if state == DIED:
        return LOST
    if state == FREE:
        return GOT if compare_exchange(lock, FREE, mine | _PARKED) == FREE else NOT
    if is_dead(members_of(key), state >> 2):
        if compare_exchange(lock, state, DIED) != state:
            return NOT
        wake(lock, EVERYONE)
        return LOST
    wanted = state | _PARKED
    if state != wanted and compare_exchange(lock, state, wanted) != state:
        return NOT
    park_apart(lock, wanted, slice_ns(deadline))
    # Others may be parked too, so the bit is kept up by whoever was.
    return GOT if compare_exchange(lock, FREE, mine | _PARKED) == FREE else NOT


@njit(types.boolean(types.intp, types.int64), nogil=True, cache=True)
def acquire_lock(key, limit):
    """Acquire a lock; False when `limit` nanoseconds have passed (-1: no limit).

    Raises
    ------
    OwnerDiedError
    """
    if _try_lock(key):
        return True
    lock = words_of(key)
    deadline = deadline_after(limit)
    while True:
        fetch_add(lock + WORD * WAITERS, 1)
        answer = _wait_for_lock(key, deadline)
        fetch_add(lock + WORD * WAITERS, -1)
        if answer == LOST:
            raise OwnerDiedError
        if answer == GOT:
            store_after(lock + WORD * ACQUIRED, load(lock + WORD * ACQUIRED) + 1)
            return True
        if slice_ns(deadline) == 0:
            return False
        check_signals()


@njit(cache=True)
def _unlock(key):
    """Release; GOT if it was held, NOT if it was free, LOST if its holder had died."""
    lock = words_of(key)
    while True:
        state = load(lock)
        if state == FREE:
            return NOT
        if state == DIED:
            return LOST
        if state >> 2 != me_of(key) and is_dead(members_of(key), state >> 2):
            if compare_exchange(lock, state, DIED) == state:
                wake(lock, EVERYONE)
        elif compare_exchange(lock, state, FREE) == state:
            if state & _PARKED:
                wake(lock, 1)
            return GOT


@njit(types.void(types.intp), cache=True)
def release_lock(key):
    """Release a lock, whoever acquired it.

    Raises
    ------
    ValueError
        Nobody holds it.
    OwnerDiedError
        Its holder died.
    """
    answer = _unlock(key)
    if answer == NOT:
        raise ValueError("semaphore or lock released too many times")
    if answer == LOST:
        raise OwnerDiedError


@njit(cache=True)
def is_mine(key):
    """Tell whether the calling thread holds an RLock."""
    lock = words_of(key)
    return load(lock) >> 2 == me_of(key) and load(lock + WORD * THREAD) == thread_token()


@njit(types.boolean(types.intp, types.int64), nogil=True, cache=True)
def acquire_rlock(key, limit):
    """Acquire an RLock, or once more if the calling thread holds it already."""
    lock = words_of(key)
    if is_mine(key):
        store_after(lock + WORD * DEPTH, load(lock + WORD * DEPTH) + 1)
        return True
    if not acquire_lock(key, limit):
        return False
    store_after(lock + WORD * DEPTH, 1)
    store_after(lock + WORD * THREAD, thread_token())
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
        _unlock(key)


@njit(cache=True)
def recover_lock(key):
    """Make a lock free whose holder died; False if that is not its state."""
    lock = words_of(key)
    state = load(lock)
    if state > DIED and is_dead(members_of(key), state >> 2):
        # Nobody else has seen the death yet.
        if compare_exchange(lock, state, DIED) != state:
            return False
        state = DIED
    # Taken for a moment, so that only one of several that recover it at once clears what
    # may be the next holder's by then.
    if state != DIED or compare_exchange(lock, DIED, me_of(key) << 2 | _PARKED) != DIED:
        return False
    store(lock + WORD * THREAD, 0)
    store(lock + WORD * DEPTH, 0)
    _unlock(key)
    return True


_lock = direct(acquire_lock)
_release = direct(release_lock)
_rlock = direct(acquire_rlock)
_rrelease = direct(release_rlock)


@njit(cache=True)
def _try_unlock(key):
    return _unlock(key) == GOT


@njit(cache=True)
def _try_rlock(key):
    lock = words_of(key)
    if is_mine(key):
        store_after(lock + WORD * DEPTH, load(lock + WORD * DEPTH) + 1)
        return True
    if not _try_lock(key):
        return False
    store_after(lock + WORD * DEPTH, 1)
    store_after(lock + WORD * THREAD, thread_token())
    return True


@njit(cache=True)
def _try_runlock(key):
    if not is_mine(key):
        return False
    release_rlock(key)
    return True


@cfunc(SIGNATURE, cache=True)
def _lock_acquire_code(self, arguments, count, names):
    key = key_from(self)
    if count == 0 and names == 0 and _try_lock(key):
        return done(key, ACQUIRE)
    return otherwise(key, ACQUIRE, arguments, count, names)


@cfunc(SIGNATURE, cache=True)
def _lock_release_code(self, arguments, count, names):
    key = key_from(self)
    if count == 0 and names == 0 and _try_unlock(key):
        return done(key, RELEASE)
    return otherwise(key, RELEASE, arguments, count, names)


@cfunc(SIGNATURE, cache=True)
def _rlock_acquire_code(self, arguments, count, names):
    key = key_from(self)
    if count == 0 and names == 0 and _try_rlock(key):
        return done(key, ACQUIRE)
    return otherwise(key, ACQUIRE, arguments, count, names)


@cfunc(SIGNATURE, cache=True)
def _rlock_release_code(self, arguments, count, names):
    key = key_from(self)
    if count == 0 and names == 0 and _try_runlock(key):
        return done(key, RELEASE)
    return otherwise(key, RELEASE, arguments, count, names)


def _acquire_slowly(key: int, block: bool = True, timeout: float | None = None) -> bool:
    return bool(_lock(key, limit_ns(block, timeout)))


def _racquire_slowly(key: int, block: bool = True, timeout: float | None = None) -> bool:
    return bool(_rlock(key, limit_ns(block, timeout)))


_ACQUIRE_DOC = """acquire($self, block=True, timeout=None)
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

_RELEASE_DOC = """release($self)
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

_lock_acquire_method = Method("acquire", _ACQUIRE_DOC, _lock_acquire_code, ACQUIRE, result=True)
_lock_release_method = Method("release", _RELEASE_DOC, _lock_release_code, RELEASE, result=None)
_rlock_acquire_method = Method("acquire", _ACQUIRE_DOC, _rlock_acquire_code, ACQUIRE, result=True)
_rlock_release_method = Method("release", _RELEASE_DOC, _rlock_release_code, RELEASE, result=None)


class _LockWords(SharedWords):
    """What Lock and RLock have in common.

    `acquire` and `release` are builtin functions made for each object, as they are of
    `multiprocessing`'s locks; see `engine.sync.methods`.
    """

    __slots__ = ("acquire", "release")

    _WORD_COUNT = _WORD_COUNT
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
            "waiters": self._word(WAITERS),
            "owner": owner,
        }

    def __repr__(self) -> str:
        """Say who holds it."""
        state = self._word(STATE)
        if state > DIED:
            return f"<{type(self).__name__}(owner={self._family.pid_of(state >> 2)})>"
        return f"<{type(self).__name__}(owner={'died' if state == DIED else None})>"


class Lock(_LockWords):
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

    _METHODS = ((_lock_acquire_method, _acquire_slowly), (_lock_release_method, _release))


class RLock(_LockWords):
    """A lock that the thread which holds it may acquire again; see `Lock`."""

    __slots__ = ()

    _METHODS = ((_rlock_acquire_method, _racquire_slowly), (_rlock_release_method, _rrelease))


@register
class LockType(SharedWordsType):  # type: ignore[misc]
    """numba's type of a Lock."""


@register
class RLockType(SharedWordsType):  # type: ignore[misc]
    """numba's type of an RLock."""


Lock._numba_type_ = LockType("Lock")
RLock._numba_type_ = RLockType("RLock")


@overload_method(LockType, "acquire")
def _lock_acquire(self, block=True, timeout=None):
    def acquire(self, block=True, timeout=None):
        return acquire_lock(key_of(self), limit_of(block, timeout))

    return acquire


@overload_method(LockType, "release")
def _lock_release(self):
    return lambda self: release_lock(key_of(self))


@overload_method(RLockType, "acquire")
def _rlock_acquire(self, block=True, timeout=None):
    def acquire(self, block=True, timeout=None):
        return acquire_rlock(key_of(self), limit_of(block, timeout))

    return acquire


@overload_method(RLockType, "release")
def _rlock_release(self):
    return lambda self: release_rlock(key_of(self))


@overload_method(LockType, "recover")
@overload_method(RLockType, "recover")
def _recover(self):
    return lambda self: recover_lock(key_of(self))
