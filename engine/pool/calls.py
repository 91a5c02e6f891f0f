"""The caller's side of calls: publishes them, collects what came out, repeats what died.

    apply_async(f, args)                       worker
      pack, write into a free entry ──ring──▶  claim, unpack, f(*args)
    get()                                      pack, write into the same entry
      collect: unpack, free the entry ◀─ring── finish

Who collects: a thread that waits for a result does it itself, for everybody, so that a
result does not pass through a second thread; while none waits, the pool's own thread
does.  That thread alone runs what may take long or is the user's: callbacks, and
whatever belongs to futures and iterators.

Ctrl-C may strike between any two steps of the thread that collects.  So each step can be
done again: a result ignores what it has been given before, and an entry becomes free
only as the last thing that is done with it.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from engine import atomics
from engine.atomics import load_word
from engine.errors import PoolClosedError, WorkerDiedError
from engine.pool import call_table as words
from engine.pool.board import BELL, WORD
from engine.pool.call_entries import Entries
from engine.pool.call_feeder import Feeder
from engine.pool.call_queue import CallQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.errors import EngineError
    from engine.pool.board import Board
    from engine.pool.call_tasks import Source, Task

__all__ = ["Calls"]

# A thread that waits for one call spins so long before it parks: as long as a short call
# takes.  For more than the cores can run it does not, because it would take one of them.
_SPIN_NS = 100_000

# A waiting thread returns to Python this often, to see signals.
_PARK_NS = 50_000_000

# The pool's thread is rung for all there is to do; the limit only bounds what a mistake
# in that could cost.
_IDLE_NS = 60_000_000_000


class _Results(dict[int, Any]):
    """The results that are still to come, by number; tells when there are none.

    As `multiprocessing.pool` has one, whose results take themselves out of it.
    """

    def __init__(self, on_empty: Callable[[], None]) -> None:
        super().__init__()
        self._on_empty = on_empty

    def __delitem__(self, job: int) -> None:
        self.pop(job, None)
        if not self:
            self._on_empty()


class Calls:
    """The calls of one pool.

    Parameters
    ----------
    board : Board
    may_spin : bool
        Whether the pool's processes have a core each.
    on_idle : callable
        Called when no result is to come any more.
    end_worker : callable
        Ends the worker of a rank.

    Attributes
    ----------
    results : dict
        The results that are still to come.
    feeder : Feeder
        Publishes the calls of `imap`.

    Notes
    -----
    Concurrency: any thread.  `note_death` and `abort` are called by the
    supervisor, with its lock, and run no code of the user's.
    """

    def __init__(
        self,
        board: Board,
        *,
        may_spin: bool,
        on_idle: Callable[[], None],
        end_worker: Callable[[int], None],
    ) -> None:
        self.results = _Results(on_idle)
        self._board = board
        self._cores = board.ranks if may_spin else 0
        self._pid = os.getpid()
        self._entries = Entries(board)
        self._table = self._entries.table
        self._queue = CallQueue(self._entries, self.fail)
        self.feeder = Feeder(self)
        self._end_worker = end_worker
        # Workers that are ended for a call that was cancelled.
        self._blameless: set[int] = set()
        self._attendance = threading.Lock()
        # In the order in which they came; a dictionary, because to add twice is to add once.
        self._for_thread: dict[Task, None] = {}
        self._failure: EngineError | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._collect, name="numcrew-calls", daemon=True)
        self._thread.start()

    def put(self, task: Task) -> None:
        """Publish a call, now or when an entry becomes free.

        Its result is among those to come by now, so from here on it ends with the pool.

        Raises
        ------
        PoolClosedError, PoolBrokenError
            The pool has ended.
        """
        self._check()
        self._queue.put(task)

    def put_source(self, source: Source) -> None:
        """Publish calls that are packed one by one, as entries become free; see `put`."""
        self._check()
        self._queue.put_source(source)

    def fail(self, task: Task, error: BaseException) -> None:
        """End a call that no worker has."""
        task.error = error
        self._leave_to_thread(task)

    def withdraw(self, task: Task) -> bool:
        """Take a call back; False if a worker has claimed it, or it is over."""
        if not self._queue.withdraw(task):
            return False
        task.release()
        self._queue.fill()
        return True

    def end_running(self, task: Task) -> bool:
        """End the worker that runs a call, which is not repeated; False if none runs it."""
        with self._queue.writing:
            rank = self._entries.runner_of(task)
            if rank is None:
                return False
            task.retries = -1
            # Should it be in another call by the time it ends, that is not to blame for it.
            self._blameless.add(rank)
        self._end_worker(rank)
        return True

    def is_nowhere(self, task: Task) -> bool:
        """Tell whether a call, which does not wait, is in no entry: over, or never published."""
        return task.entry < 0

    def ends_workers(self) -> bool:
        """Tell whether a worker that `end_running` has ended is not known to be gone."""
        return bool(self._blameless) and self._failure is None

    def is_running(self, task: Task) -> bool:
        """Tell whether a worker has claimed a call and not finished it."""
        return self._entries.runner_of(task) is not None

    def _check(self) -> None:
        if self._failure is not None:
            raise type(self._failure)(*self._failure.args)

    # Collecting -------------------------------------------------------------------------

    def attend(self, is_over: Callable[[], bool], timeout_s: float | None) -> bool:
        """Collect until something is over or the time has passed.

        Returns
        -------
        bool
            False if another thread collects; the result then comes without help.

        Raises
        ------
        PoolClosedError
            This process is a fork of the one whose pool it is.
        """
        self.check_process()
        if not self._attendance.acquire(blocking=False):
            return False
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        bell = self._table + WORD * words.FRONT
        try:
            seen = words.start_attending(self._table)
            while True:
                running = self._collect_finished()
                self._queue.fill()
                if is_over():
                    return True
                park_ns = _PARK_NS
                if deadline is not None:
                    left_s = deadline - time.monotonic()
                    if left_s <= 0:
                        return True
                    park_ns = min(park_ns, int(left_s * 1e9) + 1)
                spin_ns = _SPIN_NS if running < self._cores else 0
                if running >= self._cores and len(self.results) == 1 and self._queue.is_empty():
                    # Every call there is belongs to the result that is waited for, and the
                    # workers need the cores: wake when one has nothing more to do.
                    words.ask_for_quiet(self._table)
                seen = atomics.await_ring(bell, seen, spin_ns, park_ns)
        finally:
            # In this order: see `ring_if_finished`.
            words.stop_attending(self._table)
            self._attendance.release()
            words.ring_if_finished(self._table)

    def check_process(self) -> None:
        """Raise in a forked child, where nobody collects.

        Raises
        ------
        PoolClosedError
        """
        if self._pid != os.getpid():
            message = (
                f"this result is awaited by process {self._pid}; a forked child cannot get it. "
                "Get it before the fork, or make a Pool in the child."
            )
            raise PoolClosedError(message)

    def _collect_finished(self) -> int:
        """Hand finished calls to their results; return how many are on their way."""
        running, finished = self._entries.finished()
        for index, offset, nbytes in finished:
            task = self._entries.tasks[index]
            if task is not None:
                self._settle(task, offset, nbytes)
            self._entries.free(index)
        return running

    def _settle(self, task: Task, offset: int, nbytes: int) -> None:
        """Take what came out of a call from its entry."""
        task.entry = -1
        if not task.result.needs_thread:
            with (
                memoryview(self._entries.mapping) as whole,
                whole[offset : offset + nbytes] as data,
            ):
                task.settle(data, self._entries.post)
        else:
            task.letter = self._entries.mapping[offset : offset + nbytes]
            self._leave_to_thread(task)

    def _leave_to_thread(self, task: Task) -> None:
        self._for_thread[task] = None
        atomics.ring(self._table + WORD * words.BACK)

    def _collect(self) -> None:
        """Collect while nobody waits; the thread's body."""
        bell = self._table + WORD * words.BACK
        while True:
            seen = load_word(bell)
            if self._failure is not None:
                self._fail_all(self._failure)
            if self._stopped:
                return
            if self._attendance.acquire(blocking=False):
                try:
                    self._collect_finished()
                finally:
                    self._attendance.release()
            self._queue.fill()
            for task in list(self._for_thread):
                task.settle(task.letter, self._entries.post)
                self._for_thread.pop(task, None)
                del task
            # A thread that attends may wait for what was settled here.
            atomics.ring(self._table + WORD * words.FRONT)
            atomics.await_ring(bell, seen, 0, _IDLE_NS)

    # Deaths and the end -----------------------------------------------------------------

    def note_death(self, rank: int, exitcode: int) -> None:
        """Publish again, or give up, what a worker had that has died."""
        with self._queue.writing:
            blameless = rank in self._blameless
            self._blameless.discard(rank)
            for index, task, begun in self._entries.held_by(rank):
                task.deaths += begun and not blameless
                if task.deaths <= task.retries:
                    # The worker may have written over the arguments.
                    self._entries.write(task, index)
                    continue
                task.entry = -1
                self._entries.free(index)
                self.fail(
                    task,
                    WorkerDiedError(
                        kernel=task.name,
                        chunk=task.extent,
                        exitcode=exitcode,
                        attempts=task.deaths,
                    ),
                )
        # What it had finished and not rung for; and what it had been woken for.
        words.notify(self._table)
        for other in range(self._board.ranks):
            atomics.ring(self._board.worker(other) + WORD * BELL)

    def abort(self, error: EngineError) -> None:
        """Fail every result that is still to come, and refuse new ones."""
        self._failure = self._failure or error
        self._queue.close()
        self.feeder.stop()
        atomics.ring(self._table + WORD * words.BACK)

    def stop(self, *, wait: bool) -> None:
        """End the pool's thread, when no worker is left."""
        self._stopped = True
        atomics.ring(self._table + WORD * words.BACK)
        if wait and self._thread is not threading.current_thread():
            self._thread.join()

    def _fail_all(self, failure: EngineError) -> None:
        for result in list(self.results.values()):
            result.abort(type(failure)(*failure.args))
        self._for_thread.clear()
        self._entries.tasks[:] = [None] * words.ENTRY_COUNT
        atomics.ring(self._table + WORD * words.FRONT)
