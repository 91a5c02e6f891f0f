"""numcrew's engine: data-parallel numeric computing in worker processes.

``parallel_map(kernel, x, y)`` runs a compiled kernel over chunks of NumPy arrays
or Arrow columns on every core, in processes that share memory with the caller.

>>> import numpy as np
>>> from engine import parallel_map
>>> parallel_map(lambda x, y: x * y + 1, np.arange(3.0), np.arange(3.0))
array([1., 2., 5.])
"""

from engine.algorithms.for_each import parallel_for
from engine.algorithms.map import parallel_map
from engine.algorithms.map_chunks import parallel_map_chunks
from engine.errors import (
    EngineError,
    KernelTypeError,
    PoolBrokenError,
    PoolClosedError,
    SharedMemoryFull,
    TimeoutError,  # noqa: A004 - the name that multiprocessing's users expect
    WorkerDiedError,
)
from engine.memory.arrays import empty, full, zeros
from engine.memory.share import is_shared, share
from engine.pool.pool import Pool
from engine.status import info, statistics, trim
from engine.system import cpu_budget as cpu_count

__all__ = [
    "EngineError",
    "KernelTypeError",
    "Pool",
    "PoolBrokenError",
    "PoolClosedError",
    "SharedMemoryFull",
    "TimeoutError",
    "WorkerDiedError",
    "cpu_count",
    "empty",
    "full",
    "info",
    "is_shared",
    "parallel_for",
    "parallel_map",
    "parallel_map_chunks",
    "share",
    "statistics",
    "trim",
    "zeros",
]
