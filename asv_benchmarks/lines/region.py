"""Phased computations: one region of many steps, beside a loop of `prange` loops."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numba import njit, prange

import engine
from asv_benchmarks.contest import Contest
from asv_benchmarks.lines.peers import use_threads
from asv_benchmarks.row import Row

__all__ = ["contest_jacobi", "line_region"]

_RATIO_MAX = 0.75
_PREPARED_US_MAX = 3.0
_US = 1e6


@njit
def _relax(a: Any, b: Any, start: int, stop: int) -> None:
    for i in range(start, stop):
        for j in range(1, a.shape[1] - 1):
            b[i, j] = 0.25 * (a[i - 1, j] + a[i + 1, j] + a[i, j - 1] + a[i, j + 1])


@njit
def _jacobi(team: Any, a: Any, b: Any, steps: int) -> None:
    start, stop = team.range(1, a.shape[0] - 1)
    for _ in range(steps):
        _relax(a, b, start, stop)
        team.barrier()
        a, b = b, a


@njit(parallel=True)
def _jacobi_threads(a: Any, b: Any, steps: int) -> None:
    for _ in range(steps):
        for i in prange(1, a.shape[0] - 1):
            for j in range(1, a.shape[1] - 1):
                b[i, j] = 0.25 * (a[i - 1, j] + a[i + 1, j] + a[i, j - 1] + a[i, j + 1])
        a, b = b, a


@njit
def _nothing(team: Any) -> None:
    pass


def contest_jacobi(*, quick: bool) -> Contest:
    """Make many steps of Jacobi's iteration on a small grid."""
    length, steps, rounds = (16, 10, 1) if quick else (256, 2_000, 9)
    use_threads()
    grids = [engine.zeros((length, length)) for _ in range(2)]
    privates = [np.zeros((length, length)) for _ in range(2)]
    for grid in (*grids, *privates):
        grid[0] = 1.0
    calls = {
        "engine": partial(engine.parallel_region, _jacobi, *grids, steps, ranks=2),
        "prange": partial(_jacobi_threads, *privates, steps),
    }
    for call in calls.values():
        call()
    np.testing.assert_array_equal(grids[0], privates[0])
    work = f"Jacobi's iteration, {length} x {length}, {steps:,} steps in one region of 2 ranks"
    return Contest(work, calls, {"prange": _RATIO_MAX}, rounds)


def line_region(*, quick: bool) -> list[Row]:
    """Time Jacobi's iteration, and a region that does nothing."""
    rows = contest_jacobi(quick=quick).rows()
    with engine.Pool(2) as pool:
        rounds = 3 if quick else 300
        called_s = _median_s(partial(engine.parallel_region, _nothing, pool=pool), rounds)
        empty = pool.prepare(engine.parallel_region, _nothing)
        prepared_s = _median_s(empty, 30 * rounds)
    return [
        *rows,
        Row(
            "a prepared region of 2 ranks that does nothing",
            f"{prepared_s * _US:.1f} µs",
            wanted=f"≤ {_PREPARED_US_MAX:.0f} µs",
            reached=prepared_s * _US <= _PREPARED_US_MAX,
        ),
        Row("the same, not prepared", f"{called_s * _US:.0f} µs"),
    ]


def _median_s(call: Callable[[], object], rounds: int) -> float:
    times_s = []
    for _ in range(rounds):
        started_s = time.perf_counter()
        call()
        times_s.append(time.perf_counter() - started_s)
    return statistics.median(times_s)
