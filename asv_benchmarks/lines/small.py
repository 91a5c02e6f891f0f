"""Calls on small arrays, of which most of the time is what a call costs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

import engine
from asv_benchmarks.contest import Contest
from asv_benchmarks.lines.peers import use_threads

__all__ = ["contest_small"]

_SEED = 20_240_117


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


def contest_small(*, quick: bool, count: int = 1000) -> Contest:
    """Compute ``sqrt(x) * y + 1`` into an array that exists."""
    use_threads()
    rng = np.random.default_rng(_SEED)
    x, y = engine.share(rng.random(count)), engine.share(rng.random(count))
    out = engine.empty(count)
    calls = {
        "engine": lambda: engine.parallel_map(_rooted, x, y, out=out),
        "NumPy": lambda: np.sqrt(x) * y + 1,
        "numba": lambda: _rooted_loop(x, y, out),
        "prange": lambda: _rooted_prange(x, y, out),
    }
    for call in calls.values():
        out[:] = 0
        found = call()
        np.testing.assert_allclose(out if found is None else found, np.sqrt(x) * y + 1)
    return Contest(f"`sqrt(x) * y + 1`, {count:,} float64", calls, rounds=3 if quick else 300)
