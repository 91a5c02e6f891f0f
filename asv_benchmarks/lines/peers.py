"""The peers: other libraries, given the same number of threads as the engine has processes."""

from __future__ import annotations

import importlib
from typing import Any

import numba
from numba import njit

import engine

__all__ = ["numexpr_or_none", "polars_or_none", "start_workers", "use_threads"]


@njit
def nothing(team: Any) -> None:
    """Do nothing, at every rank."""


def start_workers(pool: engine.Pool | None = None) -> None:
    """Return when all workers of a pool, by default the default one, have started."""
    # Ranks wait for each other.
    engine.parallel_region(nothing, pool=pool)


def use_threads() -> None:
    """Give numba's threads the whole budget of cores, as the default pool has it."""
    numba.set_num_threads(min(engine.cpu_count(), numba.config.NUMBA_NUM_THREADS))


def numexpr_or_none() -> Any:
    """Return numexpr with the whole budget of cores, or None where it is not installed."""
    try:
        numexpr = importlib.import_module("numexpr")
    except ImportError:
        return None
    numexpr.set_num_threads(engine.cpu_count())
    return numexpr


def polars_or_none() -> Any:
    """Return polars, which takes every core by itself, or None where it is not installed."""
    try:
        return importlib.import_module("polars")
    except ImportError:
        return None
