"""What the engine is doing: statistics for programs, information for people."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from engine import system
from engine.memory import arena as arena_module
from engine.memory.ledger import copied_bytes
from engine.pool import board
from engine.pool.machine_code import counters
from engine.pool.pool import current_pool

if TYPE_CHECKING:
    from engine.pool.handover import Handover
    from engine.pool.pool import Pool

__all__ = ["Statistics", "WorkerStatistics", "info", "statistics", "trim"]


@dataclass(frozen=True, slots=True)
class WorkerStatistics:
    """Counters of one worker, or of those that had its rank before it.

    Attributes
    ----------
    rank, pid : int
    chunks : int
        Chunks of compiled kernels that it has run.
    waits : int
        How often it has found nothing to do: it waits once a job at least, and every 50
        milliseconds as long as there is none.
    """

    rank: int
    pid: int
    chunks: int
    waits: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counters of this process since it started.

    Attributes
    ----------
    compiled_in_caller, loaded_from_disk, loaded_in_workers, compiled_in_workers : int
        Kernels compiled here, kernels whose machine code an earlier process has left on
        disk, machine code loaded by workers of the default pool, and kernels that workers
        had to compile (0, but for code that cannot travel).
    worker_deaths : int
        Workers of the default pool that were killed or crashed.
    copied_bytes : dict
        User data that had to be copied, by reason.
    memory : ArenaStatistics or None
        The arena's account, None before it exists.
    workers : tuple of WorkerStatistics
        Those of the default pool.
    handover : Handover or None
        What it costs to hand work to them, and so how much work is computed by the caller alone;
        None until that has been measured, at the second call of a kernel that is worth it.
    """

    compiled_in_caller: int
    loaded_from_disk: int
    loaded_in_workers: int
    compiled_in_workers: int
    worker_deaths: int
    copied_bytes: dict[str, int]
    memory: arena_module.ArenaStatistics | None
    workers: tuple[WorkerStatistics, ...]
    handover: Handover | None


def statistics() -> Statistics:
    """Count what this process and the workers of its default pool have done."""
    pool = current_pool()
    theirs = pool.supervisor.counters() if pool is not None else {}
    return Statistics(
        compiled_in_caller=counters["kernels_compiled"],
        loaded_from_disk=counters["kernels_from_disk"],
        loaded_in_workers=theirs.get("kernels_loaded", 0),
        compiled_in_workers=theirs.get("kernels_recompiled", 0),
        worker_deaths=pool.supervisor.deaths if pool is not None else 0,
        copied_bytes=copied_bytes(),
        memory=arena_module.arena().statistics() if arena_module.is_open() else None,
        workers=_workers(pool) if pool is not None else (),
        handover=pool.handover if pool is not None else None,
    )


def _workers(pool: Pool) -> tuple[WorkerStatistics, ...]:
    def line(rank: int) -> Any:
        return pool.board.view(pool.board.worker(rank), board.WORKER_WORDS)

    return tuple(
        WorkerStatistics(
            one.rank,
            one.pid,
            int(line(one.rank)[board.CHUNKS_RUN]),
            int(line(one.rank)[board.WAITS]),
        )
        for one in sorted(pool.supervisor.workers(), key=lambda one: one.rank)
    )


def trim() -> None:
    """Give shared memory that no array uses back to the system."""
    if arena_module.is_open():
        arena_module.arena().trim()


def info() -> dict[str, dict[str, object]]:
    """Describe machine, shared memory, pool and versions, in sections."""
    pool = current_pool()
    packages = ("numcrew", "numpy", "numba", "llvmlite", "pyarrow")
    return {
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count() or 1,
            "budget": system.cpu_budget(),
            "memory_bytes": system.physical_memory_bytes(),
            "available_bytes": system.available_memory_bytes(),
        },
        "shared memory": asdict(arena_module.arena().statistics()),
        "pool": {
            "default": repr(pool) if pool is not None else "not started",
            "workers": [one.pid for one in pool.supervisor.workers()] if pool else [],
        },
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in packages},
        },
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
