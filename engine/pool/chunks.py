"""Running a Python callable over chunks, as a job."""

from __future__ import annotations

import contextlib
import pickle
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from engine.pool.chunk_length import CHUNKS_MAX
from engine.pool.functions import dump_function
from engine.pool.job import Job
from engine.pool.kernel import Payload
from engine.pool.sources import Grid
from engine.pool.tasks import ChunkTask, Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.pool.native import CallOptions

__all__ = ["choose_grid", "function_payload", "run_chunks"]

# Enough chunks for dozens of workers to balance, and the same number for any
# number of workers, because what a function sees must not depend on that.
_CHUNKS = 64

# A chunk of private data is copied to the worker, so it has to be bounded too.
_CHUNK_BYTES = 4 * 1024 * 1024

_PAYLOADS_KEPT = 64
_payloads: OrderedDict[bytes, Payload] = OrderedDict()


def choose_grid(length: int, element_bytes: int, grain: int | None, halo: int = 0) -> Grid:
    """Divide an axis into chunks, by its length and the size of its elements alone."""
    least = -(-length // CHUNKS_MAX)
    if grain is None:
        fair = -(-length // _CHUNKS)
        grain = min(fair, max(_CHUNK_BYTES // max(element_bytes, 1), 1))
    return Grid(length, max(min(grain, length), least, 1), halo)


def function_payload(function: Any) -> Payload:
    """Put a callable into the arena; an equal one is found again."""
    data = dump_function(function)
    payload = _payloads.get(data)
    if payload is None or not payload.is_here():
        # Without a lock, which a fork could catch: two threads that get here at once
        # make two payloads, of which one is forgotten.
        payload = _payloads[data] = Payload.of(data)
        if len(_payloads) > _PAYLOADS_KEPT:
            with contextlib.suppress(KeyError):
                _payloads.popitem(last=False)
    return payload


def run_chunks(
    function: Any,
    source: Any,
    sink: Any,
    *,
    name: str,
    chunk_count: int,
    ranges: Callable[[int], tuple[int, int]],
    caller_pid: int,
    options: CallOptions,
    provide: Callable[..., int] | None = None,
    join: Callable[[int, int], bool] | None = None,
) -> None:
    """Run a callable on every chunk of a source and hand the results to a sink.

    Parameters
    ----------
    function : callable
        What the sink calls; travels by cloudpickle.
    source, sink : object
        From `engine.pool.sources` and `engine.pool.sinks`.
    ranges, provide, join
        As in `engine.pool.job.Job`.
    """
    on_progress = options.on_progress

    def report(chunks: int) -> None:
        if on_progress is not None:
            on_progress(ranges(max(chunks - 1, 0))[1] if chunks else 0)

    Job(
        options.pool,
        name=name,
        payload=function_payload(function),
        task=Task(
            chunk_count,
            spec=pickle.dumps(ChunkTask(source, sink, caller_pid), protocol=5),
            ranges=ranges,
            keep=source,
        ),
        join=join,
        provide=provide,
        limit=options.limit,
        retries=options.retries,
        on_progress=report if on_progress is not None else None,
    ).run()
