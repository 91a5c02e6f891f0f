"""What it costs on this machine to hand work to a worker, measured once for a pool.

Work is worth sharing if what the others take off the caller's hands is more than what the caller
pays for it: a round of the board if they are awake; and as long as they sleep on, they take nothing
off at all.  Both depend on the machine a hundredfold, so nobody can guess them.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from numba import njit, types

from engine.atomics import load_word, monotonic_ns, pause, store_after
from engine.pool.board import PARKED, WORD, is_claimed
from engine.pool.planned import publish
from engine.pool.standing import MORE_WORDS, StandingJob, go_on
from engine.sync.shared_words import direct

if TYPE_CHECKING:
    from engine.pool.kernel import Kernel
    from engine.pool.pool import Pool
    from engine.pool.program import Program
    from engine.pool.tasks import Task

__all__ = ["Handover", "tune"]

# Words of a round's plan.
_CLAIMED_NS, _ROUND_NS = MORE_WORDS, MORE_WORDS + 1

# Nobody waits longer for a worker that has been put off its core.
_PATIENCE_NS = 5_000_000

_ROUNDS_AWAKE, _ROUNDS_PARKED, _ROUNDS_NOT_COUNTED = 15, 5, 3

_FALLS_ASLEEP_S = 0.02

_NEVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Handover:
    """What handing over costs.

    Attributes
    ----------
    round_ns : int
        From the publication of a job to its end, if it is no work and a worker that is awake
        does it.
    waking_ns : int
        From the publication to the first claim, if the worker sleeps.
    alone_ns : int
        Work of so much time of one core is not shared with workers that are awake,
    alone_parked_ns : int
        and of so much not with workers that sleep.
    """

    round_ns: int
    waking_ns: int
    alone_ns: int
    alone_parked_ns: int

    @classmethod
    def of(cls, round_ns: int, waking_ns: int, participants: int) -> Handover:
        """Conclude from the times what is worth sharing among so many."""
        # With c the cost: alone it takes c, and together c / participants and the round, of
        # which twice as much is counted, because nothing comes at the best moment among work.
        alone_ns = 2 * round_ns * participants // (participants - 1)
        return cls(round_ns, waking_ns, alone_ns, waking_ns + alone_ns)


@njit(types.int64(types.intp, types.intp, types.int64), nogil=True, cache=True)
def _round(plan, slot, serial):
    """Publish a job, leave it to the workers for a while, and note when they come and go."""
    begun = monotonic_ns()
    publish(plan, slot, serial)
    claimed = begun
    while not is_claimed(slot):
        pause()
        claimed = monotonic_ns()
        if claimed - begun > _PATIENCE_NS:
            break
    state = go_on(plan, slot, serial)
    store_after(plan + WORD * _CLAIMED_NS, claimed - begun)
    store_after(plan + WORD * _ROUND_NS, monotonic_ns() - begun)
    return state


class _Rounds(StandingJob):
    """A job of one chunk that is no work, to be done by a worker."""

    def __init__(self, pool: Pool, kernel: Kernel, task: Task, program: Program) -> None:
        nothing = replace(task, chunk_count=1, first=0, stop=0, chunk_length=0)
        super().__init__(pool, kernel, task=nothing, program=program, more_words=2)
        self._begin = direct(_round)

    def measure(self) -> Handover | None:
        """Measure rounds with workers that are awake and with workers that sleep.

        None if a worker has died meanwhile, because the job is not used again then.
        """
        for _ in range(_ROUNDS_NOT_COUNTED):
            # The first of them brings the kernel's code to the worker.
            if self.is_spent:
                return None
            self.share()
        rounds_ns, wakings_ns = [], []
        for _ in range(_ROUNDS_AWAKE):
            if self.is_spent:
                return None
            self.share()
            rounds_ns.append(int(self._plan[_ROUND_NS]))
        for _ in range(_ROUNDS_PARKED):
            self._await_sleep()
            if self.is_spent:
                return None
            self.share()
            wakings_ns.append(int(self._plan[_CLAIMED_NS]))
        return Handover.of(
            int(statistics.median(rounds_ns)),
            int(statistics.median(wakings_ns)),
            self._pool.compiled_ranks + 1,
        )

    def _await_sleep(self) -> None:
        """Wait until the first worker sleeps, for a while.

        Nobody rings when a worker goes to sleep, and this is done once a pool: so it looks.
        """
        deadline_s = time.monotonic() + _FALLS_ASLEEP_S
        parked = self._pool.board.worker(0) + WORD * PARKED
        while load_word(parked) == 0 and time.monotonic() < deadline_s:
            time.sleep(0.0001)


def tune(pool: Pool, job: StandingJob, kernel: Kernel) -> None:
    """Tell a job what handing over costs, as soon as that can be measured."""
    if pool.compiled_ranks == 0:
        job.tune(_NEVER, _NEVER)
        return
    if pool.handover is None:
        if not pool.supervisor.has_ready(pool.compiled_ranks):
            return
        pool.handover = _Rounds(pool, kernel, job.task, job.program).measure()
        if pool.handover is None:
            return
    job.tune(pool.handover.alone_ns, pool.handover.alone_parked_ns)
