"""Aimed jobs: standing jobs that are aimed at other arrays before each run.

What differs between two calls of the same kernel is a few words: addresses, lengths, and how it is
cut.  Compiled code writes them into the program, the image and the plan, so a call on arrays in
shared memory costs the caller next to no Python.  Which words those are depends on the kernel:
`engine.pool.dense` aims at arrays without gaps, of which a kernel sees an element at a time, and
`engine.pool.whole` at arrays of any shape that a kernel sees as a whole.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit, types

from engine.atomics import load, store_after
from engine.memory import arena as arena_module
from engine.memory.arrays import address_of
from engine.pool.board import COUNT, LENGTH, STOP, WORD
from engine.pool.chunk_length import chunk_length
from engine.pool.driver import BASE, CELL, HEADER
from engine.pool.handover import tune
from engine.pool.planned import MARK_COUNT, SLOT
from engine.pool.program import Operand, bind_here, specify
from engine.pool.standing import COST_NS, MORE_WORDS, SEGMENT, TOTAL, StandingJob, can_stand
from engine.pool.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Hashable

    from engine.pool.kernel import Kernel
    from engine.pool.pool import Pool

__all__ = [
    "AIMED_WORDS",
    "CELLS_MAX",
    "CELL_COUNT",
    "NUMBERS",
    "SEGMENT_END",
    "AimedJob",
    "AimedJobs",
    "base_at",
    "cut",
]

# Chunks that a run is cut into, at most; marks take a byte each.
_CHUNKS_MAX = 8192

# Cells that a kernel may have, so that a set of them is a word.
CELLS_MAX = 62

# Words of a plan, behind those of any standing job.
SEGMENT_END = MORE_WORDS
_PROCESSES = MORE_WORDS + 1
CELL_COUNT = MORE_WORDS + 2
NUMBERS = MORE_WORDS + 3  # the cells that are one number for all indices, as a set
_OWN_WORDS = 4
AIMED_WORDS = MORE_WORDS + _OWN_WORDS  # what derived kinds have beside these


@njit(cache=True)
def base_at(cell):
    """Give the place of a cell's base in a program with one axis, and in its image, in bytes."""
    return WORD * (HEADER + 1 + cell * (CELL + 1) + BASE)


@njit(types.boolean(types.intp, types.int64, types.int64, types.float64), nogil=True, cache=True)
def cut(plan, count, grain, cost_ns):
    """Cut `count` indices into chunks; False if there would be too many.

    Parameters
    ----------
    grain : int
        Indices of a chunk; 0: as many as what they cost suggests.
    """
    length = grain
    if length == 0:
        length = chunk_length(cost_ns, count, load(plan + WORD * _PROCESSES))
    chunks = (count + length - 1) // length
    if chunks > _CHUNKS_MAX:
        return False
    store_after(plan + WORD * (SLOT + COUNT), chunks)
    store_after(plan + WORD * (SLOT + STOP), count)
    store_after(plan + WORD * (SLOT + LENGTH), length)
    store_after(plan + WORD * MARK_COUNT, chunks)
    store_after(plan + WORD * TOTAL, count)
    store_after(plan + WORD * COST_NS, int(cost_ns * count) + 1)
    return True


