"""Stencils: against numba's own threads, which go over the whole array in every step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

import engine
from asv_benchmarks.contest import Contest
from asv_benchmarks.lines.peers import use_threads
from asv_benchmarks.row import Row

__all__ = ["contest_stencil", "line_stencil"]

_SEED = 20_240_117


@njit
def _mean_of_four(a: Any) -> float:
    return 0.25 * (a[-1, 0] + a[1, 0] + a[0, -1] + a[0, 1])


@njit(parallel=True)
def _prange_steps(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], steps: int) -> None:
    for _ in range(steps):
        for row in prange(1, a.shape[0] - 1):
            for column in range(1, a.shape[1] - 1):
                b[row, column] = 0.25 * (
                    a[row - 1, column]
                    + a[row + 1, column]
                    + a[row, column - 1]
                    + a[row, column + 1]
                )
        a, b = b, a


def contest_stencil(*, quick: bool) -> Contest:
    """Take the mean of four neighbours, many times."""
    use_threads()
    side, steps = (100, 4) if quick else (1024, 200)
    a = engine.share(np.random.default_rng(_SEED).normal(size=(side, side)))
    out = engine.empty((side, side))
    # With the zeros around it that lie beyond the edges.
    before, after = np.pad(a, 1), np.pad(a, 1)
    start = before.copy()
    _prange_steps(before, after, steps)
    ours = engine.parallel_stencil(_mean_of_four, a, halo=1, steps=steps, out=out)
    np.testing.assert_allclose(ours, before[1:-1, 1:-1], rtol=1e-9, atol=1e-12)
    before[:] = start
    calls = {
        "engine": lambda: engine.parallel_stencil(_mean_of_four, a, halo=1, steps=steps, out=out),
        "prange": lambda: _prange_steps(before, after, steps),
    }
    work = f"mean of 4 neighbours, {side} x {side}, {steps} steps"
    return Contest(work, calls, {"prange": 0.75}, rounds=1 if quick else 9)


def line_stencil(*, quick: bool) -> list[Row]:
    """Take the mean of four neighbours, many times."""
    return contest_stencil(quick=quick).rows()
