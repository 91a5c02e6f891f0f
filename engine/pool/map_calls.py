"""Calls for each item of an iterable: how it is cut into tasks, and these are begun."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from engine.checks import whole_number
from engine.pool.call_feeder import Feed
from engine.pool.call_messages import APPLY, MAP, payload_of
from engine.pool.call_results import WHOLE, IMapIterator, IMapUnorderedIterator, MapResult
from engine.pool.call_tasks import MapSource, Task
from engine.pool.context import in_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from engine.pool.pool_calls import PoolCalls

__all__ = ["begin_imap", "begin_map"]

# Of a map whose chunk size is left open each process gets so many calls, as in
# multiprocessing: enough to make up for some that take longer.
_CALLS_EACH = 4


def begin_map(
    pool: PoolCalls,
    mode: int,
    func: Callable[..., Any],
    iterable: Iterable[Any],
    chunksize: int | None,
    callback: Callable[[list[Any]], object] | None,
    error_callback: Callable[[BaseException], object] | None,
    retries: int,
) -> MapResult:
    """Cut what has an end into tasks, and publish them; see `PoolCalls.map_async`.

    Parameters
    ----------
    pool : PoolCalls
    mode : int
        `MAP`, or `STARMAP` for items that are unpacked as arguments.
    func, iterable, chunksize, callback, error_callback, retries
        As of `PoolCalls.map_async`.
    """
    retries = whole_number(retries, "retries", 0)
    if in_worker():
        from engine.pool.in_place import mapped

        return mapped(func, iterable, mode, callback, error_callback)
    calls = pool._ready_calls()  # noqa: SLF001 - part of the same
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
        chunksize = max(-(-length // (pool.processes * _CALLS_EACH)), 1)
    elif length and chunksize < 1:
        message = f"chunksize must be at least 1, not {chunksize!r}"
        raise ValueError(message)
    result = MapResult(pool, calls, chunksize, length, callback, error_callback)
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


def begin_imap(
    pool: PoolCalls,
    kind: type[IMapIterator | IMapUnorderedIterator],
    func: Callable[[Any], Any],
    iterable: Iterable[Any],
    chunksize: int,
) -> Iterator[Any]:
    """Have tasks cut from what may have no end, as workers get on; see `PoolCalls.imap`.

    Parameters
    ----------
    pool : PoolCalls
    kind : type
        Of the iterator over the results.
    func, iterable, chunksize
        As of `PoolCalls.imap`.
    """
    if chunksize < 1:
        message = f"chunksize must be at least 1, not {chunksize!r}"
        raise ValueError(message)
    if in_worker():
        from engine.pool.in_place import iterated

        return iterated(func, iterable)
    calls = pool._ready_calls()  # noqa: SLF001 - part of the same
    result = kind(pool, calls)
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


def _singles(iterable: Iterable[Any]) -> Iterator[Any]:
    for item in iterable:
        yield (item,), {}


def _chunks(iterable: Iterable[Any], length: int) -> Iterator[Any]:
    items = iter(iterable)
    while chunk := tuple(itertools.islice(items, length)):
        yield chunk
