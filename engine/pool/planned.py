"""Planned jobs: a job that is run again and again, for the price of its dispatch.

All that changes from one run to the next is the slot of the board and the serial; the rest stands
in the job's *plan*, an array of words from which compiled code publishes the job, does the
caller's part and waits.  A run costs the caller a few hundred nanoseconds of Python.

Two kinds derive from this: `engine.pool.joint`, whose chunks run at the same time, and
`engine.pool.standing`, whose chunks are claimed like those of any other job.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import carray, njit, types

from engine.atomics import (
    await_ring,
    load,
    load_byte,
    pointer_to,
    ring,
    store,
    store_after,
    store_byte,
)
from engine.cores import this_core
from engine.memory.arrays import address_of
from engine.pool.board import (
    BELL,
    CALLER,
    COUNT,
    DONE,
    FIRST,
    IMAGE,
    IMAGE_WORDS,
    JOB,
    KEY,
    LEFT,
    LENGTH,
    ORDER,
    PAYLOAD,
    PAYLOAD_BYTES,
    RANKS,
    SERIAL,
    STOP,
    TOGETHER,
    WORD,
    WORKER_WORDS,
    is_claimed,
    open_slot,
)
from engine.pool.job import SPIN_NS, Job

if TYPE_CHECKING:
    from engine.pool.pool import Pool
    from engine.pool.program import Program
    from engine.pool.tasks import Task

__all__ = [
    "COMPLETE",
    "FAILED",
    "MARKS",
    "MARK_COUNT",
    "OWN_WORDS",
    "PROGRAM",
    "SLICE_NS",
    "SLOT",
    "SLOT_END",
    "UNFINISHED",
    "PlannedJob",
    "program_of",
    "publish",
    "wait",
]

# Words of a plan.
_WORKERS, _WORKER_COUNT = 0, 1  # address of the workers' words, and how many workers there are
_RUNG = 2  # how many of them are told of the job
PROGRAM, _PROGRAM_WORDS, _SCRATCH, _SCRATCH_WORDS = 3, 4, 5, 6
MARKS, MARK_COUNT = 7, 8  # address of the bytes that say which chunks are done
_SPIN_NS = 9
SLOT = 16  # the words of the slot
SLOT_END = SLOT + TOGETHER + 1
OWN_WORDS = SLOT_END  # what a kind of planned jobs has beside these

# What a wait comes to: not all have left yet; all have, but not all chunks are done; all is.
UNFINISHED, FAILED, COMPLETE = range(3)

# The caller returns to Python so often, to see signals and what else has happened.
SLICE_NS = 20_000_000


@njit(types.void(types.intp, types.intp, types.int64), nogil=True, cache=True)
def publish(plan, slot, serial):
    """Open the job in a slot, no chunk of it done, and ring."""
    for at in range(load(plan + WORD * MARK_COUNT)):
        store_byte(load(plan + WORD * MARKS) + at, 0)
    for at in range(SERIAL + 1, TOGETHER + 1):
        store_after(slot + WORD * at, load(plan + WORD * (SLOT + at)))
    store_after(slot + WORD * CALLER, this_core() + 1)
    # Whoever sees the serial sees all of this.
    open_slot(slot, serial)
    workers = load(plan + WORD * _WORKERS)
    for rank in range(load(plan + WORD * _RUNG)):
        ring(workers + WORD * (rank * WORKER_WORDS + BELL))


@njit(types.int64(types.intp, types.intp, types.int64, types.int64), nogil=True, cache=True)
def wait(plan, slot, serial, limit_ns):
    """Wait until all workers have left; `UNFINISHED`, `FAILED` or `COMPLETE`."""
    bell = slot + WORD * LEFT
    workers = load(plan + WORD * _WORKERS)
    while True:
        seen = load(bell)
        if is_claimed(slot):
            store(slot + WORD * SERIAL, 0)
            inside = 0
            for rank in range(load(plan + WORD * _WORKER_COUNT)):
                if load(workers + WORD * (rank * WORKER_WORDS + JOB)) == serial:
                    inside += 1
            if inside == 0:
                for at in range(load(plan + WORD * MARK_COUNT)):
                    if load_byte(load(plan + WORD * MARKS) + at) == 0:
                        return FAILED
                return COMPLETE
        if await_ring(bell, seen, load(plan + WORD * _SPIN_NS), limit_ns) == seen:
            return UNFINISHED


@njit(nogil=True, cache=True)
def program_of(plan):
    """Give the program of the caller and the scratch that goes with it."""
    program = carray(
        pointer_to(load(plan + WORD * PROGRAM)), load(plan + WORD * _PROGRAM_WORDS), np.int64
    )
    scratch = carray(
        pointer_to(load(plan + WORD * _SCRATCH)), load(plan + WORD * _SCRATCH_WORDS), np.int64
    )
    return program, scratch


class PlannedJob(Job):
    """A job with a plan.

    Parameters
    ----------
    pool : Pool
    task : Task
        Its image says all.
    program : Program
        The same in this process.
    rung : int
        How many workers are told of the job.
    own_words : int
        Words that the kind of job has in its plan, from `OWN_WORDS` on.
    **options
        As `Job`.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        task: Task,
        program: Program,
        rung: int,
        own_words: int,
        **options: Any,
    ) -> None:
        super().__init__(pool, task=task, **options)
        self.program = program
        plan = self._plan = np.zeros(OWN_WORDS + own_words, np.int64)
        self._plan_at = address_of(plan)
        plan[_WORKERS], plan[_WORKER_COUNT] = pool.board.worker(0), pool.board.ranks
        plan[_RUNG] = rung
        plan[PROGRAM], plan[_PROGRAM_WORDS] = address_of(program.words), len(program.words)
        plan[_SCRATCH], plan[_SCRATCH_WORDS] = address_of(program.scratch), len(program.scratch)
        plan[MARKS], plan[MARK_COUNT] = address_of(self._done), len(self._done)
        plan[_SPIN_NS] = SPIN_NS if pool.may_spin else 0
        image_at, _, done_at = self._offsets
        slot = plan[SLOT:SLOT_END]
        slot[RANKS] = rung
        slot[KEY] = self._payload.key
        slot[PAYLOAD], slot[PAYLOAD_BYTES] = self._payload.lease.offset, self._payload.nbytes
        slot[COUNT] = task.chunk_count
        slot[FIRST], slot[STOP], slot[LENGTH] = task.first, task.stop, task.chunk_length
        slot[ORDER], slot[DONE] = -1, done_at
        slot[IMAGE], slot[IMAGE_WORDS] = image_at, 0 if task.image is None else len(task.image)

    @property
    def task(self) -> Task:
        """What the job asks of workers."""
        return self._task
