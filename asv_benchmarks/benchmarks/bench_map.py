"""Elementwise work: bound by the cores, by memory, and by what a call costs."""

from functools import partial

import numpy as np

import engine
from asv_benchmarks.lines.compiling import first_call_s, nothing_on_disk
from asv_benchmarks.lines.compute import contest_black_scholes, contest_mandelbrot
from asv_benchmarks.lines.peers import start_workers
from asv_benchmarks.lines.pools import contest_pools
from asv_benchmarks.lines.small import contest_small
from asv_benchmarks.lines.stream import contest_stream

from .contested import contested

_THREADS = ["NumPy", "numba", "prange"]

BlackScholes = contested("BlackScholes", contest_black_scholes, ["prange"])
PrivateInputs = contested(
    "PrivateInputs", partial(contest_black_scholes, is_private=True), ["prange"]
)
Mandelbrot = contested("Mandelbrot", contest_mandelbrot, ["prange"])
Stream = contested("Stream", contest_stream, ["numexpr", "NumPy", "prange"])
StreamInto = contested(
    "StreamInto", partial(contest_stream, is_fresh=False), ["numexpr", "NumPy", "prange"]
)
SmallCall = contested("SmallCall", contest_small, _THREADS, calls=300)
MiddleCall = contested("MiddleCall", partial(contest_small, count=100_000), _THREADS, calls=30)
SmallPlan = contested("SmallPlan", partial(contest_small, is_prepared=True), _THREADS, calls=300)
MiddlePlan = contested(
    "MiddlePlan", partial(contest_small, count=100_000, is_prepared=True), _THREADS, calls=30
)
_POOLS = ["multiprocessing", "joblib", "mpire", "dask", "ray"]
Pools = contested("Pools", contest_pools, _POOLS)
ShortInPools = contested("ShortInPools", partial(contest_pools, job="short"), _POOLS)
TotalInPools = contested("TotalInPools", partial(contest_pools, job="total"), _POOLS)


class FirstCall:
    """Of a function that is compiled for it; machine code of earlier runs is not looked for."""

    params = (2, 8)
    param_names = ("processes",)
    quick = False
    timeout = 300

    def track_first_call(self, processes):
        x = engine.share(np.linspace(0.0, 1.0, 6_400))
        with engine.Pool(processes) as pool, nothing_on_disk():
            start_workers(pool)
            first_call_s(pool, x)
            return min(first_call_s(pool, x) for _ in range(1 if self.quick else 5))

    track_first_call.unit = "s"
