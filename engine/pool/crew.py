"""The crew: the workers of one pool by rank, and the start-up process that they come from.

A worker's life, as this process sees it:

    state       started         spawned        ready       died / retiring
    ABSENT   -> STARTING
    STARTING                 -> STARTING    -> READY    -> ABSENT (and again)
    READY                                               -> ABSENT (and again)
"""

from __future__ import annotations

import contextlib
import itertools
import os
import selectors
from collections import Counter
from typing import TYPE_CHECKING, Any

from engine import system
from engine.atomics import store_word
from engine.memory import arena as arena_module
from engine.pool import board as words
from engine.pool.recruit import WorkerRecord, recruit
from engine.process.starter import Starter, StarterGoneError

if TYPE_CHECKING:
    from engine.pool.board import Board

__all__ = ["Crew"]

_TARGET = "engine.pool.worker:main"


class Crew:
    """The workers of one pool, and the process that starts them.

    Parameters
    ----------
    board : Board
    config : dict
        What every worker is told; see `engine.pool.worker.Worker`.
    keep : object
        Kept alive as long as workers may be started.
    selector : selectors.BaseSelector
        Where everybody is entered who may say something, with the `Starter` or the
        `WorkerRecord` as data.

    Attributes
    ----------
    wanted : int
        Workers of the ranks below this are to run.
    workers : dict
        The records of those that run or are being started, by rank.
    starter : Starter or None
        The start-up process, if there is one.

    Notes
    -----
    Concurrency: all methods are called with the supervisor's lock.
    """

    def __init__(
        self,
        board: Board,
        config: dict[str, Any],
        keep: Any,
        selector: selectors.BaseSelector,
    ) -> None:
        self.wanted = 0
        self.workers: dict[int, WorkerRecord] = {}
        self.starter: Starter | None = None
        self._board = board
        self._config = config
        self._keep = keep
        self._selector = selector
        self._past: Counter[str] = Counter()
        self._serials = itertools.count(1)

    def start_missing(self) -> None:
        """Start a worker for each wanted rank that has none.

        Raises
        ------
        OSError
            The system would not have one more process, or socket.
        """
        for rank in range(self.wanted):
            if rank in self.workers:
                continue
            try:
                starter = self.starter or self._begin()
                record = recruit(starter, self._board, self._config, rank, next(self._serials))
            except StarterGoneError:
                return  # its end-of-file is on the way, and leads back here
            self.workers[rank] = record
            self._selector.register(record.sock, selectors.EVENT_READ, record)

    def _begin(self) -> Starter:
        """Start the start-up process."""
        starter = self.starter = Starter(_TARGET, self._config["threads"], arena_module.arena().fd)
        # Its own descendants: every start-up process is one, and a system
        # that asks for permission remembers a single name.
        system.allow_reads_by(os.getpid())
        self._selector.register(starter.control, selectors.EVENT_READ, starter)
        return starter

    def kill(self, rank: int) -> None:
        """End the worker of a rank, if there is one."""
        record = self.workers.get(rank)
        if record is not None and self.starter is not None:
            with contextlib.suppress(StarterGoneError):
                self.starter.kill(record.serial)

    def kill_those_in(self, serial: int) -> None:
        """End every worker that has announced a job."""
        for rank in self.workers:
            worker = self._board.view(self._board.worker(rank), words.WORKER_WORDS)
            if worker[words.JOB] == serial:
                self.kill(rank)

    def is_whole(self) -> bool:
        """Tell whether a process runs for every rank that is wanted."""
        return sum(one.pid > 0 for one in self.workers.values()) == self.wanted

    def counters(self) -> Counter[str]:
        """Sum of what all workers, also past ones, compiled and loaded."""
        return sum((one.counted for one in self.workers.values()), self._past)

    def lose_starter(self) -> None:
        """Be done with a start-up process that has ended."""
        if self.starter is not None:
            self._selector.unregister(self.starter.control)
            self.starter.close()
            self.starter = None

    def lose(self, record: WorkerRecord, exitcode: int) -> None:
        """Be done with a worker that has ended, and whose last words were heard."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(record.sock)
        record.close()
        record.exitcode = exitcode
        del self.workers[record.rank]
        self._past += record.counted

    def end(self) -> None:
        """End every process, and wait until it is gone."""
        if self.starter is not None:
            self.starter.close()
            self.starter = None
        for record in self.workers.values():
            record.sock.close()
            system.end_process(record.process_fd)
            store_word(self._board.worker(record.rank) + words.WORD * words.JOB, 0)
        self.workers.clear()

    def leave_to_parent(self) -> None:
        """Close what a forked child inherited: the workers are its parent's.

        Otherwise the child would hold the lifeline of the parent's workers, and they
        would outlive their caller as long as the child lives.
        """
        for record in self.workers.values():
            record.close()
        if self.starter is not None:
            self.starter.control.close()
