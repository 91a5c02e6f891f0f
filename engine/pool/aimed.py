"""Aimed jobs: standing jobs that are aimed at other arrays before each run.

What differs between two calls of the same kernel is a few words: addresses, lengths, and how it is
cut.  Compiled code writes them into the program, the image and the plan, so a call on arrays in
shared memory costs the caller next to no Python.  Which words those are depends on the kernel:
`engine.pool.dense` aims at arrays without gaps, of which a kernel sees an element at a time, and
`engine.pool.body_jobs` at arrays of any shape that a kernel sees as a whole.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from engine.memory import arena as arena_module
from engine.memory.arrays import address_of
from engine.pool.board import WORD
from engine.pool.driver import BASE, CELL, HEADER
from engine.pool.handover import tune
from engine.pool.program import Operand, bind_here, specify
from engine.pool.standing import (
    AVERAGED,
    COST_NS,
    CUT_MAX,
    MORE_WORDS,
    SEGMENT,
    StandingJob,
    can_stand,
)
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
]

# Cells that a kernel may have, so that a set of them is a word.
CELLS_MAX = 62

# Words of a plan, behind those of any standing job.
SEGMENT_END = MORE_WORDS
CELL_COUNT = MORE_WORDS + 1
NUMBERS = MORE_WORDS + 2  # the cells that are one number for all indices, as a set
_OWN_WORDS = 3
AIMED_WORDS = MORE_WORDS + _OWN_WORDS  # what derived kinds have beside these


@njit(cache=True)
def base_at(cell):
    """Give the place of a cell's base in a program with one axis, and in its image, in bytes."""
    return WORD * (HEADER + 1 + cell * (CELL + 1) + BASE)


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
    Concurrency: one run at a time.
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
            task=Task(CUT_MAX, 0, 1, 1, image),
            program=program,
            more_words=_OWN_WORDS + more_words,
        )
        self._keep: Any = None
        self._plan[SEGMENT_END] = self._plan[SEGMENT] + arena_module.arena().family.nbytes
        self._plan[CELL_COUNT] = len(operands)
        # The kernel does that, for runs of any length.
        self._plan[AVERAGED] = 1
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
        self._plan[COST_NS] = int(kernel.cost_ns * count) + 1
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
        # Those that nobody is running, by kernel and by what else they were made for; as many as
        # threads have run one at the same time.
        self._free: weakref.WeakKeyDictionary[Kernel, dict[Hashable, list[AimedJob]]] = (
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
            False if nothing was done: an array is elsewhere, or the work is so long that it should
            be interruptible.
        """
        if not can_stand(kernel, count):
            return False
        # One operation takes a job away from everybody else, and one gives it back: an interrupt in
        # between costs the job.
        free = self._free.setdefault(kernel, {}).setdefault(key, [])
        try:
            job = free.pop()
        except IndexError:
            made = self._made(pool, kernel, key, *how)
            if made is None:
                return False
            job = made
        if not job.is_tuned:
            tune(pool, job, kernel)
        ran = job.run_on(kernel, count, arrays, *how)
        if not job.is_spent:
            free.append(job)
        return ran
