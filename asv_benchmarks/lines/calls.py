"""What a call costs, and what a chunk costs."""

from __future__ import annotations

import statistics
import time

import numpy as np
from numba import njit

import engine
from asv_benchmarks.row import Row

__all__ = ["line_call", "line_chunks", "successor"]

_CALL_US_MAX = 8.0
_CHUNK_US_MAX = 1.0


@njit
def _scaled_sum(b: float, c: float) -> float:
    return b + 3 * c


@njit
def successor(x: float) -> float:
    """Do next to nothing."""
    return x + 1.0


def line_call(*, quick: bool) -> list[Row]:
    """Time whole Python calls on arrays so small that no worker is worth waking."""
    b, c = engine.share(np.arange(1000.0)), engine.share(np.arange(1000.0))
    engine.parallel_map(_scaled_sum, b, c)
    calls = 20 if quick else 2000
    times_us = []
    for _ in range(1 if quick else 15):
        started_s = time.perf_counter()
        for _ in range(calls):
            engine.parallel_map(_scaled_sum, b, c)
        times_us.append((time.perf_counter() - started_s) / calls * 1e6)
    call_us = statistics.median(times_us)
    return [
        Row(
            "one `parallel_map` call on 1,000 float64 (runs in the caller)",
            f"{call_us:.1f} µs",
            wanted=f"≤ {_CALL_US_MAX:.0f} µs",
            reached=call_us <= _CALL_US_MAX,
        )
    ]


def line_chunks(*, quick: bool) -> list[Row]:
    """Time chunks of a single element, claimed by all processes and marked one by one."""
    count = 1 << (10 if quick else 20)
    b, c = engine.share(np.arange(float(count))), engine.share(np.arange(float(count)))
    out = engine.empty(count)
    engine.parallel_map(_scaled_sum, b, c, out=out, grain=1)
    times_us = []
    for _ in range(1 if quick else 9):
        started_s = time.perf_counter()
        engine.parallel_map(_scaled_sum, b, c, out=out, grain=1)
        times_us.append((time.perf_counter() - started_s) / count * 1e6)
    np.testing.assert_array_equal(out, b + 3 * c)
    chunk_us = statistics.median(times_us)
    return [
        Row(
            f"{count:,} chunks of one element each, a chunk",
            f"{chunk_us:.2f} µs",
            wanted=f"≤ {_CHUNK_US_MAX:.0f} µs",
            reached=chunk_us <= _CHUNK_US_MAX,
        )
    ]
