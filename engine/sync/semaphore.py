"""Semaphore and BoundedSemaphore: a number of slots that processes take and give back.

What happens to the words is in `engine.sync.semaphore_slots`; here is what Python code
and numba see of it.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numba.extending import overload_method

from engine.sync.compiled import SharedWordsType, key_of, limit_of, register
from engine.sync.semaphore_slots import (
    ACQUIRED,
    BOUND,
    HOLDER_WORDS,
    HOLDERS,
    SEMAPHORE_WORDS,
    VALUE,
    VALUE_MAX,
    acquire_semaphore,
    release_semaphore,
    semaphore_value,
    try_semaphore,
)
from engine.sync.shared_words import SharedWords, direct
from engine.sync.waiting import limit_ns

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["BoundedSemaphore", "Semaphore", "SemaphoreType"]

_at_once = direct(try_semaphore)
_acquire = direct(acquire_semaphore)
_release = direct(release_semaphore)


class Semaphore(SharedWords):
    """Slots that processes take and give back, as `multiprocessing.Semaphore`.

    Parameters
    ----------
    value : int
        How many there are at first.

    Notes
    -----
    If a process that took slots is killed, they come back, within a tenth of a second of
    somebody's asking; not so once a process has released the semaphore without having
    acquired it, because then it counts signals.  Of the slots of at most 128 processes
    account is kept.  Also inside compiled kernels.  Concurrency: any process, any thread.
    """

    __slots__ = ()

    _WORD_COUNT = SEMAPHORE_WORDS

    def __init__(self, value: int = 1) -> None:
        if not 0 <= value <= VALUE_MAX:
            message = f"value must be between 0 and {VALUE_MAX}, not {value}"
            raise ValueError(message)
        super().__init__()
        self._set_word(VALUE, value)

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take a slot.

        Parameters
        ----------
        block : bool
            Whether to wait for one.
        timeout : float, optional
            Seconds to wait at most; a negative number is as good as 0.

        Returns
        -------
        bool
            Whether one was taken.
        """
        return _at_once(self._key) or _acquire(self._key, limit_ns(block, timeout))

    def release(self) -> None:
        """Give a slot back.

        Raises
        ------
        ValueError
            A bounded semaphore would have more slots than at first.
        """
        _release(self._key)

    def get_value(self) -> int:
        """How many slots are free."""
        return self._word(VALUE)

    def statistics(self) -> dict[str, Any]:
        """Count how often slots were taken, and how many each process holds.

        Returns
        -------
        dict
            ``acquisitions`` so far, ``free`` slots, and ``owners``, how many slots each
            living process holds, by its pid.
        """
        owners = {}
        for at in range(HOLDERS, SEMAPHORE_WORDS, HOLDER_WORDS):
            pid, holds = self._family.pid_of(self._word(at)), self._word(at + 1)
            if pid is not None and holds > 0:
                owners[pid] = holds
        return {
            "acquisitions": self._word(ACQUIRED),
            "free": self._word(VALUE),
            "owners": owners,
        }

    def __enter__(self) -> bool:
        """Take a slot."""
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it back."""
        _release(self._key)

    def __repr__(self) -> str:
        """Say how many slots are free."""
        return f"<{type(self).__name__}(value={self.get_value()})>"


class BoundedSemaphore(Semaphore):
    """A semaphore that never has more free slots than at first; see `Semaphore`."""

    __slots__ = ()

    def __init__(self, value: int = 1) -> None:
        super().__init__(value)
        if value == 0:
            message = "a bounded semaphore without slots could never be acquired"
            raise ValueError(message)
        self._set_word(BOUND, value)

    def __repr__(self) -> str:
        """Say how many slots are free, of how many."""
        return f"<BoundedSemaphore(value={self.get_value()}, maxvalue={self._word(BOUND)})>"


@register
class SemaphoreType(SharedWordsType):  # type: ignore[misc]
    """numba's type of a Semaphore, bounded or not."""


Semaphore._numba_type_ = SemaphoreType("Semaphore")


@overload_method(SemaphoreType, "acquire")
def _semaphore_acquire(self, block=True, timeout=None):
    def acquire(self, block=True, timeout=None):
        return acquire_semaphore(key_of(self), limit_of(block, timeout))

    return acquire


@overload_method(SemaphoreType, "release")
def _semaphore_release(self):
    return lambda self: release_semaphore(key_of(self))


@overload_method(SemaphoreType, "get_value")
def _semaphore_get_value(self):
    return lambda self: semaphore_value(key_of(self))
