"""numcrew's engine: data-parallel numeric computing in worker processes.

``parallel_map(kernel, x, y)`` runs a compiled kernel over chunks of NumPy arrays
or Arrow columns on every core, in processes that share memory with the caller.

>>> import numpy as np
>>> from engine import parallel_map
>>> parallel_map(lambda x, y: x * y + 1, np.arange(3.0), np.arange(3.0))
array([1., 2., 5.])
"""

import importlib
from typing import TYPE_CHECKING, Any

from engine.algorithms.for_each import parallel_for
from engine.algorithms.map import parallel_map
from engine.algorithms.map_chunks import parallel_map_chunks
from engine.errors import (
    BarrierBrokenError,
    BlockGoneError,
    EngineError,
    KernelTypeError,
    OwnerDiedError,
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

if TYPE_CHECKING:
    from multiprocessing import (
        active_children,
        current_process,
        parent_process,
    )

    from engine.contexts import Process, get_context
    from engine.sync.barrier import Barrier
    from engine.sync.condition import Condition
    from engine.sync.event import Event
    from engine.sync.lock import Lock, RLock
    from engine.sync.semaphore import BoundedSemaphore, Semaphore

# Found when first used, because loading their compiled code takes a quarter of the time
# that importing everything else does.
_LATE = {
    "Barrier": "engine.sync.barrier",
    "BoundedSemaphore": "engine.sync.semaphore",
    "Condition": "engine.sync.condition",
    "Event": "engine.sync.event",
    "Lock": "engine.sync.lock",
    "Process": "engine.contexts",
    "RLock": "engine.sync.lock",
    "Semaphore": "engine.sync.semaphore",
    "active_children": "multiprocessing",
    "current_process": "multiprocessing",
    "get_context": "engine.contexts",
    "parent_process": "multiprocessing",
}


def __getattr__(name: str) -> Any:
    """Import what is used late."""
    if name not in _LATE:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = globals()[name] = getattr(importlib.import_module(_LATE[name]), name)
    return value


def __dir__() -> list[str]:
    """Name everything, also what is not imported yet."""
    return sorted({*globals(), *_LATE})


__all__ = [
    "Barrier",
    "BarrierBrokenError",
    "BlockGoneError",
    "BoundedSemaphore",
    "Condition",
    "EngineError",
    "Event",
    "KernelTypeError",
    "Lock",
    "OwnerDiedError",
    "Pool",
    "PoolBrokenError",
    "PoolClosedError",
    "Process",
    "RLock",
    "Semaphore",
    "SharedMemoryFull",
    "TimeoutError",
    "WorkerDiedError",
    "active_children",
    "cpu_count",
    "current_process",
    "empty",
    "full",
    "get_context",
    "info",
    "is_shared",
    "parallel_for",
    "parallel_map",
    "parallel_map_chunks",
    "parent_process",
    "share",
    "statistics",
    "trim",
    "zeros",
]
