"""Barrier: processes that wait for each other.

What happens to the words is in `engine.sync.barrier_words`; here is what Python code and
numba see of it.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba.extending import overload_attribute, overload_method

from engine import system
from engine.atomics import load
from engine.errors import BarrierBrokenError
from engine.memory.arrays import address_of
from engine.sync.barrier_party import BARRIER_WORDS
from engine.sync.barrier_words import (
    BROKEN,
    BY_DEFAULT,
    COUNT,
    DEFAULT_LIMIT,
    GENERATION,
    GENERATION_AT,
    HAS_ACTION,
    PARTIES,
    PARTIES_MAX,
    SPIN_NS,
    STATE,
    abort_barrier,
    arrived_now,
    break_in_turn,
    open_barrier,
    reset_barrier,
    wait_for_all,
    wait_in_kernel,
    wait_to_act,
)
from engine.sync.compiled import SharedWordsType, is_none, key_of, limit_of, register
from engine.sync.shared_words import SharedWords, direct, words_of
from engine.sync.waiting import limit_ns
from engine.words.members import WORD

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Barrier", "BarrierType"]

# As long as it takes others who are on their cores to arrive after work of even size.
_SPIN_NS = 100_000

_wait = direct(wait_for_all)
_wait_to_act = direct(wait_to_act)
_break = direct(break_in_turn)
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

    _WORD_COUNT = BARRIER_WORDS

    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
    ) -> None:
        if not 1 <= parties <= PARTIES_MAX:
            message = f"parties must be between 1 and {PARTIES_MAX}, not {parties}"
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
        if self._action is None:
            return int(_wait(self._key, limit))
        # Says who has to run the action, also when an exception comes between two lines here.
        word = np.full(1, -1, np.int64)
        turn = address_of(word)
        try:
            index = int(_wait_to_act(self._key, turn, limit))
            opened = index < self.parties - 1 or self._act()
        except BaseException:
            _break(self._key, turn)
            raise
        if not opened:
            raise BarrierBrokenError
        return index

    def _act(self) -> bool:
        """Run the action and open the barrier; False if it broke meanwhile."""
        if self._action is not None:
            self._action()
        return bool(_open(self._key))

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
        return 0 if state & BROKEN else state & COUNT

    @property
    def broken(self) -> bool:
        """Whether the barrier is broken."""
        return bool(self._word(STATE) & BROKEN)

    def statistics(self) -> dict[str, Any]:
        """Count how often the barrier opened or was reset, and who waits now."""
        generation = (self._word(STATE) >> GENERATION_AT) & GENERATION
        return {"generation": generation, "waiters": self.n_waiting}

    def __repr__(self) -> str:
        """Say how many wait, or that it is broken."""
        state = "broken" if self.broken else f"waiters={self.n_waiting}/{self.parties}"
        return f"<Barrier({state})>"


@register
class BarrierType(SharedWordsType):  # type: ignore[misc]
    """numba's type of a Barrier."""


Barrier._numba_type_ = BarrierType("Barrier")


@overload_method(BarrierType, "wait")
def _barrier_wait(self, timeout=None):
    if is_none(timeout):
        return lambda self, timeout=None: wait_in_kernel(key_of(self), BY_DEFAULT)

    def wait(self, timeout=None):
        return wait_in_kernel(key_of(self), limit_of(True, timeout))

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
    return lambda self: load(words_of(key_of(self))) & BROKEN != 0


@overload_attribute(BarrierType, "n_waiting")
def _barrier_n_waiting(self):
    return lambda self: arrived_now(key_of(self))
