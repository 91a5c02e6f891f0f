"""`Pool`'s methods that call Python functions: those of `multiprocessing.Pool`, and `submit`."""

from __future__ import annotations

import os
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from engine.checks import whole_number
from engine.pool.call_messages import APPLY, MAP, STARMAP, pack, payload_of
from engine.pool.call_results import (
    AsyncResult,
    CallFuture,
    IMapIterator,
    IMapUnorderedIterator,
    MapResult,
)
from engine.pool.call_tasks import Task
from engine.pool.calls import Calls
from engine.pool.context import in_worker
from engine.pool.losses import ATTEMPTS_MAX
from engine.pool.map_calls import begin_imap, begin_map

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from engine.pool.board import Board
    from engine.pool.supervisor import Supervisor

__all__ = ["PoolCalls"]


class PoolCalls:
    """Calls of Python functions in a pool's workers; part of `engine.Pool`.

    Notes
    -----
    Functions, arguments and results are pickled, and so copied; locks and the like, `Value`
    and `Array` travel as names.  What pickle cannot do, lambdas, closures
    and whatever is defined in ``__main__``, goes by value, with cloudpickle.  Tasks
    are begun in the order in which they are made.  A worker takes one when it is free.

    Inside a worker, calls are run where they are made.
    """

    processes: int
    may_spin: bool
    board: Board
    supervisor: Supervisor
    check_open: Callable[[], None]
    want: Callable[[int], None]
    _starting: threading.Lock
    _calls: Calls | None

    @property
    def _cache(self) -> dict[int, Any]:
        """The results that are still to come, where multiprocessing's results look for it."""
        calls = self._calls
        return {} if calls is None else calls.results

    def _ready_calls(self) -> Calls:
        """Give the pool's calls, with every worker there or on its way.

        Raises
        ------
        PoolClosedError, PoolBrokenError
        """
        self.check_open()
        self.want(self.processes)
        calls = self._calls
        if calls is None:
            with self._starting:
                calls = self._calls
                if calls is None:
                    calls = Calls(
                        self.board,
                        may_spin=self.may_spin,
                        on_idle=self.supervisor.look_again,
                        end_worker=self.supervisor.kill_worker,
                    )
                    self.supervisor.serve(calls)
                    self._calls = calls
        return calls

    def apply(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function in a worker, and give what it returns.

        Parameters
        ----------
        func : callable
        args : iterable
            Positional arguments.
        kwds : mapping, optional
            Named arguments.

        Raises
        ------
        Exception
            Whatever `func` raises, with its traceback in the worker as
            ``__cause__``; what cannot be pickled raises what pickle says.
        multiprocessing.pool.MaybeEncodingError
            The result cannot be pickled.
        WorkerDiedError
            The worker died of the call, or with it.
        PoolClosedError
            The pool was closed, or terminated meanwhile.
        """
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        retries: int = ATTEMPTS_MAX - 1,
    ) -> AsyncResult:
        """Call a function in a worker, without waiting for it.

        Parameters
        ----------
        func, args, kwds
            As of `apply`.
        callback, error_callback : callable, optional
            Called with the result, or the exception, by a thread of the pool, which does
            nothing else meanwhile: they should return soon.
        retries : int
            How often the call is repeated if the worker dies that runs it: 0 for functions
            that must not be begun twice.  A call that was handed to a worker but not begun
            is always repeated.

        Returns
        -------
        AsyncResult
            Its ``get(timeout)`` raises what `apply` raises.
        """
        retries = whole_number(retries, "retries", 0)
        kwds = {} if kwds is None else kwds
        if in_worker():
            from engine.pool.in_place import applied

            return applied(func, args, kwds, callback, error_callback)
        calls = self._ready_calls()
        result = AsyncResult(self, calls, callback, error_callback)
        self._put(calls, result, result._job, func, args, kwds, retries)  # noqa: SLF001
        return result

    def submit(
        self,
        func: Callable[..., Any],
        /,
        *args: Any,
        retries: int = ATTEMPTS_MAX - 1,
        **kwargs: Any,
    ) -> Future[Any]:
        """Call a function in a worker, and give a future.

        Parameters
        ----------
        func : callable
        *args, **kwargs
            Its arguments; all named ones but `retries`.
        retries : int
            As of `apply_async`.

        Returns
        -------
        concurrent.futures.Future
            Its ``cancel()`` takes the call back, or ends the worker that runs it.  It
            raises what `apply` raises.
        """
        retries = whole_number(retries, "retries", 0)
        if in_worker():
            from engine.pool.in_place import future_of

            return future_of(func, args, kwargs)
        calls = self._ready_calls()
        future = CallFuture(self, calls)
        self._put(calls, future, future._job, func, args, kwargs, retries)  # noqa: SLF001
        return future

    def _put(
        self,
        calls: Calls,
        result: AsyncResult | CallFuture,
        job: int,
        func: Callable[..., Any],
        args: Iterable[Any],
        kwds: Mapping[str, Any],
        retries: int,
    ) -> None:
        """Pack one call and publish it; what cannot be packed fails its result."""
        task = Task(result, 0, None, APPLY, b"", keep=(args, kwds), function=func, retries=retries)
        try:
            try:
                task.payload = payload_of(func)
                task.message = pack((args, kwds))
            except Exception as error:  # noqa: BLE001 - raised where the result is asked for
                calls.fail(task, error)
                return
            if isinstance(result, CallFuture):
                result.follow(task)
            calls.put(task)
        except BaseException:
            # Nobody has the result; the pool must not wait for it when it closes.
            calls.results.pop(job, None)
            raise

    def map(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[Any]:
        """Call a function for each item, and give the list of what it returns.

        Parameters
        ----------
        func : callable
        iterable : iterable
        chunksize : int, optional
            Items of one task; by default a quarter of what each worker gets.

        Raises
        ------
        Exception
            The first exception that a task ended with, when all have ended; or what the
            iterable raises.
        """
        return self.map_async(func, iterable, chunksize).get()

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        retries: int = ATTEMPTS_MAX - 1,
    ) -> MapResult:
        """Call a function for each item, without waiting; see `map` and `apply_async`."""
        return begin_map(self, MAP, func, iterable, chunksize, callback, error_callback, retries)

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
    ) -> list[Any]:
        """Do as `map`, with items that are unpacked as arguments."""
        return self.starmap_async(func, iterable, chunksize).get()

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        retries: int = ATTEMPTS_MAX - 1,
    ) -> MapResult:
        """Do as `map_async`, with items that are unpacked as arguments."""
        return begin_map(
            self, STARMAP, func, iterable, chunksize, callback, error_callback, retries
        )

    def imap(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> Iterator[Any]:
        """Call a function for each item, and iterate over what it returns, in order.

        Parameters
        ----------
        func : callable
        iterable : iterable
            Of any length; a thread of the pool takes from it what the workers can do, and
            no more than 128 tasks ahead of them, whether anybody iterates or not.
        chunksize : int
            Items of one task.

        Returns
        -------
        iterator
            With ``next(timeout)`` if `chunksize` is 1.  Raises in the place of each result
            what its task raised, and in the end what the iterable raises.
        """
        return begin_imap(self, IMapIterator, func, iterable, chunksize)

    def imap_unordered(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> Iterator[Any]:
        """Do as `imap`, with results in the order in which they come."""
        return begin_imap(self, IMapUnorderedIterator, func, iterable, chunksize)

    def __reduce__(self) -> Any:
        """Refuse: a pool belongs to the process that made it.

        Raises
        ------
        NotImplementedError
        """
        message = (
            "pool objects cannot be passed between processes or pickled; "
            f"use this one in process {os.getpid()}, or leave out pool="
        )
        raise NotImplementedError(message)
