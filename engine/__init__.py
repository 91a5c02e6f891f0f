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

if TYPE_CHECKING:
    from multiprocessing import (
        AuthenticationError,
        BufferTooShort,
        ProcessError,
        active_children,
        current_process,
        freeze_support,
        get_all_start_methods,
        get_logger,
        get_start_method,
        log_to_stderr,
        parent_process,
        set_start_method,
    )

    from engine.algorithms.argsort import parallel_argsort
    from engine.algorithms.bincount import parallel_bincount
    from engine.algorithms.filter import parallel_filter
    from engine.algorithms.for_each import parallel_for
    from engine.algorithms.groupby import parallel_groupby
    from engine.algorithms.histogram import parallel_histogram
    from engine.algorithms.lexsort import parallel_lexsort
    from engine.algorithms.map import parallel_map
    from engine.algorithms.map_chunks import parallel_map_chunks
    from engine.algorithms.partition import parallel_partition
    from engine.algorithms.random import parallel_random
    from engine.algorithms.reduce import parallel_reduce
    from engine.algorithms.reduction import Reduction
    from engine.algorithms.rolling import parallel_rolling
    from engine.algorithms.scan import parallel_scan
    from engine.algorithms.searchsorted import parallel_searchsorted
    from engine.algorithms.sort import parallel_sort
    from engine.algorithms.stencil import parallel_stencil
    from engine.algorithms.take import parallel_take
    from engine.algorithms.topk import parallel_topk
    from engine.algorithms.unique import parallel_unique
    from engine.algorithms.where import parallel_where
    from engine.channel.pipes import Pipe
    from engine.channel.queues import JoinableQueue, Queue, SimpleQueue
    from engine.contexts import Manager, Process, get_context
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
    from engine.memory.allocator import shared_allocator
    from engine.memory.arrays import empty, full, zeros
    from engine.memory.share import is_shared, share
    from engine.pool.pool import Pool
    from engine.status import info, statistics, trim
    from engine.sync.barrier import Barrier
    from engine.sync.condition import Condition
    from engine.sync.elements import (
        atomic_add,
        atomic_compare_exchange,
        atomic_exchange,
        atomic_load,
        atomic_store,
        fence,
        wait_until,
    )
    from engine.sync.event import Event
    from engine.sync.lock import Lock
    from engine.sync.rlock import RLock
    from engine.sync.semaphore import BoundedSemaphore, Semaphore
    from engine.sync.value import Array, RawArray, RawValue, Value
    from engine.system import cpu_budget as cpu_count
    from engine.tables.errors import TableError
    from engine.tables.load import read_table
    from engine.team.region import parallel_region
    from engine.team.team import Team

