"""parallel_map: one function, every element, every core."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.algorithms.inputs.arguments import is_arrow, run_call
from engine.algorithms.inputs.kernel_errors import kernel_errors
from engine.algorithms.inputs.operands import (
    as_arrays,
    check_agreement,
    check_castable,
    check_outputs,
    elementwise_operand,
    make_output,
)
from engine.algorithms.maps import core as core_map
from engine.algorithms.maps import ufuncs as ufunc_map
from engine.algorithms.maps.small import map_small
from engine.algorithms.maps.typed_kernel import typed_kernel
from engine.memory.arrays import is_shared_array
from engine.memory.ledger import count_copy
from engine.memory.refs import private_in_reach
from engine.pool.functions import compilable, known_function, name_of
from engine.pool.native import rouse, run_native
from engine.pool.program import merge_axes

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike

    from engine.pool.functions import CompilableFunction
    from engine.pool.native import CallOptions
    from engine.pool.pool import Pool

__all__ = ["parallel_map"]

# With so many elements workers are going to be needed, whatever the function costs.
_LARGE_ELEMENTS = 1 << 20


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
    if not callable(func):
        message = f"func must be callable, not {type(func).__name__}"
        raise TypeError(message)
    if not arrays:
        message = "parallel_map needs at least one array to map over"
        raise TypeError(message)
    plain = out is None and dtype is None and grain is None and timeout is None and not progress
    if plain and (pool is None or getattr(pool, "takes_small_calls", False)):
        result = map_small(func, arrays)
        if result is not None:
            return result
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
    return _map_elements(function, inputs, out, dtype, options)


def _map_elements(
    function: CompilableFunction,
    inputs: list[np.ndarray[Any, Any]],
    out: Any,
    dtype: Any,
    options: CallOptions,
) -> Any:
    shape = inputs[0].shape
    if any(one.shape != shape for one in inputs):
        shape = np.broadcast(*inputs).shape
    if options.pool is not None and prod(shape) >= _LARGE_ELEMENTS:
        # So that workers start while the function is being compiled.
        options.pool.start()
    dtypes = tuple(one.dtype for one in inputs)
    typed = typed_kernel(function, dtypes, dtype)
    rouse(typed.kernel, prod(shape), options)
    if out is None:
        outputs = tuple(make_output(shape, one, inputs) for one in typed.result_dtypes)
        targets = outputs
    else:
        outputs = check_outputs(out, len(typed.result_dtypes), shape, is_tuple=typed.is_tuple)
        wanted = tuple(one.dtype for one in outputs)
        if dtype is None:
            check_castable(function.name, typed.result_dtypes, wanted)
        else:
            check_agreement(typed.result_dtypes, wanted)
        if wanted != typed.result_dtypes:
            typed = typed_kernel(function, dtypes, wanted)
        targets = _apart_from(outputs, inputs)
    kernel = typed.kernel
    operands = [
        elementwise_operand(array, cell, shape)
        for array, cell in zip(inputs, kernel.inputs, strict=True)
    ]
    operands += [
        elementwise_operand(array, cell, shape, is_output=True)
        for array, cell in zip(targets, kernel.outputs, strict=True)
    ]
    merged, operands = merge_axes(shape, operands, guide=len(inputs))
    run_native(kernel, merged, operands, options)
    if out is not None:
        for target, array in zip(targets, outputs, strict=True):
            if target is not array:
                count_copy("results for an out= that workers cannot write to", array.nbytes)
                np.copyto(array, target)
    return outputs if typed.is_tuple else outputs[0]


def _apart_from(
    outputs: tuple[np.ndarray[Any, Any], ...], inputs: list[np.ndarray[Any, Any]]
) -> tuple[np.ndarray[Any, Any], ...]:
    """Replace outputs that share memory with an input by arrays that do not.

    A chunk may be run twice when a worker dies, and must then find its inputs as
    they were.  Outputs that workers cannot write to are replaced as well.
    """
    return tuple(
        make_output(array.shape, array.dtype, [array])
        if any(np.may_share_memory(array, one) for one in inputs)
        or not (private_in_reach() or is_shared_array(array))
        else array
        for array in outputs
    )
