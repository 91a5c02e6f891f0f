"""Joint jobs: chunks that run at the same time, each in a process of its own, any number of times.

What waits for each other cannot be claimed like other chunks, which one worker may run one after
the other, nor can it be run again when one of them has failed.  So each worker runs the chunk of
its own rank, once, and the first failure is that of the whole run.

All that changes from one run to the next is the slot of the board and the serial; the rest stands
in the job's *plan*, from which compiled code publishes it, runs the caller's own chunk and waits.
A run costs the caller a few hundred nanoseconds of Python.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import pickle
import threading
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
from engine.errors import WorkerDiedError
from engine.memory.arrays import address_of
from engine.pool.board import (
    BELL,
    COUNT,
    DONE,
    FIRST,
    IMAGE,
    IMAGE_WORDS,
    JOB,
    KEY,
    LEFT,
    LENGTH,
    NEXT,
    ORDER,
    PAYLOAD,
    PAYLOAD_BYTES,
    RANKS,
    SERIAL,
    STOP,
    TOGETHER,
    WORD,
    WORKER_WORDS,
    open_slot,
)
from engine.pool.driver import run_range
from engine.pool.job import SPIN_NS, Job, next_serial
from engine.sync.shared_words import direct

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.pool.kernel import Payload
    from engine.pool.pool import Pool
    from engine.pool.program import Program
    from engine.pool.tasks import Task

__all__ = ["JointJob"]

# Words of a plan.
_WORKERS, _WORKER_COUNT = 0, 1  # address of the workers' words, and how many workers there are
_TAKING_PART = 2  # how many of them run a chunk
_OWN = 3  # 1: chunk 0 is the caller's
_PROGRAM, _PROGRAM_WORDS, _SCRATCH, _SCRATCH_WORDS = 4, 5, 6, 7
_MARKS, _MARK_COUNT = 8, 9  # address of the bytes that say which chunks are done
_ZEROS, _ZERO_COUNT = 10, 11  # words that are 0 when a run begins
_SET_COUNT = 12  # how many words have another value then: address and value, at the end
_SPIN_NS = 13
_SLOT = 16  # the words of the slot
_SETS = 32

# What a wait comes to: not all have left yet; all have, but not all chunks are done; all is.
_UNFINISHED, _FAILED, _DONE = range(3)

# The caller returns to Python so often, to see signals and what else has happened.
_SLICE_NS = 20_000_000

# What has failed is known so long after it led to something else, at the latest.
_REPORT_S = 2.0


@njit(types.int64(types.intp, types.intp, types.int64, types.int64), nogil=True, cache=True)
def _wait(plan, slot, serial, limit_ns):
    """Wait until all workers have left; `_UNFINISHED`, `_FAILED` or `_DONE`."""
    bell = slot + WORD * LEFT
    workers = load(plan + WORD * _WORKERS)
    while True:
        seen = load(bell)
        if load(slot + WORD * NEXT) >= load(slot + WORD * COUNT):
            store(slot + WORD * SERIAL, 0)
            inside = 0
            for rank in range(load(plan + WORD * _WORKER_COUNT)):
                if load(workers + WORD * (rank * WORKER_WORDS + JOB)) == serial:
                    inside += 1
            if inside == 0:
                for at in range(load(plan + WORD * _MARK_COUNT)):
                    if load_byte(load(plan + WORD * _MARKS) + at) == 0:
                        return _FAILED
                return _DONE
        if await_ring(bell, seen, load(plan + WORD * _SPIN_NS), limit_ns) == seen:
            return _UNFINISHED


@njit(types.int64(types.intp, types.intp, types.int64), nogil=True, cache=True)
def _run(plan, slot, serial):
    """Publish a joint job, run the caller's chunk, and wait for those of the workers."""
    for at in range(load(plan + WORD * _SET_COUNT)):
        pair = plan + WORD * (_SETS + 2 * at)
        store_after(load(pair), load(pair + WORD))
    for at in range(load(plan + WORD * _ZERO_COUNT)):
        store_after(load(plan + WORD * _ZEROS) + WORD * at, 0)
    for at in range(load(plan + WORD * _MARK_COUNT)):
        store_byte(load(plan + WORD * _MARKS) + at, 0)
    for at in range(SERIAL + 1, TOGETHER + 1):
        store_after(slot + WORD * at, load(plan + WORD * (_SLOT + at)))
    # Whoever sees the serial sees all of this.
    open_slot(slot, serial)
    workers = load(plan + WORD * _WORKERS)
    for rank in range(load(plan + WORD * _TAKING_PART)):
        ring(workers + WORD * (rank * WORKER_WORDS + BELL))
    if load(plan + WORD * _OWN) != 0:
        program = carray(
            pointer_to(load(plan + WORD * _PROGRAM)), load(plan + WORD * _PROGRAM_WORDS), np.int64
        )
        scratch = carray(
            pointer_to(load(plan + WORD * _SCRATCH)), load(plan + WORD * _SCRATCH_WORDS), np.int64
        )
        run_range(program, scratch, 0, 1)
        store_byte(load(plan + WORD * _MARKS), 1)
    return _wait(plan, slot, serial, _SLICE_NS)


