"""The shortest way through parallel_map, for calls of the size of their overhead.

Dense arrays of one shape, and a function that was compiled for their dtypes before.  With
less work than telling a worker of it would take, the inner loop is called at once, in this
process; with more, and all arrays in shared memory, a job that stands ready is run.
Everything that other calls need is left out.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.memory.arrays import address_of, dense
from engine.pool import driver
from engine.pool.error_notes import CALLER, note_of
from engine.pool.functions import known_function
from engine.pool.native import ALONE_NS
from engine.pool.pool import current_pool
from engine.sync.shared_words import direct

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.algorithms.maps.typed_kernel import TypedKernel
    from engine.pool.kernel import Kernel
    from engine.pool.pool import Pool

__all__ = ["map_small"]

_run_dense = direct(driver.run_dense)

# With so little work nobody asks whether it should be shared.
_ALONE_NS = 3_000


def map_small(
    func: Callable[..., Any], arrays: tuple[Any, ...], out: Any, pool: Pool | None
) -> Any:
    """Map a known function over dense arrays; None if it takes the longer way.

    Parameters
    ----------
    out : object
        As the user gave it.

    Concurrency: any thread.
    """
    function = known_function(func)
    if function is None:
        return None
    first = arrays[0]
    if type(first) is not np.ndarray:
        return None
    shape = first.shape
    dtypes = []
    for array in arrays:
        if type(array) is not np.ndarray or array.shape != shape or not array.flags.c_contiguous:
            return None
        dtypes.append(array.dtype)
    typed: TypedKernel | None = function.kernels.get((tuple(dtypes), None))
    if typed is None:
        return None
    kernel = typed.kernel
    count = first.size
    cost_ns = kernel.cost_ns * count
    if not cost_ns:
        return None
    pool = current_pool() if pool is None else pool
    if cost_ns <= _ALONE_NS or pool is None or not pool.takes_small_calls:
        pool = None
    if pool is None and cost_ns > ALONE_NS:
        return None
    addresses = [address_of(one) for one in arrays]
    if out is None:
        results = [dense(shape, dtype, count) for dtype in typed.result_dtypes]
    else:
        results = [*out] if type(out) is tuple else [out]
        if not _can_be_written(results, typed, shape, arrays, addresses):
            return None
    addresses += [address_of(one) for one in results]
    if pool is None or not pool.dense_jobs.run(
        pool, kernel, count, (arrays, results), 0, addresses
    ):
        if cost_ns > ALONE_NS:
            return None
        _run_here(kernel, addresses, count)
    return tuple(results) if typed.is_tuple else results[0]


def _can_be_written(
    results: list[Any],
    typed: TypedKernel,
    shape: tuple[int, ...],
    arrays: tuple[Any, ...],
    addresses: list[int],
) -> bool:
    """Tell whether arrays of the user's are what would have been made, apart from the inputs."""
    if len(results) != len(typed.result_dtypes):
        return False
    spans = [(at, at + one.nbytes) for at, one in zip(addresses, arrays, strict=True)]
    for one, dtype in zip(results, typed.result_dtypes, strict=True):
        if type(one) is not np.ndarray or one.shape != shape or one.dtype != dtype:
            return False
        flags = one.flags
        start = address_of(one)
        stop = start + one.nbytes
        if not (flags.c_contiguous and flags.writeable) or any(
            start < end and begin < stop for begin, end in spans
        ):
            return False
        spans.append((start, stop))
    return True


def _run_here(kernel: Kernel, addresses: list[int], count: int) -> None:
    words = np.array(addresses + kernel.dense_steps, np.int64)
    begun = time.perf_counter_ns()
    try:
        _run_dense(kernel.address, address_of(words), len(addresses), count)
    except Exception as error:
        error.add_note(note_of(kernel.name, None, CALLER))
        raise
    kernel.learn_cost(time.perf_counter_ns() - begun, count)
