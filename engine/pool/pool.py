"""The pool: a crew of worker processes, and the way to get one.

See `engine.pool.job` for how a job runs on it, `engine.pool.calls` for how single calls
do, `engine.pool.board` for how the processes meet, and `engine.pool.supervisor` for how
workers are kept alive.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
import threading
import warnings
import weakref
from multiprocessing.pool import CLOSE, INIT, RUN, TERMINATE
from typing import TYPE_CHECKING, Any, Self

from engine import system
from engine.checks import whole_number
from engine.errors import PoolClosedError
from engine.memory import arena as arena_module
from engine.pool.board import Board
from engine.pool.functions import dump_function
from engine.pool.kernel import Payload
from engine.pool.pool_calls import PoolCalls
from engine.pool.preparations import preparations
from engine.pool.slots import FreeSlots
from engine.pool.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from engine.pool.body_jobs import BodyJobs
    from engine.pool.calls import Calls
    from engine.pool.dense import DenseJobs
    from engine.pool.handover import Handover
    from engine.pool.recruit import WorkerRecord
    from engine.pool.slots import Slot

__all__ = ["Pool", "current_pool", "default_pool", "given_pool"]

# A worker that has nothing to do looks for work this long before it parks: longer
# than the Python code between two calls, short enough to be idle at once.
_SPIN_NS = 500_000


class Pool(PoolCalls):
    """Worker processes that run kernels over shared memory, and calls of Python functions.

    It has the methods of `multiprocessing.Pool`, with the same contracts, and is
    what `parallel_map` and its like run on.

    Workers start without importing the user's main module, so no
    ``if __name__ == "__main__"`` guard is needed, and they start when first
    needed, or at once if they have an initializer to run.  A worker that dies is
    replaced; chunks of `parallel_map` that it was computing are computed again, and calls
    of Python functions if `retries` says so, but for those that it had not begun, which
    always are.

    Parameters
    ----------
    processes : int, optional
        How many processes compute at the same time.  Default: the CPUs that this
        process may use, by affinity and cgroup quota.
    initializer : callable, optional
        Called with `initargs` in each worker when it starts.
    initargs : sequence
        Arguments of the initializer.
    maxtasksperchild : int, optional
        Replace a worker after it took part in so many calls, or ran so many tasks.
    isolate : bool
        Run kernels in workers only.  By default the caller computes too, beside
        ``processes - 1`` workers, which is faster, but lets a kernel that
        crashes take the caller with it.

    Raises
    ------
    ValueError
        `processes` or `maxtasksperchild` is less than 1.

    Notes
    -----
    Concurrency: several threads may make calls on one pool at once.  A pool
    belongs to the process that made it.  Dropped without `close` or `terminate` it ends
    its workers, with a `ResourceWarning`.

    Examples
    --------
    >>> with Pool(2) as pool:
    ...     parallel_map(np.sqrt, x, pool=pool)  # doctest: +SKIP
    ...     pool.map(str.upper, names)  # doctest: +SKIP
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Sequence[Any] = (),
        maxtasksperchild: int | None = None,
        *,
        isolate: bool = False,
    ) -> None:
        # As in multiprocessing, and by its names: no workers yet, some, closed, ended.
        self._state = INIT
        if processes is not None:
            processes = whole_number(processes, "processes", 1)
        if maxtasksperchild is not None:
            maxtasksperchild = whole_number(maxtasksperchild, "maxtasksperchild", 1)
        if initializer is not None and not callable(initializer):
            message = f"initializer must be callable, not {type(initializer).__name__}"
            raise TypeError(message)
        budget = system.cpu_budget()
        self.processes: int = processes or budget
        self.isolate = isolate
        self.may_spin = self.processes <= budget
        self.board = Board(self.processes)
        arena = arena_module.arena()
        # Through the arena, because a message to the start-up process has a limit.
        payload = (
            Payload.of(dump_function((initializer, tuple(initargs))))
            if initializer is not None
            else None
        )
        self.supervisor = Supervisor(
            self.board,
            {
                "ranks": self.processes,
                "segment_bytes": arena.family.nbytes,
                "board_offset": self.board.address - arena.base,
                "spin_ns": _SPIN_NS if self.may_spin else 0,
                "tasks_max": maxtasksperchild,
                "threads": max(budget // self.processes, 1),
                # So that workers can use proxies of managers that the caller can use.
                "authkey": bytes(multiprocessing.current_process().authkey),
                "initializer": (payload.lease.offset, payload.nbytes) if payload else None,
            },
            # What a worker is given has to be there for those that start later, too.
            keep=(payload, initializer, initargs),
        )
        self._pid = os.getpid()
        self.slots = FreeSlots(self.board)
        # What it costs to hand work over, once that was measured.
        self.handover: Handover | None = None
        self._starting = threading.Lock()
        self._calls: Calls | None = None
        # Also when the pool is dropped without a close, and at exit.
        self._end_all = weakref.finalize(self, self.supervisor.close)
        if initializer is not None:
            self.want(self.processes)

    def __del__(self) -> None:
        """Warn of a pool that has workers and was not closed."""
        if self._state == RUN and not sys.is_finalizing():
            # Without `source`, which would keep the pool, and so its workers, as long as
            # whoever records warnings keeps this one.
            message = f"unclosed running multiprocessing pool {self!r}"
            warnings.warn(message, ResourceWarning, stacklevel=2)

    @property
    def _closed(self) -> bool:
        return self._state not in (INIT, RUN)

    @property
    def _pool(self) -> list[WorkerRecord]:
        """The workers, started if they were not; under the name that multiprocessing uses."""
        if not self._closed:
            self.want(self.processes)
        return self.supervisor.whole_crew()

    def _repopulate_pool(self) -> None:
        """Wait until dead workers are replaced; under the name that multiprocessing uses."""
        self.supervisor.whole_crew()

    def want(self, ranks: int) -> None:
        """Start workers and keep them, now and from now on."""
        self.supervisor.want(ranks)
        if self._state == INIT and ranks:
            self._state = RUN

    @property
    def compiled_ranks(self) -> int:
        """How many workers take part beside the caller in running compiled kernels."""
        return self.processes if self.isolate else self.processes - 1

    @property
    def takes_small_calls(self) -> bool:
        """Whether the caller may compute small calls by itself."""
        return not (self.isolate or self._closed or self._pid != os.getpid())

    @functools.cached_property
    def dense_jobs(self) -> DenseJobs:
        """Jobs that stand ready for the next call of the same kernel on dense arrays."""
        # Late, because a first result would wait for machine code that only later calls need.
        from engine.pool.dense import DenseJobs

        return DenseJobs()

    @functools.cached_property
    def body_jobs(self) -> BodyJobs:
        """Jobs that stand ready for the next run of the same loop body."""
        from engine.pool.body_jobs import BodyJobs

        return BodyJobs()

    def start(self) -> None:
        """Start the workers that compiled kernels need; returns at once."""
        self.want(self.compiled_ranks)

    def rouse(self) -> None:
        """Wake the workers that compiled kernels need, for a call that is being prepared."""
        self.supervisor.ring(self.compiled_ranks)

    def prepare(self, call: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        """Pay once for all that a call on this pool costs beside its work.

        Parameters
        ----------
        call : callable
            `parallel_region` or `parallel_map`.
        *args, **options
            Its arguments, but for ``pool``, ``timeout`` and ``progress``.  What is written to
            shared arrays later is seen by later calls.  A region's private arrays are copied into
            shared memory now; those of a map are read anew by each call, which costs more than the
            dispatch of one on shared arrays.

        Returns
        -------
        callable
            Takes no arguments; see `engine.team.region.PreparedRegion` and
            `engine.algorithms.maps.prepared.PreparedMap`.

        Raises
        ------
        TypeError
            There is nothing to be prepared of `call`.
        """
        self.check_open()
        make = preparations.get(call)
        if make is None:
            # Not from the table, in which there are only those that were imported.
            message = f"call must be parallel_map or parallel_region, not {call!r}"
            raise TypeError(message)
        return make(self, *args, **options)

    def take_slot(self, timeout_s: float | None = None) -> Slot:
        """Take one of the board's job slots; waits while all are taken.

        Raises
        ------
        builtins.TimeoutError
            None became free in time.
        PoolClosedError
            None became free before the pool was closed.
        """
        return self.slots.take(timeout_s, self.check_open)

    def check_open(self) -> None:
        """Raise unless this process may make calls on the pool.

        Raises
        ------
        PoolClosedError
        """
        if self._pid != os.getpid():
            message = (
                f"this pool belongs to process {self._pid}; a forked child cannot use it. "
                "Make a Pool in the child, or leave out pool= to get one."
            )
            raise PoolClosedError(message)
        if self._closed:
            message = "Pool not running: this pool was closed; make a new Pool, or leave out pool="
            raise PoolClosedError(message)
        self.supervisor.raise_failure()

    def close(self) -> None:
        """Accept no more calls; the workers end when those that were made are over.

        Returns at once: `join` waits.
        """
        if self._pid == os.getpid() and not self._closed:
            self._state = CLOSE
            self.supervisor.close_when_idle()

    def terminate(self) -> None:
        """End the workers at once, and calls under way with `PoolClosedError`."""
        if self._pid == os.getpid():
            self._state = TERMINATE
            self.supervisor.close()
            self._end_all.detach()
            self.supervisor.join()

    def join(self) -> None:
        """Wait until the workers have ended; `close` or `terminate` comes first.

        Raises
        ------
        ValueError
            The pool is still open.
        """
        if not self._closed:
            message = "the pool is still running: call close() or terminate() before join()"
            raise ValueError(message)
        if self._pid == os.getpid():
            self.supervisor.join()

    def __enter__(self) -> Self:
        """Give the pool itself."""
        self.check_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the workers at once, as `multiprocessing.Pool` does."""
        self.terminate()

    def __repr__(self) -> str:
        """Say how many processes there are and whether the pool is open."""
        state = "closed" if self._closed else "open"
        return f"<Pool of {self.processes} processes, {state}>"


_default: Pool | None = None
_creation = threading.Lock()


def default_pool() -> Pool:
    """Give this process's own pool, made at first use and closed at exit."""
    global _default  # noqa: PLW0603 - the one default pool of the process is the point
    pool = _default
    if pool is None or pool._closed or pool.supervisor.failure is not None:  # noqa: SLF001
        with _creation:
            pool = _default
            if pool is None or pool._closed or pool.supervisor.failure is not None:  # noqa: SLF001
                pool = _default = Pool()
    return pool


def given_pool(pool: Pool | None) -> Pool:
    """Give the pool that a caller has named, or this process's own; it takes calls.

    Raises
    ------
    TypeError
        It is no pool.
    PoolClosedError
    """
    if pool is None:
        pool = default_pool()
    elif not isinstance(pool, Pool):
        message = f"pool must be an engine.Pool or None, not {type(pool).__name__}"
        raise TypeError(message)
    pool.check_open()
    return pool


def current_pool() -> Pool | None:
    """Give this process's default pool if it has been made, else None."""
    return _default


def _forget_in_child() -> None:
    """Leave the parent's pools to the parent."""
    global _default, _creation  # noqa: PLW0603
    _default = None
    _creation = threading.Lock()


os.register_at_fork(after_in_child=_forget_in_child)
