"""parallel_map: one function, every element, every core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.inputs.arguments import is_arrow, run_call
from engine.algorithms.inputs.kernel_errors import kernel_errors
from engine.algorithms.inputs.operands import as_arrays
from engine.algorithms.maps import core as core_map
from engine.algorithms.maps import ufuncs as ufunc_map
from engine.algorithms.maps.elementwise import bind_map, check_mapped
from engine.algorithms.maps.small import map_small
from engine.pool.functions import compilable, known_function, name_of
from engine.pool.native import run_native
from engine.pool.preparations import preparations

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike

    from engine.pool.native import CallOptions
    from engine.pool.pool import Pool

__all__ = ["map_within", "parallel_map"]


def parallel_map(
    func: Callable[..., Any],
    *arrays: Any,
    out: np.ndarray[Any, Any] | tuple[np.ndarray[Any, Any], ...] | None = None,
    dtype: DTypeLike | tuple[DTypeLike, ...] | None = None,
    grain: int | None = None,
    pool: Pool | None = None,
    timeout: float | None = None,
    progress: bool = False,
) -> Any:
    """Compute ``func`` elementwise over arrays, on every core.

    Parameters
    ----------
    func : callable
        ``func(x, y, ...) -> z`` or ``-> (z, w, ...)`` of scalars: a NumPy ufunc, a
        numba ``@vectorize`` or ``@guvectorize`` function (whose core dimensions are
        honoured), an ``@njit`` function, or a plain Python function, which is
        compiled.
    *arrays : array_like
        NumPy arrays of any shape that broadcasts and any strides, scalars, Arrow
        arrays and chunked arrays, and whatever offers ``__arrow_c_array__``,
        ``__arrow_c_stream__`` or ``__array__``.  Elements: bool, int, float, complex,
        datetime64 and timedelta64, and Arrow's types of these kinds.
    out : ndarray or tuple of ndarray, optional
        Where to store the results; may be an input.  Not with Arrow inputs.
    dtype : dtype or tuple of dtype, optional
        What to store the results as; by default what `func` returns.
    grain : int, optional
        Elements of a chunk; by default chosen from the measured cost.
    pool : Pool, optional
        By default the pool of this process.
    timeout : float, optional
        Seconds after which what still runs is ended; the caller then computes
        nothing itself.
    progress : bool
        Show a tqdm progress bar.

    Returns
    -------
    ndarray, pyarrow.Array or pyarrow.ChunkedArray, or a tuple of them
        In the broadcast shape, in shared memory, so that feeding a result to the
        next call copies nothing.  Arrow in, Arrow out, in the same chunk layout;
        where an input is null the result is null and `func` is not called.

    Raises
    ------
    KernelTypeError
        `func` cannot be compiled for these elements.
    TimeoutError, WorkerDiedError, PoolClosedError, SharedMemoryFull
        See there.  What `func` raises is raised here, with a note.

    Notes
    -----
    Private inputs are read by the workers a tile at a time.  Copied are inputs of
    another byte order, results for an ``out=`` that overlaps an input, and private
    arrays where the system keeps workers from reading them; `statistics` counts
    it all.  Concurrency: any thread.

    Examples
    --------
    >>> import numpy as np
    >>> from engine import parallel_map
    >>> parallel_map(lambda x, y: x * x + y, np.arange(3.0), 1.0)
    array([1., 2., 5.])
    """
    plain = dtype is None and grain is None and timeout is None and not progress
    if plain and arrays and (pool is None or getattr(pool, "takes_small_calls", False)):
        result = map_small(func, arrays, out, pool)
        if result is not None:
            return result
    check_mapped(func, arrays)
    return run_call(
        lambda options: map_within(options, func, arrays, out, dtype),
        pool=pool,
        grain=grain,
        timeout=timeout,
        progress=progress,
        what=name_of(func) if progress else "",
    )


def map_within(
    options: CallOptions,
    func: Callable[..., Any],
    arrays: tuple[Any, ...],
    out: Any = None,
    dtype: Any = None,
) -> Any:
    """Do what `parallel_map` does, as a part of a call with options of its own."""
    plain = all(type(one) is np.ndarray for one in arrays)
    if not plain and any(is_arrow(one) for one in arrays):
        if out is not None:
            message = "out= takes NumPy arrays; results of Arrow inputs are new Arrow arrays"
            raise TypeError(message)
        # Late, because importing pyarrow takes a third of the time of importing this.
        from engine.algorithms.maps import arrow as arrow_map

        return arrow_map.map_arrow(func, arrays, dtype, options)
    if isinstance(func, np.ufunc):
        return ufunc_map.map_ufunc(func, arrays, out, dtype, options)
    function = known_function(func)
    if function is None:
        with kernel_errors(name_of(func), (type(one).__name__ for one in arrays)):
            function = compilable(func)
    inputs = as_arrays(arrays, function.name)
    if function.core_inputs is not None:
        return core_map.map_cores(function, inputs, out, dtype, options)
    bound = bind_map(function, inputs, out, dtype, options)
    run_native(bound.kernel, bound.shape, bound.operands, options)
    return bound.results()


def _prepare(*args: Any, **kwargs: Any) -> Any:
    # Late, because a first result would wait for machine code that few programs need.
    from engine.algorithms.maps.prepared import PreparedMap

    return PreparedMap(*args, **kwargs)


preparations[parallel_map] = _prepare
