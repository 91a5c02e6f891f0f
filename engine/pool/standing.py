"""Standing jobs: one program in chunks, run as often as one likes for the price of the dispatch.

A run is computed by the caller alone where telling a worker would take longer than the work.
What that means on this machine is measured (`engine.pool.handover`), and what the work takes is
learnt from every run, so a program that has become dearer is shared some runs later.

A worker that dies costs a run what it costs any job: the chunks that it has left are run again.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numba import njit, types

from engine.atomics import load, monotonic_ns, store_after
from engine.memory import arena as arena_module
from engine.memory.arrays import address_of
from engine.pool.board import (
    CHUNK,
    CHUNKS_RUN,
    COUNT,
    LENGTH,
    PARKED,
    STOP,
    WORD,
    WORKER_WORDS,
)
from engine.pool.chunk_length import chunk_length
from engine.pool.claims import run_claims
from engine.pool.driver import run_range
from engine.pool.error_notes import CALLER
from engine.pool.job import SPIN_NS
from engine.pool.planned import (
    COMPLETE,
    MARK_COUNT,
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
    from engine.pool.kernel import Kernel
    from engine.pool.pool import Pool
    from engine.pool.program import Program
    from engine.pool.tasks import Task

__all__ = [
    "AVERAGED",
    "COST_NS",
    "CUT_MAX",
    "INDEX_NS_MAX",
    "MORE_WORDS",
    "SEGMENT",
    "TOTAL",
    "StandingJob",
    "can_stand",
    "cut",
    "go_on",
]

# Chunks that a run is cut into, at most; marks take a byte each.
CUT_MAX = 8192

# What takes longer has to be interruptible, and it does not matter how it was begun.
_RUN_NS_MAX = 200_000_000
INDEX_NS_MAX = 20_000_000

# Sharing is taken to cost so much until it has been measured.
_AWAKE_NS, _PARKED_NS = 20_000, 100_000

# A short run seems dearer than it is when it is shared, and would be shared for ever: so of those
# that cost less than so many times the least that is worth it, one in so many is not shared.
_TRIAL_FACTOR = 8
_TRIAL_RUNS = 64

# Words of a plan, behind those of any planned job.
_ME = OWN_WORDS  # address of the words of the caller as one of those who claim
SEGMENT = OWN_WORDS + 1
TOTAL = OWN_WORDS + 2  # indices of the program
COST_NS = OWN_WORDS + 3  # what one core takes for all of them, as a moving average
_CUT_AWAKE_NS = OWN_WORDS + 4  # dearer runs are shared if a worker is awake,
_CUT_PARKED_NS = OWN_WORDS + 5  # and dearer ones than this in any case
_ENDED_NS = OWN_WORDS + 6  # when the last run ended
_BURST_NS = OWN_WORDS + 7  # a run that begins so soon after the last is one of many
_RUNS = OWN_WORDS + 8  # how often it was run
_PROCESSES = OWN_WORDS + 9
_BY_COST = OWN_WORDS + 10  # 1: is cut before each run, by what it costs
AVERAGED = OWN_WORDS + 11  # 1: the cost is that of the last run, and somebody else averages
_OWN_COUNT = 12
MORE_WORDS = OWN_WORDS + _OWN_COUNT  # what derived kinds have beside these


@njit(types.boolean(types.intp, types.int64, types.int64, types.float64), nogil=True, cache=True)
def cut(plan, count, grain, cost_ns):
    """Cut a job of `count` indices into chunks; False if a grain would make too many.

    Parameters
    ----------
    grain : int
        Indices of a chunk; 0: as many as what an index costs suggests, and as there may be.
    """
    length = grain
    if length == 0:
        length = chunk_length(cost_ns, count, load(plan + WORD * _PROCESSES))
        length = max(length, (count + CUT_MAX - 1) // CUT_MAX)
    chunks = (count + length - 1) // length
    if chunks > CUT_MAX:
        return False
    store_after(plan + WORD * (SLOT + COUNT), chunks)
    store_after(plan + WORD * (SLOT + STOP), count)
    store_after(plan + WORD * (SLOT + LENGTH), length)
    store_after(plan + WORD * MARK_COUNT, chunks)
    store_after(plan + WORD * TOTAL, count)
    return True


@njit(types.void(types.intp, types.int64), nogil=True, cache=True)
def _learn(plan, cost_ns):
    """Take a measured cost into the average, or note it for whoever keeps that."""
    if load(plan + WORD * AVERAGED) != 0:
        store_after(plan + WORD * COST_NS, max(cost_ns, 1))
        return
    before = load(plan + WORD * COST_NS)
    # A run that was interrupted says little about the next.
    cost_ns = min(cost_ns, max(2 * before, load(plan + WORD * _CUT_AWAKE_NS)))
    store_after(plan + WORD * COST_NS, (7 * before + 3 * cost_ns) // 10)


@njit(types.boolean(types.intp), nogil=True, cache=True)
def _compute_alone(plan):
    """Compute everything here if that is less work than sharing it; tell whether it was."""
    begun = monotonic_ns()
    cost_ns = load(plan + WORD * COST_NS)
    cut_ns = load(plan + WORD * _CUT_AWAKE_NS)
    runs = load(plan + WORD * _RUNS)
    store_after(plan + WORD * _RUNS, runs + 1)
    is_trial = cost_ns < _TRIAL_FACTOR * cut_ns and runs % _TRIAL_RUNS == _TRIAL_RUNS - 1
    if cost_ns > cut_ns and not is_trial:
        workers = load(plan)
        # A worker that was rung in a burst of calls comes too late for this one and stays
        # awake for the next.
        is_burst = begun - load(plan + WORD * _ENDED_NS) < load(plan + WORD * _BURST_NS)
        if (
            cost_ns > load(plan + WORD * _CUT_PARKED_NS)
            or is_burst
            or load(workers + WORD * PARKED) == 0
        ):
            return False
    program, scratch = program_of(plan)
    run_range(program, scratch, 0, load(plan + WORD * TOTAL))
    ended = monotonic_ns()
    if is_trial:
        store_after(plan + WORD * COST_NS, max(ended - begun, 1))
    else:
        _learn(plan, ended - begun)
    store_after(plan + WORD * _ENDED_NS, ended)
    return True


@njit(types.int64(types.intp, types.intp, types.int64), nogil=True, cache=True)
def go_on(plan, slot, serial):
    """Run chunks in the caller, then wait; `UNFINISHED`, `FAILED` or `COMPLETE`."""
    program, scratch = program_of(plan)
    me = load(plan + WORD * _ME)
    before = load(me + WORD * CHUNKS_RUN)
    begun = monotonic_ns()
    finished = run_claims(program, scratch, slot, me, load(plan + WORD * SEGMENT), SLICE_NS)
    elapsed_ns = monotonic_ns() - begun
    ran = load(me + WORD * CHUNKS_RUN) - before
    if ran > 0:
        _learn(plan, elapsed_ns * load(slot + WORD * COUNT) // ran)
    if finished == 0:
        return UNFINISHED
    state = wait(plan, slot, serial, SLICE_NS)
    store_after(plan + WORD * _ENDED_NS, monotonic_ns())
    return state


@njit(types.int64(types.intp, types.intp, types.int64), nogil=True, cache=True)
def _begin(plan, slot, serial):
    """Publish the job, and go on."""
    if load(plan + WORD * _BY_COST) != 0:
        total = load(plan + WORD * TOTAL)
        cut(plan, total, 0, load(plan + WORD * COST_NS) / total)
    publish(plan, slot, serial)
    return go_on(plan, slot, serial)


def can_stand(kernel: Kernel, total: int) -> bool:
    """Tell whether a kernel's cost is known, and worth a standing job for so many indices."""
    return 0 < kernel.cost_ns <= INDEX_NS_MAX and 0 < kernel.cost_ns * total <= _RUN_NS_MAX


