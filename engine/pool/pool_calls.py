"""`Pool`'s methods that call Python functions: those of `multiprocessing.Pool`, and `submit`."""

from __future__ import annotations

import itertools
import os
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from engine.pool.call_feeder import Feed
from engine.pool.call_messages import APPLY, MAP, STARMAP, pack, payload_of
from engine.pool.call_results import (
    WHOLE,
    AsyncResult,
    CallFuture,
    IMapIterator,
    IMapUnorderedIterator,
    MapResult,
)
from engine.pool.call_tasks import MapSource, Task
from engine.pool.calls import Calls
from engine.pool.checks import whole_number
from engine.pool.context import in_worker
from engine.pool.job import ATTEMPTS_MAX

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from engine.pool.board import Board
    from engine.pool.supervisor import Supervisor

__all__ = ["PoolCalls"]

# Of a map whose chunk size is left open each process gets so many calls, as in
# multiprocessing: enough to make up for some that take longer.
_CALLS_EACH = 4


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
        return self._map(MAP, func, iterable, chunksize, callback, error_callback, retries)

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
        return self._map(STARMAP, func, iterable, chunksize, callback, error_callback, retries)

    def _map(
        self,
        mode: int,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None,
        callback: Callable[[list[Any]], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        retries: int,
    ) -> MapResult:
        retries = whole_number(retries, "retries", 0)
        if in_worker():
            from engine.pool.in_place import mapped

            return mapped(func, iterable, mode, callback, error_callback)
        calls = self._ready_calls()
        error: Exception | None = None
        try:
            # A copy, because it is packed as workers get on, and the caller's may change.
            items = iterable if type(iterable) in (range, tuple) else list(iterable)
        except Exception as raised:
            if not hasattr(iterable, "__len__"):
                raise
            # As in multiprocessing, where what has a length is consumed later.
            error, items = raised, [None]
        length = len(items)  # type: ignore[arg-type]
        if chunksize is None:
            chunksize = max(-(-length // (self.processes * _CALLS_EACH)), 1)
        elif length and chunksize < 1:
            message = f"chunksize must be at least 1, not {chunksize!r}"
            raise ValueError(message)
        result = MapResult(self, calls, chunksize, length, callback, error_callback)
        if not length:
            return result
        try:
            if error is None:
                try:
                    payload = payload_of(func)
                except Exception as refusal:  # noqa: BLE001 - raised where the result is asked for
                    error = refusal
            if error is not None:
                calls.fail(Task(result, WHOLE, None, mode, b"", keep=None, function=func), error)
            else:
                calls.put_source(
                    MapSource(
                        result,
                        items,  # type: ignore[arg-type]
                        chunksize,
                        payload,
                        mode=mode,
                        function=func,
                        retries=retries,
                    )
                )
        except BaseException:
            calls.results.pop(result._job, None)  # noqa: SLF001
            raise
        return result

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
        return self._imap(IMapIterator, func, iterable, chunksize)

    def imap_unordered(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1
    ) -> Iterator[Any]:
        """Do as `imap`, with results in the order in which they come."""
        return self._imap(IMapUnorderedIterator, func, iterable, chunksize)

    def _imap(
        self,
        kind: type[IMapIterator | IMapUnorderedIterator],
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int,
    ) -> Iterator[Any]:
        if chunksize < 1:
            message = f"chunksize must be at least 1, not {chunksize!r}"
            raise ValueError(message)
        if in_worker():
            from engine.pool.in_place import iterated

            return iterated(func, iterable)
        calls = self._ready_calls()
        result = kind(self, calls)
        try:
            payload = payload_of(func)
        except BaseException as error:  # noqa: BLE001 - raised where the results are asked for
            result.abort(error)
            return result
        mode, arguments = (
            (APPLY, _singles(iterable)) if chunksize == 1 else (MAP, _chunks(iterable, chunksize))
        )
        calls.feeder.feed(Feed(result, payload, func, mode, arguments))
        if chunksize == 1:
            return result
        return (item for chunk in result for item in chunk)

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


def _singles(iterable: Iterable[Any]) -> Iterator[Any]:
    for item in iterable:
        yield (item,), {}


def _chunks(iterable: Iterable[Any], length: int) -> Iterator[Any]:
    items = iter(iterable)
    while chunk := tuple(itertools.islice(items, length)):
        yield chunk
