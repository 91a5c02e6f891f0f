"""parallel_map_chunks: any callable, a whole chunk at a time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.inputs.arguments import is_arrow, run_call
from engine.algorithms.inputs.operands import refuse_masked
from engine.checks import whole_number
from engine.pool.chunks import choose_grid, run_chunks
from engine.pool.context import in_worker
from engine.pool.functions import name_of
from engine.pool.results import Collector, ReturnResult
from engine.pool.sinks import Placed
from engine.pool.sources import ArraySource, describe_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.pool.native import CallOptions
    from engine.pool.pool import Pool
    from engine.pool.sources import Grid

__all__ = ["parallel_map_chunks"]


def parallel_map_chunks(
    func: Callable[..., Any],
    *arrays: Any,
    halo: int = 0,
    grain: int | None = None,
    pool: Pool | None = None,
    timeout: float | None = None,
    progress: bool = False,
) -> Any:
    """Call ``func`` on chunks of arrays in worker processes and join what it returns.

    Parameters
    ----------
    func : callable
        ``func(x_chunk, y_chunk, ...)``: anything that can be called, compiled or not,
        a lambda, closure or method.  It receives read-only views of the rows of one
        chunk and returns an array (or Arrow data) of any length.
    *arrays : array_like
        Arrays of the same length along the first axis, and scalars, which every
        chunk gets whole.  Or one Arrow table or record batch, which arrives as
        record batches, or Arrow arrays of the same length, which arrive as arrays.
    halo : int
        Rows beyond each end of a chunk that its views also show, as far as there
        are any.  If `func` returns as many rows as it was shown, those of the halo
        are dropped.  Not with Arrow data.
    grain : int, optional
        Rows of a chunk; by default chosen from the size of the arrays.
    pool, timeout, progress
        As in `parallel_map`.

    Returns
    -------
    ndarray, pyarrow.ChunkedArray or pyarrow.Table
        The chunks' results, joined in order along the first axis, in shared memory.

    Raises
    ------
    TypeError, ValueError
        The arguments do not fit, or chunks return things that do not join.
    TimeoutError, WorkerDiedError, PoolClosedError, SharedMemoryFull
        See there.  What `func` raises is raised here, with the worker's traceback
        in a note.

    Notes
    -----
    Where chunks begin depends on the arrays and `grain` alone, never on the number
    of workers.  `func` may run more than once for a chunk if a worker dies.
    Arrays in shared memory and mapped files are viewed in place, private ones are
    read a chunk at a time.  Concurrency: any thread.

    Examples
    --------
    >>> import numpy as np
    >>> from engine import parallel_map_chunks
    >>> parallel_map_chunks(lambda x: x[x % 2 == 0], np.arange(6))
    array([0, 2, 4])
    """
    if not callable(func):
        message = f"func must be callable, not {type(func).__name__}"
        raise TypeError(message)
    if not arrays:
        message = "parallel_map_chunks needs at least one array"
        raise TypeError(message)
    halo = whole_number(halo, "halo", 0)
    if halo and any(is_arrow(one) for one in arrays):
        message = "halo= is for NumPy arrays; give Arrow data as arrays, or without halo"
        raise TypeError(message)

    def run(options: CallOptions) -> Any:
        if any(is_arrow(one) for one in arrays):
            # Late, because importing pyarrow takes a third of the time of importing this.
            from engine.algorithms.maps import arrow_chunks

            return arrow_chunks.map_arrow_chunks(func, arrays, options)
        refuse_masked(arrays)
        return _map_rows(func, [np.asarray(one) for one in arrays], halo, options)

    return run_call(
        run, pool=pool, grain=grain, timeout=timeout, progress=progress, what=name_of(func)
    )


class _Trim:
    """A chunk function that drops the halo's rows from its result."""

    def __init__(self, func: Callable[..., Any], halo: int, length: int) -> None:
        self._func = func
        self._halo = halo
        self._length = length

    def __call__(self, bounds: tuple[int, int], *views: Any) -> Any:
        start, stop = bounds
        result = np.asarray(self._func(*views))
        before = start - max(start - self._halo, 0)
        shown = before + (stop - start) + min(stop + self._halo, self._length) - stop
        if len(result) == shown:
            return result[before : before + stop - start]
        if len(result) == stop - start:
            return result
        message = (
            f"with halo={self._halo} a chunk function returns {shown} rows (as many as it was "
            f"shown) or {stop - start} (without the halo), not {len(result)}"
        )
        raise ValueError(message)


def _map_rows(
    func: Callable[..., Any], arrays: list[np.ndarray[Any, Any]], halo: int, options: CallOptions
) -> Any:
    for position, array in enumerate(arrays):
        if array.dtype.hasobject:
            message = (
                f"array {position} has dtype object; workers cannot see its elements. Convert it "
                "to numbers, or to an Arrow array for text"
            )
            raise TypeError(message)
    lengths = {len(array) for array in arrays if array.ndim}
    if len(lengths) != 1:
        found = sorted(lengths) or "only scalars"
        message = f"the arrays must have the same length along the first axis, but have {found}"
        raise ValueError(message)
    (length,) = lengths
    row_bytes = sum(array.nbytes // max(length, 1) for array in arrays if array.ndim)
    grid = choose_grid(length, row_bytes, options.grain, halo)
    function = _Trim(func, halo, length) if halo else func
    if in_worker():
        return _map_in_place(function, arrays, grid)
    refs = tuple(describe_array(array) for array in arrays)
    source = ArraySource(
        grid, refs, tuple(array.ndim == 0 for array in arrays), with_bounds=bool(halo)
    )
    collector = Collector(grid.count, grid.length, grid.bounds)
    run_chunks(
        ReturnResult(function),
        source,
        Placed(),
        name=name_of(func),
        chunk_count=grid.count,
        ranges=grid.bounds,
        caller_pid=os.getpid(),
        options=options,
        provide=lambda rank, verb, chunk, *detail: collector.place(chunk, *detail),
    )
    return collector.join()


def _map_in_place(
    function: Callable[..., Any],
    arrays: list[np.ndarray[Any, Any]],
    grid: Grid,
) -> Any:
    """Run chunk after chunk in this process; a worker that calls the engine does so."""
    parts = []
    for chunk in range(grid.count):
        start, stop = grid.view_bounds(chunk)
        views = [array[start:stop] if array.ndim else array for array in arrays]
        own = (grid.bounds(chunk),) if grid.halo else ()
        parts.append(np.atleast_1d(np.asarray(function(*own, *views))))
    return np.concatenate(parts)
