"""Calls on small arrays, of which most of the time is what a call costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, prange

import engine
from asv_benchmarks.contest import Contest
from asv_benchmarks.lines.peers import use_threads
from asv_benchmarks.row import Row
from engine.pool.pool import current_pool

__all__ = ["contest_small", "line_short"]

_SEED = 20_240_117
_WANTED = {(1000, True): 1.0, (100_000, True): 1.1, (100_000, False): 1.1}


@njit
def _rooted(x: float, y: float) -> float:
    return np.sqrt(x) * y + 1


@njit
def _rooted_loop(
    x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], out: np.ndarray[Any, Any]
) -> None:
    for i in range(len(x)):
        out[i] = np.sqrt(x[i]) * y[i] + 1


@njit(parallel=True)
def _rooted_prange(
    x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], out: np.ndarray[Any, Any]
) -> None:
    for i in prange(len(x)):
        out[i] = np.sqrt(x[i]) * y[i] + 1


def contest_small(*, quick: bool, count: int = 1000, is_prepared: bool = False) -> Contest:
    """Compute ``sqrt(x) * y + 1`` into an array that exists."""
    use_threads()
    rng = np.random.default_rng(_SEED)
    x, y = engine.share(rng.random(count)), engine.share(rng.random(count))
    out = engine.empty(count)

    def mapped() -> Any:
        return engine.parallel_map(_rooted, x, y, out=out)

    calls: dict[str, Callable[[], Any]] = {
        "engine": current_pool().prepare(engine.parallel_map, _rooted, x, y, out=out)
        if is_prepared
        else mapped,
        "NumPy": lambda: np.sqrt(x) * y + 1,
        "numba": lambda: _rooted_loop(x, y, out),
        "prange": lambda: _rooted_prange(x, y, out),
    }
    for call in calls.values():
        out[:] = 0
        found = call()
        np.testing.assert_allclose(out if found is None else found, np.sqrt(x) * y + 1)
    how = "prepared" if is_prepared else "whole calls"
    return Contest(
        f"`sqrt(x) * y + 1` into `out`, {count:,} float64, {how}",
        calls,
        {"prange": _WANTED.get((count, is_prepared)), "NumPy": None},
        rounds=1 if quick else 31,
        repeats=3 if quick else 300,
    )


def line_short(*, quick: bool) -> list[Row]:
    """Compute it on few numbers and on more, prepared and not."""
    return [
        row
        for count, is_prepared in ((1000, True), (100_000, True), (100_000, False))
        for row in contest_small(quick=quick, count=count, is_prepared=is_prepared).rows()
    ]
