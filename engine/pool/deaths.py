"""Deaths: what a worker leaves on the board and in calls, and who is told of it.

All of it is done when the system has confirmed that the process is gone: whatever the
worker had announced is reported to its job, its words are cleared, and whoever waits is
rung.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.atomics import store_word
from engine.pool import board as words

if TYPE_CHECKING:
    from engine.pool.board import Board
    from engine.pool.calls import Calls
    from engine.pool.job import Job

__all__ = ["report_death"]


def report_death(
    board: Board, rank: int, exitcode: int, jobs: dict[int, Job], calls: Calls | None
) -> None:
    """Tell the job and the calls that a worker was in of its death.

    Called with the supervisor's lock.

    Parameters
    ----------
    board : Board
    rank, exitcode : int
        Of the worker that is gone.
    jobs : dict
        The calls under way, by serial.
    calls : Calls, optional
        The pool's calls of Python functions, if there were any.
    """
    address = board.worker(rank)
    worker = board.view(address, words.WORKER_WORDS)
    serial, chunk = int(worker[words.JOB]), int(worker[words.CHUNK]) - 1
    job = jobs.get(serial)
    if job is not None:
        job.note_death(chunk, exitcode)
    # Cleared only now: until here the job had to count this worker as inside.
    worker[words.CHUNK] = 0
    store_word(address + words.WORD * words.JOB, 0)
    if job is not None:
        job.wake()
    if calls is not None:
        worker[words.WAITING] = 0
        calls.note_death(rank, exitcode)
