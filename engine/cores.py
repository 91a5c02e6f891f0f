"""Which core a process runs on, and how it gets off one that another needs.

Who computes together should not share a core as long as there are others.  Systems see to that only
after tens of milliseconds: a process that was just woken stays where it is, and one that never
sleeps is thought to have warm caches to lose.  So whoever enters common work looks where the others
are, and moves.  The move is no binding: the system may put a process elsewhere at any time.

Linux alone; see `man 2 sched_setaffinity`.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import numpy as np
from numba import njit, types

__all__ = ["CORE_WORDS", "current_core", "move_off", "note_core", "this_core"]

# Sets of cores are bits in so many words; machines with more are left to the system.
CORE_WORDS = 16
_WORD_BITS = 64

this_core = types.ExternalFunction("sched_getcpu", types.int32())
_allowed = types.ExternalFunction(
    "sched_getaffinity", types.int32(types.int32, types.intp, types.intp)
)
_allow = types.ExternalFunction(
    "sched_setaffinity", types.int32(types.int32, types.intp, types.intp)
)


@njit(types.int64(), cache=True)
def current_core():
    """Give the number of the core that this thread runs on, for Python code."""
    return this_core()


@njit(cache=True)
def note_core(cores, core):
    """Add a core to a set."""
    if 0 <= core < CORE_WORDS * _WORD_BITS:
        cores[core // _WORD_BITS] |= np.int64(1) << np.int64(core % _WORD_BITS)


@njit(cache=True)
def move_off(cores):
    """Move this thread to a core that is in no such set, if it may use one.

    Parameters
    ----------
    cores : int64 array
        `CORE_WORDS` words.
    """
    allowed = np.zeros(CORE_WORDS, np.int64)
    if _allowed(0, allowed.nbytes, allowed.ctypes.data) != 0:
        return
    others = allowed & ~cores
    if not others.any():
        return
    # Where it runs is decided by the first call, and left free by the second.
    _allow(0, others.nbytes, others.ctypes.data)
    _allow(0, allowed.nbytes, allowed.ctypes.data)
