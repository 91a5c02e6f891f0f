"""Work bound by the cores: against numba's own threads, which run the same kernels.

Both sides write into arrays that exist, so that what is compared is the machine code and how evenly
it is spread, not who pays for fresh pages; the line ``stream`` compares that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

import engine
from asv_benchmarks.contest import Contest
from asv_benchmarks.lines.peers import use_threads
from asv_benchmarks.row import Row
from kernels import black_scholes, mandelbrot

__all__ = [
    "contest_black_scholes",
    "contest_mandelbrot",
    "line_black_scholes",
    "line_mandelbrot",
]

_SEED = 20_240_117


@njit(parallel=True)
def _prange_black_scholes(
    spot: np.ndarray[Any, Any],
    strike: np.ndarray[Any, Any],
    years: np.ndarray[Any, Any],
    call: np.ndarray[Any, Any],
    put: np.ndarray[Any, Any],
) -> None:
    for i in prange(len(spot)):
        call[i], put[i] = black_scholes(spot[i], strike[i], years[i])


@njit(parallel=True)
def _prange_mandelbrot(
    re: np.ndarray[Any, Any], im: np.ndarray[Any, Any], out: np.ndarray[Any, Any]
) -> None:
    for row in prange(len(im)):
        for column in range(len(re)):
            out[row, column] = mandelbrot(re[column], im[row])


def contest_black_scholes(*, quick: bool, is_private: bool = False) -> Contest:
    """Price calls and puts: even work, some 50 ns an element."""
    use_threads()
    count = 20_000 if quick else 4_000_000
    rng = np.random.default_rng(_SEED)
    spot, strike, years = (
        rng.uniform(low, high, count) if is_private else engine.share(rng.uniform(low, high, count))
        for low, high in ((10.0, 50.0), (10.0, 50.0), (0.1, 2.0))
    )
    ours = engine.empty(count), engine.empty(count)
    theirs = engine.zeros(count), engine.zeros(count)
    calls = {
        "engine": lambda: engine.parallel_map(black_scholes, spot, strike, years, out=ours),
        "prange": lambda: _prange_black_scholes(spot, strike, years, *theirs),
    }
    for call in calls.values():
        call()
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)
    where = "private" if is_private else "shared"
    work = f"Black-Scholes, call and put, {count:,} float64, {where} inputs"
    wanted = {"prange": 1.1 if is_private else 1.0}
    return Contest(work, calls, wanted, rounds=1 if quick else 15)


def line_black_scholes(*, quick: bool) -> list[Row]:
    """Price options that are in shared memory, and such that are not."""
    return [
        row
        for is_private in (False, True)
        for row in contest_black_scholes(quick=quick, is_private=is_private).rows()
    ]


def contest_mandelbrot(*, quick: bool, is_symmetric: bool = False) -> Contest:
    """Draw the Mandelbrot set: work that differs a hundredfold from row to row.

    The whole set is symmetric, so that halves of it are equal work, as if made for two threads that
    take half each; a part of it is not.
    """
    use_threads()
    side = 100 if quick else 1200
    re = engine.share(np.linspace(-2.0, 0.6, side))
    im = engine.share(np.linspace(-1.3 if is_symmetric else -0.2, 1.3, side))
    ours = engine.empty((side, side), np.int64)
    theirs = engine.zeros((side, side), np.int64)
    column, row = re[np.newaxis, :], im[:, np.newaxis]
    calls = {
        "engine": lambda: engine.parallel_map(mandelbrot, column, row, out=ours),
        "prange": lambda: _prange_mandelbrot(re, im, theirs),
    }
    for call in calls.values():
        call()
    np.testing.assert_array_equal(ours, theirs)
    which = "Mandelbrot" if is_symmetric else "Mandelbrot, a part that is not symmetric"
    work = f"{which}, {side} x {side}, from a row and a column"
    return Contest(work, calls, {"prange": 1.0}, rounds=1 if quick else 15)


def line_mandelbrot(*, quick: bool) -> list[Row]:
    """Draw the whole set, and a part of it."""
    return [
        row
        for is_symmetric in (True, False)
        for row in contest_mandelbrot(quick=quick, is_symmetric=is_symmetric).rows()
    ]
