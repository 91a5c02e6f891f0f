"""The shortest way through parallel_map, for calls of the size of their overhead.

Dense arrays of one shape, a function that was compiled for their dtypes before, and
less work than telling a worker of it would take: then the inner loop is called at
once, in this process, and everything that larger calls need is left out.
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

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.algorithms.maps.typed_kernel import TypedKernel

__all__ = ["map_small"]


def map_small(func: Callable[..., Any], arrays: tuple[Any, ...]) -> Any:
    """Map a known function over small dense arrays; None if that is not the case.

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
    if not 0 < kernel.cost_ns * count <= ALONE_NS:
        return None
    results = [dense(shape, dtype, count) for dtype in typed.result_dtypes]
    addresses = [address_of(one) for one in arrays]
    addresses += [address_of(one) for one in results]
    words = np.array(addresses + kernel.dense_steps, np.int64)
    begun = time.perf_counter_ns()
    try:
        driver.run_dense(kernel.address, words, count)
    except Exception as error:
        error.add_note(note_of(kernel.name, None, CALLER))
        raise
    kernel.learn_cost(time.perf_counter_ns() - begun, count)
    return tuple(results) if typed.is_tuple else results[0]