class JointJob(Job):
    """A job whose chunks run at the same time; it can be run again and again.

    Parameters
    ----------
    pool : Pool
    name : str
        Of the user's function.
    payload : Payload
    task : Task
        With as many chunks as processes that take part; its image says all.
    program : Program
        The same in this process.
    abort : callable
        Has those that wait for a chunk that has failed stop waiting.
    zeros : int64 array
        In shared memory: all 0 when a run begins.
    sets : sequence of (address, value)
        Words that have these values when a run begins.

    Notes
    -----
    Concurrency: one run at a time.  A job that has failed is not run again.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        name: str,
        payload: Payload,
        task: Task,
        program: Program,
        abort: Callable[[], None],
        zeros: np.ndarray[Any, Any],
        sets: Sequence[tuple[int, int]],
    ) -> None:
        super().__init__(
            pool,
            name=name,
            payload=payload,
            task=task,
            ranges=lambda rank: (rank, rank + 1),
            retries=0,
        )
        self._abort = abort
        self._program = program
        self._zeros = zeros
        self._plan = self._planned(program, zeros, sets)
        self._plan_at = address_of(self._plan)
        self._run_plan, self._wait_plan = direct(_run), direct(_wait)

    def _planned(
        self, program: Program, zeros: np.ndarray[Any, Any], sets: Sequence[tuple[int, int]]
    ) -> np.ndarray[Any, Any]:
        pool, task = self._pool, self._task
        own = int(not pool.isolate)
        taking_part = task.chunk_count - own
        plan = np.zeros(_SETS + 2 * len(sets), np.int64)
        plan[_WORKERS] = pool.board.worker(0)
        plan[_WORKER_COUNT] = pool.board.ranks
        plan[_TAKING_PART], plan[_OWN] = taking_part, own
        plan[_PROGRAM], plan[_PROGRAM_WORDS] = address_of(program.words), len(program.words)
        plan[_SCRATCH], plan[_SCRATCH_WORDS] = address_of(program.scratch), len(program.scratch)
        plan[_MARKS], plan[_MARK_COUNT] = address_of(self._done), len(self._done)
        plan[_ZEROS], plan[_ZERO_COUNT] = address_of(zeros), len(zeros)
        plan[_SET_COUNT] = len(sets)
        plan[_SPIN_NS] = SPIN_NS if pool.may_spin else 0
        image_at, _, done_at = self._offsets
        slot = plan[_SLOT:_SETS]
        slot[RANKS] = slot[COUNT] = taking_part
        slot[KEY] = self._payload.key
        slot[PAYLOAD], slot[PAYLOAD_BYTES] = self._payload.lease.offset, self._payload.nbytes
        slot[FIRST], slot[STOP], slot[LENGTH] = own, task.chunk_count, 1
        slot[ORDER], slot[DONE] = -1, done_at
        slot[IMAGE], slot[IMAGE_WORDS] = image_at, 0 if task.image is None else len(task.image)
        slot[TOGETHER] = 1
        plan[_SETS:] = np.array(sets, np.int64).reshape(-1)
        return plan

    def run(self) -> None:
        """Run every chunk once, all at the same time.

        Raises
        ------
        WorkerDiedError, PoolClosedError, PoolBrokenError
            See there.  What a chunk raised is raised as it is, with its number in a note.
        """
        held = self._pool.joint_slot
        if held is None:
            held = self._pool.joint_slot = self._pool.take_slot()
        slot = self._slot = held.address
        serial = self.serial = next_serial()
        if self._deaths:
            # Of the run before, when that was over.
            self._deaths = []
        state = _UNFINISHED
        try:
            self._supervisor.jobs[serial] = self
            state, own = self._run_once(slot, serial)
            if state != _DONE:
                self._abort()
                self._abandon(slot, own or Exception())
                self._raise_first(own)
        except BaseException as error:
            if not isinstance(error, Exception):
                self._abort()
                self._abandon(slot, error)
            raise
        finally:
            if state == _DONE:
                del self._supervisor.jobs[serial]
                self._supervisor.look_again()
            else:
                # Perhaps somebody is still inside: the slot stays with this job then.
                self._held, self._pool.joint_slot = held, None
                self._give_up_slot()

    def _run_once(self, slot: int, serial: int) -> tuple[int, Exception | None]:
        """Run until all is done or something has failed; what the caller's chunk raised."""
        try:
            state = self._run_plan(self._plan_at, slot, serial)
            while state == _UNFINISHED:
                if self._errors or self._deaths or self._supervisor.failure is not None:
                    break
                state = self._wait_plan(self._plan_at, slot, serial, _SLICE_NS)
        except Exception as error:  # noqa: BLE001 - raised when nobody is inside any more
            return _FAILED, error
        return state, None

    def note_error(self, rank: int, chunk: int, data: bytes, text: bytes) -> None:
        """Take what a chunk raised; the supervisor calls this."""
        super().note_error(rank, chunk, data, text)
        self._abort()

    def note_death(self, chunk: int, exitcode: int) -> None:
        """Take the death of a worker inside this job; the supervisor calls this."""
        self._deaths.append((chunk, exitcode))
        self._abort()
        self._call_off()

    def _raise_first(self, own: Exception | None) -> None:
        """Raise what led to the failure of the others; `own` is what the caller's chunk raised."""
        if own is None or isinstance(own, threading.BrokenBarrierError):
            # A consequence, of what the supervisor has heard by now or is about to.
            with self._supervisor.lock:
                self._supervisor.lock.wait_for(
                    lambda: self._errors or self._deaths or self._supervisor.failure, _REPORT_S
                )
        failures = [
            (chunk, pickle.loads(data))  # noqa: S301 - from a worker that we started
            for _, chunk, data, _ in self._errors
        ]
        if own is not None:
            failures.append((0, own))
        causes = [one for one in failures if not isinstance(one[1], threading.BrokenBarrierError)]
        if causes or (failures and not self._deaths):
            chunk, error = (causes or failures)[0]
            error.add_note(f"In rank {chunk} of {self._task.chunk_count} of {self._name}.")
            raise error from None
        if self._deaths:
            chunk, exitcode = self._deaths[0]
            died = WorkerDiedError(kernel=self._name, chunk=None, exitcode=exitcode, attempts=1)
            if chunk >= 0:
                died.add_note(f"In rank {chunk} of {self._task.chunk_count} of {self._name}.")
            raise died from None
        self._supervisor.raise_failure()