class StandingJob(PlannedJob):
    """A job of one program, for a pool whose caller takes part.

    Parameters
    ----------
    pool : Pool
    kernel : Kernel
        Its cost per index is known.
    task, program
        As `PlannedJob`.
    more_words : int
        Words that a derived kind has in its plan, from `MORE_WORDS` on.
    by_cost : bool
        Whether the job is cut before each run, by what it costs, and not into the chunks of the
        task, which are `CUT_MAX` then, as many as there may be.

    Attributes
    ----------
    is_tuned : bool
        Whether `tune` was called.
    is_spent : bool
        Whether a run has failed: then somebody may still hold what the job is made of, and
        another one has to be made.

    Notes
    -----
    Concurrency: one run at a time.
    """

    def __init__(
        self,
        pool: Pool,
        kernel: Kernel,
        *,
        task: Task,
        program: Program,
        more_words: int = 0,
        by_cost: bool = False,
    ) -> None:
        super().__init__(
            pool,
            task=task,
            program=program,
            rung=pool.compiled_ranks,
            own_words=_OWN_COUNT + more_words,
            name=kernel.name,
            payload=kernel.payload(),
        )
        self.is_spent = self.is_tuned = False
        self._me = np.zeros(WORKER_WORDS, np.int64)
        self._all_marks = self._done
        plan = self._plan
        plan[_ME] = address_of(self._me)
        plan[SEGMENT] = arena_module.arena().base
        plan[TOTAL] = task.stop
        plan[COST_NS] = max(int(kernel.cost_ns * task.stop), 1)
        plan[_CUT_AWAKE_NS], plan[_CUT_PARKED_NS] = _AWAKE_NS, _PARKED_NS
        plan[_BURST_NS] = SPIN_NS if pool.may_spin else 0
        plan[_PROCESSES], plan[_BY_COST] = pool.processes, by_cost
        self._compute_alone = direct(_compute_alone)
        self._begin, self._go_on = direct(_begin), direct(go_on)

    @property
    def cost_ns(self) -> int:
        """What one core takes for a run, as far as is known."""
        return int(self._plan[COST_NS])

    def tune(self, awake_ns: int, parked_ns: int) -> None:
        """Say what is worth sharing, as `engine.pool.handover.Handover`."""
        self._plan[_CUT_AWAKE_NS], self._plan[_CUT_PARKED_NS] = awake_ns, parked_ns
        self.is_tuned = True

    def run(self) -> None:
        """Run every chunk, here or here and in the workers.

        Raises
        ------
        WorkerDiedError, PoolClosedError, PoolBrokenError
            See there.  An exception of the user's function is raised as it is.
        """
        try:
            if self._compute_alone(self._plan_at):
                return
        except Exception as error:
            self._annotate(error, -1, CALLER, None)
            raise
        self.share()

    def share(self) -> None:
        """Run the chunks together with the workers."""
        self._pool.want(self._pool.compiled_ranks)
        state = UNFINISHED
        slots = self._pool.slots
        self._slot = 0
        try:
            # An attribute: what a frame holds lives as long as the traceback of an error.
            self._held = slots.take_kept() or self._pool.take_slot()
            slot = self._slot = self._held.address
            serial = self.serial = next_serial()
            if self._losses.deaths:
                self._losses.take()  # Those of the run before, when that was over.
            self._supervisor.jobs[serial] = self
            state = self._run_planned(slot, serial)
            if state != COMPLETE:
                self.is_spent = True
                self._repair(slot)
        except BaseException as error:
            self.is_spent = True
            if self._slot:
                self._abandon(self._slot, error)
            raise
        finally:
            if state == COMPLETE:
                del self._supervisor.jobs[serial]
                held, self._held = self._held, None
                slots.keep(held)
                self._supervisor.look_again()
            elif self._slot:
                self._give_up_slot()
            else:
                self._held = None

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

    def _run_planned(self, slot: int, serial: int) -> int:
        try:
            state = self._begin(self._plan_at, slot, serial)
            while state == UNFINISHED:
                if self._errors or self._supervisor.failure is not None:
                    self._raise_error()
                state = self._go_on(self._plan_at, slot, serial)
        except Exception as error:
            if not self._errors and self._supervisor.failure is None:
                self._annotate(error, int(self._me[CHUNK]) - 1, CALLER, None)
            raise
        return int(state)
