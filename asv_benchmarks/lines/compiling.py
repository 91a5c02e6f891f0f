"""The first call of a function that nobody has compiled before, beside its compilation alone."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numba import njit

import engine
from asv_benchmarks.lines.peers import start_workers
from asv_benchmarks.row import Row

__all__ = ["first_call_s", "line_first_call", "nothing_on_disk"]

_RATIO_MAX = 1.1
_numbers = itertools.count(1)


def _new_kernel() -> Callable[[float], float]:
    """Make a function that takes some while to compile, with a number that makes it a new one."""
    number = float(next(_numbers))

    def kernel(x: float) -> float:
        a, b, c = math.sin(x) * number, math.exp(-x * x), math.log1p(x * x)
        for _ in range(3):
            a, b, c = math.cos(a * b) + c, math.atan2(b, c + 2.0) ** 2, math.tanh(c) - a % 3.0
            if a > b:
                a, b = math.hypot(a, b), math.expm1(-abs(a)) + math.pow(abs(b), 1.5)
            else:
                c = math.erf(c) + math.sqrt(abs(a)) + math.floor(b * 10) / (1 + abs(c))
        return a + b + c

    return kernel


@contextlib.contextmanager
def nothing_on_disk() -> Iterator[None]:
    """Switch the cache of machine code off."""
    before = os.environ.get("NUMCREW_CACHE_DIR")
    os.environ["NUMCREW_CACHE_DIR"] = ""
    try:
        yield
    finally:
        del os.environ["NUMCREW_CACHE_DIR"]
        if before is not None:
            os.environ["NUMCREW_CACHE_DIR"] = before


def _compilation_s() -> float:
    """Time numba with the function in a loop over arrays, which is what a call has to compile."""
    inner: Any = njit(error_model="numpy")(_new_kernel())

    @njit(error_model="numpy")
    def loop(x: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> None:
        for i in range(len(x)):
            out[i] = inner(x[i])

    started_s = time.perf_counter()
    loop.compile("void(float64[::1], float64[::1])")
    return time.perf_counter() - started_s


def first_call_s(pool: engine.Pool, x: np.ndarray[Any, Any]) -> float:
    """Time the first call of a new function, computed by all workers of a pool."""
    kernel = _new_kernel()
    started_s = time.perf_counter()
    engine.parallel_map(kernel, x, pool=pool, grain=max(len(x) // 64, 1))
    return time.perf_counter() - started_s


def line_first_call(*, quick: bool) -> list[Row]:
    """Time first calls on two workers and on eight, in turns with the compilation alone."""
    x = engine.share(np.linspace(0.0, 1.0, 6_400))
    rows = []
    with nothing_on_disk():
        _compilation_s()
        for processes in (2, 8):
            with engine.Pool(processes) as pool:
                start_workers(pool)
                first_call_s(pool, x)
                taken = [
                    (first_call_s(pool, x), _compilation_s()) for _ in range(1 if quick else 9)
                ]
            ours_s, alone_s = map(statistics.median, zip(*taken, strict=True))
            ratio = ours_s / alone_s
            rows.append(
                Row(
                    f"first call of a new function, on {processes} processes",
                    f"{ours_s * 1e3:.0f} ms",
                    f"its compilation by numba {alone_s * 1e3:.0f} ms",
                    ratio,
                    f"≤ {_RATIO_MAX:.2f}x",
                    ratio <= _RATIO_MAX,
                )
            )
    return rows
