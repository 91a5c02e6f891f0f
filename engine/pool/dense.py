"""Dense jobs: a standing job that is aimed at other arrays before each run.

What differs between two calls of the same kernel on dense arrays of one shape is a few words: the
addresses, the length, and how it is cut.  Compiled code writes them into the program, the image and
the plan, so a call on arrays in shared memory costs the caller next to no Python.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import ctypes
import threading
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit, types

from engine.atomics import load, store_after
from engine.memory import arena as arena_module
from engine.memory.arrays import address_of
from engine.pool.board import COUNT, IMAGE, LENGTH, STOP, WORD
from engine.pool.cells import BIT, INDEX
from engine.pool.chunk_length import chunk_length
from engine.pool.driver import BASE, CELL, HEADER
from engine.pool.handover import tune
from engine.pool.planned import MARK_COUNT, PROGRAM, SLOT
from engine.pool.program import Operand, bind_here, specify
from engine.pool.standing import COST_NS, MORE_WORDS, SEGMENT, TOTAL, StandingJob, can_stand
from engine.pool.tasks import Task
from engine.sync.shared_words import direct

if TYPE_CHECKING:
    from engine.pool.kernel import Kernel
    from engine.pool.pool import Pool

__all__ = ["DenseJobs"]

# Chunks that a run is cut into, at most; marks take a byte each.
_CHUNKS_MAX = 8192

# Cells that a kernel may have, so that a set of them is a word.
_CELLS_MAX = 62

# Words of a plan, behind those of any standing job.
_SEGMENT_END = MORE_WORDS
_PROCESSES = MORE_WORDS + 1
_CELL_COUNT = MORE_WORDS + 2
_BITS = MORE_WORDS + 3  # the cells that are bits, as a set: their addresses count bits
_NUMBERS = MORE_WORDS + 4  # the cells that are one number for all indices, as a set
_OWN_WORDS = 5


@njit(types.boolean(types.intp, types.intp, types.int64, types.float64), nogil=True, cache=True)
def _aim(plan, addresses, count, cost_ns):
    """Point a job at arrays of `count` elements; False if that cannot be."""
    cells = load(plan + WORD * _CELL_COUNT)
    segment, end = load(plan + WORD * SEGMENT), load(plan + WORD * _SEGMENT_END)
    bits, numbers = load(plan + WORD * _BITS), load(plan + WORD * _NUMBERS)
    for k in range(cells):
        shift = 3 * (bits >> k & 1)
        if numbers >> k & 1 == 0 and not segment <= load(addresses + WORD * k) >> shift < end:
            return False
    program = load(plan + WORD * PROGRAM)
    image = segment + load(plan + WORD * (SLOT + IMAGE))
    for k in range(cells):
        at = WORD * (HEADER + 1 + k * (CELL + 1) + BASE)
        address = load(addresses + WORD * k)
        store_after(program + at, address)
        if numbers >> k & 1 == 0:
            # The image holds numbers themselves, and the offsets of all else.
            store_after(image + at, address - (segment << 3 * (bits >> k & 1)))
    # The one axis of the program.
    store_after(program + WORD * HEADER, count)
    store_after(image + WORD * HEADER, count)
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


class DenseJob(StandingJob):
    """A standing job of a kernel whose cells are all scalars.

    Parameters
    ----------
    pool : Pool
        Not kept alive.
    kernel : Kernel
    addresses : list of int
        Of arrays in the segment, one a cell; in bits where cells are bits.
    numbers : int
        The cells that are one number for all indices, as a set; they may be anywhere.

    Notes
    -----
    Concurrency: one run at a time; whoever finds `busy` held does without this job.
    """

    def __init__(self, pool: Pool, kernel: Kernel, addresses: list[int], numbers: int) -> None:
        cells = kernel.cells
        # Outside the segment, so that the image holds them.
        room = np.zeros(len(cells), "V16")
        operands = [
            Operand(cell, address_of(room[k:]), (0,), refer=_never)
            if numbers >> k & 1
            else Operand(cell, addresses[k], (kernel.dense_steps[k],), refer=_never)
            for k, cell in enumerate(cells)
        ]
        program = bind_here(kernel.address, (1,), operands)
        image, _, _ = specify(program, operands)
        super().__init__(
            weakref.proxy(pool),
            kernel,
            task=Task(_CHUNKS_MAX, 0, 1, 1, image),
            program=program,
            more_words=_OWN_WORDS,
        )
        self.busy = threading.Lock()
        self._all_marks = self._done
        self._keep: Any = None
        self._plan[_SEGMENT_END] = self._plan[SEGMENT] + arena_module.arena().family.nbytes
        self._plan[_PROCESSES] = pool.processes
        self._plan[_CELL_COUNT] = len(cells)
        self._plan[_BITS] = sum(1 << k for k, cell in enumerate(cells) if cell.storage == BIT)
        self._plan[_NUMBERS] = numbers
        # Where the image holds a number, and how long it is.
        segment_image = arena_module.arena().base + self._offsets[0]
        self._numbers = [
            (k, segment_image + int(image[HEADER + 1 + k * (CELL + 1) + BASE]), one.cell_bytes)
            for k, one in enumerate(operands)
            if numbers >> k & 1
        ]
        self._aim = direct(_aim)

    def run_on(
        self, kernel: Kernel, arrays: tuple[Any, ...], addresses: list[int], count: int
    ) -> bool:
        """Run the kernel on arrays of so many elements; False if not all are in the segment.

        Parameters
        ----------
        arrays : tuple
            What keeps the bytes at `addresses` alive.
        """
        for k, place, nbytes in self._numbers:
            ctypes.memmove(place, addresses[k], nbytes)
        words = np.array(addresses, np.int64)
        if not self._aim(self._plan_at, address_of(words), count, kernel.cost_ns):
            return False
        self._keep = arrays
        self.run()
        # Not after a failure: somebody may still be at it.
        self._keep = None
        kernel.learn_cost(self.cost_ns, count)
        return True

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


def _never() -> Any:
    message = "an array of a dense job is not in the segment"
    raise AssertionError(message)


def _can_be_dense(kernel: Kernel, addresses: list[int], numbers: int) -> bool:
    """Tell whether a job of a kernel can be aimed at arrays at these addresses."""
    cells = kernel.cells
    if len(cells) > _CELLS_MAX or any(one.ndim or one.storage == INDEX for one in cells):
        return False
    if any(one.storage == BIT for one in kernel.outputs):
        # Chunks of bits must not share a byte.
        return False
    arena = arena_module.arena()
    return all(
        numbers >> k & 1
        or arena.offset_of(addresses[k] >> 3 if cell.storage == BIT else addresses[k]) is not None
        for k, cell in enumerate(cells)
    )


class DenseJobs:
    """The dense jobs of one pool, by kernel.

    Notes
    -----
    Concurrency: any thread.
    """

    def __init__(self) -> None:
        # By kernel, and by which of its cells are numbers.
        self._jobs: weakref.WeakKeyDictionary[Kernel, dict[int, DenseJob]] = (
            weakref.WeakKeyDictionary()
        )

    def run(
        self,
        pool: Pool,
        kernel: Kernel,
        arrays: tuple[Any, ...],
        addresses: list[int],
        count: int,
        numbers: int = 0,
    ) -> bool:
        """Run a kernel of scalars on dense arrays in the segment, if there can be a job for that.

        Parameters
        ----------
        arrays : tuple
            What keeps the bytes at `addresses` alive.
        addresses : list of int
            Of the first elements, which the others follow without a gap; in bits where the
            kernel's cells are bits.
        count : int
        numbers : int
            The cells, as a set, that are one number for all indices.

        Returns
        -------
        bool
            False if nothing was done: an array is elsewhere, another thread uses the job, or the
            work is so long that it should be interruptible.
        """
        if not can_stand(kernel, count):
            return False
        jobs = self._jobs.get(kernel)
        job = None if jobs is None else jobs.get(numbers)
        if job is None or job.is_spent:
            if not _can_be_dense(kernel, addresses, numbers):
                return False
            job = DenseJob(pool, kernel, addresses, numbers)
            self._jobs.setdefault(kernel, {})[numbers] = job
        if not job.busy.acquire(blocking=False):
            return False
        try:
            if not job.is_tuned:
                tune(pool, job, kernel)
            return job.run_on(kernel, arrays, addresses, count)
        except BaseException:
            # It holds the arrays of this run for as long as it lives.
            self._jobs.get(kernel, {}).pop(numbers, None)
            raise
        finally:
            job.busy.release()
