"""Hearing: what workers say, and who is told of it.

A worker says that it is ready, what it has loaded, that it leaves, and in a job that its
function raised or that it needs memory.  The supervisor's thread hears it.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

from engine.memory.refs import set_private_in_reach

if TYPE_CHECKING:
    import selectors

    from engine.pool.failed_starts import FailedStarts
    from engine.pool.job import Job
    from engine.pool.recruit import WorkerRecord

__all__ = ["Hearing"]


class Hearing:
    """Hears the workers of one pool.

    Parameters
    ----------
    jobs : dict
        The calls under way, by serial.
    failed_starts : FailedStarts
    selector : selectors.BaseSelector
        Where workers are entered as long as they have something to say.

    Attributes
    ----------
    job_serial : int
        Of the job that is being told something just now; 0: of none.

    Notes
    -----
    Concurrency: called with the supervisor's lock; `job_serial` is read without it.
    """

    def __init__(
        self, jobs: dict[int, Job], failed_starts: FailedStarts, selector: selectors.BaseSelector
    ) -> None:
        self.job_serial = 0
        self._jobs = jobs
        self._failed_starts = failed_starts
        self._selector = selector

    def hear(self, record: WorkerRecord) -> bool:
        """Act on one message of a worker; False at the end of its messages."""
        said = record.receive()
        if said is None:
            # It is ending; its parent's report will say how.
            with contextlib.suppress(KeyError):
                self._selector.unregister(record.sock)
            return False
        message, counted = said
        record.counted = Counter(counted)
        verb, *rest = message
        if verb == "ready":
            record.ready = True
            set_private_in_reach(reachable=rest[0])
            self._failed_starts.end_row()
        elif verb == "initializer failed":
            self._failed_starts.explain(f"the initializer raised:\n{rest[0][1].decode()}")
        elif verb == "retiring":
            # Leaving on purpose is no failed start, even before the first task.
            record.ready = True
        elif verb != "loaded":
            self.hear_of_job(record, verb, rest)
        return True

    def hear_of_job(self, record: WorkerRecord, verb: str, rest: list[Any]) -> None:
        """Tell a job what a worker says about it, and answer if that asks for something."""
        serial, chunk, *detail = rest
        self.job_serial = serial  # before the look at the jobs: see `Supervisor.let_go`
        job = self._jobs.get(serial)
        if verb == "error":
            if job is not None:
                job.note_error(record.rank, chunk, *detail[0])
        else:
            record.answer(
                job.provide(record.rank, verb, chunk, *detail) if job is not None else None
            )
        self.job_serial = 0