# Where each name is found when it is first used.  A process that is started for a small
# part of the engine loads that part and not numba and everything else.
_FOUND_IN = {
    "Array": "engine.sync.value",
    "AuthenticationError": "multiprocessing",
    "Barrier": "engine.sync.barrier",
    "BarrierBrokenError": "engine.errors",
    "BlockGoneError": "engine.errors",
    "BoundedSemaphore": "engine.sync.semaphore",
    "BufferTooShort": "multiprocessing",
    "Condition": "engine.sync.condition",
    "EngineError": "engine.errors",
    "Event": "engine.sync.event",
    "JoinableQueue": "engine.channel.queues",
    "KernelTypeError": "engine.errors",
    "Lock": "engine.sync.lock",
    "Manager": "engine.contexts",
    "OwnerDiedError": "engine.errors",
    "Pipe": "engine.channel.pipes",
    "Pool": "engine.pool.pool",
    "PoolBrokenError": "engine.errors",
    "PoolClosedError": "engine.errors",
    "Process": "engine.contexts",
    "ProcessError": "multiprocessing",
    "Queue": "engine.channel.queues",
    "RLock": "engine.sync.rlock",
    "RawArray": "engine.sync.value",
    "RawValue": "engine.sync.value",
    "Reduction": "engine.algorithms.reduction",
    "Semaphore": "engine.sync.semaphore",
    "SharedMemoryFull": "engine.errors",
    "SimpleQueue": "engine.channel.queues",
    "TableError": "engine.tables.errors",
    "Team": "engine.team.team",
    "TimeoutError": "engine.errors",
    "Value": "engine.sync.value",
    "WorkerDiedError": "engine.errors",
    "active_children": "multiprocessing",
    "atomic_add": "engine.sync.elements",
    "atomic_compare_exchange": "engine.sync.elements",
    "atomic_exchange": "engine.sync.elements",
    "atomic_load": "engine.sync.elements",
    "atomic_store": "engine.sync.elements",
    "cpu_count": "engine.system",
    "current_process": "multiprocessing",
    "empty": "engine.memory.arrays",
    "fence": "engine.sync.elements",
    "freeze_support": "multiprocessing",
    "full": "engine.memory.arrays",
    "get_all_start_methods": "multiprocessing",
    "get_context": "engine.contexts",
    "get_logger": "multiprocessing",
    "get_start_method": "multiprocessing",
    "info": "engine.status",
    "is_shared": "engine.memory.share",
    "log_to_stderr": "multiprocessing",
    "parallel_argsort": "engine.algorithms.argsort",
    "parallel_bincount": "engine.algorithms.bincount",
    "parallel_filter": "engine.algorithms.filter",
    "parallel_for": "engine.algorithms.for_each",
    "parallel_groupby": "engine.algorithms.groupby",
    "parallel_histogram": "engine.algorithms.histogram",
    "parallel_lexsort": "engine.algorithms.lexsort",
    "parallel_map": "engine.algorithms.map",
    "parallel_map_chunks": "engine.algorithms.map_chunks",
    "parallel_partition": "engine.algorithms.partition",
    "parallel_random": "engine.algorithms.random",
    "parallel_reduce": "engine.algorithms.reduce",
    "parallel_region": "engine.team.region",
    "parallel_rolling": "engine.algorithms.rolling",
    "parallel_scan": "engine.algorithms.scan",
    "parallel_searchsorted": "engine.algorithms.searchsorted",
    "parallel_sort": "engine.algorithms.sort",
    "parallel_stencil": "engine.algorithms.stencil",
    "parallel_take": "engine.algorithms.take",
    "parallel_topk": "engine.algorithms.topk",
    "parallel_unique": "engine.algorithms.unique",
    "parallel_where": "engine.algorithms.where",
    "parent_process": "multiprocessing",
    "read_table": "engine.tables.load",
    "set_start_method": "multiprocessing",
    "share": "engine.memory.share",
    "shared_allocator": "engine.memory.allocator",
    "statistics": "engine.status",
    "trim": "engine.status",
    "wait_until": "engine.sync.elements",
    "zeros": "engine.memory.arrays",
}

# What is called otherwise where it is found.
_NAMED = {"cpu_count": "cpu_budget"}


def __getattr__(name: str) -> Any:
    """Import what is used for the first time."""
    if name not in _FOUND_IN:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(importlib.import_module(_FOUND_IN[name]), _NAMED.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Name everything, also what is not imported yet."""
    return sorted({*globals(), *_FOUND_IN})


__all__ = [
    "Array",
    "AuthenticationError",
    "Barrier",
    "BarrierBrokenError",
    "BlockGoneError",
    "BoundedSemaphore",
    "BufferTooShort",
    "Condition",
    "EngineError",
    "Event",
    "JoinableQueue",
    "KernelTypeError",
    "Lock",
    "Manager",
    "OwnerDiedError",
    "Pipe",
    "Pool",
    "PoolBrokenError",
    "PoolClosedError",
    "Process",
    "ProcessError",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "Reduction",
    "Semaphore",
    "SharedMemoryFull",
    "SimpleQueue",
    "TableError",
    "Team",
    "TimeoutError",
    "Value",
    "WorkerDiedError",
    "active_children",
    "atomic_add",
    "atomic_compare_exchange",
    "atomic_exchange",
    "atomic_load",
    "atomic_store",
    "cpu_count",
    "current_process",
    "empty",
    "fence",
    "freeze_support",
    "full",
    "get_all_start_methods",
    "get_context",
    "get_logger",
    "get_start_method",
    "info",
    "is_shared",
    "log_to_stderr",
    "parallel_argsort",
    "parallel_bincount",
    "parallel_filter",
    "parallel_for",
    "parallel_groupby",
    "parallel_histogram",
    "parallel_lexsort",
    "parallel_map",
    "parallel_map_chunks",
    "parallel_partition",
    "parallel_random",
    "parallel_reduce",
    "parallel_region",
    "parallel_rolling",
    "parallel_scan",
    "parallel_searchsorted",
    "parallel_sort",
    "parallel_stencil",
    "parallel_take",
    "parallel_topk",
    "parallel_unique",
    "parallel_where",
    "parent_process",
    "read_table",
    "set_start_method",
    "share",
    "shared_allocator",
    "statistics",
    "trim",
    "wait_until",
    "zeros",
]
