"""The board: the shared words by which a pool and its workers meet.

The board is one leased block of the arena, an array of 64-bit words in lines of
`LINE` words, so that words written by different processes never share a pair of
cache lines:

    WORKER lines, one group a rank             JOB lines, one group a slot
      line 0  BELL, PARKED    written by pool    line 0  SERIAL ...  written by pool
      line 1  JOB, CHUNK ...  written by worker  line 1  NEXT        claimed by all
                                                 line 2  LEFT, LEFT_PARKED

Entering and leaving a job
--------------------------
The pool must know when no worker can touch a job's memory any more, also when
workers are killed at any instruction.  So a worker *announces* a job before it
looks at it, in a word of its own, and the pool *retires* a job before it takes
the memory back:

    worker                                pool
    me.JOB = serial                       slot.SERIAL = 0
    if slot.SERIAL != serial:             for each live worker:
        me.JOB = 0; go away                   wait until worker.JOB != serial

All four operations are sequentially consistent, so at least one side sees the
other: either the worker finds the job retired and goes, or the pool finds the
worker announced and waits.  Serials are never reused.  A worker that is killed
leaves its announcement behind; its rank's supervisor clears the word once the
system has confirmed the death, and notes the chunk that was running.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types

from engine.atomics import load, store
from engine.memory.arrays import zeros

__all__ = ["Board", "claimed", "has_left", "is_claimed", "open_slot", "retire"]

WORD = 8
LINE = 16

# Words of a worker, from its first line.
BELL = 0  # a doorbell: rung when there is a job or an order to close
PARKED = 1
CLOSING = 2  # 1: leave when no job is open
CALLS = 3  # offset of the pool's table of calls, 0 as long as it has none
JOB = LINE  # serial of the job announced, 0 for none
CHUNK = LINE + 1  # 1 + number of the chunk being run, 0 for none
CHUNKS_RUN = LINE + 2  # for statistics
SLOT = LINE + 3  # number of the slot of the job announced
# What the caller, which has such words in private memory, claimed but has not yet run:
HELD, HELD_STOP = LINE + 4, LINE + 5
# 1: looks for work or waits for it.  Whoever wakes this worker for a call sets it to 0,
# so that the next call wakes another.
WAITING = LINE + 6
LAST = LINE + 7  # serial of the last job of ranks that this worker took part in
OWN_RANK = LINE + 8
CORE = LINE + 9  # 1 + the core that this worker was on when it last entered a job
CALLER_CORE = LINE + 10  # and the one that the caller was on
WAITS = LINE + 11  # how often it has found nothing to do, for statistics
BACKWARDS = LINE + 12  # 1: claims chunks from the end
WORKER_WORDS = 2 * LINE

# Words of a job slot, from its first line.
SERIAL = 0  # of the open job, 0 for none
RANKS = 1  # workers with a rank below this take part
KEY = 2  # of the payload that the job needs
PAYLOAD = 3  # its offset in the segment
PAYLOAD_BYTES = 4
SPEC = 5  # offset of what only Python code can read of the job's description
SPEC_BYTES = 6  # 0 if all of it is in these words and the image
COUNT = 7  # how many chunks can be claimed
FIRST, STOP, LENGTH = 8, 9, 10  # chunk k of a program: [FIRST + k * LENGTH, ...), cut at STOP
ORDER = 11  # offset of the list of chunks to run, -1 for all in order
DONE = 12  # offset of a byte a chunk, set when it is finished
IMAGE = 13  # offset of a program's image
IMAGE_WORDS = 14  # 0 if the job runs Python code
# 1: each of the workers runs one chunk, the one of its own rank behind FIRST, all at the same time.
TOGETHER = 15
NEXT = LINE  # how many were: all of them below `FROM_END`, and those from the end above it
CALLER = LINE + 1  # 1 + the core that the caller computes on, 0 if it does not
LEFT = 2 * LINE  # a doorbell: rung when a worker has left the job
LEFT_PARKED = LEFT + 1
SLOT_WORDS = 3 * LINE

SLOT_COUNT = 16

# One chunk claimed from the end, in `NEXT`.
FROM_END = 1 << 32

# In `NEXT`, beyond any number of chunks: the job, or this wave of it, was called off.
NO_MORE = 1 << 62


class Board:
    """The shared words of one pool.

    Parameters
    ----------
    ranks : int
        Number of workers.
    words : int64 array, optional
        The board's words in a process that did not make it.
    """

    def __init__(self, ranks: int, words: np.ndarray[Any, Any] | None = None) -> None:
        self.ranks = ranks
        if words is None:
            words = zeros(self.word_count(ranks), np.int64)
        self.words = words
        self.address: int = words.ctypes.data

    @staticmethod
    def word_count(ranks: int) -> int:
        """Words that a board for so many workers has."""
        return ranks * WORKER_WORDS + SLOT_COUNT * SLOT_WORDS

    def worker(self, rank: int) -> int:
        """Address of a worker's words."""
        return self.address + WORD * rank * WORKER_WORDS

    def slot(self, index: int) -> int:
        """Address of a job slot's words."""
        return self.address + WORD * (self.ranks * WORKER_WORDS + index * SLOT_WORDS)

    def view(self, address: int, count: int) -> np.ndarray[Any, Any]:
        """The words from an address on, as an array."""
        first = (address - self.address) // WORD
        return self.words[first : first + count]


@njit(types.void(types.intp, types.int64), nogil=True, cache=True)
def open_slot(slot, serial):
    """Open a job whose other words are all written; they are visible with the serial."""
    store(slot + WORD * NEXT, 0)
    store(slot + WORD * SERIAL, serial)


@njit(cache=True)
def claimed(word):
    """Tell how many chunks were claimed, or tried to be, by what `NEXT` holds."""
    return word if word >= NO_MORE else word & (FROM_END - 1)


@njit(types.boolean(types.intp), nogil=True, cache=True)
def is_claimed(slot):
    """Tell whether no chunk of a job can be claimed any more."""
    return claimed(load(slot + WORD * NEXT)) >= load(slot + WORD * COUNT)


@njit(types.void(types.intp), nogil=True, cache=True)
def retire(slot):
    """Close a job to workers that have not entered it."""
    store(slot + WORD * SERIAL, 0)


@njit(types.boolean(types.intp, types.int64), nogil=True, cache=True)
def has_left(worker, serial):
    """Tell whether a worker is not, and can no longer be, in a retired job."""
    return load(worker + WORD * JOB) != serial
