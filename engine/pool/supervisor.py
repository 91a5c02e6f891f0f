"""The supervisor: one thread of the caller that watches over a pool's workers.

It hears what the start-up process and the workers send, starts a worker for each
rank that is wanted and replaces those that die, and ends all of them with the pool.
"""

from __future__ import annotations

import os
import selectors
import threading
import weakref
from typing import TYPE_CHECKING, Any

from engine import system
from engine.atomics import ring, store_word
from engine.errors import EngineError, PoolBrokenError, PoolClosedError, describe_exitcode
from engine.pool import board as words
from engine.pool.crew import Crew
from engine.pool.deaths import report_death
from engine.pool.failed_starts import FailedStarts
from engine.pool.hearing import Hearing
from engine.process.starter import Starter

if TYPE_CHECKING:
    from collections import Counter

    from engine.pool.board import Board
    from engine.pool.calls import Calls
    from engine.pool.job import Job
    from engine.pool.recruit import WorkerRecord

__all__ = ["Supervisor"]

_alive: weakref.WeakSet[Supervisor] = weakref.WeakSet()


class Supervisor:
    """Keeps the workers of one pool alive.

    Parameters
    ----------
    board : Board
    config : dict
        What every worker is told; see `engine.pool.worker.Worker`.
    keep : object, optional
        Kept alive as long as workers may be started.

    Notes
    -----
    Concurrency: public methods may be called from any thread; they take `lock`.
    `jobs` is changed without it, by one dictionary operation each.
    """

    def __init__(self, board: Board, config: dict[str, Any], keep: Any = None) -> None:
        self.lock = threading.Condition()
        self.jobs: dict[int, Job] = {}
        self.failure: EngineError | None = None
        self.deaths = 0
        self.abandoned: list[Job] = []
        self._calls: Calls | None = None
        self._pid = os.getpid()
        self._board = board
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = os.pipe()
        self._selector.register(self._wake_reader, selectors.EVENT_READ, None)
        self._crew = Crew(board, config, keep, self._selector)
        self._failed_starts = FailedStarts()
        self._hearing = Hearing(self.jobs, self._failed_starts, self._selector)
        self._ends_when_idle = False
        self._closing = False
        self._thread: threading.Thread | None = None
        _alive.add(self)

    def want(self, ranks: int) -> None:
        """See to it that workers of the ranks below `ranks` run, now and from now on."""
        if self._thread is not None and ranks <= self._crew.wanted:
            return
        with self.lock:
            self.raise_failure()
            if self._thread is None:
                thread = threading.Thread(
                    target=self._watch, name="numcrew-supervisor", daemon=True
                )
                thread.start()
                self._thread = thread
            # The supervisor starts them, out of the reach of Ctrl-C.
            self._crew.wanted = max(self._crew.wanted, ranks)
            os.write(self._wake_writer, b"w")

    def raise_failure(self) -> None:
        """Raise what ended the pool, if it has ended; a new instance for each call."""
        if self.failure is not None:
            raise type(self.failure)(*self.failure.args)
        if self._closing:
            raise _closed()

    def ring(self, ranks: int) -> None:
        """Tell the workers below a rank that the board has changed."""
        for rank in range(min(ranks, self._crew.wanted)):
            ring(self._board.worker(rank) + words.WORD * words.BELL)

    def kill_workers_in(self, serial: int) -> None:
        """End every worker that has announced a job; the jobs' waiters see it when done."""
        with self.lock:
            self._crew.kill_those_in(serial)

    def kill_worker(self, rank: int) -> None:
        """End the worker of a rank, if there is one; another takes its place."""
        with self.lock:
            self._crew.kill(rank)

    def let_go(self, serial: int) -> None:
        """Be done with a job that was taken out of `jobs`; its slot can then be another's.

        Without the lock, which a supervisor that starts workers holds for milliseconds,
        but where it is needed: an error that a worker sent in a job that was finished by
        others may be in the supervisor's hands just now.  It says so before it looks
        for the job, and this looks after the job is gone, so one of them sees the other.
        """
        if self._hearing.job_serial == serial:
            with self.lock:
                self.lock.notify_all()
        self.look_again()

    def look_again(self) -> None:
        """Look whether a pool that was closed has come to its end."""
        if self._ends_when_idle:
            with self.lock:
                if self._wake_writer >= 0:
                    os.write(self._wake_writer, b"w")

    def serve(self, calls: Calls) -> None:
        """Tell the pool's calls of deaths, and of the end, from now on."""
        with self.lock:
            self._calls = calls
            if self.failure is not None:
                calls.abort(self.failure)
                calls.stop(wait=False)

    def whole_crew(self) -> list[WorkerRecord]:
        """Wait until every wanted worker runs; give them by rank."""
        with self.lock:
            self.lock.wait_for(
                lambda: self.failure is not None or self._closing or self._crew.is_whole()
            )
            return sorted(self._crew.workers.values(), key=lambda one: one.rank)

    def workers(self) -> list[WorkerRecord]:
        """The workers that run or are being started."""
        with self.lock:
            return list(self._crew.workers.values())

    def has_ready(self, ranks: int) -> bool:
        """Tell whether so many workers are ready for work."""
        return sum(one.ready for one in self.workers()) >= ranks

    def counters(self) -> Counter[str]:
        """Sum of what all workers, also past ones, compiled and loaded."""
        with self.lock:
            return self._crew.counters()

    def close_when_idle(self) -> None:
        """End all workers when no job runs and no call is left; returns at once."""
        with self.lock:
            self._ends_when_idle = True
            if self._thread is not None:
                if self._wake_writer >= 0:
                    os.write(self._wake_writer, b"w")
                return
            self._closing = True
        self._release()

    def close(self) -> None:
        """End all workers and the thread."""
        if self._pid != os.getpid():
            return  # a forked child ends; the pool is its parent's
        with self.lock:
            if self._wake_writer < 0:
                return
            self._closing = True
            if self._thread is not None:
                os.write(self._wake_writer, b"q")
        if self._thread is None:
            self._release()
        elif self._thread is not threading.current_thread():
            self._thread.join()
        # On the supervisor's own thread (the last reference to a pool can die
        # anywhere) its loop sees `_closing` and releases everything by itself.

    def join(self) -> None:
        """Wait until all workers and threads have ended."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        if self._calls is not None:
            self._calls.stop(wait=True)

    def _close_if_idle(self) -> None:
        """Tell the workers of a closed pool to leave when all is done; with the lock."""
        if not self._ends_when_idle or self._closing:
            return
        if self.failure is None and (self.jobs or (self._calls and self._calls.results)):
            return
        self._closing = True
        for rank in self._crew.workers:
            store_word(self._board.worker(rank) + words.WORD * words.CLOSING, 1)
        self.ring(self._crew.wanted)

    def _release(self) -> None:
        """Give back every process and descriptor; nothing is watched after this."""
        with self.lock:
            if self._wake_writer < 0:
                return
            self._crew.end()
            self.failure = self.failure or _closed()
            for job in list(self.jobs.values()):
                job.wake()
            if self._calls is not None:
                self._calls.abort(self.failure)
                self._calls.stop(wait=False)
            self._selector.close()
            os.close(self._wake_reader)
            os.close(self._wake_writer)
            self._wake_writer = -1
            self.lock.notify_all()

    def _spawn_missing(self) -> None:
        """Start a worker for each wanted rank that has none; called with the lock."""
        if self._closing or self.failure is not None:
            return
        try:
            self._crew.start_missing()
        except OSError as error:
            self._break(f"a worker process could not be started: {error}")

    def _watch(self) -> None:
        """Read and act until the pool closes; the thread's body."""
        try:
            while self._turn():
                pass
        except BaseException as error:
            with self.lock:
                self._break(f"its supervisor failed: {error!r}")
            raise
        finally:
            self._release()

    def _turn(self) -> bool:
        """Wait for messages and act on them; False when the pool has closed."""
        events = self._selector.select()
        with self.lock:
            # The start-up process's messages last: a worker's last words are in its
            # socket before its death is reported.
            events.sort(key=lambda event: isinstance(event[0].data, Starter))
            for key, _ in events:
                if key.data is None:
                    if b"q" in os.read(self._wake_reader, 64):
                        return False
                elif isinstance(key.data, Starter):
                    self._hear_starter(key.data)
                elif key.fileobj.fileno() >= 0:  # type: ignore[union-attr]
                    self._hearing.hear(key.data)
            self._spawn_missing()
            self._close_if_idle()
            self.lock.notify_all()
            return not self._closing or bool(self._crew.workers)

    def _hear_starter(self, starter: Starter) -> None:
        message = starter.receive()
        if message is None:
            # The kernel has ended or is ending the workers with it.
            self._crew.lose_starter()
            # One failed start at most, however many workers were on their way.
            before = self._failed_starts.in_a_row
            for record in list(self._crew.workers.values()):
                # Its death is on the way but perhaps not done, and until it is it may
                # write to its job's memory.
                system.end_process(record.process_fd)
                record.process_fd = -1
                self._bury(record, -9, "the start-up process was ended")
            starts = self._failed_starts
            starts.in_a_row = min(starts.in_a_row, before + 1)
            self._check_starts()
            return
        verb, serial, detail = message
        for record in list(self._crew.workers.values()):
            if record.serial != serial:
                continue
            if verb == "spawned":
                record.pid = detail
                record.process_fd = system.open_process(detail)
            else:
                self._bury(record, detail, describe_exitcode(detail))
                self._check_starts()

    def _bury(self, record: WorkerRecord, exitcode: int, how: str) -> None:
        """Do all that the confirmed death of a worker means."""
        while self._hearing.hear(record):
            pass
        self._crew.lose(record, exitcode)
        if not record.ready:
            self._failed_starts.note(how)
        if exitcode != 0:
            self.deaths += 1
        report_death(self._board, record.rank, exitcode, self.jobs, self._calls)

    def _check_starts(self) -> None:
        why = self._failed_starts.verdict()
        if why is not None:
            self._break(why)

    def _break(self, why: str) -> None:
        self.failure = PoolBrokenError(f"{why}\nThe pool cannot go on; make a new one.")
        for job in list(self.jobs.values()):
            job.wake()
        if self._calls is not None:
            self._calls.abort(self.failure)

    def forget_in_child(self) -> None:
        """Close what a forked child inherited."""
        self._crew.leave_to_parent()
        self._selector.close()
        if self._wake_writer >= 0:
            os.close(self._wake_reader)
            os.close(self._wake_writer)


def _closed() -> PoolClosedError:
    return PoolClosedError("the pool was closed while the call was running, or before it began")


def _forget_in_child() -> None:
    for supervisor in list(_alive):
        supervisor.forget_in_child()
    _alive.clear()


os.register_at_fork(after_in_child=_forget_in_child)
