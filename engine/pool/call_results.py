"""What `Pool`'s methods return: results that are to come.

Their contracts are those of `multiprocessing.pool`, from whose classes they derive.
"""

from __future__ import annotations

import builtins
import multiprocessing
import sys
import threading
from concurrent.futures import Future
from multiprocessing import pool as multiprocessing_pool
from typing import TYPE_CHECKING, Any

from engine.errors import TimeoutError  # noqa: A004 - the name that its users know

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.pool.call_tasks import Task
    from engine.pool.calls import Calls

__all__ = [
    "RESULT_NUMBERS",
    "WHOLE",
    "AsyncResult",
    "CallFuture",
    "IMapIterator",
    "IMapUnorderedIterator",
    "MapResult",
]

# Its published types know nothing of what classes that derive from it need.
stdlib: Any = multiprocessing_pool

RESULT_NUMBERS = stdlib.job_counter
"""The numbers of results, of which `multiprocessing.pool`'s classes take theirs as well."""

# In the place of the number of a part: an error of all of them.
WHOLE = -1


class _Collects:
    """What results have in common that are waited for by collecting."""

    _job: int
    _event: threading.Event
    _success: bool
    _value: Any
    _callback: Callable[[Any], object] | None
    _error_callback: Callable[[BaseException], object] | None

    def _begin(self: Any, calls: Calls) -> None:
        self._calls = calls
        self.needs_thread = bool(self._callback or self._error_callback)

    def wait(self: Any, timeout: float | None = None) -> None:
        """Wait until the result is there or `timeout` seconds have passed."""
        calls = self._calls
        is_set = self._event.is_set
        if calls is None or is_set():
            return
        if timeout is not None and timeout > threading.TIMEOUT_MAX:
            timeout = None
        if not calls.attend(is_set, timeout):
            self._event.wait(timeout)

    def get(self: Any, timeout: float | None = None) -> Any:
        """Give what came out, or raise what was raised; wait `timeout` seconds at most.

        Raises
        ------
        TimeoutError
            It did not come in time.
        """
        self.wait(timeout)
        if not self.ready():
            raise _too_early(timeout)
        if self._success:
            return self._value
        raise self._value

    def _finish(self: Any) -> None:
        """Tell those who wait, after the callbacks."""
        callback = self._callback if self._success else self._error_callback
        self._callback = self._error_callback = None
        if callback:
            run_callback(callback, self._value)
        del self._cache[self._job]
        self._event.set()
        self._pool = self._calls = None

    def abort(self, error: BaseException) -> None:
        """Take it that nothing more comes."""
        raise NotImplementedError


def run_callback(callback: Callable[[Any], object], value: Any) -> None:
    """Run a callback; what it raises is reported, and hurts nobody else's result."""
    try:
        callback(value)
    except BaseException:  # noqa: BLE001 - the thread goes on
        sys.excepthook(*sys.exc_info())


def _too_early(timeout: float | None) -> TimeoutError:
    return TimeoutError(timeout_s=timeout or 0.0, what="the call", goes_on=True)


