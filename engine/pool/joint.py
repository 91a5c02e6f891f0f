"""Joint jobs: chunks that run at the same time, each in a process of its own, any number of times.

What waits for each other cannot be claimed like other chunks, which one worker may run one after
the other, nor can it be run again when one of them has failed.  So each worker runs the chunk of
its own rank, once, and the first failure is that of the whole run.

They are planned jobs (`engine.pool.planned`): compiled code publishes them, runs the caller's own
chunk and waits.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import pickle
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit, types

from engine.atomics import load, store_after, store_byte
from engine.errors import WorkerDiedError
from engine.memory.arrays import address_of
from engine.pool.board import COUNT, FIRST, LENGTH, RANKS, STOP, TOGETHER, WORD
from engine.pool.driver import run_range
from engine.pool.planned import (
    COMPLETE,
    FAILED,
    MARKS,
    OWN_WORDS,
    SLICE_NS,
    SLOT,
    UNFINISHED,
    PlannedJob,
    program_of,
    publish,
    wait,
)
from engine.pool.slots import next_serial
from engine.sync.shared_words import direct

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.pool.kernel import Payload
    from engine.pool.pool import Pool
    from engine.pool.program import Program
    from engine.pool.tasks import Task

__all__ = ["JointJob"]

# Words of a plan, behind those of any planned job.
_OWN = OWN_WORDS  # 1: chunk 0 is the caller's
_ZEROS, _ZERO_COUNT = OWN_WORDS + 1, OWN_WORDS + 2  # words that are 0 when a run begins
_SET_COUNT = OWN_WORDS + 3  # how many words have another value then:
_SETS = OWN_WORDS + 4  # address and value of each

# What has failed is known so long after it led to something else, at the latest.
_REPORT_S = 2.0


@njit(types.int64(types.intp, types.intp, types.int64), nogil=True, cache=True)
def _run(plan, slot, serial):
    """Publish a joint job, run the caller's chunk, and wait for those of the workers."""
    for at in range(load(plan + WORD * _SET_COUNT)):
        pair = plan + WORD * (_SETS + 2 * at)
        store_after(load(pair), load(pair + WORD))
    for at in range(load(plan + WORD * _ZERO_COUNT)):
        store_after(load(plan + WORD * _ZEROS) + WORD * at, 0)
    publish(plan, slot, serial)
    if load(plan + WORD * _OWN) != 0:
        program, scratch = program_of(plan)
        run_range(program, scratch, 0, 1)
        store_byte(load(plan + WORD * MARKS), 1)
    return wait(plan, slot, serial, SLICE_NS)


class JointJob(PlannedJob):
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
        own = int(not pool.isolate)
        taking_part = task.chunk_count - own
        super().__init__(
            pool,
            task=task,
            program=program,
            rung=taking_part,
            own_words=_SETS - OWN_WORDS + 2 * len(sets),
            name=name,
            payload=payload,
            retries=0,
        )
        self._abort = abort
        self._zeros = zeros
        plan = self._plan
        plan[_OWN] = own
        plan[_ZEROS], plan[_ZERO_COUNT] = address_of(zeros), len(zeros)
        plan[_SET_COUNT] = len(sets)
        plan[_SETS:] = np.array(sets, np.int64).reshape(-1)
        slot = plan[SLOT:]
        slot[RANKS] = slot[COUNT] = taking_part
        slot[FIRST], slot[STOP], slot[LENGTH] = own, task.chunk_count, 1
        slot[TOGETHER] = 1
        self._run_plan, self._wait_plan = direct(_run), direct(wait)

    def run(self) -> None:
        """Run every chunk once, all at the same time.

        Raises
        ------
        WorkerDiedError, PoolClosedError, PoolBrokenError
            See there.  What a chunk raised is raised as it is, with its number in a note.
        """
        self._held = self._pool.slots.take_kept() or self._pool.take_slot()
        slot = self._slot = self._held.address
        serial = self.serial = next_serial()
        if self._losses.deaths:
            self._losses.take()  # Those of the run before, when that was over.
        state = UNFINISHED
        try:
            self._supervisor.jobs[serial] = self
            state, own = self._run_once(slot, serial)
            if state != COMPLETE:
                self._abort()
                self._abandon(slot, own or Exception())
                self._raise_first(own)
        except BaseException as error:
            if not isinstance(error, Exception):
                self._abort()
                self._abandon(slot, error)
            raise
        finally:
            if state == COMPLETE:
                del self._supervisor.jobs[serial]
                held, self._held = self._held, None
                self._pool.slots.keep(held)
                self._supervisor.look_again()
            else:
                # Perhaps somebody is still inside: the slot stays with this job then.
                self._give_up_slot()

    def _run_once(self, slot: int, serial: int) -> tuple[int, Exception | None]:
        """Run until all is done or something has failed; what the caller's chunk raised."""
        try:
            state = self._run_plan(self._plan_at, slot, serial)
            while state == UNFINISHED:
                if self._errors or self._losses.deaths or self._supervisor.failure is not None:
                    break
                state = self._wait_plan(self._plan_at, slot, serial, SLICE_NS)
        except Exception as error:  # noqa: BLE001 - raised when nobody is inside any more
            return FAILED, error
        return state, None

    def note_error(self, rank: int, chunk: int, data: bytes, text: bytes) -> None:
        """Take what a chunk raised; the supervisor calls this."""
        super().note_error(rank, chunk, data, text)
        self._abort()

    def note_death(self, chunk: int, exitcode: int) -> None:
        """Take the death of a worker inside this job; the supervisor calls this."""
        self._losses.note(chunk, exitcode, self._done)
        self._abort()
        self._call_off()

    def _raise_first(self, own: Exception | None) -> None:
        """Raise what led to the failure of the others; `own` is what the caller's chunk raised."""
        losses = self._losses
        if own is None or isinstance(own, threading.BrokenBarrierError):
            # A consequence, of what the supervisor has heard by now or is about to.
            with self._supervisor.lock:
                self._supervisor.lock.wait_for(
                    lambda: self._errors or losses.deaths or self._supervisor.failure,
                    _REPORT_S,
                )
        failures = [
            (chunk, pickle.loads(data))  # noqa: S301 - from a worker that we started
            for _, chunk, data, _ in self._errors
        ]
        if own is not None:
            failures.append((0, own))
        causes = [one for one in failures if not isinstance(one[1], threading.BrokenBarrierError)]
        if causes or (failures and not losses.deaths):
            chunk, error = (causes or failures)[0]
            error.add_note(f"In rank {chunk} of {self._task.chunk_count} of {self._name}.")
            raise error from None
        if losses.deaths:
            chunk, exitcode = losses.deaths[0]
            died = WorkerDiedError(kernel=self._name, chunk=None, exitcode=exitcode, attempts=1)
            if chunk >= 0:
                died.add_note(f"In rank {chunk} of {self._task.chunk_count} of {self._name}.")
            raise died from None
        self._supervisor.raise_failure()