class AimedJob(StandingJob, ABC):
    """A standing job of a kernel, for other arrays in each run.

    Parameters
    ----------
    pool : Pool
        Not kept alive.
    kernel : Kernel
    operands : list of Operand
        One for each cell that is no number, in the segment, or an index.
    numbers : int
        The cells that are one number for all indices, as a set; they may be anywhere.
    more_words : int
        Words that a derived kind has in its plan, from `AIMED_WORDS` on.

    Notes
    -----
    Concurrency: one run at a time; whoever finds `busy` held does without this job.
    """

    def __init__(
        self,
        pool: Pool,
        kernel: Kernel,
        operands: list[Operand],
        numbers: int,
        more_words: int = 0,
    ) -> None:
        # Outside the segment, so that the image holds them.
        room = np.zeros(len(operands), "V16")
        operands = [
            Operand(one.cell, address_of(room[k:]), (0,), refer=refer_never)
            if numbers >> k & 1
            else one
            for k, one in enumerate(operands)
        ]
        program = bind_here(kernel.address, (1,), operands)
        image, _, _ = specify(program, operands)
        super().__init__(
            weakref.proxy(pool),
            kernel,
            task=Task(_CHUNKS_MAX, 0, 1, 1, image),
            program=program,
            more_words=_OWN_WORDS + more_words,
        )
        self.busy = threading.Lock()
        self._all_marks = self._done
        self._keep: Any = None
        self._plan[SEGMENT_END] = self._plan[SEGMENT] + arena_module.arena().family.nbytes
        self._plan[_PROCESSES] = pool.processes
        self._plan[CELL_COUNT] = len(operands)
        self._plan[NUMBERS] = numbers

    def run_on(self, kernel: Kernel, count: int, arrays: Any, *how: Any) -> bool:
        """Run the kernel on arrays, for so many indices; False if not all are in the segment.

        Parameters
        ----------
        arrays : object
            What keeps the arrays alive.
        *how
            As `_aim_at` of the kind of job takes it.
        """
        if not self._aim_at(kernel, count, *how):
            return False
        self._keep = arrays
        self._run_aimed(*how)
        # Not after a failure: somebody may still be at it.
        self._keep = None
        kernel.learn_cost(self.cost_ns, count)
        return True

    @abstractmethod
    def _aim_at(self, kernel: Kernel, count: int, *how: Any) -> bool:
        """Write what differs from the last run; False if that cannot be."""

    def _run_aimed(self, *how: Any) -> None:
        self.run()

    def _grid(self) -> tuple[int, int, int]:
        """Give the number of chunks of this run, where they stop, and their length."""
        chunks, stop, length = (int(self._plan[SLOT + at]) for at in (COUNT, STOP, LENGTH))
        return chunks, stop, length

    def _bounds(self, chunk: int) -> tuple[int, int]:
        _, stop, length = self._grid()
        return chunk * length, min((chunk + 1) * length, stop)

    def _repair(self, slot: int) -> None:
        """Run again what is missing of the chunks of this run."""
        chunks, stop, length = self._grid()
        self._task = replace(self._task, chunk_count=chunks, stop=stop, chunk_length=length)
        self._done = self._all_marks[:chunks]
        super()._repair(slot)


def refer_never() -> Any:
    """Stand for the name of an array that needs none, because it is in the segment."""
    message = "an array of an aimed job is not in the segment"
    raise AssertionError(message)


class AimedJobs(ABC):
    """The aimed jobs of one kind and one pool, by kernel.

    Notes
    -----
    Concurrency: any thread.
    """

    def __init__(self) -> None:
        # By kernel, and by what else they were made for.
        self._jobs: weakref.WeakKeyDictionary[Kernel, dict[Hashable, AimedJob]] = (
            weakref.WeakKeyDictionary()
        )

    @abstractmethod
    def _made(self, pool: Pool, kernel: Kernel, key: Any, *how: Any) -> AimedJob | None:
        """Make a job, if one can be aimed at such arrays."""

    def run(
        self, pool: Pool, kernel: Kernel, count: int, arrays: Any, key: Hashable, *how: Any
    ) -> bool:
        """Run a kernel for so many indices, if there can be a job for that.

        Parameters
        ----------
        arrays : object
            What keeps the arrays alive.
        key : hashable
            What a job is made for beside the kernel.
        *how
            As the kind of job takes it.

        Returns
        -------
        bool
            False if nothing was done: an array is elsewhere, another thread uses the job, or the
            work is so long that it should be interruptible.
        """
        if not can_stand(kernel, count):
            return False
        jobs = self._jobs.get(kernel)
        job = None if jobs is None else jobs.get(key)
        if job is None or job.is_spent:
            job = self._made(pool, kernel, key, *how)
            if job is None:
                return False
            self._jobs.setdefault(kernel, {})[key] = job
        if not job.busy.acquire(blocking=False):
            return False
        try:
            if not job.is_tuned:
                tune(pool, job, kernel)
            return job.run_on(kernel, count, arrays, *how)
        except BaseException:
            # It holds the arrays of this run for as long as it lives.
            self._jobs.get(kernel, {}).pop(key, None)
            raise
        finally:
            job.busy.release()

