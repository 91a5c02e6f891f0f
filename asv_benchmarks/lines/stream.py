"""Work bound by memory: with a fresh result each call, as expressions have it, and without."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange

import engine
from asv_benchmarks.contest import Contest
from asv_benchmarks.lines.peers import numexpr_or_none, use_threads
from asv_benchmarks.row import Row

__all__ = ["contest_stream", "line_stream"]

_SEED = 20_240_118


@njit
def _scaled_sum(b: float, c: float) -> float:
    return b + 3 * c


@njit(parallel=True)
def _prange_into(
    b: np.ndarray[Any, Any], c: np.ndarray[Any, Any], out: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    for i in prange(len(b)):
        out[i] = b[i] + 3 * c[i]
    return out


def contest_stream(*, quick: bool, is_fresh: bool = True) -> Contest:
    """Compute ``b + 3c``: three words of memory for two operations, perhaps new pages for it.

    The engine's results live in recycled pages; everyone else's are taken from the system anew.
    """
    use_threads()
    numexpr = numexpr_or_none()
    count = 50_000 if quick else 20_000_000
    rng = np.random.default_rng(_SEED)
    b, c = engine.share(rng.random(count)), engine.share(rng.random(count))
    out = None if is_fresh else engine.empty(count)
    contenders = {
        "engine": lambda: engine.parallel_map(_scaled_sum, b, c, out=out),
        "numexpr": lambda: numexpr.evaluate("b + 3 * c", {"b": b, "c": c}, out=out),
        "NumPy": lambda: np.add(b, np.multiply(c, 3, out=out), out=out),
        "prange": lambda: _prange_into(b, c, np.empty_like(b) if out is None else out),
    }
    if numexpr is None:
        del contenders["numexpr"]
    for contender in contenders.values():
        np.testing.assert_allclose(contender(), b + 3 * c, rtol=1e-15)
    how = "a fresh result each call" if is_fresh else "into `out`"
    wanted = dict.fromkeys(("numexpr", "NumPy", "prange"), 0.6 if is_fresh else 1.05)
    work = f"`b + 3 * c`, {count:,} float64, {how}"
    return Contest(work, contenders, wanted, rounds=1 if quick else 15)


def line_stream(*, quick: bool) -> list[Row]:
    """Compute ``b + 3c``, either way."""
    return [
        row
        for is_fresh in (True, False)
        for row in contest_stream(quick=quick, is_fresh=is_fresh).rows()
    ]