class AsyncResult(_Collects, stdlib.ApplyResult):
    """What one call returns, as `multiprocessing.pool.AsyncResult`.

    Parameters
    ----------
    pool : Pool
        Kept alive until the result is there.
    calls : Calls
    callback, error_callback : callable, optional
        Called with the result or the exception, by a thread of the pool.
    """

    def __init__(
        self,
        pool: Any,
        calls: Calls,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> None:
        super().__init__(pool, callback, error_callback)
        self._begin(calls)

    def _set(self, i: int, obj: tuple[bool, Any]) -> None:
        if not self._event.is_set():
            self._success, self._value = obj
            self._finish()

    def abort(self, error: BaseException) -> None:
        """Take it that nothing more comes."""
        self._set(0, (False, error))


class MapResult(_Collects, stdlib.MapResult):
    """The list that a `map` returns, as `multiprocessing.pool.MapResult`.

    Parameters
    ----------
    pool, calls, callback, error_callback
        As of `AsyncResult`.
    chunk_length, length : int
        Items of a call, and of all.
    """

    def __init__(
        self,
        pool: Any,
        calls: Calls,
        chunk_length: int,
        length: int,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> None:
        # Before this is among those to come, as it is when the base class is done.
        self._left = set(range(-(-length // chunk_length))) if length else set()
        self._setting = threading.Lock()
        self._calls: Any = calls
        super().__init__(pool, chunk_length if length else 0, length, callback, error_callback)
        self._begin(calls)

    def _set(self, i: int, success_result: tuple[bool, Any]) -> None:
        success, value = success_result
        if i == WHOLE:
            self.abort(value)
            return
        with self._setting:
            if i in self._left:
                if not success:
                    if self._success:
                        # Of several errors the first.
                        self._success, self._value = False, value
                elif self._success:
                    start = i * self._chunksize
                    self._value[start : start + self._chunksize] = value
                self._left.discard(i)
            if self._left or self._event.is_set():
                return
        self._finish()

    def abort(self, error: BaseException) -> None:
        """Take it that nothing more comes."""
        with self._setting:
            if self._success:
                self._success, self._value = False, error
            self._left.clear()
            if self._event.is_set():
                return
        self._finish()


class _Iterates:
    """What both iterators have in common."""

    needs_thread = True
    _calls: Calls

    def next(self: Any, timeout: float | None = None) -> Any:
        """Give the next result; wait `timeout` seconds at most.

        Raises
        ------
        StopIteration
            There are no more.
        TimeoutError
            It did not come in time.
        Exception
            Whatever this call raised, or the iterable.
        """
        if not self._items and self._index != self._length:
            self._calls.check_process()
        try:
            return super().next(timeout)  # type: ignore[misc]
        except multiprocessing.TimeoutError as error:
            if type(error) is not multiprocessing.TimeoutError:
                raise
            raise _too_early(timeout) from None

    __next__ = next  # noqa: A003 - this method, under both names that multiprocessing gives it

    def abort(self: Any, error: BaseException) -> None:
        """Take it that nothing more comes."""
        with self._cond:
            self._unsorted.clear()
            self._items.append((False, error))
            self._index += 1
            self._length = self._index
            self._cond.notify_all()
            del self._cache[self._job]
            self._pool = None


class IMapIterator(_Iterates, stdlib.IMapIterator):
    """The results of `imap` in order, as `multiprocessing.pool.IMapIterator`."""

    def __init__(self, pool: Any, calls: Calls) -> None:
        self._calls = calls
        super().__init__(pool)


class IMapUnorderedIterator(_Iterates, stdlib.IMapUnorderedIterator):
    """The results of `imap_unordered` as they come."""

    def __init__(self, pool: Any, calls: Calls) -> None:
        self._calls = calls
        super().__init__(pool)


class CallFuture(Future[Any]):
    """A call as a `concurrent.futures.Future`.

    Parameters
    ----------
    pool : Pool
        Kept alive until the call is over.
    calls : Calls
    """

    needs_thread = True

    def __init__(self, pool: Any, calls: Calls) -> None:
        super().__init__()
        self._pool = pool
        self._calls: Calls | None = calls
        self._task: Task | None = None
        self._job = next(RESULT_NUMBERS)
        calls.results[self._job] = self

    def follow(self, task: Task) -> None:
        """Note which call this is the future of."""
        self._task = task

    def cancel(self) -> bool:
        """Take the call back, or end the worker that runs it, which is replaced.

        Returns
        -------
        bool
            Whether it is cancelled; False if it is over.
        """
        calls, task = self._calls, self._task
        if calls is None or task is None:
            return super().cancel()
        calls.check_process()
        if not calls.withdraw(task) and not calls.end_running(task):
            return self.cancelled()
        super().cancel()
        self.set_running_or_notify_cancel()
        self._end()
        return True

    def running(self) -> bool:
        """Tell whether a worker has begun the call and not finished it."""
        calls, task = self._calls, self._task
        return calls is not None and task is not None and calls.is_running(task)

    def result(self, timeout: float | None = None) -> Any:
        """Give what the call returned, or raise what it raised.

        Raises
        ------
        concurrent.futures.CancelledError
            It was cancelled.
        TimeoutError
            It did not end in time.
        PoolClosedError
            The pool was terminated first, or this is a forked child.
        """
        return self._wait_for(super().result, timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Give what the call raised, None if it returned; see `result`."""
        return self._wait_for(super().exception, timeout)

    def _wait_for(self, ask: Callable[[float | None], Any], timeout: float | None) -> Any:
        self._check_process()
        try:
            return ask(timeout)
        except builtins.TimeoutError:
            # Unless it is what the call itself has raised.
            if self.done():
                raise
            raise _too_early(timeout) from None

    def _check_process(self) -> None:
        calls = self._calls
        if calls is not None:
            calls.check_process()

    def _set(self, _: int, outcome: tuple[bool, Any]) -> None:
        if self.done():
            return
        if self._state == "PENDING":
            self.set_running_or_notify_cancel()
        success, value = outcome
        if success:
            self.set_result(value)
        else:
            self.set_exception(value)
        self._end()

    def _end(self) -> None:
        calls = self._calls
        self._pool = self._calls = self._task = None
        if calls is not None:
            del calls.results[self._job]

    def abort(self, error: BaseException) -> None:
        """Take it that nothing more comes."""
        self._set(0, (False, error))
