"""Calls that are made inside a worker: run one after the other, where they are made.

A worker that called its own pool would wait for itself.
"""

from __future__ import annotations

import itertools
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from engine.pool.call_messages import MAP
from engine.pool.call_results import AsyncResult, MapResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["applied", "future_of", "iterated", "mapped"]


class _NoCalls:
    """Stands in for a pool whose results are there at once."""

    def __init__(self) -> None:
        self._cache: dict[int, Any] = {}


def _outcome(function: Callable[[], Any]) -> tuple[bool, Any]:
    try:
        return True, function()
    except Exception as error:  # noqa: BLE001 - raised where the result is asked for
        return False, error


def applied(
    func: Callable[..., Any],
    args: Iterable[Any],
    kwds: Mapping[str, Any],
    callback: Callable[[Any], object] | None,
    error_callback: Callable[[BaseException], object] | None,
) -> AsyncResult:
    """Call a function now."""
    result = AsyncResult(_NoCalls(), None, callback, error_callback)  # type: ignore[arg-type]
    result._set(0, _outcome(lambda: func(*args, **kwds)))  # noqa: SLF001
    return result


def mapped(
    func: Callable[..., Any],
    items: Iterable[Any],
    mode: int,
    callback: Callable[[Any], object] | None,
    error_callback: Callable[[BaseException], object] | None,
) -> MapResult:
    """Call a function for each item, now."""
    items = list(items)
    length = len(items)
    result = MapResult(_NoCalls(), None, length or 1, length, callback, error_callback)  # type: ignore[arg-type]
    if length:
        each = map if mode == MAP else itertools.starmap
        result._set(0, _outcome(lambda: list(each(func, items))))  # noqa: SLF001
    return result


class iterated:  # noqa: N801 - a function that gives an iterator with one more method
    """Call a function for each item, when the result is asked for."""

    def __init__(self, func: Callable[[Any], Any], iterable: Iterable[Any]) -> None:
        self._results = map(func, iterable)

    def __iter__(self) -> Iterator[Any]:
        """Give itself."""
        return self

    def next(self, timeout: float | None = None) -> Any:
        """Give the next result."""
        return next(self._results)

    __next__ = next  # noqa: A003 - this method


def future_of(
    func: Callable[..., Any], args: Iterable[Any], kwargs: Mapping[str, Any]
) -> Future[Any]:
    """Call a function now, as a future that is done."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    success, value = _outcome(lambda: func(*args, **kwargs))
    if success:
        future.set_result(value)
    else:
        future.set_exception(value)
    return future
